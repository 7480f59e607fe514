/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The plugin ABI: what a backend implements. The numbered rules (R1...) are in plugin-api/SPEC.md.
 *
 * A backend is one shared object, libtenon-<id>.so, that exports exactly one symbol:
 *
 *     const struct tenon_backend *tenon_backend_entry_v1(const struct tenon_host *host);
 *
 * Thread tags:
 *   [loader-lock]  the host calls one such function at a time
 *   [thread-safe]  any thread, any time
 *   [device]       any thread, any number of calls on one device at once
 *   [queue] [buffer]  the caller serialises calls on that one object; different objects are independent
 *
 * Growth: structs start with struct_size and only ever gain fields at the end.
 *   Input structs (the caller fills them in, zero-initialised): fields the callee does not know must be zero, else
 *   UNSUPPORTED; fields the caller does not know read as zero. A shorter struct is never refused for being shorter
 *   than today's, as long as the fields of minor 0 are there.
 *   Output structs: the caller sets struct_size, the callee writes at most that much and never changes struct_size.
 *   Unknown flag bits are UNSUPPORTED; an unknown chain entry is UNSUPPORTED if its critical bit is set, else ignored.
 */
#ifndef TENON_BACKEND_H
#define TENON_BACKEND_H

#include <stddef.h>
#include <stdint.h>
#include <tenon/host.h>
#include <tenon/status.h>
#include <tenon/tensor.h>
#include <tenon/version.h>

#ifdef __cplusplus
extern "C" {
#endif

struct tenon_device; /* opaque, the backend's */
struct tenon_buffer;
struct tenon_plan;
struct tenon_queue;

#define TENON_CHAIN_CRITICAL 0x80000000u
#define TENON_CHAIN_MAX 16 /* a longer chain (or a cycle) is INVALID */
struct tenon_chain {
    uint32_t struct_size, type; /* type bit 31: must be understood */
    const struct tenon_chain *next;
};

/* Kinds of device, as in the selector. */
enum { TENON_TYPE_CPU = 1, TENON_TYPE_IGPU = 2, TENON_TYPE_GPU = 3, TENON_TYPE_ACCEL = 4 };

/* caps */
#define TENON_CAP_UNIFIED 0x1u       /* map is free and the pointer stays valid until the buffer is destroyed */
#define TENON_CAP_IMPORT 0x2u        /* TENON_BUF_IMPORT works for pointers aligned to import_align */
#define TENON_CAP_XQUEUE 0x4u        /* TENON_CMD_WAIT works */
#define TENON_CAP_SOFTWARE 0x8u      /* emulated on the CPU by a driver (llvmpipe, pocl) */
#define TENON_CAP_SYNC 0x10u         /* enqueue returns after the work is done */
#define TENON_CAP_ALL 0x1fu

struct tenon_device_info {
    uint32_t struct_size, type;
    uint64_t caps, mem_total, max_buffer; /* bytes */
    uint32_t bind_align;                  /* power of two: alignment of tenon_bind.offset in bytes */
    uint32_t import_align;                /* power of two, or 0: cannot import */
    uint32_t max_queues, vendor_id;
    uint8_t uuid[16];
    char name[128], driver[64], location[32]; /* NUL-terminated; location is a PCI address or empty */
};

#define TENON_BUF_HOST 0x1u   /* pinned or host-visible: for transfers */
#define TENON_BUF_IMPORT 0x2u /* alias host_ptr; never a silent copy: refused instead */
#define TENON_BUF_ALL 0x3u
struct tenon_buffer_desc {
    uint32_t struct_size, flags;
    uint64_t size;  /* bytes, >= 1 */
    void *host_ptr; /* with IMPORT: stays the caller's and alive until the buffer is destroyed; else NULL */
    const struct tenon_chain *next;
};

/* One operator, completely described. Tensors stand in the order of the operator's page; all of them are listed,
 * absent ones with dtype 0. params is the operator's own struct (it begins with struct_size). */
struct tenon_op_desc {
    uint32_t struct_size, op, flags, n_tensors;
    const struct tenon_tensor *tensors;
    const void *params;
    const struct tenon_chain *next;
};
#define TENON_OP_VENDOR 0x80000000u /* operator numbers with this bit are the vendor's own */

struct tenon_plan_info {
    uint32_t struct_size, flags;
    uint64_t workspace; /* bytes a RUN of this plan needs; constant for the plan's life */
    uint32_t workspace_align, reserved;
    char impl[64]; /* the kernel that was chosen, for reports: "softmax_f32_avx512 two_pass_ext" */
};

struct tenon_bind { /* frozen */
    struct tenon_buffer *buffer;
    uint64_t offset; /* bytes, a multiple of bind_align */
};

enum {
    TENON_CMD_RUN = 1,  /* plan, args[n_args] one a tensor in plan order (absent: buffer NULL), workspace */
    TENON_CMD_COPY = 2, /* args[0] <- args[1], size bytes */
    TENON_CMD_FILL = 3, /* args[0], size bytes (a multiple of 4), the low 32 bits of value */
    TENON_CMD_WAIT = 4  /* until `queue` (another queue of this device) has reached `value` */
};
struct tenon_cmd {
    uint32_t struct_size, kind, flags, n_args;
    const struct tenon_bind *args;
    struct tenon_plan *plan;
    struct tenon_bind workspace;
    uint64_t size, value;
    struct tenon_queue *queue;
    const struct tenon_chain *next;
};

/* map modes */
#define TENON_MAP_READ 0x1u
#define TENON_MAP_WRITE 0x2u /* WRITE without READ: the mapped range's old content may be lost */

/* The table. Constant after the entry returns; the host copies it once and never reads the original again.
 * Mandatory unless said otherwise. Functions that return int32_t return 0 or a negative status after host->fail. */
struct tenon_backend {
    uint32_t struct_size, abi_minor;
    const char *id;      /* 1..63 characters of [a-z0-9_-], equal to the <id> of the file name */
    const char *version; /* of the backend, for people */

    /* [loader-lock] Discovers hardware. No hardware: count 0 and OK. The order is stable within a process. */
    int32_t (*device_count)(uint32_t *count);
    /* [loader-lock] */
    int32_t (*device_info)(uint32_t index, struct tenon_device_info *info);
    /* [loader-lock] */
    int32_t (*device_open)(uint32_t index, const struct tenon_chain *next, struct tenon_device **device);
    /* [loader-lock] After everything made from it was destroyed. Takes NULL, as every destroy does. */
    void (*device_close)(struct tenon_device *device);

    /* [device] New memory is not initialised. */
    int32_t (*buffer_create)(struct tenon_device *device, const struct tenon_buffer_desc *desc,
                             struct tenon_buffer **buffer);
    /* [device] Only when no submitted command uses it. */
    void (*buffer_destroy)(struct tenon_buffer *buffer);
    /* [buffer] One mapping a buffer at a time; no submitted command may use the buffer while it is mapped,
     * except with TENON_CAP_UNIFIED. */
    int32_t (*buffer_map)(struct tenon_buffer *buffer, uint64_t offset, uint64_t size, uint32_t mode,
                          void **pointer);
    /* [buffer] Later commands see what was written. */
    int32_t (*buffer_unmap)(struct tenon_buffer *buffer);

    /* [device] The whole check: a plan that was created runs. With plan == NULL only the answer is wanted, from the
     * same code path. Rationale: a separate "supports" drifts from reality. */
    int32_t (*plan_create)(struct tenon_device *device, const struct tenon_op_desc *desc,
                           struct tenon_plan **plan);
    /* [thread-safe] */
    int32_t (*plan_info)(const struct tenon_plan *plan, struct tenon_plan_info *info);
    /* [device] Only when no submitted command uses it. A plan is immutable: any number of queues and threads may use
     * it at once, because the workspace comes with the command. */
    void (*plan_destroy)(struct tenon_plan *plan);

    /* [device] flags: 0 */
    int32_t (*queue_create)(struct tenon_device *device, uint32_t flags, struct tenon_queue **queue);
    /* [device] After its last number was waited for. */
    void (*queue_destroy)(struct tenon_queue *queue);
    /* [queue] In order: a command sees what the earlier ones of this queue wrote. All or nothing: on an error nothing
     * of the batch runs. *seq becomes the queue's number of the batch: 1, 2, 3, ... */
    int32_t (*enqueue)(struct tenon_queue *queue, const struct tenon_cmd *const *cmds, uint32_t n, uint64_t *seq);
    /* [thread-safe] Waits until number `seq` is done; 0 ns polls (TIMEOUT = not yet). Failures of the work itself
     * surface here. LOST is sticky. seq above the last one given out: INVALID. */
    int32_t (*queue_wait)(struct tenon_queue *queue, uint64_t seq, uint64_t timeout_ns);

    /* Optional (NULL or beyond struct_size). [device] Bakes commands and buffers into a plan that is enqueued as RUN
     * with n_args == 0. The buffers and created plans that the commands name must outlive its use; a recording among
     * them is copied and may be destroyed. Rationale: as a child graph is cloned into its parent, so that a caller
     * composes recordings without keeping the parts. */
    int32_t (*plan_record)(struct tenon_device *device, const struct tenon_cmd *const *cmds, uint32_t n,
                           struct tenon_plan **plan);
    /* Optional. [thread-safe] Named, revisioned extensions. */
    const void *(*extension)(const char *id);
};

typedef const struct tenon_backend *(*tenon_backend_entry)(const struct tenon_host *host);

#if defined(__GNUC__)
#define TENON_EXPORT __attribute__((visibility("default")))
#else
#define TENON_EXPORT
#endif
/* [loader-lock] Cheap, touches no hardware, idempotent: a second loader in the process may call it again and then gets
 * the same table; the first host is kept. NULL means failure (after host->fail). */
TENON_EXPORT const struct tenon_backend *tenon_backend_entry_v1(const struct tenon_host *host);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The objects of the CPU backend and the functions of its table, one file an object. Operators see cpu.h alone. */
#ifndef TENON_CPU_BACKEND_H
#define TENON_CPU_BACKEND_H

#include <stdatomic.h>

#include "cpu.h"

/* What a device can do without being opened: features, caches, names. Read once, under the loader lock. */
struct cpu_machine {
    int has[CPU_ISA_COUNT]; /* built, and the processor and the system can run it */
    uint64_t l1, l2, l3, memory;
    char name[64];
};

struct tenon_device {
    struct cpu_env env;
    struct tenon_device_info info;
    int isa;
};

struct tenon_buffer {
    const struct tenon_device *device;
    unsigned char *data;
    uint64_t size;
    int owned, mapped;
};

struct tenon_plan {
    const struct tenon_device *device;
    const struct tenon_op_contract *contract;
    uint64_t bytes[TENON_MAX_TENSORS]; /* from the first to the last element, 0 for an empty or absent tensor */
    struct cpu_plan cpu;
};

struct tenon_queue {
    const struct tenon_device *device;
    _Atomic uint64_t last; /* given out, and done */
};

#define CPU_ALIGN 64 /* of buffers and of the workspace: a cache line, the widest vector */

/* [thread-safe] The host, set by the entry. */
const struct tenon_host *tenon__cpu_host(void);
/* host->fail with the text of why. */
int32_t tenon__cpu_fail(int32_t status, const struct tenon_why *why);
/* [thread-safe] The operators of one ISA, ending in NULL; NULL when the ISA was not built. */
const struct cpu_op *const *tenon__cpu_ops(int isa);
const char *tenon__cpu_isa_name(int isa);
/* [loader-lock] */
void tenon__cpu_machine(struct cpu_machine *machine);

int32_t tenon__cpu_device_count(uint32_t *count);
int32_t tenon__cpu_device_info(uint32_t index, struct tenon_device_info *info);
int32_t tenon__cpu_device_open(uint32_t index, const struct tenon_chain *next, struct tenon_device **device);
void tenon__cpu_device_close(struct tenon_device *device);

int32_t tenon__cpu_buffer_create(struct tenon_device *device, const struct tenon_buffer_desc *desc,
                                 struct tenon_buffer **buffer);
void tenon__cpu_buffer_destroy(struct tenon_buffer *buffer);
int32_t tenon__cpu_buffer_map(struct tenon_buffer *buffer, uint64_t offset, uint64_t size, uint32_t mode,
                              void **pointer);
int32_t tenon__cpu_buffer_unmap(struct tenon_buffer *buffer);

int32_t tenon__cpu_plan_create(struct tenon_device *device, const struct tenon_op_desc *desc,
                               struct tenon_plan **plan);
int32_t tenon__cpu_plan_info(const struct tenon_plan *plan, struct tenon_plan_info *info);
void tenon__cpu_plan_destroy(struct tenon_plan *plan);

int32_t tenon__cpu_queue_create(struct tenon_device *device, uint32_t flags, struct tenon_queue **queue);
void tenon__cpu_queue_destroy(struct tenon_queue *queue);
int32_t tenon__cpu_enqueue(struct tenon_queue *queue, const struct tenon_cmd *const *cmds, uint32_t n, uint64_t *seq);
int32_t tenon__cpu_queue_wait(struct tenon_queue *queue, uint64_t seq, uint64_t timeout_ns);

#endif

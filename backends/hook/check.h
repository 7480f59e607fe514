/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Inside the layer "check": what it remembers of each object. Rules are those of plugin-api/SPEC.md. */
#ifndef TENON_CHECK_H
#define TENON_CHECK_H

#include "hook.h"

#define CHECK_USES 8 /* queues whose last use of an object is remembered */

/* The last batch of a queue that used an object. Queues have numbers, because addresses come again. */
struct check_use {
    uint64_t queue, seq;
};
struct check_device {
    struct tenon_device_info info;
    uint32_t queues, opens; /* opens: a backend may give one handle to several opens */
};
struct check_buffer {
    struct check_use use[CHECK_USES];
    uint64_t base, size; /* base: its place in one address space, for overlaps; imported memory is where it is */
    int mapped;
};
struct check_ref {
    uint32_t kind;
    const void *key;
};
struct check_plan {
    struct check_use use[CHECK_USES];
    const struct tenon_op_contract *contract; /* NULL: a recording, or a vendor's operator */
    uint32_t n_tensors;
    struct tenon_tensor tensor[TENON_MAX_TENSORS];
    uint64_t params[32];
    struct tenon_plan_info info;
    int recorded;
    uint32_t n_refs; /* of a recording: everything that its commands use */
    struct check_ref ref[];
};
struct check_queue {
    uint64_t number, last, done;
    int inside; /* a thread is in enqueue */
};

/* The caller broke a rule: an ERROR line, and `status` with the sentence. */
int32_t tenon__check_breach(struct hook *hook, int32_t status, const char *rule, const char *format, ...)
    TENON_PRINTF(4, 5);
/* The backend broke a rule: an ERROR line, and INTERNAL. */
int32_t tenon__check_backend_breach(struct hook *hook, const char *rule, const char *format, ...) TENON_PRINTF(3, 4);
/* The status as a caller may see it: a number that is no status is the backend's breach. */
int32_t tenon__check_status(struct hook *hook, const char *function, int32_t status);

/* With hook->lock held. queue: NULL for a recording. */
int32_t tenon__check_cmds(struct hook *hook, struct hook_object *device, struct hook_object *queue,
                          const struct tenon_cmd *const *cmds, uint32_t n);
/* Calls fn for every buffer and plan that the commands use. */
void tenon__check_each_ref(struct hook *hook, const struct tenon_cmd *const *cmds, uint32_t n,
                           void (*fn)(void *context, struct hook *hook, uint32_t kind, const void *key), void *context);
struct check_use *tenon__check_uses(struct hook_object *object);

int32_t tenon__check_enqueue(struct hook *hook, struct tenon_queue *queue, const struct tenon_cmd *const *cmds,
                             uint32_t n, uint64_t *seq);
int32_t tenon__check_queue_wait(struct hook *hook, struct tenon_queue *queue, uint64_t seq, uint64_t timeout_ns);
int32_t tenon__check_plan_record(struct hook *hook, struct tenon_device *device, const struct tenon_cmd *const *cmds,
                                 uint32_t n, struct tenon_plan **plan);

#endif

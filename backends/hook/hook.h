/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the layers share. A layer is a backend's table in front of another backend's table. Most functions of a table
 * know their object but device_count, device_info, device_open and extension know nothing, so each wrapped backend gets
 * a table of its own functions (hook.c makes them by macro), which pass its `struct hook` on. Objects are the wrapped
 * backend's own pointers: the layers keep records beside them and hand everything through unchanged. */
#ifndef TENON_HOOK_H
#define TENON_HOOK_H

#include <pthread.h>

#include <tenon/backend.h>
#include <tenon/ops.h>

#define HOOK_SLOTS   8   /* backends that one layer can wrap at once */
#define HOOK_BUCKETS 256 /* of the table of objects */

enum { HOOK_DEVICE, HOOK_BUFFER, HOOK_PLAN, HOOK_QUEUE };

/* A live object of the wrapped backend. */
struct hook_object {
    struct hook_object *next; /* of the bucket */
    const void *key;          /* the backend's pointer */
    struct hook_object *device;
    uint32_t kind, children; /* children: objects of a device */
    int lost;                /* of a device: LOST was seen */
    void *data;              /* the layer's own, freed with the object */
};

struct hook {
    const struct tenon_host *host;
    const struct tenon_backend *next; /* NULL: the slot is free */
    pthread_mutex_t lock;             /* of the objects and of what the layer keeps in them */
    struct hook_object *bucket[HOOK_BUCKETS];
    void *data; /* the layer's own */
};

/* The table of a layer: as struct tenon_backend, with the hook in front. */
struct hook_calls {
    /* Reads settings. The entry fails when this does. */
    int32_t (*start)(struct hook *hook);
    int32_t (*device_count)(struct hook *hook, uint32_t *count);
    int32_t (*device_info)(struct hook *hook, uint32_t index, struct tenon_device_info *info);
    int32_t (*device_open)(struct hook *hook, uint32_t index, const struct tenon_chain *next,
                           struct tenon_device **device);
    void (*device_close)(struct hook *hook, struct tenon_device *device);
    int32_t (*buffer_create)(struct hook *hook, struct tenon_device *device, const struct tenon_buffer_desc *desc,
                             struct tenon_buffer **buffer);
    void (*buffer_destroy)(struct hook *hook, struct tenon_buffer *buffer);
    int32_t (*buffer_map)(struct hook *hook, struct tenon_buffer *buffer, uint64_t offset, uint64_t size, uint32_t mode,
                          void **pointer);
    int32_t (*buffer_unmap)(struct hook *hook, struct tenon_buffer *buffer);
    int32_t (*plan_create)(struct hook *hook, struct tenon_device *device, const struct tenon_op_desc *desc,
                           struct tenon_plan **plan);
    int32_t (*plan_info)(struct hook *hook, const struct tenon_plan *plan, struct tenon_plan_info *info);
    void (*plan_destroy)(struct hook *hook, struct tenon_plan *plan);
    int32_t (*queue_create)(struct hook *hook, struct tenon_device *device, uint32_t flags, struct tenon_queue **queue);
    void (*queue_destroy)(struct hook *hook, struct tenon_queue *queue);
    int32_t (*enqueue)(struct hook *hook, struct tenon_queue *queue, const struct tenon_cmd *const *cmds, uint32_t n,
                       uint64_t *seq);
    int32_t (*queue_wait)(struct hook *hook, struct tenon_queue *queue, uint64_t seq, uint64_t timeout_ns);
    int32_t (*plan_record)(struct hook *hook, struct tenon_device *device, const struct tenon_cmd *const *cmds,
                           uint32_t n, struct tenon_plan **plan);
    const void *(*extension)(struct hook *hook, const char *id);
};
/* Each layer defines its own. */
extern const struct hook_calls tenon__layer;

/* printf to host->log. */
void tenon__hook_log(const struct hook *hook, int32_t level, const char *format, ...) TENON_PRINTF(3, 4);
/* host->fail with printf. */
int32_t tenon__hook_fail(const struct hook *hook, int32_t status, const char *format, ...) TENON_PRINTF(3, 4);
/* The next table's, or UNSUPPORTED when it has none. */
int32_t tenon__hook_plan_record(const struct hook *hook, struct tenon_device *device,
                                const struct tenon_cmd *const *cmds, uint32_t n, struct tenon_plan **plan);
const void *tenon__hook_extension(struct hook *hook, const char *id);

/* Objects. All of these are called with hook->lock held. add: data_size zeroed bytes come with it; NULL when out of
 * memory. */
struct hook_object *tenon__hook_add(struct hook *hook, uint32_t kind, const void *key, struct hook_object *device,
                                    size_t data_size);
struct hook_object *tenon__hook_find(struct hook *hook, uint32_t kind, const void *key);
void tenon__hook_remove(struct hook *hook, struct hook_object *object);
const char *tenon__hook_kind(uint32_t kind); /* "buffer" */

#endif

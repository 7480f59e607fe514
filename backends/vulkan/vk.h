/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The objects of the Vulkan backend, and what its files offer each other.
 *
 * One VkInstance a process, made at the first device_count and kept: drivers start threads and some leak at each
 * instance. One VkDevice a tenon_device. A tenon_queue is a timeline semaphore and a command pool on one of the
 * device's VkQueues, which several tenon_queues share under a lock. Kernels get addresses, not descriptors. */
#ifndef TENON_VK_H
#define TENON_VK_H

#include "gpu.h"
#include "vk_api.h"

#include <pthread.h>
#include <stdatomic.h>
#include <tenon/backend.h>
#include <tenon/ops.h>

#define VK_ADAPTERS_MAX 16
#define VK_QUEUES_MAX 4
/* Offsets of bindings: kernels load up to four words at once. */
#define VK_BIND_ALIGN 16u

/* ---- vk_plugin.c ---- */

extern const struct tenon_host *tenon__vk_host;

void tenon__vk_log(int32_t level, const char *format, ...) TENON_PRINTF(2, 3);
/* host->fail with printf. */
int32_t tenon__vk_fail(int32_t status, const char *format, ...) TENON_PRINTF(2, 3);
void *tenon__vk_alloc(size_t size); /* zeroed, or NULL after fail(NOMEM) */
void tenon__vk_free(void *memory);
/* The status of a contract check, after fail when it is not OK. */
int32_t tenon__vk_because(int32_t status, const struct tenon_why *why);

/* ---- vk_instance.c ---- */

/* A physical device that can run the kernels. */
struct vk_adapter {
    VkPhysicalDevice physical;
    struct tenon_device_info info;
    struct gpu_limits limits;
    VkPhysicalDeviceMemoryProperties memory;
    uint32_t family, n_queues;
    int32_t memory_device;   /* memory types; -1: none */
    int32_t memory_upload;   /* host-visible and coherent */
    int32_t memory_download; /* the same, cached where there is such a type */
    uint32_t max_allocations;
    uint64_t max_buffer;
    uint32_t device_id, driver_version;
    uint8_t cache_uuid[VK_UUID_SIZE];
    uint32_t variant; /* bits of gpu_kernel.spirv */
    unsigned unified : 1, import : 1, int64 : 1, int16 : 1, int8 : 1, float16 : 1, statistics : 1;
};

int32_t tenon__vk_adapters(uint32_t *count); /* discovers once */
const struct vk_adapter *tenon__vk_adapter(uint32_t index); /* NULL after fail(NODEVICE) */
/* Messages of the validation layer so far (config "validation"). */
uint32_t tenon__vk_validation_messages(void);

/* ---- vk_device.c ---- */

struct vk_pipeline { /* a node of the device's hash map */
    struct vk_pipeline *next;
    const struct gpu_kernel *kernel;
    uint32_t hash, n_specs, spec[GPU_SPEC_MAX];
    VkPipeline pipeline;
    uint32_t users;   /* launches of plans */
    uint64_t retired; /* when the last user went, for the order in which they are dropped */
};
#define VK_PIPELINE_BUCKETS 64
/* Pipelines that no plan uses are kept for the next plan like the last, but not all: a driver's code takes
 * megabytes. */
#define VK_PIPELINES_UNUSED 32

struct tenon_device {
    const struct vk_adapter *adapter;
    VkDevice device;
    VkPipelineLayout layout;
    VkPipelineCache cache;
    atomic_int lost;
    atomic_uint n_allocations, next_queue;

    uint32_t n_queues;
    struct {
        VkQueue queue;
        pthread_mutex_t lock;
    } queue[VK_QUEUES_MAX];

    pthread_mutex_t pipeline_lock;
    struct vk_pipeline *bucket[VK_PIPELINE_BUCKETS];
    uint32_t new_pipelines; /* since the cache was read */
    uint32_t unused_pipelines;
    uint64_t retirements;

    pthread_mutex_t transfer_lock; /* staging inside map and unmap */
    struct tenon_queue *transfer;  /* made when first needed */
};

int32_t tenon__vk_device_open(uint32_t index, const struct tenon_chain *next, struct tenon_device **device);
void tenon__vk_device_close(struct tenon_device *device);
/* Fails with the status that belongs to the result; remembers a lost device. */
int32_t tenon__vk_failed(struct tenon_device *device, VkResult result, const char *call);
/* OK, or LOST after fail. Each call that needs the device begins with it. */
int32_t tenon__vk_alive(struct tenon_device *device);

/* ---- vk_buffer.c ---- */

struct tenon_buffer {
    struct tenon_device *device;
    VkBuffer buffer;
    VkDeviceMemory memory;
    uint64_t size;
    VkDeviceAddress address;
    uint64_t place; /* where overlap is looked for: two imports of the same memory may have different addresses */
    char *pointer; /* for as long as the buffer lives, or NULL: map goes through `staging` */
    struct tenon_buffer *staging;
    uint64_t map_offset, map_size;
    uint32_t map_mode; /* 0: not mapped */
};

int32_t tenon__vk_buffer_create(struct tenon_device *device, const struct tenon_buffer_desc *desc,
                                struct tenon_buffer **buffer);
void tenon__vk_buffer_destroy(struct tenon_buffer *buffer);
int32_t tenon__vk_buffer_map(struct tenon_buffer *buffer, uint64_t offset, uint64_t size, uint32_t mode,
                             void **pointer);
int32_t tenon__vk_buffer_unmap(struct tenon_buffer *buffer);

/* ---- vk_pipeline.c ---- */

int32_t tenon__vk_pipelines_init(struct tenon_device *device);
void tenon__vk_pipelines_finish(struct tenon_device *device);
/* From the map, or compiled. [device] Lives until as many puts. */
int32_t tenon__vk_pipeline_get(struct tenon_device *device, const struct gpu_launch *launch,
                               struct vk_pipeline **pipeline);
void tenon__vk_pipeline_put(struct tenon_device *device, struct vk_pipeline *pipeline);
/* Not in the map: the caller destroys it. */
int32_t tenon__vk_pipeline_compile(struct tenon_device *device, const struct gpu_kernel *kernel, uint32_t n_specs,
                                   const uint32_t *spec, VkPipelineCreateFlags flags, VkPipeline *pipeline);

/* ---- vk_plan.c ---- */

struct vk_launch {
    struct vk_pipeline *pipeline;
    uint32_t groups[3];
    uint32_t push_size;
    unsigned char push[GPU_ARGS_MAX]; /* with zeros where addresses go */
    uint32_t n_patches;
    struct vk_patch {
        int32_t slot;
        uint32_t at; /* in push */
        uint64_t offset;
    } patch[GPU_ARGS_MAX / 8];
};

struct tenon_plan {
    struct tenon_device *device;
    const struct tenon_op_contract *contract;
    void *params;
    uint32_t n_tensors; /* the contract's; a descriptor may have had more or fewer: */
    uint32_t n_args;
    struct tenon_tensor *tensor;
    uint64_t *bytes; /* of each tensor */
    uint64_t workspace;
    char impl[64];
    uint32_t n_launches;
    struct vk_launch *launch;
};

int32_t tenon__vk_plan_create(struct tenon_device *device, const struct tenon_op_desc *desc, struct tenon_plan **plan);
int32_t tenon__vk_plan_info(const struct tenon_plan *plan, struct tenon_plan_info *info);
void tenon__vk_plan_destroy(struct tenon_plan *plan);
/* Everything about a RUN that can be wrong. */
int32_t tenon__vk_plan_check_run(const struct tenon_plan *plan, const struct tenon_cmd *cmd);
void tenon__vk_plan_record(const struct tenon_plan *plan, const struct tenon_cmd *cmd, VkCommandBuffer commands);

/* ---- vk_queue.c ---- */

struct vk_commands { /* a command buffer, free again when the queue has reached `seq` */
    struct vk_commands *next;
    VkCommandBuffer buffer;
    uint64_t seq;
};

struct tenon_queue {
    struct tenon_device *device;
    uint32_t index; /* of the VkQueue */
    VkSemaphore timeline;
    VkCommandPool pool;
    struct vk_commands *oldest, *newest; /* submitted, in order */
    struct vk_commands *idle;
    atomic_ullong submitted; /* the last number given out */
};

int32_t tenon__vk_queue_create(struct tenon_device *device, uint32_t flags, struct tenon_queue **queue);
void tenon__vk_queue_destroy(struct tenon_queue *queue);
int32_t tenon__vk_enqueue(struct tenon_queue *queue, const struct tenon_cmd *const *cmds, uint32_t n, uint64_t *seq);
int32_t tenon__vk_queue_wait(struct tenon_queue *queue, uint64_t seq, uint64_t timeout_ns);
/* All that was written before is seen by all that follows. */
void tenon__vk_barrier(VkCommandBuffer commands);

/* ---- vk_kernels.c ---- */

const void *tenon__vk_extension(const char *id);

#endif

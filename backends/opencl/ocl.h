/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Inside the OpenCL backend. ocl_find.c: which devices there are; ocl_device.c: an open one; ocl_program.c: compiled
 * kernels; ocl_buffer.c, ocl_plan.c, ocl_queue.c: the objects; ocl_plugin.c: the table. */
#ifndef OCL_H
#define OCL_H

#include <pthread.h>
#include <stdatomic.h>
#include <tenon/backend.h>
#include <tenon/ops.h>

#include "ocl_api.h"
#include "shaders/gpu.h"

#define OCL_MAX_DEVICES 64
#define OCL_BIND_ALIGN 16  /* widest access of a kernel: four 32-bit words */
#define OCL_RING 256       /* batches in flight on a queue; one more waits for the oldest */

/* A usable device as it was found. Constant after discovery; lives as long as the process. */
struct ocl_found {
    cl_platform_id platform;
    cl_device_id id;
    struct tenon_device_info info;
    struct gpu_limits limits;
    char identity[704]; /* platform, device and driver with their versions: what a compiled program is valid for */
    char options[96];   /* of every build */
    int caches_itself;  /* the driver keeps compiled programs, and asking it for a binary is dear */
};

/* A compiled kernel with its specialisation constants; owned by the device, kept until it is closed. */
struct ocl_program {
    const struct gpu_kernel *kernel;
    uint32_t n_specs;
    uint32_t spec[GPU_SPEC_MAX];
    cl_program program;
    struct ocl_program *next;
};

struct tenon_device {
    const struct tenon_host *host;
    const struct ocl_found *found;
    cl_context context;
    cl_command_queue transfer;    /* maps and unmaps, each waited for at once */
    pthread_mutex_t lock;         /* of programs and next_address */
    struct ocl_program *programs;
    uint64_t next_address;        /* see struct tenon_buffer */
    atomic_int lost;              /* sticky */
};

struct tenon_buffer {
    struct tenon_device *device;
    cl_mem memory;
    uint64_t size;
    uint64_t address; /* a range no other buffer has, for the overlap check; an import's is its host address, so that two
                         imports of the same memory are seen to overlap */
    void *mapped;
};

struct tenon_plan {
    struct tenon_device *device;
    const struct tenon_op_contract *contract;
    uint64_t params[32];
    uint32_t n_tensors; /* as in the descriptor: what a command has to bind */
    struct tenon_tensor tensor[TENON_MAX_TENSORS];
    uint64_t bytes[TENON_MAX_TENSORS];
    struct gpu_recipe recipe;
    cl_kernel *kernel;    /* one a launch, its scalars set */
    pthread_mutex_t lock; /* a cl_kernel holds its arguments: from the first clSetKernelArg to the enqueue */
};

struct tenon_queue {
    struct tenon_device *device;
    cl_command_queue queue;
    pthread_mutex_t lock; /* of the numbers and the ring: queue_wait comes from any thread */
    uint64_t last, done;
    cl_event event[OCL_RING]; /* of number s at s % OCL_RING, while done < s <= last */
};

/* The backend's host: set by the entry, then constant. */
extern const struct tenon_host *ocl_host;

/* printf to host->fail; returns status. */
int32_t ocl_fail(int32_t status, const char *format, ...) TENON_PRINTF(2, 3);
void ocl_log(int32_t level, const char *format, ...) TENON_PRINTF(2, 3);
/* A failed call that creates something. Running out of anything is NOMEM. */
int32_t ocl_fail_create(const char *call, cl_int error);
/* A failed call on a device at work. What cannot come back makes the device LOST for good. */
int32_t ocl_fail_run(struct tenon_device *device, const char *call, cl_int error);
/* LOST when the device is, else OK. */
int32_t ocl_check_lost(struct tenon_device *device);

/* ocl_find.c */
int32_t ocl_device_count(uint32_t *count);
int32_t ocl_device_info(uint32_t index, struct tenon_device_info *info);
const struct ocl_found *ocl_found_at(uint32_t index); /* NULL past the end */

/* Forgets what was found; for tests that change the table of calls. */
void ocl_find_reset(void);

/* ocl_device.c */
int32_t ocl_device_open(uint32_t index, const struct tenon_chain *next, struct tenon_device **device);
void ocl_device_close(struct tenon_device *device);

/* ocl_program.c: the program of a launch, from the device's list, the disk or the compiler. [device] */
int32_t ocl_program_get(struct tenon_device *device, const struct gpu_launch *launch, cl_program *program);
void ocl_programs_release(struct tenon_device *device);
/* The extension "tenon.kernels/1". */
const void *ocl_kernels_extension(void);

/* ocl_buffer.c */
int32_t ocl_buffer_create(struct tenon_device *device, const struct tenon_buffer_desc *desc,
                          struct tenon_buffer **buffer);
void ocl_buffer_destroy(struct tenon_buffer *buffer);
int32_t ocl_buffer_map(struct tenon_buffer *buffer, uint64_t offset, uint64_t size, uint32_t mode, void **pointer);
int32_t ocl_buffer_unmap(struct tenon_buffer *buffer);

/* ocl_plan.c */
int32_t ocl_plan_create(struct tenon_device *device, const struct tenon_op_desc *desc, struct tenon_plan **plan);
int32_t ocl_plan_info(const struct tenon_plan *plan, struct tenon_plan_info *info);
void ocl_plan_destroy(struct tenon_plan *plan);
/* Whether a RUN of the plan may be submitted: bindings, ranges, overlaps. */
int32_t ocl_plan_check(const struct tenon_plan *plan, const struct tenon_cmd *cmd);
/* Submits launch i. `event` may be NULL. Returns OpenCL's error, with the call's name in *call. */
cl_int ocl_plan_launch(struct tenon_plan *plan, uint32_t i, const struct tenon_cmd *cmd, cl_command_queue queue,
                       cl_event *event, const char **call);
/* Whether [offset, offset + size) may be bound; a sentence names `what`. */
int32_t ocl_bind_check(const struct tenon_device *device, const struct tenon_bind *bind, uint64_t size, int32_t status,
                       const char *what);

/* ocl_queue.c */
int32_t ocl_queue_create(struct tenon_device *device, uint32_t flags, struct tenon_queue **queue);
void ocl_queue_destroy(struct tenon_queue *queue);
int32_t ocl_enqueue(struct tenon_queue *queue, const struct tenon_cmd *const *cmds, uint32_t n, uint64_t *seq);
int32_t ocl_queue_wait(struct tenon_queue *queue, uint64_t seq, uint64_t timeout_ns);

#endif

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * libtenon: what a host application uses.
 *
 *     #include <tenon/ops/softmax.h> (one header an operator, tenon/ops/<op>.h)
 *     #include <tenon/tenon.h>
 *     float x[4] = {1, 2, -1, 0.5f}, y[4];
 *     struct tenon_context *ctx;
 *     if (tenon_context_open(NULL, &ctx)) { fprintf(stderr, "%s\n", tenon_error()); return 1; }
 *     struct tenon_value v[TENON_SOFTMAX_N_TENSORS] = {0};
 *     v[TENON_SOFTMAX_X] = tenon_value_host(x, TENON_F32, 1, (int64_t[]){4});
 *     v[TENON_SOFTMAX_Y] = tenon_value_host(y, TENON_F32, 1, (int64_t[]){4});
 *     if (tenon_run(ctx, TENON_OPNUM_softmax, NULL, v, TENON_SOFTMAX_N_TENSORS)) ...
 *     tenon_context_close(ctx);
 *
 * Every function that can fail returns a status (tenon/status.h) and leaves a sentence for tenon_error() of the calling
 * thread. Outputs are set only on success. A context and everything made from it belong to one thread at a time;
 * different contexts are independent. Every destroy takes NULL.
 */
#ifndef TENON_TENON_H
#define TENON_TENON_H

#include <tenon/backend.h>
#include <tenon/ops.h>

#ifdef __cplusplus
extern "C" {
#endif

struct tenon_context; /* an open device with a queue, a plan cache and a workspace */
struct tenon_memory;  /* memory on a context's device */

/* The last failure of this thread, "" if none.. */
const char *tenon_error(void);
const char *tenon_version(void);

/* ---- process-wide settings; call before the first context, or rely on the environment ---- */

/* A log callback instead of standard error. NULL restores the default. [thread-safe] */
void tenon_log_set(void (*log)(void *user, int32_t level, const char *message), void *user);
/* A parallel loop of the application's own instead of the built-in thread pool. NULL restores it. */
typedef void (*tenon_parallel_fn)(void *user, uint32_t n, void (*fn)(void *, uint32_t), void *context);
void tenon_parallel_set(tenon_parallel_fn parallel, void *user);

/* ---- devices ---- */

/* selector: the grammar of TENON_DEVICE; NULL: the environment's TENON_DEVICE, else "auto". NODEVICE when nothing
 * matches, with every candidate and reason in tenon_error(); never another device than asked for. INVALID with the
 * column on a syntax error. */
int32_t tenon_context_open(const char *selector, struct tenon_context **context) TENON_MUST_USE;
void tenon_context_close(struct tenon_context *context);

/* The ABI below, for callers that want plans, queues and recordings of their own: the host's checked table (layers
 * included). */
const struct tenon_backend *tenon_context_backend(const struct tenon_context *context);
struct tenon_device *tenon_context_device(const struct tenon_context *context);
const struct tenon_device_info *tenon_context_info(const struct tenon_context *context);
/* "vulkan:0": opens the same device again. */
const char *tenon_context_spec(const struct tenon_context *context);

/* One thing found or refused while looking for devices. reason: NULL when usable; else a stable code ("NO_SYMBOL",
 * "DLOPEN", "FILTERED", ...) of SPEC.md, with detail a sentence. A plugin that failed has index UINT32_MAX. */
struct tenon_report_entry {
    uint32_t struct_size, index;
    const char *backend, *path, *version, *reason, *detail;
    struct tenon_device_info info;
};
/* Looks at every plugin (or, with a selector, at those it can match). The report is the caller's; free it.
 * [thread-safe] */
struct tenon_report {
    uint32_t n;
    const struct tenon_report_entry *const *entries;
};
int32_t tenon_report_create(const char *selector, struct tenon_report **report) TENON_MUST_USE;
void tenon_report_destroy(struct tenon_report *report);
/* Loads one plugin file by absolute path besides the searched ones, for `tenon conform --plugin`. */
int32_t tenon_plugin_load(const char *path, const char **id) TENON_MUST_USE;

/* ---- values: a tensor and where it is ---- */

struct tenon_value {
    struct tenon_tensor tensor;  /* dtype 0: absent */
    void *host;                  /* host memory, or */
    struct tenon_memory *memory; /* device memory at `offset` bytes */
    uint64_t offset;
};
/* Contiguous tensors. rank <= TENON_MAX_RANK. */
struct tenon_value tenon_value_host(const void *data, uint32_t dtype, uint32_t rank, const int64_t *dim);
struct tenon_value tenon_value_memory(struct tenon_memory *memory, uint64_t offset, uint32_t dtype, uint32_t rank,
                                      const int64_t *dim);

/* ---- memory that stays on the device ---- */

int32_t tenon_memory_create(struct tenon_context *context, uint64_t size, struct tenon_memory **memory) TENON_MUST_USE;
void tenon_memory_destroy(struct tenon_memory *memory);
/* Ordered with the runs of the context. write copies at once (data may be reused on return); read waits. */
int32_t tenon_memory_write(struct tenon_memory *memory, uint64_t offset, const void *data,
                           uint64_t size) TENON_MUST_USE;
int32_t tenon_memory_read(struct tenon_memory *memory, uint64_t offset, void *data, uint64_t size) TENON_MUST_USE;
int32_t tenon_memory_copy(struct tenon_memory *to, uint64_t to_offset, struct tenon_memory *from, uint64_t from_offset,
                          uint64_t size) TENON_MUST_USE;
int32_t tenon_memory_fill(struct tenon_memory *memory, uint64_t offset, uint32_t word, uint64_t size) TENON_MUST_USE;

/* ---- running ---- */

/* Runs one operator. params NULL: the defaults. Plans are cached by descriptor. Values in host memory are imported when
 * the device can alias them, else copied in and out; when any value is in host memory the call returns after the
 * results are there, else it only submits (tenon_finish waits). UNSUPPORTED names what the device lacks. */
int32_t tenon_run(struct tenon_context *context, uint32_t op, const void *params, const struct tenon_value *values,
                  uint32_t n) TENON_MUST_USE;
/* Whether tenon_run would accept it; the same path as tenon_run's, without running. */
int32_t tenon_supports(struct tenon_context *context, uint32_t op, const void *params,
                       const struct tenon_tensor *tensors, uint32_t n) TENON_MUST_USE;
/* Name of the kernel that the plan of these tensors uses ("softmax_f32_avx512 online"). Copies into text. */
int32_t tenon_impl(struct tenon_context *context, uint32_t op, const void *params, const struct tenon_tensor *tensors,
                   uint32_t n, char *text, size_t size) TENON_MUST_USE;
/* Waits for everything submitted. */
int32_t tenon_finish(struct tenon_context *context) TENON_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#ifndef TENON_HOST_H
#define TENON_HOST_H

#include <stddef.h>
#include <stdint.h>
#include <tenon/status.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { TENON_LOG_ERROR = 0, TENON_LOG_WARN = 1, TENON_LOG_INFO = 2, TENON_LOG_DEBUG = 3 };

/* What the host gives to a backend. The table outlives every object of the backend. All members are [thread-safe] and
 * none may be called from inside another one of them. All are mandatory in minor 0. */
struct tenon_host {
    uint32_t struct_size, abi_minor;
    const char *name; /* "libtenon 0.1.0", for messages */

    /* One line, no newline at the end. Backends never write to fds 1 and 2 themselves. */
    void (*log)(const struct tenon_host *host, int32_t level, const char *message);

    /* Stores the text of a failure for the calling thread and returns `status`, so that a backend writes
     * `return host->fail(host, TENON_E_UNSUPPORTED, "cols 70000 > 65536")`. The host copies the text.
     * Rationale: nothing to free, nothing dangling, one line an error. */
    int32_t (*fail)(const struct tenon_host *host, int32_t status, const char *message);

    /* align is a power of two <= 4096; size 0 gives a unique pointer. NULL when out of memory. free takes NULL.
     * Rationale: one allocator, so that leaks can be counted and allocation failure injected. */
    void *(*alloc)(const struct tenon_host *host, size_t size, size_t align);
    void (*free)(const struct tenon_host *host, void *memory);

    /* Settings: "isa", "threads", "cache_dir", ... NULL when not set. Backends never read the environment: the host
     * serves TENON_<BACKEND>_<KEY> here (key upper-cased). The string lives as long as the host. */
    const char *(*config)(const struct tenon_host *host, const char *key);

    /* Runs fn(context, i) for every i in [0, n), in any order and on any thread, and returns when all have run.
     * Nested calls run on the calling thread. n == 0 does nothing. */
    void (*parallel)(const struct tenon_host *host, uint32_t n, void (*fn)(void *context, uint32_t i),
                     void *context);

    /* Named, revisioned extensions ("tenon.next/1"); NULL when unknown. */
    const void *(*extension)(const struct tenon_host *host, const char *id);
};

#ifdef __cplusplus
}
#endif
#endif

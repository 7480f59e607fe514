/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the tests of the Vulkan backend share: a host that counts memory and can run out of it, a driver table in which
 * any call can be made to fail and which counts handles, and a scene that uses everything once. */
#ifndef TENON_VK_SCENE_H
#define TENON_VK_SCENE_H

#include "vk.h"

/* ---- the host ---- */

extern const struct tenon_host scene_host;
extern int scene_validation;         /* config "validation" */
extern int scene_compile_only;       /* config "compile_only" */
extern atomic_long scene_live_memory;       /* allocations not freed */
extern atomic_long scene_alloc_count;       /* allocations so far */
extern long scene_alloc_fail_at;     /* this allocation fails, counted from 1; 0: none */
extern int scene_log_errors;         /* lines logged as errors */
extern _Thread_local char scene_error[512]; /* the last fail() */

/* ---- the driver ---- */

extern long scene_live_handles;      /* created and not destroyed */
extern long scene_calls;             /* calls that can fail, so far */
extern long scene_fail_at;           /* this call fails, counted from 1; 0: none */
extern VkResult scene_fail_with;     /* with this; DEVICE_LOST is given only by calls that may */
extern const char *scene_failed;     /* the call that was made to fail, or NULL */

/* Puts the counting functions in the table. Before the first device_count. 0: this machine has no Vulkan loader. */
int scene_install(void);
/* Lets the first device copy through staging memory although it need not (or again not). */
void scene_force_staging(int staging);

/* ---- the scene ---- */

/* Opens device 0, makes every kind of object, runs FILL, COPY, RUN and WAIT, looks at the results, destroys everything.
 * The first failure's status; INTERNAL with scene_error "wrong result" when the device computed something else. */
int32_t scene_play(void);

#endif

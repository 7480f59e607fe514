/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * A host for recipes without the host library. */
#ifndef GPU_HOST_H
#define GPU_HOST_H

#include <tenon/host.h>

extern const struct tenon_host gpu_host;
extern char gpu_host_message[256];   /* what it was told last */
extern char gpu_host_cache_dir[256]; /* its setting cache_dir; empty: none */

#endif

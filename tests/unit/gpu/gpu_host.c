/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "gpu_host.h"

char gpu_host_message[256], gpu_host_cache_dir[256];

static int32_t host_fail(const struct tenon_host *host, int32_t status, const char *message)
{
    (void)host;
    snprintf(gpu_host_message, sizeof(gpu_host_message), "%s", message);
    return status;
}

static void *host_alloc(const struct tenon_host *host, size_t size, size_t align)
{
    (void)host;
    return aligned_alloc(align, (size / align + 1) * align);
}

static void host_free(const struct tenon_host *host, void *memory)
{
    (void)host;
    free(memory);
}

static const char *host_config(const struct tenon_host *host, const char *key)
{
    (void)host;
    return strcmp(key, "cache_dir") == 0 && gpu_host_cache_dir[0] ? gpu_host_cache_dir : NULL;
}

const struct tenon_host gpu_host = {.struct_size = sizeof(gpu_host), .name = "gpu_host", .fail = host_fail,
                                    .alloc = host_alloc, .free = host_free, .config = host_config};

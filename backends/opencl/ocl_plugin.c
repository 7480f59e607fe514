/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include <string.h>
#include <tenon/kernels.h>

#include "ocl.h"

static const void *extension(const char *id)
{
    return id && !strcmp(id, TENON_KERNELS_ID) ? ocl_kernels_extension() : NULL;
}

static const struct tenon_backend backend = {
    .struct_size = sizeof(struct tenon_backend),
    .abi_minor = TENON_ABI_MINOR,
    .id = "opencl",
    .version = "0.1.0",
    .device_count = ocl_device_count,
    .device_info = ocl_device_info,
    .device_open = ocl_device_open,
    .device_close = ocl_device_close,
    .buffer_create = ocl_buffer_create,
    .buffer_destroy = ocl_buffer_destroy,
    .buffer_map = ocl_buffer_map,
    .buffer_unmap = ocl_buffer_unmap,
    .plan_create = ocl_plan_create,
    .plan_info = ocl_plan_info,
    .plan_destroy = ocl_plan_destroy,
    .queue_create = ocl_queue_create,
    .queue_destroy = ocl_queue_destroy,
    .enqueue = ocl_enqueue,
    .queue_wait = ocl_queue_wait,
    .extension = extension,
};

TENON_EXPORT const struct tenon_backend *tenon_backend_entry_v1(const struct tenon_host *host)
{
    if (!ocl_host) {
        if (!host || host->struct_size < sizeof *host)
            return NULL;
        ocl_host = host;
    }
    return &backend;
}

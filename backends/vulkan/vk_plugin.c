/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The entry, the table, and what every file of the backend needs of the host. */
#include "config.h"

#include "vk.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const struct tenon_host *tenon__vk_host;

void tenon__vk_log(int32_t level, const char *format, ...)
{
    char text[1024];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    tenon__vk_host->log(tenon__vk_host, level, text);
}

int32_t tenon__vk_fail(int32_t status, const char *format, ...)
{
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    return tenon__vk_host->fail(tenon__vk_host, status, text);
}

void *tenon__vk_alloc(size_t size)
{
    void *memory = tenon__vk_host->alloc(tenon__vk_host, size, _Alignof(max_align_t));
    if (memory)
        memset(memory, 0, size);
    else
        tenon__vk_fail(TENON_E_NOMEM, "out of memory: %zu bytes", size);
    return memory;
}

void tenon__vk_free(void *memory)
{
    tenon__vk_host->free(tenon__vk_host, memory);
}

int32_t tenon__vk_because(int32_t status, const struct tenon_why *why)
{
    return status ? tenon__vk_host->fail(tenon__vk_host, status, why->text) : TENON_OK;
}

static int32_t device_count(uint32_t *count)
{
    return tenon__vk_adapters(count);
}

static int32_t device_info(uint32_t index, struct tenon_device_info *info)
{
    const struct vk_adapter *adapter = tenon__vk_adapter(index);
    if (!adapter)
        return TENON_E_NODEVICE;
    struct tenon_why why;
    return tenon__vk_because(tenon_struct_write(info, &adapter->info, sizeof adapter->info, &why), &why);
}

static const struct tenon_backend backend = {
    .struct_size = sizeof backend,
    .abi_minor = TENON_ABI_MINOR,
    .id = "vulkan",
    .version = PACKAGE_VERSION,
    .device_count = device_count,
    .device_info = device_info,
    .device_open = tenon__vk_device_open,
    .device_close = tenon__vk_device_close,
    .buffer_create = tenon__vk_buffer_create,
    .buffer_destroy = tenon__vk_buffer_destroy,
    .buffer_map = tenon__vk_buffer_map,
    .buffer_unmap = tenon__vk_buffer_unmap,
    .plan_create = tenon__vk_plan_create,
    .plan_info = tenon__vk_plan_info,
    .plan_destroy = tenon__vk_plan_destroy,
    .queue_create = tenon__vk_queue_create,
    .queue_destroy = tenon__vk_queue_destroy,
    .enqueue = tenon__vk_enqueue,
    .queue_wait = tenon__vk_queue_wait,
    .extension = tenon__vk_extension,
};

const struct tenon_backend *tenon_backend_entry_v1(const struct tenon_host *host)
{
    if (!tenon__vk_host)
        tenon__vk_host = host;
    return &backend;
}

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Buffers are plain memory: mapping is free, importing is an alias. */
#include "config.h"

#include <stddef.h>
#include <sys/mman.h>

#include "cpu_backend.h"

#define HUGE_PAGE ((uintptr_t)2 << 20)

/* Weights are read once a token: with small pages their walk waits for translations, and the hardware's prefetch ends
 * at every page. Only whole huge pages of the buffer's own are asked for, and refusal is no error. */
static void ask_for_huge_pages(void *data, size_t size)
{
#ifdef MADV_HUGEPAGE
    const uintptr_t from = ((uintptr_t)data + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    const uintptr_t to = ((uintptr_t)data + size) / HUGE_PAGE * HUGE_PAGE;
    if (from < to)
        (void)madvise((void *)from, to - from, MADV_HUGEPAGE);
#else
    (void)data;
    (void)size;
#endif
}

int32_t tenon__cpu_buffer_create(struct tenon_device *device, const struct tenon_buffer_desc *desc,
                                 struct tenon_buffer **buffer)
{
    const struct tenon_host *host = device->env.host;
    struct tenon_why why;
    int32_t status = tenon_buffer_desc_check(desc, &device->info, &why);
    if (!status && !buffer)
        status = tenon_why_set(&why, TENON_E_INVALID, "buffer_create: no place for the buffer");
    if (!status && desc->size > SIZE_MAX)
        status = tenon_why_set(&why, TENON_E_NOMEM, "buffer size %llu: beyond the address space",
                               (unsigned long long)desc->size);
    if (status)
        return tenon__cpu_fail(status, &why);
    struct tenon_buffer *b = host->alloc(host, sizeof *b, _Alignof(struct tenon_buffer));
    if (!b)
        return host->fail(host, TENON_E_NOMEM, "no memory for a buffer's record");
    b->device = device;
    b->size = desc->size;
    b->mapped = 0;
    b->owned = !(desc->flags & TENON_BUF_IMPORT);
    b->data = b->owned ? host->alloc(host, (size_t)desc->size, CPU_ALIGN) : desc->host_ptr;
    if (!b->data) {
        host->free(host, b);
        tenon_why_set(&why, TENON_E_NOMEM, "no memory for a buffer of %llu bytes", (unsigned long long)desc->size);
        return tenon__cpu_fail(TENON_E_NOMEM, &why);
    }
    if (b->owned)
        ask_for_huge_pages(b->data, (size_t)desc->size);
    *buffer = b;
    return TENON_OK;
}

void tenon__cpu_buffer_destroy(struct tenon_buffer *buffer)
{
    if (!buffer)
        return;
    const struct tenon_host *host = buffer->device->env.host;
    if (buffer->owned)
        host->free(host, buffer->data);
    host->free(host, buffer);
}

int32_t tenon__cpu_buffer_map(struct tenon_buffer *buffer, uint64_t offset, uint64_t size, uint32_t mode,
                              void **pointer)
{
    const uint32_t known = TENON_MAP_READ | TENON_MAP_WRITE;
    struct tenon_why why;
    int32_t status = TENON_OK;
    if (!buffer || !pointer)
        status = tenon_why_set(&why, TENON_E_INVALID, "buffer_map: needs a buffer and a place for the pointer");
    else if (buffer->mapped)
        status = tenon_why_set(&why, TENON_E_INVALID, "buffer_map: the buffer is mapped already");
    else if (mode & ~known)
        status = tenon_why_set(&why, TENON_E_UNSUPPORTED, "map mode 0x%x: known here are 0x%x", mode, known);
    else if (!mode)
        status = tenon_why_set(&why, TENON_E_INVALID, "map mode 0: must be READ, WRITE or both");
    else if (!size || offset > buffer->size || size > buffer->size - offset)
        status = tenon_why_set(&why, TENON_E_INVALID, "map range [%llu, +%llu): must be within the buffer's %llu bytes",
                               (unsigned long long)offset, (unsigned long long)size,
                               (unsigned long long)buffer->size);
    if (status)
        return tenon__cpu_fail(status, &why);
    buffer->mapped = 1;
    *pointer = buffer->data + offset;
    return TENON_OK;
}

int32_t tenon__cpu_buffer_unmap(struct tenon_buffer *buffer)
{
    struct tenon_why why;
    if (!buffer || !buffer->mapped)
        return tenon__cpu_fail(tenon_why_set(&why, TENON_E_INVALID, "buffer_unmap: the buffer is not mapped"), &why);
    buffer->mapped = 0;
    return TENON_OK;
}

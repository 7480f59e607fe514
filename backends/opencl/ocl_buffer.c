/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include <string.h>

#include "ocl.h"

int32_t ocl_buffer_create(struct tenon_device *device, const struct tenon_buffer_desc *desc, struct tenon_buffer **out)
{
    struct tenon_why why;
    cl_int error = CL_SUCCESS;

    if (!device || !desc || !out)
        return ocl_fail(TENON_E_INVALID, "device, desc or buffer is NULL");
    int32_t status = ocl_check_lost(device);
    if (status)
        return status;
    status = tenon_buffer_desc_check(desc, &device->found->info, &why);
    if (status)
        return ocl_fail(status, "%s", why.text);

    struct tenon_buffer *buffer = ocl_host->alloc(ocl_host, sizeof *buffer, _Alignof(struct tenon_buffer));
    if (!buffer)
        return ocl_fail(TENON_E_NOMEM, "no memory for a buffer");
    memset(buffer, 0, sizeof *buffer);
    buffer->device = device;
    buffer->size = desc->size;
    cl_mem_flags flags = CL_MEM_READ_WRITE;
    if (desc->flags & TENON_BUF_IMPORT)
        flags |= CL_MEM_USE_HOST_PTR;
    else if (desc->flags & TENON_BUF_HOST)
        flags |= CL_MEM_ALLOC_HOST_PTR;
    buffer->memory = ocl.clCreateBuffer(device->context, flags, (size_t)desc->size,
                                        desc->flags & TENON_BUF_IMPORT ? desc->host_ptr : NULL, &error);
    if (!buffer->memory) {
        ocl_host->free(ocl_host, buffer);
        return ocl_fail_create("clCreateBuffer", error);
    }
    if (desc->flags & TENON_BUF_IMPORT) {
        buffer->address = (uint64_t)(uintptr_t)desc->host_ptr;
    } else {
        pthread_mutex_lock(&device->lock);
        buffer->address = device->next_address;
        device->next_address += (desc->size + 4095) & ~UINT64_C(4095);
        pthread_mutex_unlock(&device->lock);
    }
    *out = buffer;
    return TENON_OK;
}

void ocl_buffer_destroy(struct tenon_buffer *buffer)
{
    if (!buffer)
        return;
    if (buffer->mapped)
        (void)ocl_buffer_unmap(buffer);
    ocl.clReleaseMemObject(buffer->memory);
    ocl_host->free(ocl_host, buffer);
}

int32_t ocl_buffer_map(struct tenon_buffer *buffer, uint64_t offset, uint64_t size, uint32_t mode, void **pointer)
{
    cl_int error = CL_SUCCESS;

    if (!buffer || !pointer)
        return ocl_fail(TENON_E_INVALID, "buffer or pointer is NULL");
    if (mode & ~(TENON_MAP_READ | TENON_MAP_WRITE))
        return ocl_fail(TENON_E_INVALID, "map mode %#x: READ and WRITE are known", mode);
    if (!mode)
        return ocl_fail(TENON_E_INVALID, "map mode 0: READ, WRITE or both");
    if (size == 0 || offset > buffer->size || size > buffer->size - offset)
        return ocl_fail(TENON_E_INVALID, "map of %llu bytes at %llu: the buffer has %llu", (unsigned long long)size,
                        (unsigned long long)offset, (unsigned long long)buffer->size);
    if (buffer->mapped)
        return ocl_fail(TENON_E_INVALID, "the buffer is mapped already");
    int32_t status = ocl_check_lost(buffer->device);
    if (status)
        return status;
    cl_map_flags flags = mode & TENON_MAP_READ ? CL_MAP_READ : CL_MAP_WRITE_INVALIDATE_REGION;
    if (mode == (TENON_MAP_READ | TENON_MAP_WRITE))
        flags = CL_MAP_READ | CL_MAP_WRITE;
    void *mapped = ocl.clEnqueueMapBuffer(buffer->device->transfer, buffer->memory, CL_TRUE, flags, (size_t)offset,
                                          (size_t)size, 0, NULL, NULL, &error);
    if (!mapped)
        return ocl_fail_run(buffer->device, "clEnqueueMapBuffer",
                            error == CL_MAP_FAILURE ? CL_MEM_OBJECT_ALLOCATION_FAILURE : error);
    buffer->mapped = mapped;
    *pointer = mapped;
    return TENON_OK;
}

int32_t ocl_buffer_unmap(struct tenon_buffer *buffer)
{
    cl_event event = NULL;

    if (!buffer)
        return ocl_fail(TENON_E_INVALID, "buffer is NULL");
    if (!buffer->mapped)
        return ocl_fail(TENON_E_INVALID, "the buffer is not mapped");
    const char *call = "clEnqueueUnmapMemObject";
    cl_int error = ocl.clEnqueueUnmapMemObject(buffer->device->transfer, buffer->memory, buffer->mapped, 0, NULL,
                                               &event);
    /* Waited for, so that commands of every queue come after it. */
    if (!error) {
        buffer->mapped = NULL;
        call = "clWaitForEvents";
        error = ocl.clWaitForEvents(1, &event);
        ocl.clReleaseEvent(event);
    }
    return error ? ocl_fail_run(buffer->device, call, error) : ocl_check_lost(buffer->device);
}

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ocl.h"

const struct tenon_host *ocl_host;

int32_t ocl_fail(int32_t status, const char *format, ...)
{
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    return ocl_host->fail(ocl_host, status, text);
}

void ocl_log(int32_t level, const char *format, ...)
{
    char text[1024];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    ocl_host->log(ocl_host, level, text);
}

int32_t ocl_fail_create(const char *call, cl_int error)
{
    switch (error) {
    case CL_OUT_OF_HOST_MEMORY:
    case CL_OUT_OF_RESOURCES:
    case CL_MEM_OBJECT_ALLOCATION_FAILURE:
    case CL_INVALID_BUFFER_SIZE:
        return ocl_fail(TENON_E_NOMEM, "%s: %s", call, ocl_error_name(error));
    case CL_DEVICE_NOT_AVAILABLE:
    case CL_DEVICE_NOT_FOUND:
        return ocl_fail(TENON_E_NODEVICE, "%s: %s", call, ocl_error_name(error));
    default:
        return ocl_fail(TENON_E_INTERNAL, "%s: %s", call, ocl_error_name(error));
    }
}

int32_t ocl_fail_run(struct tenon_device *device, const char *call, cl_int error)
{
    switch (error) {
    case CL_OUT_OF_HOST_MEMORY:
    case CL_MEM_OBJECT_ALLOCATION_FAILURE:
        return ocl_fail(TENON_E_NOMEM, "%s: %s", call, ocl_error_name(error));
    case CL_INVALID_VALUE: /* ours to blame, and nothing was submitted */
    case CL_INVALID_KERNEL_ARGS:
    case CL_INVALID_ARG_VALUE:
    case CL_INVALID_WORK_GROUP_SIZE:
    case CL_MEM_COPY_OVERLAP:
        return ocl_fail(TENON_E_INTERNAL, "%s: %s", call, ocl_error_name(error));
    default:
        atomic_store(&device->lost, 1);
        return ocl_fail(TENON_E_LOST, "%s: %s: the device is lost", call, ocl_error_name(error));
    }
}

int32_t ocl_check_lost(struct tenon_device *device)
{
    return atomic_load(&device->lost) ? ocl_fail(TENON_E_LOST, "the device was lost earlier") : TENON_OK;
}

int32_t ocl_device_open(uint32_t index, const struct tenon_chain *next, struct tenon_device **out)
{
    struct tenon_why why;
    uint32_t count;
    cl_int error = CL_SUCCESS;

    if (!out)
        return ocl_fail(TENON_E_INVALID, "device is NULL");
    int32_t status = tenon_chain_check(next, &why);
    if (status)
        return ocl_fail(status, "%s", why.text);
    status = ocl_device_count(&count);
    if (status)
        return status;
    const struct ocl_found *found = ocl_found_at(index);
    if (!found)
        return ocl_fail(TENON_E_INVALID, "device index %u: there are %u", index, count);

    struct tenon_device *device = ocl_host->alloc(ocl_host, sizeof *device, _Alignof(struct tenon_device));
    if (!device)
        return ocl_fail(TENON_E_NOMEM, "no memory for a device");
    memset(device, 0, sizeof *device);
    device->host = ocl_host;
    device->found = found;
    device->next_address = UINT64_C(1) << 62;
    atomic_init(&device->lost, 0);
    const cl_context_properties properties[] = {CL_CONTEXT_PLATFORM, (cl_context_properties)found->platform, 0};
    device->context = ocl.clCreateContext(properties, 1, &found->id, NULL, NULL, &error);
    if (!device->context) {
        status = ocl_fail_create("clCreateContext", error);
        goto free_device;
    }
    device->transfer = ocl.clCreateCommandQueue(device->context, found->id, 0, &error);
    if (!device->transfer) {
        status = ocl_fail_create("clCreateCommandQueue", error);
        goto release_context;
    }
    if (pthread_mutex_init(&device->lock, NULL)) {
        status = ocl_fail(TENON_E_NOMEM, "no memory for a lock");
        goto release_queue;
    }
    *out = device;
    return TENON_OK;

release_queue:
    ocl.clReleaseCommandQueue(device->transfer);
release_context:
    ocl.clReleaseContext(device->context);
free_device:
    ocl_host->free(ocl_host, device);
    return status;
}

void ocl_device_close(struct tenon_device *device)
{
    if (!device)
        return;
    ocl_programs_release(device);
    ocl.clFinish(device->transfer);
    ocl.clReleaseCommandQueue(device->transfer);
    ocl.clReleaseContext(device->context);
    pthread_mutex_destroy(&device->lock);
    ocl_host->free(ocl_host, device);
}

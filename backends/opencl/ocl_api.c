/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#define _GNU_SOURCE /* RTLD_DEFAULT */
#include "ocl_api.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

struct ocl_api ocl;

const char *ocl_api_load(void)
{
    static int loaded;
    static char why[256];
    void *library;

    if (loaded)
        return why[0] ? why : NULL;
    loaded = 1;
    /* A loader that is in the process already goes first: an interposer (Oclgrind) works by being preloaded, and two
     * different loaders in one process would open every driver twice. */
    if (dlsym(RTLD_DEFAULT, "clGetPlatformIDs")) {
        library = RTLD_DEFAULT;
    } else {
        library = dlopen("libOpenCL.so.1", RTLD_NOW | RTLD_LOCAL);
        if (!library) {
            const char *error = dlerror();
            snprintf(why, sizeof why, "no OpenCL loader: %s", error ? error : "libOpenCL.so.1");
            return why;
        }
    }
#define OCL_API_LOAD(name)                                                               \
    {                                                                                    \
        void *symbol = dlsym(library, #name);                                            \
        if (!symbol) {                                                                   \
            snprintf(why, sizeof why, "the OpenCL loader has no " #name " (OpenCL 1.2)"); \
            return why;                                                                  \
        }                                                                                \
        memcpy(&ocl.name, &symbol, sizeof symbol);                                       \
    }
#define OCL_API_DO(name, parameters, arguments) OCL_API_LOAD(name)
#define OCL_API_MAKE(type, name, parameters, arguments) OCL_API_LOAD(name)
    OCL_CALLS(OCL_API_DO, OCL_API_MAKE)
#undef OCL_API_DO
#undef OCL_API_MAKE
#undef OCL_API_LOAD
    return NULL;
}

const char *ocl_error_name(cl_int error)
{
#define OCL_ERROR(name) \
    case name:          \
        return #name;
    switch (error) {
        OCL_ERROR(CL_SUCCESS)
        OCL_ERROR(CL_DEVICE_NOT_FOUND)
        OCL_ERROR(CL_DEVICE_NOT_AVAILABLE)
        OCL_ERROR(CL_COMPILER_NOT_AVAILABLE)
        OCL_ERROR(CL_MEM_OBJECT_ALLOCATION_FAILURE)
        OCL_ERROR(CL_OUT_OF_RESOURCES)
        OCL_ERROR(CL_OUT_OF_HOST_MEMORY)
        OCL_ERROR(CL_MEM_COPY_OVERLAP)
        OCL_ERROR(CL_BUILD_PROGRAM_FAILURE)
        OCL_ERROR(CL_MAP_FAILURE)
        OCL_ERROR(CL_MISALIGNED_SUB_BUFFER_OFFSET)
        OCL_ERROR(CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST)
        OCL_ERROR(CL_INVALID_VALUE)
        OCL_ERROR(CL_INVALID_PLATFORM)
        OCL_ERROR(CL_INVALID_DEVICE)
        OCL_ERROR(CL_INVALID_CONTEXT)
        OCL_ERROR(CL_INVALID_QUEUE_PROPERTIES)
        OCL_ERROR(CL_INVALID_COMMAND_QUEUE)
        OCL_ERROR(CL_INVALID_HOST_PTR)
        OCL_ERROR(CL_INVALID_MEM_OBJECT)
        OCL_ERROR(CL_INVALID_BINARY)
        OCL_ERROR(CL_INVALID_BUILD_OPTIONS)
        OCL_ERROR(CL_INVALID_PROGRAM)
        OCL_ERROR(CL_INVALID_PROGRAM_EXECUTABLE)
        OCL_ERROR(CL_INVALID_KERNEL_NAME)
        OCL_ERROR(CL_INVALID_KERNEL_DEFINITION)
        OCL_ERROR(CL_INVALID_KERNEL)
        OCL_ERROR(CL_INVALID_ARG_INDEX)
        OCL_ERROR(CL_INVALID_ARG_VALUE)
        OCL_ERROR(CL_INVALID_ARG_SIZE)
        OCL_ERROR(CL_INVALID_KERNEL_ARGS)
        OCL_ERROR(CL_INVALID_WORK_DIMENSION)
        OCL_ERROR(CL_INVALID_WORK_GROUP_SIZE)
        OCL_ERROR(CL_INVALID_WORK_ITEM_SIZE)
        OCL_ERROR(CL_INVALID_GLOBAL_OFFSET)
        OCL_ERROR(CL_INVALID_EVENT_WAIT_LIST)
        OCL_ERROR(CL_INVALID_EVENT)
        OCL_ERROR(CL_INVALID_OPERATION)
        OCL_ERROR(CL_INVALID_BUFFER_SIZE)
        OCL_ERROR(CL_INVALID_GLOBAL_WORK_SIZE)
        OCL_ERROR(CL_PLATFORM_NOT_FOUND_KHR)
    }
#undef OCL_ERROR
    return "an unknown OpenCL error";
}

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Every OpenCL call that the backend makes, as one list. The calls go through the table `ocl`, which is filled from the
 * ICD loader at run time, so that a machine without OpenCL only has no devices, and which a test may swap to make any
 * call fail. */
#ifndef OCL_API_H
#define OCL_API_H

#define CL_TARGET_OPENCL_VERSION 120
#define CL_USE_DEPRECATED_OPENCL_1_1_APIS /* clCreateCommandQueue of newer headers: the one form that 1.2 has */
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS
#include <CL/cl.h>
#include <CL/cl_ext.h>

/* Only calls of OpenCL 1.2, so that every 1.2 device works.
 *   DO(name, (parameters), (arguments))            returns cl_int
 *   MAKE(type, name, (parameters), (arguments))    returns what it makes, or NULL and *error */
#define OCL_CALLS(DO, MAKE) \
    DO(clGetPlatformIDs, (cl_uint n, cl_platform_id *ids, cl_uint *count), (n, ids, count)) \
    DO(clGetPlatformInfo, (cl_platform_id id, cl_platform_info what, size_t room, void *value, size_t *size), \
        (id, what, room, value, size)) \
    DO(clGetDeviceIDs, (cl_platform_id id, cl_device_type type, cl_uint n, cl_device_id *ids, cl_uint *count), \
        (id, type, n, ids, count)) \
    DO(clGetDeviceInfo, (cl_device_id id, cl_device_info what, size_t room, void *value, size_t *size), \
        (id, what, room, value, size)) \
    MAKE(cl_context, clCreateContext, (const cl_context_properties *properties, cl_uint n, const cl_device_id *ids, \
        ocl_context_notify notify, void *user, cl_int *error), (properties, n, ids, notify, user, error)) \
    DO(clReleaseContext, (cl_context context), (context)) \
    MAKE(cl_command_queue, clCreateCommandQueue, (cl_context context, cl_device_id id, \
        cl_command_queue_properties properties, cl_int *error), (context, id, properties, error)) \
    DO(clReleaseCommandQueue, (cl_command_queue queue), (queue)) \
    MAKE(cl_mem, clCreateBuffer, (cl_context context, cl_mem_flags flags, size_t size, void *host, cl_int *error), \
        (context, flags, size, host, error)) \
    DO(clReleaseMemObject, (cl_mem memory), (memory)) \
    MAKE(cl_program, clCreateProgramWithSource, (cl_context context, cl_uint n, const char **text, const size_t *size, \
        cl_int *error), (context, n, text, size, error)) \
    MAKE(cl_program, clCreateProgramWithBinary, (cl_context context, cl_uint n, const cl_device_id *ids, \
        const size_t *size, const unsigned char **binary, cl_int *verdict, cl_int *error), \
        (context, n, ids, size, binary, verdict, error)) \
    DO(clBuildProgram, (cl_program program, cl_uint n, const cl_device_id *ids, const char *options, \
        ocl_program_notify notify, void *user), (program, n, ids, options, notify, user)) \
    DO(clGetProgramInfo, (cl_program program, cl_program_info what, size_t room, void *value, size_t *size), \
        (program, what, room, value, size)) \
    DO(clGetProgramBuildInfo, (cl_program program, cl_device_id id, cl_program_build_info what, size_t room, \
        void *value, size_t *size), (program, id, what, room, value, size)) \
    DO(clReleaseProgram, (cl_program program), (program)) \
    MAKE(cl_kernel, clCreateKernel, (cl_program program, const char *name, cl_int *error), (program, name, error)) \
    DO(clReleaseKernel, (cl_kernel kernel), (kernel)) \
    DO(clSetKernelArg, (cl_kernel kernel, cl_uint index, size_t size, const void *value), (kernel, index, size, value)) \
    DO(clGetKernelWorkGroupInfo, (cl_kernel kernel, cl_device_id id, cl_kernel_work_group_info what, size_t room, \
        void *value, size_t *size), (kernel, id, what, room, value, size)) \
    DO(clEnqueueNDRangeKernel, (cl_command_queue queue, cl_kernel kernel, cl_uint axes, const size_t *offset, \
        const size_t *global, const size_t *local, cl_uint n, const cl_event *wait, cl_event *event), \
        (queue, kernel, axes, offset, global, local, n, wait, event)) \
    MAKE(ocl_address, clEnqueueMapBuffer, (cl_command_queue queue, cl_mem memory, cl_bool blocking, cl_map_flags flags, \
        size_t offset, size_t size, cl_uint n, const cl_event *wait, cl_event *event, cl_int *error), \
        (queue, memory, blocking, flags, offset, size, n, wait, event, error)) \
    DO(clEnqueueUnmapMemObject, (cl_command_queue queue, cl_mem memory, void *mapped, cl_uint n, \
        const cl_event *wait, cl_event *event), (queue, memory, mapped, n, wait, event)) \
    DO(clEnqueueCopyBuffer, (cl_command_queue queue, cl_mem from, cl_mem to, size_t from_offset, size_t to_offset, \
        size_t size, cl_uint n, const cl_event *wait, cl_event *event), \
        (queue, from, to, from_offset, to_offset, size, n, wait, event)) \
    DO(clEnqueueFillBuffer, (cl_command_queue queue, cl_mem memory, const void *pattern, size_t pattern_size, \
        size_t offset, size_t size, cl_uint n, const cl_event *wait, cl_event *event), \
        (queue, memory, pattern, pattern_size, offset, size, n, wait, event)) \
    DO(clEnqueueMarkerWithWaitList, (cl_command_queue queue, cl_uint n, const cl_event *wait, cl_event *event), \
        (queue, n, wait, event)) \
    DO(clEnqueueBarrierWithWaitList, (cl_command_queue queue, cl_uint n, const cl_event *wait, cl_event *event), \
        (queue, n, wait, event)) \
    DO(clFlush, (cl_command_queue queue), (queue)) \
    DO(clFinish, (cl_command_queue queue), (queue)) \
    DO(clWaitForEvents, (cl_uint n, const cl_event *events), (n, events)) \
    DO(clGetEventInfo, (cl_event event, cl_event_info what, size_t room, void *value, size_t *size), \
        (event, what, room, value, size)) \
    DO(clRetainEvent, (cl_event event), (event)) \
    DO(clReleaseEvent, (cl_event event), (event))

/* Types that the lists need a name for. */
typedef void *ocl_address;
typedef void(CL_CALLBACK *ocl_context_notify)(const char *, const void *, size_t, void *);
typedef void(CL_CALLBACK *ocl_program_notify)(cl_program, void *);

#define OCL_API_DO(name, parameters, arguments) cl_int(CL_API_CALL *name) parameters;
#define OCL_API_MAKE(type, name, parameters, arguments) type(CL_API_CALL *name) parameters;
struct ocl_api {
    OCL_CALLS(OCL_API_DO, OCL_API_MAKE)
};
#undef OCL_API_DO
#undef OCL_API_MAKE

extern struct ocl_api ocl;

/* Fills `ocl` once; later calls only repeat the answer. NULL on success, else a sentence that says what is missing.
 * [loader-lock] */
const char *ocl_api_load(void);

/* "CL_OUT_OF_RESOURCES" */
const char *ocl_error_name(cl_int error);

#endif

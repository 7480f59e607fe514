/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Compiled kernels: one program a kernel and set of specialisation constants, from the device's list, the cache on disk
 * or the driver's compiler. */
#include <stdio.h>
#include <string.h>
#include <tenon/kernels.h>

#include "ocl.h"

#define OCL_CACHE_KIND "opencl"

/* The driver's build log: one line of ours for each of its lines, and the first into the failure's sentence. */
static int32_t fail_build(struct tenon_device *device, cl_program program, const char *kernel, cl_int error)
{
    size_t size = 0;
    char *text = NULL;
    const char *first = "no build log";
    cl_device_id id = device->found->id;

    if (!ocl.clGetProgramBuildInfo(program, id, CL_PROGRAM_BUILD_LOG, 0, NULL, &size) && size > 1)
        text = ocl_host->alloc(ocl_host, size + 1, 1);
    if (text && !ocl.clGetProgramBuildInfo(program, id, CL_PROGRAM_BUILD_LOG, size, text, NULL)) {
        text[size] = 0;
        char *next = NULL;
        for (char *line = strtok_r(text, "\n", &next); line; line = strtok_r(NULL, "\n", &next)) {
            ocl_log(TENON_LOG_ERROR, "%s: %s", kernel, line);
            if (first[0] == 'n' || strstr(line, "error"))
                first = line;
            if (strstr(line, "error"))
                break;
        }
    }
    int32_t status = ocl_fail(
        error == CL_OUT_OF_HOST_MEMORY || error == CL_OUT_OF_RESOURCES ? TENON_E_NOMEM : TENON_E_INTERNAL,
        "kernel %s does not compile on %s: %s: %s", kernel, device->found->info.name, ocl_error_name(error), first);
    ocl_host->free(ocl_host, text);
    return status;
}

/* A program of the cached binary, built, or NULL: the cache is only ever a shortcut. */
static cl_program load_binary(struct tenon_device *device, const char *key, const char *options)
{
    void *data = NULL;
    size_t size = 0;
    cl_int error = CL_SUCCESS, verdict = CL_SUCCESS;

    if (device->found->caches_itself || !gpu_cache_load(ocl_host, OCL_CACHE_KIND, key, strlen(key), &data, &size))
        return NULL;
    const unsigned char *binary = data;
    cl_program program = ocl.clCreateProgramWithBinary(device->context, 1, &device->found->id, &size, &binary, &verdict,
                                                       &error);
    if (program && (error || verdict || ocl.clBuildProgram(program, 1, &device->found->id, options, NULL, NULL))) {
        ocl.clReleaseProgram(program);
        program = NULL;
    }
    ocl_host->free(ocl_host, data);
    return program;
}

static void store_binary(const struct tenon_device *device, cl_program program, const char *key)
{
    size_t size = 0;
    if (device->found->caches_itself ||
        ocl.clGetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof size, &size, NULL) || size == 0)
        return;
    unsigned char *binary = ocl_host->alloc(ocl_host, size, 16);
    if (binary && !ocl.clGetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof binary, &binary, NULL))
        gpu_cache_store(ocl_host, OCL_CACHE_KIND, key, strlen(key), binary, size);
    ocl_host->free(ocl_host, binary);
}

static int32_t build(struct tenon_device *device, const struct gpu_launch *launch, cl_program *out)
{
    const struct gpu_kernel *kernel = launch->kernel;
    char options[sizeof device->found->options + GPU_SPEC_MAX * 32], key[2048];
    cl_int error = CL_SUCCESS;

    int n = snprintf(options, sizeof options, "%s", device->found->options);
    for (uint32_t i = 0; i < launch->n_specs; i++)
        n += snprintf(options + n, sizeof options - (size_t)n, " -DTN_SPEC_%u=%uu", i, launch->spec[i]);
    /* Two hashes of the source with different starts: 128 bits, against mistakes, not malice (the cache's file is ours
     * alone). */
    uint64_t hash[2] = {0xcbf29ce484222325u, 0x9e3779b97f4a7c15u};
    for (size_t i = 0; i < kernel->opencl_size; i++)
        for (int k = 0; k < 2; k++)
            hash[k] = (hash[k] ^ (uint8_t)kernel->opencl[i]) * 0x100000001b3u;
    snprintf(key, sizeof key, "%s|%s|%s|%016llx%016llx", device->found->identity, kernel->name, options,
             (unsigned long long)hash[0], (unsigned long long)hash[1]);

    cl_program program = load_binary(device, key, options);
    if (program) {
        *out = program;
        return TENON_OK;
    }
    const char *source = kernel->opencl;
    program = ocl.clCreateProgramWithSource(device->context, 1, &source, &kernel->opencl_size, &error);
    if (!program)
        return ocl_fail_create("clCreateProgramWithSource", error);
    error = ocl.clBuildProgram(program, 1, &device->found->id, options, NULL, NULL);
    if (error) {
        int32_t status = fail_build(device, program, kernel->name, error);
        ocl.clReleaseProgram(program);
        return status;
    }
    store_binary(device, program, key);
    *out = program;
    return TENON_OK;
}

static int same(const struct ocl_program *entry, const struct gpu_launch *launch)
{
    return entry->kernel == launch->kernel && entry->n_specs == launch->n_specs &&
           !memcmp(entry->spec, launch->spec, launch->n_specs * sizeof launch->spec[0]);
}

/* The lock is held while the compiler runs: two threads that want the same kernel compile it once. */
int32_t ocl_program_get(struct tenon_device *device, const struct gpu_launch *launch, cl_program *program)
{
    int32_t status = TENON_OK;
    struct ocl_program *entry;

    pthread_mutex_lock(&device->lock);
    for (entry = device->programs; entry; entry = entry->next)
        if (same(entry, launch))
            break;
    if (!entry) {
        entry = ocl_host->alloc(ocl_host, sizeof *entry, _Alignof(struct ocl_program));
        if (!entry) {
            status = ocl_fail(TENON_E_NOMEM, "no memory for a program");
            goto unlock;
        }
        memset(entry, 0, sizeof *entry);
        status = build(device, launch, &entry->program);
        if (status) {
            ocl_host->free(ocl_host, entry);
            goto unlock;
        }
        entry->kernel = launch->kernel;
        entry->n_specs = launch->n_specs;
        memcpy(entry->spec, launch->spec, sizeof entry->spec);
        entry->next = device->programs;
        device->programs = entry;
    }
    *program = entry->program;
unlock:
    pthread_mutex_unlock(&device->lock);
    return status;
}

void ocl_programs_release(struct tenon_device *device)
{
    struct ocl_program *next;
    for (struct ocl_program *entry = device->programs; entry; entry = next) {
        next = entry->next;
        ocl.clReleaseProgram(entry->program);
        ocl_host->free(ocl_host, entry);
    }
    device->programs = NULL;
}

/* ---- tenon.kernels/1 ---- */

static int32_t report_one(struct tenon_device *device, const struct ocl_program *entry,
                          void (*line)(void *, const char *), void *user)
{
    cl_device_id id = device->found->id;
    cl_int error = CL_SUCCESS;
    size_t wg = 0, multiple = 0;
    cl_ulong shared = 0, private = 0;
    char specs[GPU_SPEC_MAX * 12 + 1] = "", json[768];

    cl_kernel kernel = ocl.clCreateKernel(entry->program, entry->kernel->name, &error);
    if (!kernel)
        return ocl_fail_create("clCreateKernel", error);
    error = ocl.clGetKernelWorkGroupInfo(kernel, id, CL_KERNEL_WORK_GROUP_SIZE, sizeof wg, &wg, NULL);
    if (!error)
        error = ocl.clGetKernelWorkGroupInfo(kernel, id, CL_KERNEL_PREFERRED_WORK_GROUP_SIZE_MULTIPLE, sizeof multiple,
                                             &multiple, NULL);
    if (!error)
        error = ocl.clGetKernelWorkGroupInfo(kernel, id, CL_KERNEL_LOCAL_MEM_SIZE, sizeof shared, &shared, NULL);
    if (!error)
        error = ocl.clGetKernelWorkGroupInfo(kernel, id, CL_KERNEL_PRIVATE_MEM_SIZE, sizeof private, &private, NULL);
    ocl.clReleaseKernel(kernel);
    if (error)
        return ocl_fail_create("clGetKernelWorkGroupInfo", error);
    for (uint32_t i = 0, n = 0; i < entry->n_specs; i++)
        n += (uint32_t)snprintf(specs + n, sizeof specs - n, "%s%u", i ? "," : "", entry->spec[i]);
    snprintf(json, sizeof json,
             "{\"kernel\":\"%s\",\"specs\":[%s],\"statistics\":{\"Work Group Size\":%llu,"
             "\"Preferred Work Group Size Multiple\":%llu,\"Local Memory Size\":%llu,\"Private Memory Size\":%llu}}",
             entry->kernel->name, specs, (unsigned long long)wg, (unsigned long long)multiple,
             (unsigned long long)shared, (unsigned long long)private);
    line(user, json);
    return TENON_OK;
}

static int32_t report(struct tenon_device *device, void (*line)(void *, const char *), void *user)
{
    if (!device || !line)
        return ocl_fail(TENON_E_INVALID, "device or line is NULL");
    pthread_mutex_lock(&device->lock);
    const struct ocl_program *entry = device->programs;
    pthread_mutex_unlock(&device->lock);
    int32_t status = TENON_OK;
    for (; entry && !status; entry = entry->next) /* entries live until the device is closed */
        status = report_one(device, entry, line, user);
    return status;
}

const void *ocl_kernels_extension(void)
{
    static const struct tenon_kernels kernels = {.struct_size = sizeof kernels, .report = report};
    return &kernels;
}

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Runs conformance cases through the recipes and kernels on the first device of an OpenCL platform, without the host
 * library and without a backend, so that a tool such as Oclgrind sees the kernels alone.
 *
 *     gpu_cases OP FIRST COUNT [PLATFORM [MAX_BYTES [software [SEED]]]]
 *
 * PLATFORM is a part of a platform's name; cases with a tensor of more than MAX_BYTES are passed over. */
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../../../shaders/gpu.h"
#include "../../conform/conform.h"
#include "gpu_host.h"

static cl_device_id device;
static cl_context context;
static cl_command_queue queue;
static struct gpu_limits limits = {.wg_max = 256, .shared_max = 32768, .groups_max = {65535, 65535, 65535},
                                   .buffer_max = UINT64_C(1) << 32, .storage16 = 1};

static void must(int good, const char *what)
{
    if (good)
        return;
    printf("Bail out! %s\n", what);
    exit(1);
}

static void open_device(const char *wanted)
{
    cl_platform_id platform[16];
    cl_uint n = 0, found = 0;
    cl_int error;
    clGetPlatformIDs(16, platform, &n);
    for (cl_uint i = 0; i < n && !found; i++) {
        char name[256] = "";
        clGetPlatformInfo(platform[i], CL_PLATFORM_NAME, sizeof(name), name, NULL);
        if (strstr(name, wanted) != NULL)
            clGetDeviceIDs(platform[i], CL_DEVICE_TYPE_ALL, 1, &device, &found);
    }
    must(found != 0, "no OpenCL device");
    context = clCreateContext(NULL, 1, &device, NULL, NULL, &error);
    must(error == CL_SUCCESS, "clCreateContext");
    queue = clCreateCommandQueue(context, device, CL_QUEUE_PROFILING_ENABLE, &error);
    must(error == CL_SUCCESS, "clCreateCommandQueue");
}

/* Programs by kernel and constants. */
struct program {
    const struct gpu_kernel *kernel;
    uint32_t n_specs, spec[GPU_SPEC_MAX];
    cl_kernel built;
};
static struct program programs[4096];
static uint32_t n_programs;

static cl_kernel get_kernel(const struct gpu_launch *launch)
{
    for (uint32_t i = 0; i < n_programs; i++)
        if (programs[i].kernel == launch->kernel && programs[i].n_specs == launch->n_specs &&
            memcmp(programs[i].spec, launch->spec, launch->n_specs * sizeof(uint32_t)) == 0)
            return programs[i].built;
    char options[1024] = "-cl-std=CL1.2", log[8192];
    cl_int error;
    for (uint32_t i = 0; i < launch->n_specs; i++)
        snprintf(options + strlen(options), sizeof(options) - strlen(options), " -DTN_SPEC_%u=%uu", i, launch->spec[i]);
    cl_program program = clCreateProgramWithSource(context, 1, (const char *[]){launch->kernel->opencl},
                                                   &launch->kernel->opencl_size, &error);
    must(error == CL_SUCCESS, "clCreateProgramWithSource");
    if (clBuildProgram(program, 1, &device, options, NULL, NULL) != CL_SUCCESS) {
        clGetProgramBuildInfo(program, device, CL_PROGRAM_BUILD_LOG, sizeof(log), log, NULL);
        printf("# %s\n%s\n", options, log);
        must(0, "clBuildProgram");
    }
    must(n_programs < sizeof(programs) / sizeof(programs[0]), "too many programs");
    struct program *entry = &programs[n_programs++];
    entry->kernel = launch->kernel;
    entry->n_specs = launch->n_specs;
    memcpy(entry->spec, launch->spec, sizeof(entry->spec));
    entry->built = clCreateKernel(program, launch->kernel->name, &error);
    must(error == CL_SUCCESS, "clCreateKernel");
    clReleaseProgram(program);
    return entry->built;
}

static void run_launch(const struct gpu_launch *launch, const cl_mem *memory, cl_mem scratch)
{
    cl_kernel kernel = get_kernel(launch);
    cl_uint at = 0;
    for (uint32_t i = 0; i < launch->n_args; i++) {
        const struct gpu_arg *arg = &launch->arg[i];
        if (launch->kernel->signature[i] == 'b') {
            cl_mem mem = arg->slot == GPU_SLOT_NONE      ? NULL
                         : arg->slot == GPU_SLOT_SCRATCH ? scratch
                                                         : memory[arg->slot];
            cl_ulong offset = arg->offset;
            clSetKernelArg(kernel, at++, sizeof(mem), mem == NULL ? NULL : &mem);
            clSetKernelArg(kernel, at++, sizeof(offset), &offset);
        } else {
            clSetKernelArg(kernel, at++, sizeof(arg->word), &arg->word);
        }
    }
    size_t local[3] = {launch->local, 1, 1}, global[3] = {launch->local * (size_t)launch->groups[0], launch->groups[1],
                                                          launch->groups[2]};
    must(clEnqueueNDRangeKernel(queue, kernel, 3, NULL, global, local, 0, NULL, NULL) == CL_SUCCESS,
         "clEnqueueNDRangeKernel");
}

/* Everything from the descriptor to the outputs. */
static int32_t run_case(struct conform_case *c)
{
    const struct tenon_op_contract *contract = tenon_op_contract_by_number(c->op->op);
    struct tenon_tensor tensor[TENON_MAX_TENSORS];
    cl_mem memory[TENON_MAX_TENSORS] = {NULL}, scratch = NULL;
    struct gpu_recipe recipe = {.host = &gpu_host};
    for (uint32_t i = 0; i < contract->n_tensors; i++)
        tensor[i] = c->slot[i].tensor;
    int32_t status = gpu_op_find(c->op->op)->recipe(c->params, tensor, &limits, &recipe);
    if (status != TENON_OK)
        return status;
    for (uint32_t i = 0; i < contract->n_tensors; i++) {
        struct conform_slot *slot = &c->slot[i];
        if (slot->tensor.dtype == 0 || slot->same_as >= 0)
            continue;
        uint64_t size = slot->size - slot->lead;
        memory[i] = clCreateBuffer(context, CL_MEM_READ_WRITE, size < 4 ? 4 : (size + 3) / 4 * 4, NULL, NULL);
        must(memory[i] != NULL, "clCreateBuffer");
        if (size)
            clEnqueueWriteBuffer(queue, memory[i], CL_TRUE, 0, size, conform_first(slot), 0, NULL, NULL);
    }
    for (uint32_t i = 0; i < contract->n_tensors; i++)
        if (c->slot[i].tensor.dtype && c->slot[i].same_as >= 0)
            memory[i] = memory[c->slot[i].same_as];
    if (recipe.scratch)
        scratch = clCreateBuffer(context, CL_MEM_READ_WRITE, recipe.scratch, NULL, NULL);
    for (uint32_t i = 0; i < recipe.n; i++)
        run_launch(&recipe.launch[i], memory, scratch);
    must(clFinish(queue) == CL_SUCCESS, "clFinish");
    for (uint32_t i = 0; i < contract->n_tensors; i++) {
        struct conform_slot *slot = &c->slot[i];
        if (slot->tensor.dtype && slot->is_output && slot->size > slot->lead)
            clEnqueueReadBuffer(queue, memory[i], CL_TRUE, 0, slot->size - slot->lead, conform_first(slot), 0, NULL,
                                NULL);
    }
    for (uint32_t i = 0; i < contract->n_tensors; i++)
        if (memory[i] && c->slot[i].same_as < 0)
            clReleaseMemObject(memory[i]);
    if (scratch)
        clReleaseMemObject(scratch);
    gpu_recipe_finish(&recipe);
    return TENON_OK;
}

static int compare(const struct conform_case *c, uint32_t i, const struct conform_want *want)
{
    int wrong = 0;
    for (int64_t k = 0; k < want->count; k++) {
        const struct conform_slot *slot = &c->slot[i];
        double got = conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, k));
        int good = isinf(want->bound[k])  ? 1
                   : isnan(want->want[k]) ? isnan(got)
                                          : got == want->want[k] || fabs(got - want->want[k]) <= want->bound[k];
        /* a value beyond the type rounds to infinity */
        double most = slot->tensor.dtype == TENON_F16 ? 65519.0 : 3.38e38;
        good |= isinf(got) && (got > 0) == (want->want[k] > 0) && fabs(want->want[k]) + want->bound[k] > most;
        if (!good && wrong++ < 3)
            printf("# case %llu %s: %s[%lld] is %.9g, want %.9g +- %.3g\n", (unsigned long long)c->number, c->name,
                   tenon_op_contract_by_number(c->op->op)->tensors[i].name, (long long)k, got, want->want[k],
                   want->bound[k]);
    }
    return wrong == 0;
}

static int judge(struct conform_case *c)
{
    struct conform_want want[TENON_MAX_TENSORS] = {{0}};
    struct tenon_why why = {""};
    int good = 1;
    for (uint32_t i = 0; i < TENON_MAX_TENSORS; i++) {
        if (!c->slot[i].tensor.dtype || !c->slot[i].is_output)
            continue;
        want[i].count = tenon_tensor_count(&c->slot[i].tensor);
        want[i].want = calloc((size_t)want[i].count + 1, sizeof(double));
        want[i].bound = calloc((size_t)want[i].count + 1, sizeof(double));
    }
    /* the reference reads inputs that a run in place has overwritten: it gets a fresh case */
    struct conform_case fresh;
    conform_case_make(c->op, c->seed, c->number, &fresh);
    must(conform_case_alloc(&fresh) == 0, "out of memory");
    conform_case_fill(&fresh);
    c->op->expect(&fresh, want);
    for (uint32_t i = 0; i < TENON_MAX_TENSORS; i++)
        if (want[i].want)
            good &= compare(c, i, &want[i]);
    if (c->op->check && c->op->check(c, want, &why) != 0) {
        printf("# case %llu %s: %s\n", (unsigned long long)c->number, c->name, why.text);
        good = 0;
    }
    for (uint32_t i = 0; i < TENON_MAX_TENSORS; i++) {
        free(want[i].want);
        free(want[i].bound);
    }
    conform_case_free(&fresh);
    return good;
}

static uint64_t case_size(const struct conform_case *c)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < TENON_MAX_TENSORS; i++)
        if (c->slot[i].tensor.dtype && c->slot[i].size > most)
            most = c->slot[i].size;
    return most;
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: gpu_cases OP FIRST COUNT [PLATFORM [MAX_BYTES [software [SEED]]]]\n");
        return 2;
    }
    const struct tenon_op_contract *contract = tenon_op_contract_by_name(argv[1]);
    const struct conform_op *op = NULL;
    must(contract != NULL, "no such operator");
    for (uint32_t i = 0; conform_op_at(i) != NULL; i++)
        if (conform_op_at(i)->op == contract->op)
            op = conform_op_at(i);
    uint64_t first = strtoull(argv[2], NULL, 10), count = strtoull(argv[3], NULL, 10);
    uint64_t size_max = argc > 5 ? strtoull(argv[5], NULL, 10) : UINT64_MAX;
    unsigned failed = 0, ran = 0, refused = 0;
    open_device(argc > 4 ? argv[4] : "");
    limits.software = argc > 6;
    for (uint64_t number = first; number < first + count; number++) {
        struct conform_case c;
        conform_case_make(op, argc > 7 ? strtoull(argv[7], NULL, 0) : 1, number, &c);
        if (case_size(&c) > size_max)
            continue;
        must(conform_case_alloc(&c) == 0, "out of memory");
        conform_case_fill(&c);
        int32_t status = run_case(&c);
        if (status == TENON_OK) {
            ran++;
            failed += !judge(&c);
        } else {
            refused++;
            printf("# case %llu %s: %s %s\n", (unsigned long long)number, c.name, tenon_status_name(status),
                   gpu_host_message);
        }
        conform_case_free(&c);
    }
    printf("# %s: %u cases ran, %u refused, %u failed\n", argv[1], ran, refused, failed);
    printf("1..1\n%s 1 - %s within bounds on OpenCL\n", failed || !ran ? "not ok" : "ok", argv[1]);
    return failed || !ran;
}

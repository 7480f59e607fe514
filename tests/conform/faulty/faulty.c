/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * A layer that makes a good backend wrong in one way of faults.def, named by TENON_LAYER_FAULTY_FAULT. It wraps one
 * backend whose enqueue is done when it returns (the CPU backend). Faults spoil the descriptor before the plan is made,
 * or the memory around a run. Test code: it reads its setting once and lives until the process ends. */
#include <fenv.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <tenon/backend.h>
#include <tenon/ops.h>
#include <tenon/ops/linear.h>
#include <tenon/ops/softmax.h>
#include "faulty.h"
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

#define FAULT(name, op, text, by) #name,
static const char *const fault_names[] = {
#include "faults.def"
#undef FAULT
};

const struct tenon_host *tenon__faulty_host;
const struct tenon_backend *tenon__faulty_next;
int tenon__faulty_fault;
#define host  tenon__faulty_host
#define next  tenon__faulty_next
#define fault tenon__faulty_fault
static struct tenon_backend table;
static uint64_t runs;

/* A plan of ours: the backend's, and what it was made of. */
struct plan {
    struct tenon_plan *real;
    uint32_t op, n;
    struct tenon_tensor tensor[TENON_MAX_TENSORS];
};

/* ---- descriptors ---- */

static int32_t plan_create(struct tenon_device *device, const struct tenon_op_desc *desc, struct tenon_plan **out)
{
    const struct tenon_op_contract *contract;
    struct tenon_why why;
    _Alignas(8) unsigned char params[256];
    int32_t status = tenon_op_check(desc, &contract, params, sizeof(params), &why);
    if (status) { /* the backend's own answer, or a wrong one */
        if (fault == F_takes_all && status == TENON_E_ARG && !out)
            return TENON_OK;
        status = next->plan_create(device, desc, out);
        return fault == F_wrong_status && status == TENON_E_ARG ? TENON_E_INVALID : status;
    }
    struct plan *plan = calloc(1, sizeof(*plan));
    if (!plan)
        return host->fail(host, TENON_E_NOMEM, "out of memory");
    plan->op = desc->op;
    plan->n = desc->n_tensors;
    memcpy(plan->tensor, desc->tensors, plan->n * sizeof(plan->tensor[0]));
    struct tenon_tensor spoilt[TENON_MAX_TENSORS];
    struct tenon_op_desc copy = *desc;
    memcpy(spoilt, plan->tensor, sizeof(spoilt));
    if (desc->op == TENON_OPNUM_softmax)
        tenon__faulty_softmax(spoilt, (void *)params);
    else
        tenon__faulty_linear(spoilt, (void *)params);
    copy.tensors = spoilt;
    copy.params = params;
    if (fault == F_refuses_f16 && spoilt[0].dtype == TENON_F16)
        status = host->fail(host, TENON_E_UNSUPPORTED, "f16 is not for me");
    else
        status = next->plan_create(device, &copy, out ? &plan->real : NULL);
    if (status || !out)
        free(plan);
    else
        *out = (struct tenon_plan *)(void *)plan;
    return status;
}

#define EXTRA 64 /* bytes of workspace of our own, after the backend's */

static int asks_workspace(void)
{
    return fault == F_workspace_after || fault == F_workspace_before || fault == F_workspace_dirty;
}

static int32_t plan_info(const struct tenon_plan *plan, struct tenon_plan_info *info)
{
    int32_t status = next->plan_info(((const struct plan *)(const void *)plan)->real, info);
    if (!status && asks_workspace())
        info->workspace += EXTRA;
    return status;
}

static void plan_destroy(struct tenon_plan *plan)
{
    if (plan)
        next->plan_destroy(((struct plan *)(void *)plan)->real);
    free(plan);
}

/* ---- runs ---- */

static uint32_t output_of(const struct plan *plan)
{
    return plan->op == TENON_OPNUM_softmax ? TENON_SOFTMAX_Y : TENON_LINEAR_Y;
}

/* The memory of tensor i; the CPU backend's buffers are memory. NULL when absent or empty. */
static void *memory_of(const struct plan *plan, const struct tenon_cmd *cmd, uint32_t i)
{
    void *pointer = NULL;
    uint64_t bytes = plan->tensor[i].dtype ? tenon_tensor_bytes(&plan->tensor[i]) : 0;
    if (!bytes || !cmd->args[i].buffer)
        return NULL;
    if (next->buffer_map(cmd->args[i].buffer, cmd->args[i].offset, bytes, TENON_MAP_READ | TENON_MAP_WRITE, &pointer))
        return NULL;
    return next->buffer_unmap(cmd->args[i].buffer) ? NULL : pointer;
}

static int64_t columns(const struct tenon_tensor *t)
{
    return t->rank ? t->dim[t->rank - 1] : 1;
}

static void poke_word(const struct tenon_tensor *t, void *y, int64_t e, uint32_t bits)
{
    uint32_t size = TENON_DTYPE_SIZE(t->dtype);
    memcpy((char *)y + e * (int64_t)size, &bits, size);
}

static uint32_t peek_word(const struct tenon_tensor *t, const void *y, int64_t e)
{
    uint32_t size = TENON_DTYPE_SIZE(t->dtype), bits = 0;
    memcpy(&bits, (const char *)y + e * (int64_t)size, size);
    return bits;
}

/* One element of y after a run. */
static void spoil_element(const struct tenon_tensor *t, void *y, int64_t e)
{
    uint32_t bits = peek_word(t, y, e), infinity = t->dtype == TENON_F32   ? 0x7f800000
                                                   : t->dtype == TENON_F16 ? 0x7c00
                                                                           : 0x7f80;
    uint32_t sign = t->dtype == TENON_F32 ? 0x80000000 : 0x8000, size = bits & ~sign;
    int wide = t->dtype == TENON_F32;
    if (fault == F_ulps_50 && wide && size > 0x01000000 && size < infinity - 50)
        bits += 50;
    if (fault == F_ulps_8_sum && wide && size > 0x01000000 && size < infinity - 64)
        bits += 32;
    if (fault == F_nan_eaten && size > infinity)
        bits = 0;
    if (fault == F_zero_not_zero && size == 0 && wide)
        bits = 0x0d800000;
    if (fault == F_round_down && !wide && size > 1 && size < infinity)
        bits -= 2;
    poke_word(t, y, e, bits);
}

/* A row of y at element `at`. */
static void spoil_row(const struct tenon_tensor *t, char *y, int64_t at, int64_t row, int64_t rows)
{
    int64_t cols = columns(t), size = TENON_DTYPE_SIZE(t->dtype), pitch = t->rank > 1 ? t->stride[t->rank - 2] : 0;
    if (fault == F_last_column_lost || (fault == F_last_row_lost && row == rows - 1))
        for (int64_t j = fault == F_last_row_lost ? 0 : cols - 1; j < cols; j++)
            poke_word(t, y, at + j, 0xDEADBEEF);
    if (fault == F_gap_written && pitch > cols && row < rows - 1)
        memset(y + (at + cols) * size, 0, (size_t)size);
    if (((fault == F_row_depends || fault == F_batch_depends) && rows > 1 && row == 0) ||
        (fault == F_address_depends && ((uintptr_t)y & 63)))
        poke_word(t, y, at, peek_word(t, y, at) ^ 1);
}

static void spoil_late_tie(const struct plan *plan, const struct tenon_cmd *cmd)
{
    const struct tenon_tensor *x = &plan->tensor[TENON_SOFTMAX_X];
    int32_t *argmax = memory_of(plan, cmd, TENON_SOFTMAX_ARGMAX);
    float *values = memory_of(plan, cmd, TENON_SOFTMAX_X);
    if (!argmax || !values || x->dtype != TENON_F32 || x->rank != 2 ||
        cmd->args[TENON_SOFTMAX_Y].buffer == cmd->args[0].buffer)
        return;
    for (int64_t row = 0; row < x->dim[0]; row++)
        for (int64_t j = argmax[row] + 1; argmax[row] >= 0 && j < x->dim[1]; j++)
            if (values[row * x->stride[0] + j] == values[row * x->stride[0] + argmax[row]])
                argmax[row] = (int32_t)j;
}

/* The element of `tensor` that a kernel would read last holds what it wrote first, if both are the same memory. */
static void spoil_in_place(const struct plan *plan, const struct tenon_cmd *cmd, uint32_t tensor)
{
    const struct tenon_tensor *t = &plan->tensor[tensor];
    const struct tenon_bind *a = &cmd->args[tensor], *b = &cmd->args[output_of(plan)];
    char *at = memory_of(plan, cmd, tensor);
    if (at && a->buffer == b->buffer && a->offset == b->offset && columns(t) > 1)
        poke_word(t, at, columns(t) - 1, peek_word(t, at, 0) ^ 0x4000);
}

static void before_run(const struct plan *plan, const struct tenon_cmd *cmd)
{
    int64_t cols = columns(&plan->tensor[0]);
    if (fault == F_crash_33 && cols == 33)
        raise(SIGSEGV);
    if (fault == F_exit_17 && cols == 17)
        _exit(0);
    while (fault == F_hang_65 && cols == 65)
        sleep(1);
    if (fault == F_in_place_softmax)
        spoil_in_place(plan, cmd, TENON_SOFTMAX_X);
    if (fault == F_in_place_linear)
        spoil_in_place(plan, cmd, TENON_LINEAR_RESIDUAL);
}

/* Statistics of row 0. */
static void spoil_stats(const struct plan *plan, const struct tenon_cmd *cmd)
{
    static const struct {
        int fault;
        uint32_t tensor;
    } stats[] = {{F_lse_off, TENON_SOFTMAX_LSE},         {F_max_off, TENON_SOFTMAX_MAX},
                 {F_pmax_off, TENON_SOFTMAX_PMAX},       {F_margin_off, TENON_SOFTMAX_MARGIN},
                 {F_entropy_off, TENON_SOFTMAX_ENTROPY}, {F_energy_off, TENON_SOFTMAX_ENERGY},
                 {F_sum_off, TENON_SOFTMAX_SUM},         {F_sumsq_off, TENON_SOFTMAX_SUMSQ},
                 {F_tau_off, TENON_SOFTMAX_TAU},         {F_beta_off, TENON_SOFTMAX_BETA}};
    static const struct {
        int fault;
        uint32_t tensor;
    } counts[] = {{F_nnz_off, TENON_SOFTMAX_NNZ}, {F_flags_off, TENON_SOFTMAX_FLAGS}};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        int32_t *count = fault == counts[i].fault ? memory_of(plan, cmd, counts[i].tensor) : NULL;
        if (count)
            ++*count;
    }
    for (size_t i = 0; i < sizeof(stats) / sizeof(stats[0]); i++) {
        float *value = fault == stats[i].fault ? memory_of(plan, cmd, stats[i].tensor) : NULL;
        if (!value)
            continue;
        if (fault == F_lse_off || fault == F_entropy_off || fault == F_tau_off || fault == F_beta_off)
            *value += fault == F_lse_off ? 1e-4f : 1e-3f;
        else if (fault == F_max_off)
            *value = nextafterf(*value, 0);
        else
            *value *= fault == F_energy_off ? -1 : 1 + 0x1p-17f;
    }
}

static void spoil_workspace(const struct plan *plan, const struct tenon_cmd *cmd, char *y)
{
    struct tenon_plan_info info = {.struct_size = sizeof(info)};
    unsigned char *bytes;
    void *pointer;
    if (plan_info((const struct tenon_plan *)(const void *)plan, &info) || !cmd->workspace.buffer ||
        next->buffer_map(cmd->workspace.buffer, cmd->workspace.offset, info.workspace, TENON_MAP_READ | TENON_MAP_WRITE,
                         &pointer) ||
        next->buffer_unmap(cmd->workspace.buffer))
        return;
    bytes = pointer;
    if (fault == F_workspace_after)
        bytes[info.workspace] ^= 1;
    if (fault == F_workspace_before && cmd->workspace.offset)
        bytes[-1] ^= 1;
    if (fault == F_workspace_dirty && y && bytes[info.workspace - 1])
        y[1] ^= 1;
}

/* What other code of the process notices. */
static void spoil_process(void)
{
    if (fault == F_prints_later && runs == 3) {
        printf("hello\n");
        fflush(stdout);
    }
    if (fault == F_rounding_mode)
        fesetround(FE_TOWARDZERO);
#if defined(__SSE2__)
    if (fault == F_flush_mode)
        _MM_SET_FLUSH_ZERO_MODE(_MM_FLUSH_ZERO_ON);
#elif defined(__aarch64__)
    if (fault == F_flush_mode)
        __asm__ volatile("msr fpcr, %0" ::"r"(UINT64_C(1) << 24));
#endif
}

/* A value whose last bit is a small part of it. */
static int is_plain(const struct tenon_tensor *t, const void *y)
{
    uint32_t size = peek_word(t, y, 0) & 0x7fffffff;
    return t->dtype == TENON_F32 && size > 0x10000000 && size < 0x7f000000;
}

static int differs(void)
{
    const char *threads = getenv("TENON_THREADS"); /* the suite sets them; the backend is not told */
    const char *isa = getenv("TENON_CPU_ISA");
    return (fault == F_isa_differs && isa && strcmp(isa, "scalar") == 0) || (fault == F_runs_differ && runs % 2) ||
           (fault == F_threads_differ && threads && atoi(threads) >= 3);
}

static void after_run(const struct plan *plan, const struct tenon_cmd *cmd)
{
    const struct tenon_tensor *t = &plan->tensor[output_of(plan)];
    char *y = memory_of(plan, cmd, output_of(plan)), *x = memory_of(plan, cmd, 0);
    if (fault == F_late_tie && plan->op == TENON_OPNUM_softmax)
        spoil_late_tie(plan, cmd);
    if (plan->op == TENON_OPNUM_softmax)
        spoil_stats(plan, cmd);
    if (asks_workspace())
        spoil_workspace(plan, cmd, y);
    spoil_process();
    if (fault == F_input_written && x && x != y)
        x[0] ^= 1;
    if (!y)
        return;
    if (differs() && is_plain(t, y))
        y[0] ^= 1;
    if (fault == F_before_written)
        y[-(int)TENON_DTYPE_SIZE(t->dtype)] ^= 1;
    int64_t cols = columns(t), rows = tenon_tensor_count(t) / cols;
    for (int64_t row = 0; row < rows; row++) {
        int64_t at = 0, rest = row;
        for (int axis = (int)t->rank - 2; axis >= 0; axis--) {
            at += rest % t->dim[axis] * t->stride[axis];
            rest /= t->dim[axis];
        }
        for (int64_t j = 0; j < cols; j++)
            spoil_element(t, y, at + j);
        spoil_row(t, y, at, row, rows);
    }
}

static int32_t enqueue_one(struct tenon_queue *queue, const struct tenon_cmd *cmd, uint64_t *seq)
{
    struct tenon_cmd copy = *cmd;
    const struct tenon_cmd *cmds[1] = {&copy};
    const struct plan *plan = cmd->kind == TENON_CMD_RUN ? (const struct plan *)(const void *)cmd->plan : NULL;
    if (plan) {
        runs++;
        before_run(plan, cmd);
        copy.plan = plan->real;
        if (fault == F_stale && runs % 7 == 0) {
            copy = (struct tenon_cmd){.struct_size = sizeof(copy), .kind = TENON_CMD_FILL, .n_args = 1};
            for (uint32_t i = 0; i < cmd->n_args && !copy.args; i++)
                copy.args = cmd->args[i].buffer ? &cmd->args[i] : NULL;
            plan = NULL;
        }
    }
    if (fault == F_copy_short && cmd->kind == TENON_CMD_COPY && cmd->size > 4)
        copy.size -= 4;
    if (fault == F_fill_wrong && cmd->kind == TENON_CMD_FILL && (uint32_t)cmd->value == 0xffffffff)
        copy.value = 0;
    int32_t status = next->enqueue(queue, cmds, 1, seq);
    if (!status && plan)
        after_run(plan, cmd);
    return status;
}

/* Several at once: spoilt as a batch only. */
static int32_t enqueue_batch(struct tenon_queue *queue, const struct tenon_cmd *const *cmds, uint32_t n, uint64_t *seq)
{
    const struct tenon_cmd *order[64];
    struct tenon_cmd copy[64];
    if (n > 64)
        return host->fail(host, TENON_E_UNSUPPORTED, "layer faulty takes 64 commands");
    for (uint32_t i = 0; i < n; i++) {
        uint32_t from = fault == F_batch_reversed ? n - 1 - i : i;
        copy[i] = *cmds[from];
        order[i] = &copy[i];
        if (copy[i].kind == TENON_CMD_RUN)
            copy[i].plan = ((const struct plan *)(const void *)copy[i].plan)->real;
    }
    return next->enqueue(queue, order, n, seq);
}

static int32_t enqueue(struct tenon_queue *queue, const struct tenon_cmd *const *cmds, uint32_t n, uint64_t *seq)
{
    int32_t status = TENON_OK;
    if (n == 1 || fault == F_batch_partial)
        for (uint32_t i = 0; i < n && !status; i++)
            status = enqueue_one(queue, cmds[i], seq);
    else
        status = enqueue_batch(queue, cmds, n, seq);
    if (!status && fault == F_numbers_jump)
        *seq += 1;
    return status;
}

static int32_t queue_wait(struct tenon_queue *queue, uint64_t seq, uint64_t timeout_ns)
{
    int32_t status = next->queue_wait(queue, fault == F_numbers_jump && seq ? seq - 1 : seq, timeout_ns);
    return fault == F_wait_unknown && status == TENON_E_INVALID ? TENON_OK : status;
}

static void device_close(struct tenon_device *device)
{
    tenon__faulty_sow();
    next->device_close(device);
    if (fault == F_close_crash)
        raise(SIGSEGV);
}

const struct tenon_backend *tenon_backend_entry_v1(const struct tenon_host *from);
const struct tenon_backend *tenon_backend_entry_v1(const struct tenon_host *from)
{
    const struct tenon_backend *wrapped = from->extension(from, "tenon.next/1");
    const char *name = from->config(from, "fault");
    if (!wrapped || next) {
        from->fail(from, TENON_E_UNSUPPORTED, "layer faulty wraps one backend");
        return NULL;
    }
    for (fault = 0; fault < FAULTS && (!name || strcmp(name, fault_names[fault])); fault++)
        ;
    if (fault == FAULTS && !tenon__faulty_seed(name) && (!name || strcmp(name, "none"))) {
        from->fail(from, TENON_E_INVALID, "TENON_LAYER_FAULTY_FAULT names no fault");
        return NULL;
    }
    host = from;
    next = wrapped;
    memcpy(&table, next, next->struct_size < sizeof(table) ? next->struct_size : sizeof(table));
    table.struct_size = sizeof(table);
    table.plan_create = plan_create;
    table.plan_info = plan_info;
    table.plan_destroy = plan_destroy;
    table.enqueue = enqueue;
    table.queue_wait = queue_wait;
    table.device_close = device_close;
    if (tenon__faulty_is_late())
        tenon__faulty_late_table(&table);
    table.plan_record = NULL; /* the host replays */
    if (fault == F_prints) {
        printf("hello\n");
        fflush(stdout);
    }
    return &table;
}

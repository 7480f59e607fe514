/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * A layer that makes a good backend wrong in one way, named by TENON_LAYER_FAULTY_FAULT: a fault of faults.def, or
 * <op>/<fault> for one of <op>_faults.c; "list" prints them all and is none. It wraps one backend whose enqueue is done
 * when it returns (the CPU backend). Faults spoil the descriptor before the plan is made, or the memory around a run.
 * Test code: it reads its setting once and lives until the process ends. */
#include <fenv.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "faulty.h"
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

#define FAULT(name, op, text, by) {#name, #op, text, by},
static const struct {
    const char *name, *op, *text, *by;
} faults[] = {
#include "faults.def"
#undef FAULT
};
#define TENON_OP(number, name) {#name, number, &tenon__faulty_##name},
static const struct {
    const char *name;
    uint32_t op;
    const struct faulty_op *faults;
} ops[] = {
#include <tenon/ops.def>
};
#undef TENON_OP

const struct tenon_host *tenon__faulty_host;
const struct tenon_backend *tenon__faulty_next;
int tenon__faulty_fault;
#define host  tenon__faulty_host
#define next  tenon__faulty_next
#define fault tenon__faulty_fault
static struct tenon_backend table;
static uint64_t runs;
/* The fault of one operator, if that is what was asked for. */
static const struct faulty_fault *own;
static uint32_t own_op;

static const struct faulty_plan *plan_of(const struct tenon_plan *plan)
{
    return (const struct faulty_plan *)(const void *)plan;
}

static const struct faulty_fault *own_of(const struct faulty_plan *plan)
{
    return own && plan->op == own_op ? own : NULL;
}

/* ---- descriptors ---- */

/* Rows [0, rows) of a tensor that has all rows of a matrix of `all` rows; bytes to the row after them. */
static uint64_t cut_rows(struct tenon_tensor *t, int64_t all, int64_t rows)
{
    if (!t->dtype || t->rank > 2 || t->dim[0] != all)
        return 0;
    t->dim[0] = rows;
    return (uint64_t)(rows * t->stride[0]) * TENON_DTYPE_SIZE(t->dtype);
}

/* Two plans, one for the first half of the rows and one for the others, which takes them for a tensor of its own. Not
 * where a tensor's axis of columns could be taken for rows. */
static int32_t create_halves(struct tenon_device *device, struct tenon_op_desc *desc, struct tenon_tensor *t,
                             struct faulty_plan *plan)
{
    const int64_t rows = t[0].rank == 2 ? t[0].dim[0] : 0, cols = tenon__faulty_columns(&t[0]);
    int32_t status;
    uint64_t odd = 0; /* addresses are multiples of 4, and there are no flags, which are of all rows */
    for (uint32_t i = 0; i < plan->n; i++) {
        struct tenon_tensor copy = t[i];
        odd |= (cut_rows(&copy, rows, rows / 2) & 3) | (copy.dtype == TENON_U32);
    }
    if (rows < 2 || rows == cols || odd)
        return next->plan_create(device, desc, &plan->real);
    plan->cut = rows / 2;
    for (uint32_t i = 0; i < plan->n; i++)
        cut_rows(&t[i], rows, plan->cut);
    status = next->plan_create(device, desc, &plan->real);
    for (uint32_t i = 0; i < plan->n && !status; i++)
        cut_rows(&t[i], plan->cut, rows - plan->cut);
    return status ? status : next->plan_create(device, desc, &plan->second);
}

static int32_t create_spoilt(struct tenon_device *device, const struct tenon_op_desc *desc, struct faulty_plan *plan,
                             int really)
{
    const struct faulty_fault *f = own_of(plan);
    struct tenon_tensor spoilt[TENON_MAX_TENSORS];
    struct tenon_op_desc copy = *desc;
    _Alignas(8) unsigned char params[sizeof(plan->params)];
    memcpy(spoilt, plan->tensor, sizeof(spoilt));
    memcpy(params, plan->params, sizeof(params));
    copy.tensors = spoilt;
    copy.params = params;
    if (f && f->drop)
        memset(&spoilt[f->drop], 0, sizeof(spoilt[0]));
    if (f && f->spoil)
        f->spoil(spoilt, params);
    if (fault == F_no_stride && spoilt[0].rank == 2)
        spoilt[0].stride[0] = spoilt[0].dim[1];
    if (fault == F_refuses_f16 && spoilt[0].dtype == TENON_F16)
        return host->fail(host, TENON_E_UNSUPPORTED, "f16 is not for me");
    if (f && f->restarts && really)
        return create_halves(device, &copy, spoilt, plan);
    return next->plan_create(device, &copy, really ? &plan->real : NULL);
}

static void plan_destroy(struct tenon_plan *plan)
{
    if (plan) {
        next->plan_destroy(plan_of(plan)->real);
        next->plan_destroy(plan_of(plan)->second);
    }
    free(plan);
}

static int32_t plan_create(struct tenon_device *device, const struct tenon_op_desc *desc, struct tenon_plan **out)
{
    const struct tenon_op_contract *contract;
    struct tenon_why why;
    struct faulty_plan *plan = calloc(1, sizeof(*plan));
    if (!plan)
        return host->fail(host, TENON_E_NOMEM, "out of memory");
    int32_t status = tenon_op_check(desc, &contract, plan->params, sizeof(plan->params), &why);
    if (status) { /* the backend's own answer, or a wrong one */
        free(plan);
        if (fault == F_takes_all && status == TENON_E_ARG && !out)
            return TENON_OK;
        status = next->plan_create(device, desc, out);
        return fault == F_wrong_status && status == TENON_E_ARG ? TENON_E_INVALID : status;
    }
    plan->op = desc->op;
    plan->n = desc->n_tensors;
    memcpy(plan->tensor, desc->tensors, plan->n * sizeof(plan->tensor[0]));
    status = create_spoilt(device, desc, plan, out != NULL);
    if (status || !out)
        plan_destroy((struct tenon_plan *)(void *)plan);
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
    int32_t status = next->plan_info(plan_of(plan)->real, info);
    struct tenon_plan_info second = {.struct_size = sizeof(second)};
    if (!status && plan_of(plan)->second)
        status = next->plan_info(plan_of(plan)->second, &second);
    if (!status && second.workspace > info->workspace)
        info->workspace = second.workspace;
    if (!status && asks_workspace())
        info->workspace += EXTRA;
    return status;
}

/* ---- runs ---- */

/* The operator's main output, which comes first. */
static uint32_t output_of(const struct faulty_plan *plan)
{
    const struct tenon_op_contract *contract = tenon_op_contract_by_number(plan->op);
    uint32_t i = 0;
    while (i + 1 < plan->n && contract->tensors[i].role < TENON_OUT)
        i++;
    return i;
}

/* One element of y after a run. */
static void spoil_element(const struct tenon_tensor *t, void *y, int64_t e)
{
    uint32_t bits = tenon__faulty_peek(t, y, e), infinity = t->dtype == TENON_F32   ? 0x7f800000
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
    tenon__faulty_poke(t, y, e, bits);
}

/* A row of y at element `at`. */
static void spoil_row(const struct tenon_tensor *t, char *y, int64_t at, int64_t row, int64_t rows)
{
    int64_t cols = tenon__faulty_columns(t), size = TENON_DTYPE_SIZE(t->dtype),
            pitch = t->rank > 1 ? t->stride[t->rank - 2] : 0;
    if (fault == F_last_column_lost || (fault == F_last_row_lost && row == rows - 1))
        for (int64_t j = fault == F_last_row_lost ? 0 : cols - 1; j < cols; j++)
            tenon__faulty_poke(t, y, at + j, 0xDEADBEEF);
    if (fault == F_gap_written && pitch > cols && row < rows - 1)
        memset(y + (at + cols) * size, 0, (size_t)size);
    if (((fault == F_row_depends || fault == F_batch_depends) && rows > 1 && row == 0) ||
        (fault == F_address_depends && ((uintptr_t)y & 63)))
        tenon__faulty_poke(t, y, at, tenon__faulty_peek(t, y, at) ^ 1);
}

static void before_run(const struct faulty_run *run)
{
    const int64_t cols = tenon__faulty_columns(&run->plan->tensor[0]);
    if (fault == F_crash_33 && cols == 33)
        raise(SIGSEGV);
    if (fault == F_exit_17 && cols == 17)
        _exit(0);
    while (fault == F_hang_65 && cols == 65)
        sleep(1);
    if (own_of(run->plan) && own->before)
        own->before(run);
}

static void spoil_workspace(const struct faulty_run *run, char *y)
{
    const struct tenon_cmd *cmd = run->cmd;
    struct tenon_plan_info info = {.struct_size = sizeof(info)};
    unsigned char *bytes;
    void *pointer;
    if (plan_info((const struct tenon_plan *)(const void *)run->plan, &info) || !cmd->workspace.buffer ||
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
    uint32_t size = tenon__faulty_peek(t, y, 0) & 0x7fffffff;
    return t->dtype == TENON_F32 && size > 0x10000000 && size < 0x7f000000;
}

static int differs(void)
{
    const char *threads = getenv("TENON_THREADS"); /* the suite sets them; the backend is not told */
    const char *isa = getenv("TENON_CPU_ISA");
    return (fault == F_isa_differs && isa && strcmp(isa, "scalar") == 0) || (fault == F_runs_differ && runs % 2) ||
           (fault == F_threads_differ && threads && atoi(threads) >= 3);
}

static void after_run(const struct faulty_run *run)
{
    const struct tenon_tensor *t = &run->plan->tensor[output_of(run->plan)];
    char *y = tenon__faulty_memory(run, output_of(run->plan)), *x = tenon__faulty_memory(run, 0);
    if (own_of(run->plan) && own->after)
        own->after(run);
    if (asks_workspace())
        spoil_workspace(run, y);
    spoil_process();
    if (fault == F_input_written && x && x != y)
        x[0] ^= 1;
    if (!y)
        return;
    if (differs() && is_plain(t, y))
        y[0] ^= 1;
    if (fault == F_before_written)
        y[-(int)TENON_DTYPE_SIZE(t->dtype)] ^= 1;
    const int64_t cols = tenon__faulty_columns(t), rows = tenon__faulty_rows(t);
    for (int64_t row = 0; row < rows; row++) {
        const int64_t at = tenon__faulty_at(t, row);
        for (int64_t j = 0; j < cols; j++)
            spoil_element(t, y, at + j);
        spoil_row(t, y, at, row, rows);
    }
}

/* The run, or both halves of it. */
static int32_t enqueue_run(struct tenon_queue *queue, const struct tenon_cmd *cmd, uint64_t *seq)
{
    const struct faulty_plan *plan = plan_of(cmd->plan);
    struct tenon_cmd first = *cmd, second = *cmd;
    struct tenon_bind binds[TENON_MAX_TENSORS];
    const struct tenon_cmd *cmds[2] = {&first, &second};
    first.plan = plan->real;
    second.plan = plan->second;
    second.args = binds;
    for (uint32_t i = 0; i < cmd->n_args && plan->second; i++) {
        struct tenon_tensor t = plan->tensor[i];
        binds[i] = cmd->args[i];
        binds[i].offset += cut_rows(&t, plan->tensor[0].dim[0], plan->cut);
    }
    return next->enqueue(queue, cmds, plan->second ? 2 : 1, seq);
}

static int32_t enqueue_one(struct tenon_queue *queue, const struct tenon_cmd *cmd, uint64_t *seq)
{
    struct tenon_cmd copy = *cmd;
    const struct tenon_cmd *cmds[1] = {&copy};
    const struct faulty_run run = {cmd->kind == TENON_CMD_RUN ? plan_of(cmd->plan) : NULL, cmd};
    if (run.plan) {
        runs++;
        before_run(&run);
    }
    if (run.plan && (fault != F_stale || runs % 7)) {
        int32_t status = enqueue_run(queue, cmd, seq);
        if (!status)
            after_run(&run);
        return status;
    }
    if (run.plan) {
        copy = (struct tenon_cmd){.struct_size = sizeof(copy), .kind = TENON_CMD_FILL, .n_args = 1};
        for (uint32_t i = 0; i < cmd->n_args && !copy.args; i++)
            copy.args = cmd->args[i].buffer ? &cmd->args[i] : NULL;
    }
    if (fault == F_copy_short && cmd->kind == TENON_CMD_COPY && cmd->size > 4)
        copy.size -= 4;
    if (fault == F_fill_wrong && cmd->kind == TENON_CMD_FILL && (uint32_t)cmd->value == 0xffffffff)
        copy.value = 0;
    return next->enqueue(queue, cmds, 1, seq);
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
            copy[i].plan = plan_of(copy[i].plan)->real;
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

/* All there are, a line each: name, operator, text, by. */
static void list_faults(void)
{
    for (int i = 0; i < FAULTS; i++)
        printf("fault\t%s\t%s\t%s\t%s\n", faults[i].name, faults[i].op, faults[i].text, faults[i].by);
    for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
        for (uint32_t j = 0; j < ops[i].faults->n; j++) {
            const struct faulty_fault *f = &ops[i].faults->faults[j];
            printf("fault\t%s/%s\t%s\t%s\t%s\n", ops[i].name, f->name, ops[i].name, f->text, f->by);
        }
    fflush(stdout);
}

/* Whether there is such a fault, which is then the one. */
static int choose(const char *name)
{
    fault = FAULTS;
    if (!name)
        return 0;
    for (int i = 0; i < FAULTS; i++)
        fault = strcmp(name, faults[i].name) ? fault : i;
    for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
        const size_t length = strlen(ops[i].name);
        for (uint32_t j = 0; j < ops[i].faults->n && strncmp(name, ops[i].name, length) == 0; j++)
            if (name[length] == '/' && strcmp(name + length + 1, ops[i].faults->faults[j].name) == 0) {
                own = &ops[i].faults->faults[j];
                own_op = ops[i].op;
            }
    }
    if (strcmp(name, "list") == 0)
        list_faults();
    return fault < FAULTS || own || tenon__faulty_seed(name) || !strcmp(name, "none") || !strcmp(name, "list");
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
    if (!choose(name)) {
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

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax_topk on the CPU: the plan, how its work is shared out, and what a row becomes. A row is cut into tiles of
 * 4096 columns; the sums of the tiles are merged in ascending order, and what the list keeps does not depend on where
 * it was cut, so that nothing depends on which thread did which tile. */
#include <stdio.h>

#include <tenon/ops/softmax_topk.h>

#include "cpu.h"
#include "softmax_topk_cpu_tile.h"

#define SPLIT_COLS       (1 << 18) /* a row this long is shared out by tiles even if there are many */
#define SMALL_WORK       (1 << 16) /* elements not worth waking threads for */
#define TASKS_PER_THREAD 4

/* Lives in cpu_plan.state. */
struct topk {
    struct wanted wanted;
    int64_t rows, cols, k;
    int64_t x_stride, bias_stride, mask_stride, noise_stride; /* bytes from row to row */
    int64_t val_stride, idx_stride;                           /* elements */
    uint64_t slot;      /* bytes of a task: flags and a list */
    int64_t kept;       /* entries of a list: k, or 2 for the margin */
    float scale, inv_temp, noise_amp;
    uint64_t seed;
    uint32_t norm, tasks, stream, sample;
    uint32_t x_dtype;
    uint8_t affine, gumbel, relative, pick, split, sink_step, stats;
};

struct run {
    const struct topk *t;
    const struct tenon_host *host;
    void *const *ptr;
    unsigned char *workspace;
};

enum { FLAG_NAN, FLAG_EMPTY, FLAG_SHORT, FLAG_FALLBACK, FLAGS };
#define SLOT_FLAGS 64 /* bytes before the list */

/* ---- one row ---- */

static const void *row_of(const struct run *run, uint32_t i, int64_t row, int64_t stride)
{
    return run->ptr[i] ? (const char *)run->ptr[i] + row * stride : NULL;
}

/* What all rows have in common. */
static struct row row_any(const struct run *run)
{
    const struct topk *t = run->t;
    struct row r = {.dtype = t->x_dtype, .cols = t->cols, .sink = MINUS_INF};
    r.l.scale = t->scale;
    r.l.noise_amp = t->noise_amp;
    r.l.affine = t->affine;
    r.l.generate.kind = t->gumbel ? NOISE_GUMBEL : NOISE_NONE;
    r.l.generate.seed = t->seed;
    r.l.generate.stream = t->stream;
    r.l.generate.sample = t->sample;
    return r;
}

static void row_begin(const struct run *run, int64_t row, struct row *r)
{
    const struct topk *t = run->t;
    const int32_t *valid_len = run->ptr[TENON_SOFTMAX_TOPK_VALID_LEN];
    const float *row_scale = run->ptr[TENON_SOFTMAX_TOPK_ROW_SCALE], *sink = run->ptr[TENON_SOFTMAX_TOPK_SINK];
    r->l.x = row_of(run, TENON_SOFTMAX_TOPK_X, row, t->x_stride);
    r->l.bias = row_of(run, TENON_SOFTMAX_TOPK_BIAS, row, t->bias_stride);
    r->l.mask = row_of(run, TENON_SOFTMAX_TOPK_MASK, row, t->mask_stride);
    r->l.noise = row_of(run, TENON_SOFTMAX_TOPK_NOISE, row, t->noise_stride);
    r->l.generate.row = (uint32_t)row;
    if (valid_len)
        r->cols = valid_len[row] < 0 ? 0 : valid_len[row] < t->cols ? valid_len[row] : t->cols;
    const float scale = row_scale ? row_scale[row] : 1.0f;
    float T = t->inv_temp * scale;
    if (!(T < 0x1.fffffep127f)) /* an overflow of the product still means "the largest alone" */
        T = 0x1.fffffep127f;
    r->nan = !(scale >= 0.0f && scale < INFINITY);
    r->T = (double)T;
    r->flat = T == 0.0f;
    r->half = T < 1.0f ? 0.5f : 1.0f;
    r->rest = T / r->half;
    if (sink) {
        r->sink = sink[t->sink_step ? row : 0];
        r->has_sink = 1;
        r->nan |= r->sink != r->sink || r->sink == INFINITY;
    }
}

static void do_tile(const struct topk *t, const struct row *r, int64_t c0, struct list *list, struct part *part)
{
    tile_do(&t->wanted, r, c0, r->cols - c0 < TILE ? r->cols - c0 : TILE, list, part);
    /* More of the row follows mostly, and has fewer candidates when the bar is high. */
    if (list->n > list->k + list->k / 2 + 8 && c0 + TILE < r->cols)
        list_cut(list);
}

/* ---- what a row becomes ---- */

static void put(const struct run *run, uint32_t i, int64_t row, int nan, double value)
{
    if (run->ptr[i])
        ((float *)run->ptr[i])[row] = nan ? NAN : (float)value;
}

static void put_empty_stats(const struct run *run, const struct row *r, int64_t row)
{
    const double inf = (double)INFINITY, lse = !r->has_sink               ? -inf
                                               : r->flat && isinf(r->sink) ? (double)r->sink
                                                                           : (double)r->sink * r->T;
    put(run, TENON_SOFTMAX_TOPK_MAX, row, 0, -inf);
    put(run, TENON_SOFTMAX_TOPK_LSE, row, 0, lse);
    for (uint32_t i = TENON_SOFTMAX_TOPK_PMAX; i <= TENON_SOFTMAX_TOPK_ENTROPY; i++)
        put(run, i, row, 0, 0.0);
}

/* top: the largest's term of S. */
static void put_stats(const struct run *run, const struct row *r, int64_t row, const struct list *list,
                      const struct part *p, double R, double S, double top, int nan)
{
    const int two = list->n > 1 && list->key[1] > LIST_NAN;
    const double M = nan ? 0.0 : (double)order_value(list->key[0]);
    const double M2 = two && !nan ? (double)order_value(list->key[1]) : 0.0, first = top / S;
    put(run, TENON_SOFTMAX_TOPK_MAX, row, nan, M);
    put(run, TENON_SOFTMAX_TOPK_LSE, row, nan, R * r->T + log(S));
    put(run, TENON_SOFTMAX_TOPK_PMAX, row, nan, first);
    put(run, TENON_SOFTMAX_TOPK_MARGIN, row, nan, two ? first - exp((M2 - R) * r->T) / S : first);
    put(run, TENON_SOFTMAX_TOPK_ENTROPY, row, nan, log(p->s) - p->a / p->s);
}

/* e^((a - b) T); of two equal ones no exp is asked. */
static double term_of(double a, double b, double T)
{
    return a == b ? 1.0 : exp((a - b) * T);
}

/* The numbers of keys. */
SIMD_FN vf list_values(const int32_t *key)
{
    const vi k = vi_load(key);
    return vf_bits(vi_xor(k, vi_and(vi_sra(k, 31), vi_set1(0x7fffffff))));
}

SIMD_FN int vector_rest(int64_t n)
{
    return n < VF ? (int)n : VF;
}

static void put_logs(const struct topk *t, const struct row *r, const struct list *list, int64_t n, double R, double S,
                     float *val)
{
    const double log_sum = t->norm == TENON_SOFTMAX_TOPK_LOG ? log(S) : 0.0;
    for (int64_t i = 0; i < n; i++) {
        const float v = order_value(list->key[i]);
        val[i] = t->norm == TENON_SOFTMAX_TOPK_RAW ? v : (float)(((double)v - R) * r->T - log_sum);
    }
}

/* val of the n slots that have an entry. S: of SELECTED, the sink's part. */
static void put_values(const struct topk *t, const struct row *r, const struct list *list, int64_t n, double R,
                       double S, float *val)
{
    const int selected = t->norm == TENON_SOFTMAX_TOPK_SELECTED;
    const vf half = vf_set1(r->half), reference = vf_mul(vf_set1((float)R), half), rest = vf_set1(r->rest);
    vf inverse = vf_set1(selected ? 1.0f : (float)(1.0 / S));
    for (int64_t i = 0; i < n; i += VF) {
        const int k = vector_rest(n - i);
        /* nothing subnormal and slow in lanes without an entry */
        const vf v = vf_select(vm_first(k), list_values(list->key + i), vf_set1((float)R));
        const vf e = vf_exp(vf_mul(vf_sub(vf_mul(v, half), reference), rest));
        vf_store_n(val + i, vf_mul(e, inverse), k);
        if (selected) {
            float lane[VF];
            vf_store(lane, e);
            for (int j = 0; j < k; j++)
                S += (double)lane[j];
        }
    }
    if (!selected)
        return;
    inverse = vf_set1((float)(1.0 / S));
    for (int64_t i = 0; i < n; i += VF)
        vf_store_n(val + i, vf_mul(vf_load_n(val + i, vector_rest(n - i)), inverse), vector_rest(n - i));
}

static void row_end(const struct run *run, const struct row *r, int64_t row, struct list *list, const struct part *p,
                    uint32_t *flags)
{
    const struct topk *t = run->t;
    float *val = run->ptr[TENON_SOFTMAX_TOPK_VAL];
    int32_t *idx = run->ptr[TENON_SOFTMAX_TOPK_IDX];
    list_sort(list);
    const int64_t n = list->n < t->k ? list->n : t->k; /* with NaN entries, which are in NaN rows alone */
    int64_t above = n;
    while (above > 0 && list->key[above - 1] <= LIST_NAN)
        above--;
    const int nan = list->bad || r->nan, empty = !nan && above == 0;
    const double M = above && !nan ? (double)order_value(list->key[0]) : -(double)INFINITY;
    const double R = (double)r->sink > M ? (double)r->sink : M;
    const double sink = r->sink > MINUS_INF && !nan ? term_of((double)r->sink, R, r->T) : 0.0;
    const double top = t->relative && M > -(double)INFINITY ? term_of(M, R, r->T) : 0.0, S = p->s * top + sink;
    flags[FLAG_NAN] += (uint32_t)nan;
    flags[FLAG_EMPTY] += (uint32_t)empty;
    flags[FLAG_SHORT] += above < t->k;
    if (t->stats && empty)
        put_empty_stats(run, r, row);
    else if (t->stats)
        put_stats(run, r, row, list, p, R, S, top, nan);
    if (val) {
        const float none = t->norm == TENON_SOFTMAX_TOPK_LOG || t->norm == TENON_SOFTMAX_TOPK_RAW ? MINUS_INF : 0.0f;
        val += row * t->val_stride;
        if (!nan && none < 0.0f)
            put_logs(t, r, list, above, R, S, val);
        else if (!nan)
            put_values(t, r, list, above, R, t->norm == TENON_SOFTMAX_TOPK_SELECTED ? sink : S, val);
        for (int64_t i = nan ? 0 : above; i < t->k; i++)
            val[i] = nan ? NAN : none;
    }
    if (idx) {
        idx += row * t->idx_stride;
        for (int64_t i = 0; i < n; i += VF)
            vi_store_n(idx + i, vi_load(list->idx + i), vector_rest(n - i));
        for (int64_t i = n; i < t->k; i++)
            idx[i] = -1;
    }
}

/* ---- the run ---- */

static void one_row(const struct run *run, const struct row *r, int64_t row, unsigned char *slot)
{
    const struct topk *t = run->t;
    struct part sums = {0.0, 0.0, MINUS_INF}, part;
    struct list list;
    list_init(&list, slot + SLOT_FLAGS, t->kept);
    for (int64_t c0 = 0; c0 < r->cols; c0 += TILE) {
        do_tile(t, r, c0, &list, &part);
        part_merge(r, &sums, &part);
    }
    row_end(run, r, row, &list, &sums, (uint32_t *)(void *)slot);
}

/* PICK_ROWS rows of a few columns; those with NaN or +Inf go the way of all others. */
static void few_columns(const struct run *run, struct row *r, int64_t row, unsigned char *slot)
{
    const struct topk *t = run->t;
    struct list list[PICK_ROWS];
    const void *x[PICK_ROWS];
    int64_t cols[PICK_ROWS];
    float top[PICK_ROWS];
    for (int q = 0; q < PICK_ROWS; q++) {
        row_begin(run, row + q, &r[q]);
        list_init(&list[q], slot + SLOT_FLAGS + (uint64_t)(q + 1) * list_bytes(t->kept), t->kept);
        list[q].sorted = 1;
        x[q] = r[q].l.x;
        cols[q] = r[q].cols;
    }
    t->wanted.passes->pick(list, x, cols, t->kept, top);
    for (int q = 0; q < PICK_ROWS; q++) {
        struct part part = {0.0, 0.0, top[q]};
        if (top[q] != top[q]) {
            one_row(run, &r[q], row + q, slot);
            continue;
        }
        pick_sum(&t->wanted, &r[q], &part);
        row_end(run, &r[q], row + q, &list[q], &part, (uint32_t *)(void *)slot);
    }
}

static void rows_task(void *context, uint32_t i)
{
    const struct run *run = context;
    const struct topk *t = run->t;
    const uint64_t rows = (uint64_t)t->rows, tasks = t->tasks;
    /* rows < 2^32 and tasks < 2^13: no overflow. */
    int64_t row = (int64_t)(rows * i / tasks);
    const int64_t to = (int64_t)(rows * (i + UINT64_C(1)) / tasks);
    unsigned char *slot = run->workspace + i * t->slot;
    struct row r[PICK_ROWS];
    for (int q = 0; q < PICK_ROWS; q++)
        r[q] = row_any(run);
    memset(slot, 0, SLOT_FLAGS);
    for (; t->pick && row + PICK_ROWS <= to; row += PICK_ROWS)
        few_columns(run, r, row, slot);
    for (; row < to; row++) {
        row_begin(run, row, &r[0]);
        one_row(run, &r[0], row, slot);
    }
}

struct split {
    const struct run *run;
    const struct row *r;
    struct list *lists; /* a task */
    struct part *parts; /* a tile */
    int64_t tiles;
};

static void split_task(void *context, uint32_t i)
{
    const struct split *s = context;
    const struct topk *t = s->run->t;
    const int64_t from = s->tiles * i / t->tasks, to = s->tiles * (i + INT64_C(1)) / t->tasks;
    list_init(&s->lists[i], s->run->workspace + i * t->slot + SLOT_FLAGS, t->kept);
    for (int64_t k = from; k < to; k++)
        do_tile(t, s->r, k * TILE, &s->lists[i], &s->parts[k]);
}

/* Bytes of the lists' heads and the parts of a split row. */
static uint64_t split_bytes(const struct topk *t)
{
    const uint64_t tiles = ((uint64_t)t->cols + TILE - 1) / TILE;
    return (t->tasks * sizeof(struct list) + tiles * sizeof(struct part) + 127) & ~UINT64_C(63);
}

/* One row, its tiles shared out. Slot 0 has the flags of all. */
static void split_row(const struct run *run, int64_t row, uint32_t *flags)
{
    const struct topk *t = run->t;
    struct row r = row_any(run);
    row_begin(run, row, &r);
    unsigned char *shared = run->workspace + t->tasks * t->slot;
    struct part sums = {0.0, 0.0, MINUS_INF};
    struct split s = {.run = run, .r = &r, .tiles = (r.cols + TILE - 1) / TILE};
    s.parts = (struct part *)(void *)shared;
    s.lists = (struct list *)(void *)(s.parts + (t->cols + TILE - 1) / TILE);
    run->host->parallel(run->host, t->tasks, split_task, &s);
    for (int64_t k = 0; k < s.tiles; k++)
        part_merge(&r, &sums, &s.parts[k]);
    for (uint32_t i = 1; i < t->tasks; i++)
        list_merge(&s.lists[0], &s.lists[i]);
    row_end(run, &r, row, &s.lists[0], &sums, flags);
}

static void topk_run(const struct cpu_plan *plan, void *const *ptr, void *workspace)
{
    const struct topk *t = (const struct topk *)(const void *)plan->state;
    struct run run = {t, plan->env->host, ptr, workspace};
    uint32_t all[FLAGS] = {0};
    if (t->rows > 0 && t->split) {
        for (int64_t row = 0; row < t->rows; row++)
            split_row(&run, row, all);
    } else if (t->rows > 0) {
        if (t->tasks == 1)
            rows_task(&run, 0);
        else
            run.host->parallel(run.host, t->tasks, rows_task, &run);
        for (uint32_t i = 0; i < t->tasks; i++)
            for (int f = 0; f < FLAGS; f++)
                all[f] += ((const uint32_t *)(const void *)(run.workspace + i * t->slot))[f];
    }
    if (ptr[TENON_SOFTMAX_TOPK_FLAGS])
        memcpy(ptr[TENON_SOFTMAX_TOPK_FLAGS], all, sizeof all);
}

/* ---- the plan ---- */

/* Bytes from row to row; 0 for one row for all. */
static int32_t stride_of(const struct cpu_plan *plan, uint32_t i, int64_t *stride)
{
    const struct tenon_tensor *t = &plan->tensor[i], *x = &plan->tensor[TENON_SOFTMAX_TOPK_X];
    int64_t rows, cols;
    *stride = 0;
    if (!t->dtype || (t->rank == 1 && x->rank > 1))
        return TENON_OK;
    if (tenon_tensor_rows(t, &rows, stride, &cols)) {
        char message[96];
        snprintf(message, sizeof message, "%s strides: the leading axes must fold into rows with one stride",
                 tenon_op_contract_by_number(TENON_OPNUM_softmax_topk)->tensors[i].name);
        return plan->env->host->fail(plan->env->host, TENON_E_UNSUPPORTED, message);
    }
    *stride *= (int64_t)TENON_DTYPE_SIZE(t->dtype);
    return TENON_OK;
}

static int32_t set_strides(const struct cpu_plan *plan, struct topk *t)
{
    int64_t val, idx;
    int32_t status = stride_of(plan, TENON_SOFTMAX_TOPK_X, &t->x_stride);
    if (!status)
        status = stride_of(plan, TENON_SOFTMAX_TOPK_BIAS, &t->bias_stride);
    if (!status)
        status = stride_of(plan, TENON_SOFTMAX_TOPK_MASK, &t->mask_stride);
    if (!status)
        status = stride_of(plan, TENON_SOFTMAX_TOPK_NOISE, &t->noise_stride);
    if (!status)
        status = stride_of(plan, TENON_SOFTMAX_TOPK_VAL, &val);
    if (!status)
        status = stride_of(plan, TENON_SOFTMAX_TOPK_IDX, &idx);
    if (!status) {
        t->val_stride = val / (int64_t)sizeof(float);
        t->idx_stride = idx / (int64_t)sizeof(int32_t);
    }
    return status;
}

static void choose_passes(struct topk *t, const struct tenon_softmax_topk_params *p, const struct tenon_tensor *tensor)
{
    const uint32_t dtype = tensor[TENON_SOFTMAX_TOPK_X].dtype;
    struct wanted *w = &t->wanted;
    const int plain = !t->affine && !t->gumbel && !tensor[TENON_SOFTMAX_TOPK_MASK].dtype &&
                      !tensor[TENON_SOFTMAX_TOPK_NOISE].dtype;
    w->passes = !plain                ? &passes_any
                : dtype == TENON_F16  ? &passes_f16
                : dtype == TENON_BF16 ? &passes_bf16
                                      : &passes_f32;
    w->ahead = plain ? TILE * TENON_DTYPE_SIZE(dtype) : 0;
    w->moment = tensor[TENON_SOFTMAX_TOPK_ENTROPY].dtype != 0;
    w->summed = tensor[TENON_SOFTMAX_TOPK_VAL].dtype &&
                (p->norm == TENON_SOFTMAX_TOPK_FULL || p->norm == TENON_SOFTMAX_TOPK_LOG);
    for (uint32_t i = TENON_SOFTMAX_TOPK_LSE; i <= TENON_SOFTMAX_TOPK_ENTROPY; i++)
        w->summed |= tensor[i].dtype != 0;
    t->relative = w->summed != 0;
}

static void choose_split(struct topk *t, const struct cpu_env *env)
{
    const int64_t tiles = (t->cols + TILE - 1) / TILE;
    const int small = t->rows == 0 || t->cols == 0 || t->rows <= SMALL_WORK / t->cols;
    const uint64_t tasks = (uint64_t)env->threads * TASKS_PER_THREAD;
    t->split = env->threads > 1 && !small && tiles > 1 && (t->cols >= SPLIT_COLS || (uint64_t)t->rows < env->threads);
    t->tasks = small || env->threads == 1 ? 1 : (uint64_t)t->rows < tasks ? (uint32_t)t->rows : (uint32_t)tasks;
    if (t->split)
        t->tasks = (uint64_t)tiles < tasks ? (uint32_t)tiles : (uint32_t)tasks;
}

static int32_t topk_plan(struct cpu_plan *plan)
{
    static const char *const norms[] = {"full", "selected", "log", "raw"};
    const struct tenon_softmax_topk_params *p = (const void *)plan->params;
    struct topk *t = (struct topk *)(void *)plan->state;
    const struct tenon_tensor *x = &plan->tensor[TENON_SOFTMAX_TOPK_X];
    int64_t stride;
    _Static_assert(sizeof *t <= sizeof plan->state, "the plan's room");
    int32_t status = tenon_tensor_rows(x, &t->rows, &stride, &t->cols);
    if (!status)
        status = set_strides(plan, t);
    if (status)
        return status;
    t->x_dtype = x->dtype;
    t->k = p->k;
    t->kept = plan->tensor[TENON_SOFTMAX_TOPK_MARGIN].dtype && p->k < 2 ? 2 : p->k;
    t->norm = p->norm;
    t->scale = p->scale;
    t->inv_temp = p->inv_temp;
    t->affine = p->scale != 1.0f || plan->tensor[TENON_SOFTMAX_TOPK_BIAS].dtype;
    t->gumbel = p->noise == TENON_SOFTMAX_NOISE_GUMBEL;
    t->noise_amp = p->noise_amp;
    t->seed = p->seed;
    t->stream = p->stream;
    t->sample = p->sample;
    t->sink_step = tenon_tensor_count(&plan->tensor[TENON_SOFTMAX_TOPK_SINK]) > 1;
    for (uint32_t i = TENON_SOFTMAX_TOPK_MAX; i <= TENON_SOFTMAX_TOPK_ENTROPY; i++)
        t->stats |= plan->tensor[i].dtype != TENON_ABSENT;
    choose_passes(t, p, plan->tensor);
    choose_split(t, plan->env);
    t->pick = pick_fits(&t->wanted, t->cols, t->kept) != 0;
    t->slot = SLOT_FLAGS + list_bytes(t->kept) * (t->pick ? PICK_ROWS + 1 : 1);
    plan->workspace = t->tasks * t->slot + (t->split ? split_bytes(t) : 0);
    snprintf(plan->impl, sizeof plan->impl, "softmax_topk_%s_%s %s", tenon_dtype_name(x->dtype), CPU_ISA_NAME,
             norms[p->norm]);
    return TENON_OK;
}

const struct cpu_op CPU_OP_TABLE(softmax_topk) = {
    .op = TENON_OPNUM_softmax_topk,
    .plan = topk_plan,
    .run = topk_run,
};

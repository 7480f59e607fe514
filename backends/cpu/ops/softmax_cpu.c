/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax on the CPU: the plan, and the rows. */
#include <stdio.h>

#include "softmax_cpu_tile.h"

#define STACK_COLS TILE              /* exponentials of a row this long stay on the stack */
#define SPLIT_COLS (1 << 18)         /* a row this long is shared out by tiles even if there are many */
#define SMALL_WORK (1 << 16)         /* elements not worth waking threads for */
#define TASKS_PER_THREAD 4

/* ---- the passes, one instance a type ---- */

#define PASSES(dtype, DTYPE)                                                                                          \
    static void max_plain_##dtype(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *p) \
    {                                                                                                                 \
        tile_max(s, r, c0, c1, p, DTYPE, 1);                                                                          \
    }                                                                                                                 \
    static void max_##dtype(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *p)     \
    {                                                                                                                 \
        tile_max(s, r, c0, c1, p, DTYPE, 0);                                                                          \
    }                                                                                                                 \
    static void top_##dtype(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *p)     \
    {                                                                                                                 \
        tile_top(s, r, c0, c1, p, DTYPE);                                                                             \
    }                                                                                                                 \
    static void sum_plain_##dtype(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *p) \
    {                                                                                                                 \
        tile_sum(s, r, c0, c1, p, DTYPE, 1, 0);                                                                       \
    }                                                                                                                 \
    static void sum_##dtype(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *p)     \
    {                                                                                                                 \
        tile_sum(s, r, c0, c1, p, DTYPE, 0, 0);                                                                       \
    }                                                                                                                 \
    static void moments_##dtype(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *p) \
    {                                                                                                                 \
        tile_sum(s, r, c0, c1, p, DTYPE, 0, 1);                                                                       \
    }                                                                                                                 \
    static void pairs_##dtype(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *p)   \
    {                                                                                                                 \
        tile_pairs(s, r, c0, c1, p, DTYPE);                                                                           \
    }                                                                                                                 \
    static void fixed_##dtype(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *p)   \
    {                                                                                                                 \
        tile_fixed(s, r, c0, c1, p, DTYPE);                                                                           \
    }                                                                                                                 \
    static void scan_##dtype(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *p)    \
    {                                                                                                                 \
        tile_scan(s, r, c0, c1, p, DTYPE);                                                                            \
    }
#define WRITE(name, dtype, DTYPE, ytype, YTYPE, plain, what)                                                           \
    static void name##_##dtype##_##ytype(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1,        \
                                         struct part *p)                                                              \
    {                                                                                                                 \
        (void)p;                                                                                                      \
        tile_write(s, r, c0, c1, DTYPE, YTYPE, plain, what);                                                          \
    }
#define WRITES(dtype, DTYPE, ytype, YTYPE)                                     \
    WRITE(exp_plain, dtype, DTYPE, ytype, YTYPE, 1, WRITE_EXP)                 \
    WRITE(exp, dtype, DTYPE, ytype, YTYPE, 0, WRITE_EXP)                       \
    WRITE(log_plain, dtype, DTYPE, ytype, YTYPE, 1, WRITE_LOG)                 \
    WRITE(log, dtype, DTYPE, ytype, YTYPE, 0, WRITE_LOG)                       \
    WRITE(ext, dtype, DTYPE, ytype, YTYPE, 0, WRITE_PAIRS)                     \
    STAGE(dtype, DTYPE, ytype, YTYPE)
#define STAGE(dtype, DTYPE, ytype, YTYPE)                                                                              \
    static void stage_##dtype##_##ytype(struct stage *stage, int64_t cols, int64_t next_cols)                         \
    {                                                                                                                 \
        tile_stage(stage, cols, next_cols, DTYPE, YTYPE);                                                             \
    }
#define RELOAD(ytype, YTYPE)                                                                                           \
    static void reload_##ytype(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *p)  \
    {                                                                                                                 \
        (void)s;                                                                                                      \
        (void)p;                                                                                                      \
        tile_reload(r, c0, c1, YTYPE);                                                                                \
    }
PASSES(f32, TENON_F32)
PASSES(f16, TENON_F16)
PASSES(bf16, TENON_BF16)
WRITES(f32, TENON_F32, f32, TENON_F32)
WRITES(f16, TENON_F16, f32, TENON_F32)
WRITES(f16, TENON_F16, f16, TENON_F16)
WRITES(bf16, TENON_BF16, f32, TENON_F32)
WRITES(bf16, TENON_BF16, bf16, TENON_BF16)
RELOAD(f32, TENON_F32)
RELOAD(f16, TENON_F16)
RELOAD(bf16, TENON_BF16)

/* [plain] where a pass has both forms. */
struct passes {
    uint32_t x_dtype, y_dtype;
    tile_fn *max[2], *top, *sum[2], *moments, *pairs, *fixed, *scan, *write[2][2], *ext, *reload;
    stage_fn *stage;
};
#define PASSES_OF(dtype, DTYPE, ytype, YTYPE)                                                                          \
    {                                                                                                                 \
        .x_dtype = DTYPE, .y_dtype = YTYPE, .max = {max_##dtype, max_plain_##dtype}, .top = top_##dtype,              \
        .sum = {sum_##dtype, sum_plain_##dtype}, .moments = moments_##dtype, .pairs = pairs_##dtype,                  \
        .fixed = fixed_##dtype, .scan = scan_##dtype,                                                                 \
        .write = {[TENON_SOFTMAX_EXP] = {exp_##dtype##_##ytype, exp_plain_##dtype##_##ytype},                         \
                  [TENON_SOFTMAX_LOG_EXP] = {log_##dtype##_##ytype, log_plain_##dtype##_##ytype}},                    \
        .ext = ext_##dtype##_##ytype, .reload = reload_##ytype, .stage = stage_##dtype##_##ytype,                     \
    }
static const struct passes all_passes[] = {
    PASSES_OF(f32, TENON_F32, f32, TENON_F32),   PASSES_OF(f16, TENON_F16, f32, TENON_F32),
    PASSES_OF(f16, TENON_F16, f16, TENON_F16),   PASSES_OF(bf16, TENON_BF16, f32, TENON_F32),
    PASSES_OF(bf16, TENON_BF16, bf16, TENON_BF16),
};

static const char *const algo_names[] = {
    [TENON_SOFTMAX_AUTO] = "auto",
    [TENON_SOFTMAX_THREE_PASS_RECOMPUTE] = "three_pass_recompute",
    [TENON_SOFTMAX_THREE_PASS_RELOAD] = "three_pass_reload",
    [TENON_SOFTMAX_TWO_PASS_EXT] = "two_pass_ext",
    [TENON_SOFTMAX_ONLINE] = "online",
    [TENON_SOFTMAX_FIXED_MAX] = "fixed_max",
    [ONLINE_RELOAD] = "online_reload",
};

/* ---- the plan ---- */

static uint64_t round_up(uint64_t n)
{
    return (n + 63) & ~UINT64_C(63);
}

/* By the length of a row and the cache alone, never by the number of rows: a row's bits do not depend on its company. */
static uint32_t choose_algo(const struct softmax *s, const struct cpu_env *env, int has_y)
{
    const uint64_t row = (uint64_t)s->cols * sizeof(float);
    if (!has_y)
        return TENON_SOFTMAX_ONLINE; /* one pass */
    if (s->kind == TENON_SOFTMAX_LOG_EXP)
        return row <= env->l2 / 2 ? TENON_SOFTMAX_THREE_PASS_RECOMPUTE : TENON_SOFTMAX_ONLINE;
    /* Row and exponentials (of two rows, while they overlap) lie in L2: memory sees one read and one write. */
    if (row <= env->l2 / 8)
        return s->cols <= TILE ? TENON_SOFTMAX_THREE_PASS_RELOAD : ONLINE_RELOAD;
    return TENON_SOFTMAX_ONLINE;
}

static void choose_passes(struct softmax *s, const struct tenon_tensor *t, int plain)
{
    const uint32_t y_dtype = t[TENON_SOFTMAX_Y].dtype ? t[TENON_SOFTMAX_Y].dtype : TENON_F32;
    const struct passes *p = all_passes;
    while (p->x_dtype != t[TENON_SOFTMAX_X].dtype || p->y_dtype != y_dtype)
        p++;
    const int top = t[TENON_SOFTMAX_ARGMAX].dtype || t[TENON_SOFTMAX_MARGIN].dtype;
    s->moments = t[TENON_SOFTMAX_ENTROPY].dtype != 0;
    s->max = top ? p->top : p->max[plain];
    s->sum = s->moments ? p->moments : p->sum[plain];
    s->pairs = p->pairs;
    s->fixed = p->fixed;
    s->scan = p->scan;
    s->write = s->write_recompute = p->write[s->kind][plain];
    if (s->algo == TENON_SOFTMAX_TWO_PASS_EXT && s->kind == TENON_SOFTMAX_EXP)
        s->write = p->ext;
    s->reload = p->reload;
    s->stage = p->stage;
}

/* How the work is shared out, and the workspace for it: a part a tile when the tiles of a row are, and room for what the passes
 * keep, where neither the stack nor y has it. */
static uint64_t choose_split(struct softmax *s, const struct cpu_env *env)
{
    const uint64_t tiles = ((uint64_t)s->cols + TILE - 1) / TILE, row = round_up((uint64_t)s->cols * sizeof(float));
    const int small = s->rows == 0 || s->cols == 0 || s->rows <= SMALL_WORK / s->cols;
    s->split = env->threads > 1 && !small && tiles > 1 &&
               (s->cols >= SPLIT_COLS || (uint64_t)s->rows < env->threads);
    s->in_y = s->split && s->y_dtype == TENON_F32;
    if (s->split || (s->cols > TILE && s->algo != ONLINE_RELOAD))
        s->stage = NULL;
    if (s->keep && s->cols > STACK_COLS) {
        s->tops = s->in_y ? 0 : row;
        s->slot = s->tops + (s->algo == ONLINE_RELOAD ? round_up(tiles * sizeof(float)) : 0);
    }
    s->scratch = s->slot * (s->stage ? 2 : 1);
    if (s->split) {
        s->tasks = 1;
        return round_up(tiles * sizeof(struct part)) + s->scratch;
    }
    const uint64_t tasks = (uint64_t)env->threads * TASKS_PER_THREAD;
    s->tasks = small || env->threads == 1 ? 1 : (uint64_t)s->rows < tasks ? (uint32_t)s->rows : (uint32_t)tasks;
    return s->tasks * s->scratch;
}

static int64_t stride_of(const struct tenon_tensor *t, const struct tenon_tensor *x)
{
    int64_t rows, stride, cols;
    if (t->dtype == TENON_ABSENT || tenon_tensor_rows(t, &rows, &stride, &cols) != TENON_OK)
        return 0;
    if (t->rank == 1 && x->rank > 1)
        return 0; /* [cols]: the same for every row */
    return stride * (int64_t)TENON_DTYPE_SIZE(t->dtype);
}

/* x and y fold into rows, or tenon_op_check would have refused them; bias and mask may have any leading strides. */
static int32_t check_strides(const struct cpu_plan *plan)
{
    static const struct {
        uint32_t i;
        const char *text;
    } wide[] = {{TENON_SOFTMAX_BIAS, "bias strides: the leading axes must fold into rows with one stride"},
                {TENON_SOFTMAX_MASK, "mask strides: the leading axes must fold into rows with one stride"}};
    int64_t rows, stride, cols;
    for (uint32_t k = 0; k < 2; k++) {
        const struct tenon_tensor *t = &plan->tensor[wide[k].i];
        if (t->dtype != TENON_ABSENT && tenon_tensor_rows(t, &rows, &stride, &cols) != TENON_OK)
            return plan->env->host->fail(plan->env->host, TENON_E_UNSUPPORTED, wide[k].text);
    }
    return TENON_OK;
}

static int32_t softmax_plan(struct cpu_plan *plan)
{
    struct softmax *s = (struct softmax *)(void *)plan->state;
    const struct tenon_softmax_params *p = (const struct tenon_softmax_params *)(const void *)plan->params;
    const struct tenon_tensor *t = plan->tensor, *x = &t[TENON_SOFTMAX_X];
    int64_t stride;
    _Static_assert(sizeof *s <= sizeof plan->state, "the plan has no room");
    int32_t status = check_strides(plan);
    if (!status)
        status = tenon_tensor_rows(x, &s->rows, &stride, &s->cols);
    if (status)
        return status;
    const int has_y = t[TENON_SOFTMAX_Y].dtype != TENON_ABSENT;
    s->x_size = (int64_t)TENON_DTYPE_SIZE(x->dtype);
    s->x_stride = stride_of(x, x);
    s->ahead = s->cols <= TILE ? s->x_stride : (int64_t)TILE * s->x_size;
    s->y_stride = stride_of(&t[TENON_SOFTMAX_Y], x);
    s->bias_stride = stride_of(&t[TENON_SOFTMAX_BIAS], x);
    s->mask_stride = stride_of(&t[TENON_SOFTMAX_MASK], x);
    s->scale = p->scale;
    s->inv_temp = p->inv_temp;
    s->phi = p->phi;
    s->win = p->win;
    s->kind = p->kind;
    s->empty_row = p->empty_row;
    s->y_dtype = t[TENON_SOFTMAX_Y].dtype;
    s->algo = p->algo == TENON_SOFTMAX_AUTO ? choose_algo(s, plan->env, has_y) : p->algo;
    s->affine = p->scale != 1.0f || t[TENON_SOFTMAX_BIAS].dtype != TENON_ABSENT;
    s->sink_step = tenon_tensor_count(&t[TENON_SOFTMAX_SINK]) > 1;
    for (uint32_t i = TENON_SOFTMAX_MAX; i < TENON_SOFTMAX_N_TENSORS; i++)
        s->stats |= t[i].dtype != TENON_ABSENT;
    const int plain = !s->affine && !t[TENON_SOFTMAX_MASK].dtype && !t[TENON_SOFTMAX_ROW_SCALE].dtype &&
                      p->inv_temp == 1.0f;
    choose_passes(s, t, plain);
    s->keep = has_y && s->kind == TENON_SOFTMAX_EXP &&
              (s->algo == TENON_SOFTMAX_THREE_PASS_RELOAD || s->algo == ONLINE_RELOAD);
    if (!plain || !s->keep || s->stats || t[TENON_SOFTMAX_VALID_LEN].dtype || t[TENON_SOFTMAX_SINK].dtype)
        s->stage = NULL;
    plan->workspace = choose_split(s, plan->env);
    /* Past the cache when the tensors do not fit it anyway: y is not read first and evicts nothing. */
    s->stream = s->y_dtype == TENON_F32 && tenon_tensor_bytes(&t[TENON_SOFTMAX_Y]) > plan->env->l2 * 4;
    snprintf(plan->impl, sizeof plan->impl, "softmax_%s_%s %s", tenon_dtype_name(x->dtype), CPU_ISA_NAME,
             algo_names[s->algo]);
    return TENON_OK;
}

/* ---- tiles of a row ---- */

struct run {
    const struct softmax *s;
    const struct tenon_host *host;
    void *const *ptr;
    unsigned char *workspace;
    uint32_t threads;
};

static void part_init(struct part *p)
{
    p->s = p->a = p->pair = p->fixed = 0.0;
    p->pair_n = NO_EXPONENT;
    p->m = p->m2 = MINUS_INF;
    p->reach = 0.0f;
    p->arg = p->nan = -1;
}

typedef void merge_fn(const struct row *r, struct part *to, const struct part *p);

static void merge_max(const struct row *r, struct part *to, const struct part *p)
{
    (void)r;
    merge_top(to, p->m, p->m2, p->arg);
}

static void merge_sum(const struct row *r, struct part *to, const struct part *p)
{
    (void)r;
    to->s += p->s;
    to->a += p->a;
}

/* Sums relative to different maxima. A part without a maximum holds no sum, or NaN. */
static void merge_online(const struct row *r, struct part *to, const struct part *p)
{
    if (!(p->m > MINUS_INF)) {
        to->s += p->s;
    } else if (!(to->m > MINUS_INF)) {
        to->s += p->s;
        to->a = p->a;
    } else {
        const double delta = -fabs((double)p->m - (double)to->m) * r->T, w = exp(delta);
        if (p->m > to->m) {
            to->a = p->a + w * (to->a + to->s * delta);
            to->s = p->s + w * to->s;
        } else {
            to->a += w * (p->a + p->s * delta);
            to->s += w * p->s;
        }
    }
    merge_top(to, p->m, p->m2, p->arg);
}

static void merge_pairs(const struct row *r, struct part *to, const struct part *p)
{
    (void)r;
    merge_pair(&to->pair, &to->pair_n, p->pair, p->pair_n);
    to->reach = p->reach > to->reach ? p->reach : to->reach;
}

static void merge_fixed(const struct row *r, struct part *to, const struct part *p)
{
    (void)r;
    to->fixed += p->fixed;
    to->m = p->m > to->m ? p->m : to->m;
}

static void merge_scan(const struct row *r, struct part *to, const struct part *p)
{
    (void)r;
    to->arg = to->arg < 0 ? p->arg : to->arg;
    to->nan = to->nan < 0 ? p->nan : to->nan;
}

/* Maximum and sum of one tile, which is in L1 for the second look. */
static void online_tile(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *p)
{
    struct row local = *r;
    s->max(s, r, c0, c1, p);
    p->s = p->a = 0.0;
    if (p->m > MINUS_INF) {
        local.reference = p->m;
        s->sum(s, &local, c0, c1, p);
        return;
    }
    if (r->e)
        memset(r->e + c0, 0, (size_t)(c1 - c0) * sizeof *r->e);
    struct part scan;
    s->scan(s, r, c0, c1, &scan);
    if (scan.nan >= 0)
        p->s = (double)NAN;
}

static void keep_tile(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *p)
{
    online_tile(s, r, c0, c1, p);
    r->tops[c0 / TILE] = p->m;
}

static void scale_tile(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *p)
{
    const float top = r->tops[c0 / TILE];
    struct row local = *r;
    local.inverse = 0.0f;
    if (top > MINUS_INF)
        local.inverse = (float)((double)r->inverse * exp(((double)top - (double)r->reference) * r->T));
    s->reload(s, &local, c0, c1, p);
}

struct split {
    const struct softmax *s;
    const struct row *r;
    tile_fn *pass;
    struct part *parts; /* NULL: the pass gives none */
    int64_t tiles, each;
};

static void split_task(void *context, uint32_t i)
{
    const struct split *t = context;
    const int64_t from = i * t->each, to = from + t->each < t->tiles ? from + t->each : t->tiles;
    for (int64_t k = from; k < to; k++) {
        struct part unused;
        const int64_t c0 = k * TILE, c1 = t->r->cols - c0 < TILE ? t->r->cols : c0 + TILE;
        t->pass(t->s, t->r, c0, c1, t->parts ? &t->parts[k] : &unused);
    }
    if (t->r->stream)
        simd_fence();
}

/* One pass over all tiles of a row; the parts are merged ascending. */
static void sweep(const struct run *run, const struct row *r, tile_fn *pass, merge_fn *merge, struct part *to)
{
    const struct softmax *s = run->s;
    const int64_t tiles = (r->cols + TILE - 1) / TILE;
    if (s->split && tiles > 1) {
        struct split t = {s, r, pass, merge ? (struct part *)(void *)run->workspace : NULL, tiles, 0};
        const int64_t tasks = (int64_t)run->threads * TASKS_PER_THREAD;
        t.each = (tiles + tasks - 1) / tasks;
        run->host->parallel(run->host, (uint32_t)((tiles + t.each - 1) / t.each), split_task, &t);
        for (int64_t k = 0; merge && k < tiles; k++)
            merge(r, to, &t.parts[k]);
        return;
    }
    for (int64_t c0 = 0; c0 < r->cols; c0 += TILE) {
        struct part part;
        pass(s, r, c0, r->cols - c0 < TILE ? r->cols : c0 + TILE, &part);
        if (merge)
            merge(r, to, &part);
    }
}

/* ---- what is the same for every algorithm ---- */

/* y[from, to): `value` where entries exist, `masked` where not. */
static void fill_y(const struct softmax *s, const struct row *r, int64_t from, int64_t to, int exist, float value)
{
    const float masked = s->kind == TENON_SOFTMAX_LOG_EXP ? MINUS_INF : 0.0f;
    for (int64_t c = from; c < to; c++) {
        const float y = exist && (!r->mask || r->mask[c]) ? value : masked;
        if (s->y_dtype == TENON_F32)
            ((float *)r->y)[c] = y;
        else
            ((uint16_t *)r->y)[c] = s->y_dtype == TENON_F16 ? simd_to_f16(y) : simd_to_bf16(y);
    }
}

static void put(const struct run *run, uint32_t i, int64_t row, double value)
{
    if (run->ptr[i])
        ((float *)run->ptr[i])[row] = (float)value;
}

static void put_arg(const struct run *run, int64_t row, int32_t arg)
{
    if (run->ptr[TENON_SOFTMAX_ARGMAX])
        ((int32_t *)run->ptr[TENON_SOFTMAX_ARGMAX])[row] = arg;
}

static void nan_row(const struct run *run, const struct row *r, int64_t row, const struct part *p)
{
    int32_t arg = p->arg;
    if (run->ptr[TENON_SOFTMAX_ARGMAX] && arg < 0) {
        struct part scan;
        part_init(&scan);
        sweep(run, r, run->s->scan, merge_scan, &scan);
        if (scan.nan >= 0) /* else the row is empty, and NaN for another reason */
            arg = scan.arg >= 0 ? scan.arg : scan.nan;
    }
    put_arg(run, row, arg);
    for (uint32_t i = TENON_SOFTMAX_MAX; i < TENON_SOFTMAX_N_TENSORS; i++)
        if (i != TENON_SOFTMAX_ARGMAX)
            put(run, i, row, (double)NAN);
    if (r->y)
        fill_y(run->s, r, 0, r->cols, 1, NAN);
}

static float empty_value(const struct softmax *s, const struct row *r)
{
    int64_t exist = r->cols;
    if (s->empty_row == TENON_SOFTMAX_EMPTY_NAN)
        return NAN;
    if (r->mask) {
        exist = 0;
        for (int64_t c = 0; c < r->cols; c++)
            exist += r->mask[c] != 0;
    }
    if (s->kind == TENON_SOFTMAX_LOG_EXP)
        return (float)-log((double)exist);
    return (float)(1.0 / (double)exist);
}

static void empty_row(const struct run *run, const struct row *r, int64_t row, const float *sink)
{
    const struct softmax *s = run->s;
    const int zero = sink || s->empty_row == TENON_SOFTMAX_EMPTY_ZERO;
    double lse = -(double)INFINITY, energy = (double)INFINITY;
    if (sink) {
        lse = r->flat && isinf(*sink) ? (double)*sink : (double)*sink * r->T;
        energy = r->flat ? -(double)INFINITY : -lse / r->T;
    }
    put(run, TENON_SOFTMAX_MAX, row, -(double)INFINITY);
    put(run, TENON_SOFTMAX_LSE, row, lse);
    put(run, TENON_SOFTMAX_ENERGY, row, energy);
    for (uint32_t i = TENON_SOFTMAX_PMAX; i <= TENON_SOFTMAX_ENTROPY; i++)
        put(run, i, row, 0.0);
    put_arg(run, row, -1);
    if (r->y)
        fill_y(s, r, 0, r->cols, !zero, zero ? 0.0f : empty_value(s, r));
}

/* From (m, s, a) of the row, without its sink. */
static void statistics(const struct run *run, const struct row *r, int64_t row, const struct part *p, double R, double S)
{
    const double m = (double)p->m, m2 = (double)p->m2;
    const double pmax = exp((m - R) * r->T) / S, lse = R * r->T + log(S);
    put(run, TENON_SOFTMAX_MAX, row, m);
    put_arg(run, row, p->arg);
    put(run, TENON_SOFTMAX_LSE, row, lse);
    put(run, TENON_SOFTMAX_PMAX, row, pmax);
    put(run, TENON_SOFTMAX_MARGIN, row, p->m2 > MINUS_INF ? pmax - exp((m2 - R) * r->T) / S : pmax);
    if (run->s->moments)
        put(run, TENON_SOFTMAX_ENTROPY, row, log(p->s) - p->a / p->s);
    put(run, TENON_SOFTMAX_ENERGY, row, r->flat ? -(double)INFINITY : -lse / r->T);
}

/* The sink joins; what y needs is put into the row. 0: the row is NaN. */
static int finish(const struct run *run, struct row *r, int64_t row, const struct part *p, const float *sink)
{
    const double m = (double)p->m, R = sink && *sink > p->m ? (double)*sink : m, T = r->T;
    double S = p->s, weight = 1.0;
    if (sink) {
        weight = exp((m - R) * T);
        S = S * weight + (*sink == MINUS_INF ? 0.0 : exp(((double)*sink - R) * T));
    }
    if (!(S < (double)INFINITY)) /* NaN, or an infinite sink */
        return 0;
    r->reference = p->m;
    r->inverse = (float)(weight / S);
    if (run->s->kind == TENON_SOFTMAX_LOG_EXP)
        r->log_sum = (float)(log(S) + (R - m) * T);
    if (run->s->stats)
        statistics(run, r, row, p, R, S);
    return 1;
}

/* ---- the algorithms ---- */

static void end_row(const struct run *run, struct row *r, int64_t row, const struct part *p, const float *sink,
                    tile_fn *write)
{
    if (!finish(run, r, row, p, sink))
        nan_row(run, r, row, p);
    else if (r->y)
        sweep(run, r, write, NULL, NULL);
}

/* Nothing is above -Inf: NaN, or empty. */
static void end_bare_row(const struct run *run, struct row *r, int64_t row, const struct part *p, const float *sink)
{
    struct part scan;
    part_init(&scan);
    sweep(run, r, run->s->scan, merge_scan, &scan);
    if (scan.nan >= 0 || (sink && isnan(*sink)))
        nan_row(run, r, row, p);
    else
        empty_row(run, r, row, sink);
}

static void three_pass(const struct run *run, struct row *r, int64_t row, const float *sink, tile_fn *write)
{
    const struct softmax *s = run->s;
    struct part p;
    part_init(&p);
    sweep(run, r, s->max, merge_max, &p);
    if (!(p.m > MINUS_INF)) {
        end_bare_row(run, r, row, &p, sink);
        return;
    }
    r->reference = p.m;
    sweep(run, r, s->sum, merge_sum, &p);
    end_row(run, r, row, &p, sink, r->e ? s->reload : write);
}

static void online(const struct run *run, struct row *r, int64_t row, const float *sink)
{
    const int keep = r->tops != NULL;
    struct part p;
    part_init(&p);
    sweep(run, r, keep ? keep_tile : online_tile, merge_online, &p);
    if (p.m > MINUS_INF)
        end_row(run, r, row, &p, sink, keep ? scale_tile : run->s->write_recompute);
    else
        end_bare_row(run, r, row, &p, sink);
}

/* The statistics, and everything but the sum, come from the tiles while they are in L1. */
static void fixed_tile(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *p)
{
    struct part fixed;
    if (!s->stats) {
        s->fixed(s, r, c0, c1, p);
        return;
    }
    s->fixed(s, r, c0, c1, &fixed);
    online_tile(s, r, c0, c1, p);
    p->fixed = fixed.fixed;
}

static void merge_fixed_all(const struct row *r, struct part *to, const struct part *p)
{
    to->fixed += p->fixed;
    merge_online(r, to, p);
}

static void fixed_max(const struct run *run, struct row *r, int64_t row, const float *sink)
{
    const struct softmax *s = run->s;
    struct part p;
    part_init(&p);
    sweep(run, r, fixed_tile, s->stats ? merge_fixed_all : merge_fixed, &p);
    const double far = ((double)p.m - (double)s->phi) * r->T;
    if (!(fabs(far) <= (double)s->win)) { /* far away, infinite or empty */
        online(run, r, row, sink);
        return;
    }
    if (!s->stats)
        p.s = p.fixed * exp(-far);
    end_row(run, r, row, &p, sink, s->write);
}

static void pairs_tile(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *p)
{
    struct part pairs;
    if (!s->stats) {
        s->pairs(s, r, c0, c1, p);
        return;
    }
    s->pairs(s, r, c0, c1, &pairs);
    online_tile(s, r, c0, c1, p);
    p->pair = pairs.pair;
    p->pair_n = pairs.pair_n;
    p->reach = pairs.reach;
}

static void merge_pairs_all(const struct row *r, struct part *to, const struct part *p)
{
    merge_pairs(r, to, p);
    merge_online(r, to, p);
}

/* e^sink joins the sum, as a pair too. */
static void pair_sink(struct part *p, float sink)
{
    float lane[VF], n[VF];
    vf exponent;
    vf_store(lane, pair_of(vf_set1(sink), &exponent));
    vf_store(n, exponent);
    merge_pair(&p->pair, &p->pair_n, (double)lane[0], (double)n[0]);
}

static void two_pass(const struct run *run, struct row *r, int64_t row, const float *sink)
{
    const struct softmax *s = run->s;
    const float limit = 0x1p20f;
    struct part p;
    part_init(&p);
    sweep(run, r, pairs_tile, s->stats ? merge_pairs_all : merge_pairs, &p);
    const int bare = p.pair == 0.0; /* nothing is above -Inf */
    if (bare || isnan(p.pair) || p.reach > limit || (sink && !(fabsf(*sink) <= limit))) {
        three_pass(run, r, row, sink, s->write_recompute);
        return;
    }
    if (s->stats && !finish(run, r, row, &p, sink)) {
        nan_row(run, r, row, &p);
        return;
    }
    if (sink)
        pair_sink(&p, *sink);
    const double lse = log(p.pair) + p.pair_n * 0x1.62e42fefa39efp-1;
    r->inverse = (float)(1.0 / p.pair);
    r->exponent = (float)p.pair_n;
    r->reference = (float)lse; /* LOG_EXP: y = v - lse, of which the lower half is log_sum */
    r->log_sum = (float)(lse - (double)r->reference);
    if (r->y)
        sweep(run, r, s->write, NULL, NULL);
}

/* ---- rows ---- */

/* T of the row. 0: the row is NaN. */
static int set_temperature(const struct run *run, struct row *r, int64_t row)
{
    const float *row_scale = run->ptr[TENON_SOFTMAX_ROW_SCALE];
    const float scale = row_scale ? row_scale[row] : 1.0f;
    float T = run->s->inv_temp * scale;
    if (!(T < 0x1.fffffep127f)) /* an overflow of the product still means "the largest alone" */
        T = 0x1.fffffep127f;
    r->T = (double)T;
    r->flat = T == 0.0f;
    r->half = T < 1.0f ? 0.5f : 1.0f;
    r->rest = T / r->half;
    return scale >= 0.0f && scale < INFINITY;
}

static void bad_temperature(const struct run *run, struct row *r, int64_t row)
{
    struct part p;
    part_init(&p);
    if (run->ptr[TENON_SOFTMAX_ARGMAX])
        sweep(run, r, run->s->max, merge_max, &p);
    nan_row(run, r, row, &p);
}

static void run_row(const struct run *run, int64_t row, unsigned char *kept)
{
    const struct softmax *s = run->s;
    void *const *ptr = run->ptr;
    const int32_t *valid_len = ptr[TENON_SOFTMAX_VALID_LEN];
    const float *sink = ptr[TENON_SOFTMAX_SINK];
    struct row r = {.x = (const char *)ptr[TENON_SOFTMAX_X] + row * s->x_stride, .cols = s->cols, .ahead = s->ahead};
    if (ptr[TENON_SOFTMAX_BIAS])
        r.bias = (const float *)(const void *)((const char *)ptr[TENON_SOFTMAX_BIAS] + row * s->bias_stride);
    if (ptr[TENON_SOFTMAX_MASK])
        r.mask = (const uint8_t *)ptr[TENON_SOFTMAX_MASK] + row * s->mask_stride;
    if (ptr[TENON_SOFTMAX_Y])
        r.y = (char *)ptr[TENON_SOFTMAX_Y] + row * s->y_stride;
    if (valid_len)
        r.cols = valid_len[row] < 0 ? 0 : valid_len[row] < s->cols ? valid_len[row] : s->cols;
    if (sink)
        sink += s->sink_step ? row : 0;
    r.stream = s->stream && r.y && (uintptr_t)r.y % (sizeof(float) * VF) == 0;
    if (s->keep)
        r.e = s->in_y ? (float *)r.y : (float *)(void *)kept;
    if (s->algo == ONLINE_RELOAD)
        r.tops = (float *)(void *)(kept + s->tops);
    if (!set_temperature(run, &r, row))
        bad_temperature(run, &r, row);
    else if (s->algo == TENON_SOFTMAX_ONLINE || s->algo == ONLINE_RELOAD)
        online(run, &r, row, sink);
    else if (s->algo == TENON_SOFTMAX_FIXED_MAX)
        fixed_max(run, &r, row, sink);
    else if (s->algo == TENON_SOFTMAX_TWO_PASS_EXT)
        two_pass(run, &r, row, sink);
    else
        three_pass(run, &r, row, sink, s->write);
    if (r.y && r.cols < s->cols)
        fill_y(s, &r, r.cols, s->cols, 0, 0.0f);
}

/* The exponentials of one row on their way to y. */
struct slot {
    float *e, *tops;
    unsigned char *y; /* NULL: nothing to do */
    float inverse, top;
};

static float slot_factor(const struct slot *slot, int64_t tile)
{
    const float top = slot->tops[tile];
    if (top == slot->top)
        return slot->inverse;
    return top > MINUS_INF ? (float)((double)slot->inverse * exp((double)top - (double)slot->top)) : 0.0f;
}

/* One tile of `row` through the stage, with the tile of the row before it. m: its maximum, then that of the next. */
static void stage_tile(const struct run *run, const struct row *r, int64_t c0, const void *next, int64_t next_cols,
                       const struct slot *now, const struct slot *last, float *m, struct part *p)
{
    const struct softmax *s = run->s;
    const int64_t tile = c0 / TILE, cols = s->cols - c0 < TILE ? s->cols - c0 : TILE;
    const int64_t y_size = (int64_t)TENON_DTYPE_SIZE(s->y_dtype);
    struct stage g = {.x = (const char *)r->x + c0 * s->x_size, .reference = *m, .e = now->e + c0, .next = next};
    if (last->y) {
        g.last = last->e + c0;
        g.factor = slot_factor(last, tile);
        g.y = last->y + c0 * y_size;
        g.stream = s->stream && (uintptr_t)last->y % (sizeof(float) * VF) == 0;
    }
    now->tops[tile] = p->m = *m;
    p->a = 0.0;
    p->m2 = MINUS_INF;
    p->arg = -1;
    s->stage(&g, cols, next_cols);
    p->s = g.s;
    *m = g.m;
    if (p->m > MINUS_INF)
        return;
    /* Nothing above -Inf here: the differences were NaN, or the row has one. */
    struct part scan;
    s->scan(s, r, c0, c0 + cols, &scan);
    p->s = scan.nan >= 0 ? (double)NAN : 0.0;
    memset(now->e + c0, 0, (size_t)cols * sizeof *now->e);
}

/* Rows [from, to), overlapped: while the exponentials of a row are computed, y of the row before it is written and the maximum
 * of the tile after it is found. Each row has the bits that run_row would give it. */
static void run_stages(const struct run *run, int64_t from, int64_t to, unsigned char *kept, float *tops)
{
    const struct softmax *s = run->s;
    const int64_t second = s->slot ? (int64_t)s->slot : (int64_t)(STACK_COLS * sizeof(float));
    struct slot slots[2];
    for (int k = 0; k < 2; k++) {
        unsigned char *own = kept + k * second;
        slots[k] = (struct slot){.e = (float *)(void *)own, .tops = s->slot ? (float *)(void *)(own + s->tops) : tops + k};
    }
    struct row r = {.x = (const char *)run->ptr[TENON_SOFTMAX_X] + from * s->x_stride, .cols = s->cols, .T = 1.0};
    struct part first;
    s->max(s, &r, 0, s->cols < TILE ? s->cols : TILE, &first);
    float m = first.m;
    for (int64_t row = from; row < to; row++) {
        struct slot *now = &slots[(row - from) % 2], *last = &slots[(row - from + 1) % 2];
        struct part p, tile;
        part_init(&p);
        r.x = (const char *)run->ptr[TENON_SOFTMAX_X] + row * s->x_stride;
        for (int64_t c0 = 0; c0 < s->cols; c0 += TILE) {
            const int64_t c1 = c0 + TILE < s->cols ? c0 + TILE : 0;
            const void *next = c1 || row + 1 < to ? (const char *)r.x + (c1 ? c1 * s->x_size : s->x_stride) : NULL;
            stage_tile(run, &r, c0, next, s->cols - c1 < TILE ? s->cols - c1 : TILE, now, last, &m, &tile);
            merge_online(&r, &p, &tile);
        }
        now->y = NULL;
        if (p.m > MINUS_INF && finish(run, &r, row, &p, NULL)) {
            now->y = (unsigned char *)run->ptr[TENON_SOFTMAX_Y] + row * s->y_stride;
            now->inverse = r.inverse;
            now->top = p.m;
        } else {
            run_row(run, row, (unsigned char *)now->e);
        }
    }
    const struct slot *last = &slots[(to - from + 1) % 2];
    for (int64_t c0 = 0; last->y && c0 < s->cols; c0 += TILE) {
        r.e = last->e;
        r.y = last->y;
        r.inverse = slot_factor(last, c0 / TILE);
        s->reload(s, &r, c0, s->cols - c0 < TILE ? s->cols : c0 + TILE, NULL);
    }
}

static void rows_task(void *context, uint32_t i)
{
    const struct run *run = context;
    const struct softmax *s = run->s;
    const uint64_t rows = (uint64_t)s->rows, tasks = s->tasks;
    /* rows < 2^32 and tasks < 2^13: no overflow. */
    const int64_t from = (int64_t)(rows * i / tasks), to = (int64_t)(rows * (i + UINT64_C(1)) / tasks);
    float stack[2 * STACK_COLS] __attribute__((aligned(64))), tops[2];
    unsigned char *kept = s->slot ? run->workspace + i * s->scratch : (unsigned char *)stack;
    if (s->stage && s->cols > 0) {
        run_stages(run, from, to, kept, tops);
    } else {
        for (int64_t row = from; row < to; row++)
            run_row(run, row, kept);
    }
    if (s->stream)
        simd_fence();
}

static void softmax_run(const struct cpu_plan *plan, void *const *ptr, void *workspace)
{
    const struct softmax *s = (const struct softmax *)(const void *)plan->state;
    struct run run = {s, plan->env->host, ptr, workspace, plan->env->threads};
    if (s->rows == 0)
        return;
    if (s->split) {
        for (int64_t row = 0; row < s->rows; row++)
            run_row(&run, row, run.workspace + plan->workspace - s->scratch);
    } else if (s->tasks == 1) {
        rows_task(&run, 0);
    } else {
        run.host->parallel(run.host, s->tasks, rows_task, &run);
    }
}

const struct cpu_op CPU_OP_TABLE(softmax) = {
    .op = TENON_OPNUM_softmax,
    .plan = softmax_plan,
    .run = softmax_run,
};

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax on the CPU: the plan, and how its work is shared out. */
#include <stdio.h>

#include "../../../plugin-api/normal.h"
#include "softmax_cpu_stage.h"

#define SPLIT_COLS (1 << 18)         /* a row this long is shared out by tiles even if there are many */
#define SMALL_WORK (1 << 16)         /* elements not worth waking threads for */

/* ---- the passes, one instance a type ---- */

#define PASS(name, call)                                                       \
    static void name(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *p) \
    {                                                                          \
        (void)s;                                                               \
        (void)p;                                                               \
        call;                                                                  \
    }
#define PASSES(dtype, DTYPE)                                                   \
    PASS(max_plain_##dtype, tile_max(r, c0, c1, p, DTYPE, 1))               \
    PASS(max_##dtype, tile_max(r, c0, c1, p, DTYPE, 0))                     \
    PASS(top_##dtype, tile_top(r, c0, c1, p, DTYPE))                        \
    PASS(sum_plain_##dtype, tile_sum(r, c0, c1, p, DTYPE, 1, 0))            \
    PASS(sum_##dtype, tile_sum(r, c0, c1, p, DTYPE, 0, 0))                  \
    PASS(moments_##dtype, tile_sum(r, c0, c1, p, DTYPE, 0, 1))              \
    PASS(pairs_##dtype, tile_pairs(r, c0, c1, p, DTYPE))                    \
    PASS(fixed_##dtype, tile_fixed(s, r, c0, c1, p, DTYPE))                    \
    PASS(scan_##dtype, tile_scan(r, c0, c1, p, DTYPE))
#define WRITES(dtype, DTYPE, ytype, YTYPE)                                     \
    PASS(exp_plain_##dtype##_##ytype, tile_write(r, c0, c1, DTYPE, YTYPE, 1, WRITE_EXP)) \
    PASS(exp_##dtype##_##ytype, tile_write(r, c0, c1, DTYPE, YTYPE, 0, WRITE_EXP)) \
    PASS(log_plain_##dtype##_##ytype, tile_write(r, c0, c1, DTYPE, YTYPE, 1, WRITE_LOG)) \
    PASS(log_##dtype##_##ytype, tile_write(r, c0, c1, DTYPE, YTYPE, 0, WRITE_LOG)) \
    PASS(ext_##dtype##_##ytype, tile_write(r, c0, c1, DTYPE, YTYPE, 0, WRITE_PAIRS)) \
    static void stage_##dtype##_##ytype(struct stage *stage, int64_t cols, int64_t next_cols) \
    {                                                                          \
        tile_stage(stage, cols, next_cols, DTYPE, YTYPE);                      \
    }
PASSES(f32, TENON_F32)
PASSES(f16, TENON_F16)
PASSES(bf16, TENON_BF16)
WRITES(f32, TENON_F32, f32, TENON_F32)
WRITES(f16, TENON_F16, f32, TENON_F32)
WRITES(f16, TENON_F16, f16, TENON_F16)
WRITES(bf16, TENON_BF16, f32, TENON_F32)
WRITES(bf16, TENON_BF16, bf16, TENON_BF16)
PASS(reload_f32, tile_reload(r, c0, c1, TENON_F32))
PASS(reload_f16, tile_reload(r, c0, c1, TENON_F16))
PASS(reload_bf16, tile_reload(r, c0, c1, TENON_BF16))

/* [plain] where a pass has both forms. */
struct passes {
    uint32_t x_dtype, y_dtype;
    tile_fn *max[2], *top, *sum[2], *moments, *pairs, *fixed, *scan, *write[2][2], *ext, *reload;
    stage_fn *stage;
};
#define PASSES_OF(dtype, DTYPE, ytype, YTYPE)                                  \
    {                                                                          \
        .x_dtype = DTYPE, .y_dtype = YTYPE,                                    \
        .max = {max_##dtype, max_plain_##dtype}, .top = top_##dtype,           \
        .sum = {sum_##dtype, sum_plain_##dtype}, .moments = moments_##dtype,   \
        .pairs = pairs_##dtype, .fixed = fixed_##dtype, .scan = scan_##dtype,  \
        .write = {[TENON_SOFTMAX_EXP] = {exp_##dtype##_##ytype, exp_plain_##dtype##_##ytype}, \
                  [TENON_SOFTMAX_LOG_EXP] = {log_##dtype##_##ytype, log_plain_##dtype##_##ytype}}, \
        .ext = ext_##dtype##_##ytype, .reload = reload_##ytype, .stage = stage_##dtype##_##ytype, \
    }
static const struct passes all_passes[] = {
    PASSES_OF(f32, TENON_F32, f32, TENON_F32),   PASSES_OF(f16, TENON_F16, f32, TENON_F32),
    PASSES_OF(f16, TENON_F16, f16, TENON_F16),   PASSES_OF(bf16, TENON_BF16, f32, TENON_F32),
    PASSES_OF(bf16, TENON_BF16, bf16, TENON_BF16),
};

PASS(keep_f32, keep_logits(s, r, c0, c1, p, TENON_F32))
PASS(keep_f16, keep_logits(s, r, c0, c1, p, TENON_F16))
PASS(keep_bf16, keep_logits(s, r, c0, c1, p, TENON_BF16))

/* The family: its own passes, and what impl says. */
static const struct {
    const char *name;
    tile_fn *write, *sum;
} family_passes[] = {
    [TENON_SOFTMAX_EXP] = {"exp", exps_y, NULL},
    [TENON_SOFTMAX_LOG_EXP] = {"log_exp", exps_y, NULL},
    [TENON_SOFTMAX_SOFTPICK] = {"softpick", softpick_y, softpick_sum},
    [TENON_SOFTMAX_SPARSEMAX] = {"sparsemax", sparse_y, NULL},
    [TENON_SOFTMAX_ENTMAX15] = {"entmax15", sparse_y, NULL},
    [TENON_SOFTMAX_SIGMOID] = {"sigmoid", sigmoid_y, NULL},
    [TENON_SOFTMAX_RELU_NORM] = {"relu_norm", relu_y, relu_sum},
    [TENON_SOFTMAX_RELU2_NORM] = {"relu2_norm", relu2_y, relu2_sum},
    [TENON_SOFTMAX_QUAD_NORM] = {"quad_norm", quad_y, quad_sum},
    [TENON_SOFTMAX_STABLEMAX] = {"stablemax", stable_y, stable_sum},
    [TENON_SOFTMAX_SCALE] = {"scale", scale_y, NULL},
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

/* By the length of a row and the cache alone, never by the number of rows: a row's bits do not depend on its company.
 * */
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
    s->moments = t[TENON_SOFTMAX_ENTROPY].dtype || t[TENON_SOFTMAX_SUMSQ].dtype || t[TENON_SOFTMAX_NNZ].dtype;
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

static void choose_family(struct softmax *s, const struct cpu_plan *plan)
{
    const struct tenon_softmax_params *p = (const struct tenon_softmax_params *)(const void *)plan->params;
    const uint32_t dtype = plan->tensor[TENON_SOFTMAX_X].dtype;
    s->keep_logits = dtype == TENON_F32 ? keep_f32 : dtype == TENON_F16 ? keep_f16 : keep_bf16;
    s->write = family_passes[s->kind].write;
    s->moments = 1;
    s->one_sweep = is_elementwise(p->kind) && !p->support && p->post != TENON_SOFTMAX_POST_HARD &&
                   plan->tensor[TENON_SOFTMAX_Y].dtype && !plan->tensor[TENON_SOFTMAX_MULT].dtype &&
                   !plan->tensor[TENON_SOFTMAX_ARGMAX].dtype;
    s->surveyed = !s->one_sweep || s->stats || plan->tensor[TENON_SOFTMAX_FLAGS].dtype;
    s->family_sum = family_passes[s->kind].sum;
    if (p->support == TENON_SOFTMAX_SUPPORT_STAT_TOPK && (int64_t)p->k < s->cols)
        s->quantile = -tenon__normal_quantile((double)p->k / (double)s->cols);
}

/* Room for the family's rows: logits where y is not f32, then what the support selects in (not needed any more when the
 * set is) or the set, then the counts of the tiles. */
static void choose_room(struct softmax *s, const struct cpu_plan *plan)
{
    const struct tenon_softmax_params *p = (const struct tenon_softmax_params *)(const void *)plan->params;
    const uint64_t row = round_up((uint64_t)s->cols * sizeof(float));
    const int set = s->kind == TENON_SOFTMAX_SPARSEMAX || s->kind == TENON_SOFTMAX_ENTMAX15;
    s->in_y = s->y_dtype == TENON_F32;
    s->keys = s->in_y ? 0 : row;
    uint64_t room = set ? row : 0;
    s->select_tasks = s->split ? plan->env->threads * TASKS_PER_THREAD : 1;
    if (p->support == TENON_SOFTMAX_SUPPORT_TOPK && select_row_bytes(s->cols, s->select_tasks) > room)
        room = select_row_bytes(s->cols, s->select_tasks);
    s->tops = s->keys + room;
    s->slot = s->tops + (set ? round_up(((uint64_t)s->cols + TILE - 1) / TILE * sizeof(int32_t)) : 0);
}

/* How the work is shared out, and the workspace for it: a part a tile when the tiles of a row are, and room for what
 * the passes keep, where neither the stack nor y has it. */
static uint64_t choose_split(struct softmax *s, const struct cpu_plan *plan)
{
    const struct cpu_env *env = plan->env;
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
    if (s->family)
        choose_room(s, plan);
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

/* x and y fold into rows, or tenon_op_check would have refused them; bias, mask and noise may have any leading strides.
 * */
static int32_t check_strides(const struct cpu_plan *plan)
{
    static const struct {
        uint32_t i;
        const char *text;
    } wide[] = {{TENON_SOFTMAX_BIAS, "bias strides: the leading axes must fold into rows with one stride"},
                {TENON_SOFTMAX_MASK, "mask strides: the leading axes must fold into rows with one stride"},
                {TENON_SOFTMAX_NOISE, "noise strides: the leading axes must fold into rows with one stride"}};
    int64_t rows, stride, cols;
    for (uint32_t k = 0; k < 3; k++) {
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
    s->noise_stride = stride_of(&t[TENON_SOFTMAX_NOISE], x);
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
    for (uint32_t i = TENON_SOFTMAX_MAX; i < TENON_SOFTMAX_FLAGS; i++)
        s->stats |= t[i].dtype != TENON_ABSENT;
    const int plain = !s->affine && !t[TENON_SOFTMAX_MASK].dtype && !t[TENON_SOFTMAX_ROW_SCALE].dtype &&
                      p->inv_temp == 1.0f;
    s->family = p->kind > TENON_SOFTMAX_LOG_EXP || p->noise || p->support || p->post || p->adaptive ||
                t[TENON_SOFTMAX_MULT].dtype;
    if (s->family)
        choose_family(s, plan);
    else
        choose_passes(s, t, plain);
    s->keep = has_y && s->kind == TENON_SOFTMAX_EXP && !s->family &&
              (s->algo == TENON_SOFTMAX_THREE_PASS_RELOAD || s->algo == ONLINE_RELOAD);
    if (!plain || !s->keep || s->stats || t[TENON_SOFTMAX_VALID_LEN].dtype || t[TENON_SOFTMAX_SINK].dtype)
        s->stage = NULL;
    plan->workspace = choose_split(s, plan);
    /* Past the cache when the tensors do not fit it anyway: y is not read first and evicts nothing. */
    s->stream = s->y_dtype == TENON_F32 && !s->family && tenon_tensor_bytes(&t[TENON_SOFTMAX_Y]) > plan->env->l2 * 4;
    snprintf(plan->impl, sizeof plan->impl, "softmax_%s_%s %s", tenon_dtype_name(x->dtype), CPU_ISA_NAME,
             s->family ? family_passes[s->kind].name : algo_names[s->algo]);
    return TENON_OK;
}

/* ---- the run ---- */

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
    const struct tenon_softmax_params *params = (const struct tenon_softmax_params *)(const void *)plan->params;
    struct run run = {s, plan->env->host, ptr, params, workspace, plan->env->threads};
    if (ptr[TENON_SOFTMAX_FLAGS])
        memset(ptr[TENON_SOFTMAX_FLAGS], 0, 4 * sizeof(uint32_t));
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

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * gated_norm on the CPU. A unit of work is a stretch of whole groups of a row (with importance, the row), at most TILE
 * columns of which are in buffers at a time. What a group's statistics need is staged in f32; of a group that is longer
 * twice. Gates and the last steps go by blocks of columns, which stay in L1. */
#include <stdio.h>

#include "cpu.h"
#include "gated_norm_cpu.h"
#include "lib/act.h"
#include "lib/element.h"

#define BUFFER           512       /* columns of a block */
#define SMALL_WORK       (1 << 14) /* elements not worth waking threads for */
#define TASKS_PER_THREAD 4
#define G(NAME)          TENON_GATED_NORM_##NAME
#define WEIGHTS          4

struct side {
    int64_t row; /* bytes from row to row */
    uint32_t dtype, size;
};

/* Lives in cpu_plan.state. */
struct norm {
    int64_t rows, cols, group;
    int64_t span, spans; /* columns of a unit, units of a row */
    int64_t units;
    struct side side[G(N_TENSORS)];
    uint64_t weights, room; /* bytes of the weights in f32, of a task */
    struct tenon_gated_norm_params p;
    uint32_t tasks, stream;
};

struct run {
    const struct norm *s;
    void *const *ptr;
    const float *weight[WEIGHTS]; /* weight, bias, weight_b, bias_b: [cols], or NULL */
    float *buffers;
    int stream;
};

/* A stretch of a row and the buffers of the task. */
struct part {
    const struct run *run;
    const struct norm *s;
    int64_t row, c, n;
    float *z, *zb;   /* [TILE] */
    float *gate, *gate_b; /* [BUFFER] */
    const float *x, *b; /* what z and zb hold, or the tensor itself */
    double gates;    /* sum so far, of importance */
    int64_t block;   /* where in z and zb the gates are of */
};

/* ---- stages ---- */

static const char *row_of(const struct part *t, uint32_t i)
{
    return (const char *)t->run->ptr[i] + t->row * t->s->side[i].row;
}

/* n elements from column c on, with zeros up to a whole vector. */
SIMD_FN void widen_type(float *to, const void *from, int64_t c, int64_t n, const uint32_t dtype)
{
    int64_t i = 0;
    for (; i + VF <= n; i += VF)
        vf_store(to + i, load_x(from, c + i, VF, dtype));
    if (i < n)
        vf_store(to + i, load_x(from, c + i, (int)(n - i), dtype));
}

static void widen(float *to, const void *from, int64_t c, int64_t n, uint32_t dtype)
{
    if (dtype == TENON_F16)
        widen_type(to, from, c, n, TENON_F16);
    else if (dtype == TENON_BF16)
        widen_type(to, from, c, n, TENON_BF16);
    else
        widen_type(to, from, c, n, TENON_F32);
}

static void stage_x(struct part *t, int64_t c, int64_t n)
{
    const struct side *x = &t->s->side[G(X)], *residual = &t->s->side[G(RESIDUAL)];
    const char *row = row_of(t, G(X));
    if (x->dtype == TENON_F32 && !residual->dtype) {
        t->x = (const float *)(const void *)row + c;
        return;
    }
    t->x = t->z;
    widen(t->z, row, c, n, x->dtype);
    for (int64_t i = 0; residual->dtype && i < n; i += VF) {
        const int k = n - i < VF ? (int)(n - i) : VF;
        vf_store(t->z + i, vf_add(vf_load(t->z + i), load_x(row_of(t, G(RESIDUAL)), c + i, k, residual->dtype)));
    }
}

static void stage_b(struct part *t, int64_t c, int64_t n)
{
    const struct act tanh_act = {.kind = ACT_TANH};
    if (t->s->p.combine == G(MUL))
        return;
    t->b = t->zb;
    widen(t->zb, row_of(t, G(B)), c, n, t->s->side[G(B)].dtype);
    if (t->s->p.act_b == G(TANH))
        act_apply(&tanh_act, t->zb, n);
}

static void stage_gate(const struct part *t, uint32_t i, float *to, int64_t c, int64_t n)
{
    widen(to, row_of(t, i), c, n, t->s->side[i].dtype);
    gate_apply(t->s->p.act, to, n);
}

/* What y is made of, of a block: s a, s a + (1 - s) b, s a + s_b b. */
SIMD_FN vf join(const struct norm *s, vf a, const float *gate, const float *gate_b, const float *b, int n)
{
    const vf own = n == VF ? vf_load(gate) : vf_load_n(gate, n), product = vf_mul(own, a);
    if (s->p.combine == G(MUL))
        return product;
    const vf other = s->p.combine == G(DUAL) ? n == VF ? vf_load(gate_b) : vf_load_n(gate_b, n)
                                             : vf_sub(vf_set1(1.0f), own);
    return vf_add(product, vf_mul(other, n == VF ? vf_load(b) : vf_load_n(b, n)));
}

/* The gates of a block, and their sum where it counts. */
static void stage_gates(struct part *t, int64_t c, int64_t n, int counts)
{
    int64_t all;
    stage_gate(t, G(GATE), t->gate, c, n);
    if (t->s->p.combine == G(DUAL))
        stage_gate(t, G(GATE_B), t->gate_b, c, n);
    if (counts)
        t->gates += spread_sum(t->gate, n, 0, 0.0, 0, &all);
}

/* x becomes what is normalised, where gates come first. */
static void join_first(struct part *t, int64_t c, int64_t n, int counts)
{
    if (t->s->p.order != G(GATE_THEN_NORM) || !t->s->side[G(GATE)].dtype)
        return;
    for (int64_t from = 0; from < n; from += BUFFER) {
        const int64_t end = n - from < BUFFER ? n : from + BUFFER;
        stage_gates(t, c + from, end - from, counts);
        for (int64_t i = from; i < end; i += VF) {
            const int k = end - i < VF ? (int)(end - i) : VF;
            const vf a = k == VF ? vf_load(t->x + i) : vf_load_n(t->x + i, k);
            vf_store_n(t->z + i, join(t->s, a, t->gate + i - from, t->gate_b + i - from, t->b + i, k), k);
        }
    }
    t->x = t->z;
}

/* ---- the last steps ---- */

static void put_sum(const struct part *t, int64_t c, int64_t n)
{
    const struct side *sum = &t->s->side[G(SUM)];
    for (int64_t i = 0; sum->dtype && i < n; i += VF)
        store_y((char *)(uintptr_t)row_of(t, G(SUM)), c + i, vf_load_n(t->x + i, n - i < VF ? (int)(n - i) : VF),
                n - i < VF ? (int)(n - i) : VF, sum->dtype, 0);
}

SIMD_FN vf affine(const struct run *run, int which, vf v, int64_t c, int k)
{
    const float *weight = run->weight[which], *bias = run->weight[which + 1];
    if (weight)
        v = vf_mul(v, k == VF ? vf_load(weight + c) : vf_load_n(weight + c, k));
    if (bias)
        v = vf_add(v, k == VF ? vf_load(bias + c) : vf_load_n(bias + c, k));
    return v;
}

/* Columns c to c + n of y, of one group, or of any where norms are done. */
SIMD_FN void put_loop(const struct part *t, int64_t c, int64_t n, const float *x, int64_t at, const int plain,
                      const int gated, const struct norm_turn *turn)
{
    const struct norm *s = t->s;
    const uint32_t dtype = s->side[G(Y)].dtype;
    const vf factor = vf_set1(turn ? turn->factor : 1.0f);
    char *y = (char *)(uintptr_t)row_of(t, G(Y));
    const int stream = t->run->stream && (uintptr_t)(y + c * 4) % (VF * sizeof(float)) == 0;
    const float *gate = t->gate + at, *gate_b = t->gate_b + at, *b = t->zb + t->block + at;
    for (int64_t i = 0; i < n; i += VF) {
        const int k = n - i < VF ? (int)(n - i) : VF;
        vf v = k == VF ? vf_load(x + i) : vf_load_n(x + i, k);
        if (plain)
            v = vf_mul(v, factor);
        else if (turn)
            v = norm_turned(turn, v);
        v = affine(t->run, 0, v, c + i, k);
        if (gated && plain)
            v = vf_mul(v, k == VF ? vf_load(gate + i) : vf_load_n(gate + i, k));
        else if (gated)
            v = join(s, v, gate + i, gate_b + i, b + i, k);
        store_y(y, c + i, v, k, dtype, stream);
    }
}

/* The usual ways without what they do not need. */
static void put_y(const struct part *t, int64_t c, int64_t n, const float *x, int64_t at, const struct norm_turn *turn)
{
    const struct norm *s = t->s;
    const int gated = s->side[G(GATE)].dtype && s->p.order == G(NORM_THEN_GATE);
    const int plain = turn && turn->plain && (!gated || s->p.combine == G(MUL));
    if (plain && gated)
        put_loop(t, c, n, x, at, 1, 1, turn);
    else if (plain)
        put_loop(t, c, n, x, at, 1, 0, turn);
    else
        put_loop(t, c, n, x, at, 0, gated, turn);
}

/* b is normalised in its buffer. */
static void finish_b(struct part *t, int64_t c, int64_t n, int64_t group, const struct norm_turn *own)
{
    const struct norm *s = t->s;
    struct norm_turn turn;
    for (int64_t g = 0; g < n; g += group) {
        const int64_t k = n - g < group ? n - g : group;
        if (s->p.norm != G(NONE) && own == NULL)
            turn = norm_turn_one(s->p.norm, t->zb + g, k, (double)s->p.eps);
        for (int64_t i = g; i < g + k; i += VF) {
            const int lanes = g + k - i < VF ? (int)(g + k - i) : VF;
            vf v = vf_load_n(t->zb + i, lanes);
            if (s->p.norm != G(NONE))
                v = norm_turned(own ? own : &turn, v);
            vf_store_n(t->zb + i, affine(t->run, 2, v, c + i, lanes), lanes);
        }
    }
}

/* Columns c..c+n, which are in the buffers, whole groups or a piece of one. */
static void finish(struct part *t, int64_t c, int64_t n, const struct norm_turn *own, const struct norm_turn *own_b)
{
    const struct norm *s = t->s;
    const int gated = s->side[G(GATE)].dtype && s->p.order == G(NORM_THEN_GATE);
    struct norm_turn turn = {.scale = 1.0f};
    int64_t done = 0; /* up to where the group of `turn` goes */
    if (s->p.norm_b)
        finish_b(t, c, n, s->group, own_b);
    for (t->block = 0; t->block < n; t->block += BUFFER) {
        const int64_t end = n - t->block < BUFFER ? n : t->block + BUFFER;
        if (gated)
            stage_gates(t, c + t->block, end - t->block, s->side[G(IMPORTANCE)].dtype != 0);
        for (int64_t i = t->block, to; i < end; i = to) {
            if (s->p.norm == G(NONE) || own) {
                put_y(t, c + i, end - i, t->x + i, i - t->block, s->p.norm == G(NONE) ? NULL : own);
                break;
            }
            if (i == done) {
                done = i + s->group;
                turn = norm_turn_one(s->p.norm, t->x + i, s->group, (double)s->p.eps);
            }
            to = done < end ? done : end;
            put_y(t, c + i, to - i, t->x + i, i - t->block, &turn);
        }
    }
}

static void stage(struct part *t, int64_t c, int64_t n, int last)
{
    stage_x(t, c, n);
    stage_b(t, c, n);
    if (last)
        put_sum(t, c, n);
    join_first(t, c, n, last && t->s->side[G(IMPORTANCE)].dtype);
}

/* A group of more than TILE columns: its tiles twice. */
static void long_group(struct part *t)
{
    const struct norm *s = t->s;
    struct norm_sums sums = {0.0, 0.0, 0.0}, sums_b = {0.0, 0.0, 0.0};
    struct norm_turn turn = {.scale = 1.0f}, turn_b = {.scale = 1.0f};
    const int passes = s->p.norm == G(NONE) ? 0 : 2;
    for (int pass = s->p.norm != G(LAYER); pass < passes; pass++) {
        for (int64_t c = 0; c < t->n; c += TILE) {
            const int64_t n = t->n - c < TILE ? t->n - c : TILE;
            stage(t, t->c + c, n, 0);
            norm_sums_add(&sums, s->p.norm, pass, t->x, n);
            if (s->p.norm_b)
                norm_sums_add(&sums_b, s->p.norm, pass, t->b, n);
        }
        if (pass == 0) {
            norm_sums_centre(&sums, t->n);
            norm_sums_centre(&sums_b, t->n);
        }
    }
    if (s->p.norm != G(NONE))
        turn = norm_turn_of(&sums, s->p.norm, t->n, (double)s->p.eps);
    if (s->p.norm != G(NONE) && s->p.norm_b)
        turn_b = norm_turn_of(&sums_b, s->p.norm, t->n, (double)s->p.eps);
    for (int64_t c = 0; c < t->n; c += TILE) {
        const int64_t n = t->n - c < TILE ? t->n - c : TILE;
        stage(t, t->c + c, n, 1);
        finish(t, t->c + c, n, &turn, &turn_b);
    }
}

/* ---- the run ---- */

static void norm_task(void *context, uint32_t i)
{
    const struct run *run = context;
    const struct norm *s = run->s;
    const int64_t each = s->units / s->tasks, rest = s->units % s->tasks;
    const int64_t begin = each * i + (i < rest ? i : rest), end = begin + each + (i < rest);
    struct part t = {.run = run, .s = s};
    t.z = run->buffers + (int64_t)(s->room / sizeof(float)) * i;
    t.zb = t.z + TILE;
    t.gate = t.zb + TILE;
    t.gate_b = t.gate + BUFFER;
    for (int64_t unit = begin; unit < end; unit++) {
        const int64_t from = s->spans ? unit % s->spans * s->span : 0;
        int64_t to = s->spans ? from + s->span : s->cols;
        to = to < s->cols ? to : s->cols;
        t.row = s->spans ? unit / s->spans : unit;
        t.gates = 0.0;
        for (t.c = from; t.c < to; t.c += t.n) {
            t.n = to - t.c < s->span ? to - t.c : s->span;
            if (t.n > TILE) {
                long_group(&t);
                continue;
            }
            stage(&t, t.c, t.n, 1);
            finish(&t, t.c, t.n, NULL, NULL);
        }
        if (s->side[G(IMPORTANCE)].dtype)
            ((float *)run->ptr[G(IMPORTANCE)])[t.row] = (float)(t.gates / (double)s->cols);
    }
    if (run->stream)
        simd_fence();
}

/* Weights as floats for every column, made where the tensor is not that already. */
static void set_weights(struct run *run, float *room)
{
    static const uint32_t tensors[WEIGHTS] = {G(WEIGHT), G(BIAS), G(WEIGHT_B), G(BIAS_B)};
    const struct norm *s = run->s;
    for (int w = 0; w < WEIGHTS; w++) {
        const struct side *side = &s->side[tensors[w]];
        const int offset = w % 2 == 0 && s->p.weight_offset != 0.0f;
        if (!side->dtype)
            continue;
        if (side->dtype == TENON_F32 && side->row == s->cols && !offset) {
            run->weight[w] = run->ptr[tensors[w]];
            continue;
        }
        const int64_t width = side->row ? side->row : 1;
        for (int64_t c = 0; c < s->cols; c += width) {
            for (int64_t i = 0; i < width; i += VF) {
                const int k = width - i < VF ? (int)(width - i) : VF;
                vf v = load_x(run->ptr[tensors[w]], i, k, side->dtype);
                if (offset)
                    v = vf_add(v, vf_set1(s->p.weight_offset));
                vf_store_n(room + c + i, v, k);
            }
        }
        run->weight[w] = room;
        room += s->cols;
    }
}

static void norm_run(const struct cpu_plan *plan, void *const *ptr, void *workspace)
{
    const struct norm *s = (const struct norm *)(const void *)plan->state;
    static const uint32_t inputs[] = {G(X), G(GATE), G(RESIDUAL), G(B), G(GATE_B)};
    struct run run = {.s = s, .ptr = ptr, .stream = (int)s->stream};
    /* What was just read lies in the caches. */
    for (uint32_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++)
        run.stream = run.stream && ptr[inputs[i]] != ptr[G(Y)];
    set_weights(&run, workspace);
    run.buffers = (float *)(void *)((unsigned char *)workspace + s->weights);
    if (s->tasks == 1)
        norm_task(&run, 0);
    else if (s->tasks)
        plan->env->host->parallel(plan->env->host, s->tasks, norm_task, &run);
}

/* ---- the plan ---- */

static int32_t read_side(struct norm *s, const struct tenon_tensor *t, uint32_t i)
{
    struct side *side = &s->side[i];
    int64_t rows, stride, cols;
    if (!t->dtype)
        return TENON_OK;
    side->dtype = t->dtype;
    side->size = TENON_DTYPE_SIZE(t->dtype);
    const int is_weight = i == G(WEIGHT) || i == G(BIAS) || i == G(WEIGHT_B) || i == G(BIAS_B);
    if (i == G(IMPORTANCE))
        return TENON_OK;
    if (is_weight) { /* how many there are */
        side->row = t->dim[0];
        s->weights += (uint64_t)s->cols * sizeof(float);
        return TENON_OK;
    }
    const int32_t status = tenon_tensor_rows(t, &rows, &stride, &cols);
    side->row = stride * (int64_t)side->size;
    return status;
}

static int32_t norm_plan(struct cpu_plan *plan)
{
    static const char *const names[] = {"none", "rms", "layer", "l2"};
    struct norm *s = (struct norm *)(void *)plan->state;
    const struct tenon_tensor *x = &plan->tensor[G(X)], *y = &plan->tensor[G(Y)];
    int64_t stride;
    _Static_assert(sizeof *s <= sizeof plan->state, "the plan's room");
    memcpy(&s->p, plan->params, sizeof s->p);
    int32_t status = tenon_tensor_rows(x, &s->rows, &stride, &s->cols);
    for (uint32_t i = 0; !status && i < G(N_TENSORS); i++)
        status = read_side(s, &plan->tensor[i], i);
    if (status)
        return status;
    s->group = s->p.group ? s->p.group : s->cols;
    if (s->p.norm == G(NONE)) /* any cut will do */
        s->group = s->cols < TILE ? s->cols : TILE;
    s->span = s->group > TILE || s->group == 0 ? s->group : TILE / s->group * s->group;
    s->spans = s->side[G(IMPORTANCE)].dtype || s->span == 0 ? 0 : (s->cols + s->span - 1) / s->span;
    s->units = s->spans ? s->rows * s->spans : s->side[G(IMPORTANCE)].dtype ? s->rows : 0;
    const int64_t most = (int64_t)plan->env->threads * TASKS_PER_THREAD;
    const double work = (double)s->rows * ((double)s->cols + 16);
    s->tasks = work < SMALL_WORK || plan->env->threads == 1 ? s->units > 0
                                                            : (uint32_t)(s->units < most ? s->units : most);
    s->stream = y->dtype == TENON_F32 && tenon_tensor_bytes(y) > plan->env->l2 * 4;
    s->weights = (s->weights + 63) & ~UINT64_C(63);
    s->room = (2 * TILE + 2 * BUFFER) * sizeof(float);
    plan->workspace = s->weights + s->room * s->tasks;
    snprintf(plan->impl, sizeof plan->impl, "gated_norm_%s_%s_%s", names[s->p.norm], tenon_dtype_name(x->dtype),
             CPU_ISA_NAME);
    return TENON_OK;
}

const struct cpu_op CPU_OP_TABLE(gated_norm) = {
    .op = TENON_OPNUM_gated_norm,
    .plan = norm_plan,
    .run = norm_run,
};

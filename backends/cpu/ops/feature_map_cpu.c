/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * feature_map on the CPU: rows one after the other, widened into a buffer that stays in L1; sums are doubles over 16
 * lanes (lib/spread.h), the same bits on every ISA. */
#include <math.h>
#include <stdio.h>

#include <tenon/ops/feature_map.h>

#include "cpu.h"
#include "lib/act.h"
#include "lib/element.h"
#include "lib/log.h"
#include "lib/spread.h"

#define SMALL_WORK       (1 << 14) /* elements not worth waking threads for */
#define TASKS_PER_THREAD 4
#define F(NAME)          TENON_FEATURE_MAP_##NAME
#define NU_MAX           16 /* room before r, of which dpfp takes nu */

/* Lives in cpu_plan.state. */
struct map {
    int64_t rows, k, kb, width;
    int64_t x_row, b_row, y_row; /* bytes from row to row */
    uint32_t x_type, b_type, y_type;
    uint64_t room; /* floats of a task: x, b, and what is made of them */
    struct tenon_feature_map_params p;
    uint32_t tasks, stream;
};

struct run {
    const struct map *s;
    void *const *ptr;
    float *buffers;
};

struct part {
    const struct map *s;
    const float *b;
    float *x, *r; /* r: 2K floats, NU_MAX before them */
    char *y;
    int stream;
};

/* ---- memory ---- */

SIMD_FN void widen_type(float *to, const void *from, int64_t n, const uint32_t dtype)
{
    for (int64_t i = 0; i < n; i += VF)
        vf_store(to + i, load_x(from, i, n - i < VF ? (int)(n - i) : VF, dtype));
}

static void widen(float *to, const void *from, int64_t n, uint32_t dtype)
{
    if (dtype == TENON_F16)
        widen_type(to, from, n, TENON_F16);
    else if (dtype == TENON_BF16)
        widen_type(to, from, n, TENON_BF16);
    else
        widen_type(to, from, n, TENON_F32);
}

/* y[at + i] = a v[i] */
static void put_times(const struct part *t, int64_t at, vf a, const float *v, int64_t n)
{
    const int stream = t->stream && (uintptr_t)(t->y + at * 4) % (VF * sizeof(float)) == 0;
    int64_t i = 0;
    for (; i + VF <= n; i += VF)
        store_y(t->y, at + i, vf_mul(a, vf_load(v + i)), VF, t->s->y_type, stream);
    if (i < n)
        store_y(t->y, at + i, vf_mul(a, vf_load_n(v + i, (int)(n - i))), (int)(n - i), t->s->y_type, 0);
}

static void put(const struct part *t, int64_t at, const float *v, int64_t n)
{
    const int stream = t->stream && (uintptr_t)(t->y + at * 4) % (VF * sizeof(float)) == 0;
    int64_t i = 0;
    for (; i + VF <= n; i += VF)
        store_y(t->y, at + i, vf_load(v + i), VF, t->s->y_type, stream);
    if (i < n)
        store_y(t->y, at + i, vf_load_n(v + i, (int)(n - i)), (int)(n - i), t->s->y_type, 0);
}

/* ---- maps of an entry, of whole vectors in place ---- */

/* Of any argument. */
SIMD_FN vf exp_any(vf x)
{
    vf n;
    const vf m = exp_parts(vf_max(vf_set1(-104.0f), vf_min(vf_set1(100.0f), x)), &n);
    return act_scale(vf_set1(1.0f), m, n);
}

SIMD_FN vf positive(vf x)
{
    return vf_select(vf_le(x, vf_zero()), vf_zero(), x);
}

/* r^power of r >= 0, or NaN. */
SIMD_FN vf power_of(vf r, float power)
{
    const vf least = vf_set1(0x1p-126f);
    if (power == 3.0f)
        return vf_mul(vf_mul(r, r), r);
    const vf log = vf_log(vf_max(least, vf_min(vf_set1(0x1.fffffep127f), r)));
    const vf y = vf_select(vf_lt(r, least), vf_zero(), exp_any(vf_mul(vf_set1(power), log)));
    return vf_select(vf_nlt(r, vf_set1(INFINITY)), r, y); /* an infinity, NaN */
}

#define EACH_(expression)                                                                                              \
    for (int64_t i = 0; i < n; i += VF) {                                                                              \
        const vf x = vf_load(v + i);                                                                                   \
        vf_store(v + i, expression);                                                                                   \
    }                                                                                                                  \
    break
static void map_entries(uint32_t kind, float *v, int64_t n)
{
    const vf zero = vf_zero();
    switch (kind) {
    case F(RELU):
        EACH_(positive(x));
    case F(RELU2):
        EACH_(vf_mul(positive(x), positive(x)));
    case F(ELU1):
        EACH_(vf_select(vf_gt(x, zero), vf_add(x, vf_set1(1.0f)), exp_any(x)));
    case F(SILU):
        EACH_(act_silu(x));
    case F(EXP):
        EACH_(exp_any(x));
    default:
        break;
    }
}
#undef EACH_

/* to = max(x, 0), then max(-x, 0). */
static void halves(const float *x, float *to, int64_t k)
{
    for (int64_t i = 0; i < k; i += VF)
        vf_store_n(to + i, positive(vf_load(x + i)), k - i < VF ? (int)(k - i) : VF);
    for (int64_t i = 0; i < k; i += VF)
        vf_store_n(to + k + i, positive(vf_neg(vf_load(x + i))), k - i < VF ? (int)(k - i) : VF);
}

/* ---- maps of a row ---- */

static double squares(const float *v, int64_t n)
{
    int64_t all;
    return spread_sum(v, n, 0, 0.0, 1, &all);
}

static void scale(const struct part *t, double factor)
{
    for (int64_t i = 0; i < t->s->k; i++)
        t->r[i] = (float)((double)t->x[i] * factor);
    put(t, 0, t->r, t->s->k);
}

/* Of n entries of r. */
static void softmax(const struct part *t, int64_t n)
{
    int64_t all;
    vf most = vf_set1(-INFINITY);
    float m;
    for (int64_t i = 0; i < n; i += VF)
        most = vf_max(i + VF <= n ? vf_load(t->r + i)
                                  : vf_select(vm_first((int)(n - i)), vf_load_n(t->r + i, (int)(n - i)),
                                              vf_set1(-INFINITY)),
                      most);
    m = vf_reduce_max(most);
    for (int64_t i = 0; i < n; i += VF) {
        const int k = n - i < VF ? (int)(n - i) : VF;
        vf d = vf_sub(vf_load_n(t->r + i, k), vf_set1(m));
        if (m == -INFINITY) /* nothing there, or NaN */
            d = vf_load_n(t->r + i, k);
        vf_store_n(t->r + i, vf_exp(d), k);
    }
    const double sum = spread_sum(t->r, n, 0, 0.0, 0, &all);
    put_times(t, 0, vf_set1(sum == 0.0 ? 0.0f : (float)(1.0 / sum)), t->r, n);
}

static void hedgehog(const struct part *t)
{
    const int64_t k = t->s->k;
    for (int64_t i = 0; i < k; i++) {
        t->r[i] = t->x[i] * 2.0f;
        t->r[k + i] = t->x[i] * -2.0f;
    }
    softmax(t, 2 * k);
}

static void dpfp(const struct part *t)
{
    const int64_t n = 2 * t->s->k;
    halves(t->x, t->r, t->s->k);
    for (int64_t j = 1; n && j <= t->s->p.nu; j++)
        t->r[-j] = t->r[(n - j % n) % n];
    for (int64_t j = 1; j <= t->s->p.nu; j++)
        for (int64_t i = 0; i < n; i += VF) {
            const int k = n - i < VF ? (int)(n - i) : VF;
            const vf product = vf_mul(vf_load_n(t->r + i, k), vf_load_n(t->r + i - j, k));
            store_y(t->y, (j - 1) * n + i, product, k, t->s->y_type, 0);
        }
}

static void taylor2(const struct part *t)
{
    const int64_t k = t->s->k;
    const double root = sqrt((double)k);
    const float one = 1.0f;
    int64_t at = 1 + k;
    put(t, 0, &one, 1);
    put_times(t, 1, vf_set1((float)(1.0 / sqrt(root))), t->x, k);
    for (int64_t i = 0; i < k; i += VF) {
        const vf x = vf_load(t->x + i), scaled = vf_mul(x, vf_set1((float)(1.0 / sqrt(2.0 * (double)k))));
        store_y(t->y, at + i, vf_mul(scaled, x), k - i < VF ? (int)(k - i) : VF, t->s->y_type, 0);
    }
    at += k;
    for (int64_t i = 0; i < k; i++) {
        put_times(t, at, vf_set1(t->x[i] * (float)(1.0 / root)), t->x + i + 1, k - i - 1);
        at += k - i - 1;
    }
}

static void nala(const struct part *t)
{
    const int64_t k = t->s->k;
    float power = t->s->p.power;
    halves(t->x, t->r, k);
    if (t->s->p.kind == F(NALA_Q)) {
        const double size = sqrt(squares(t->x, k));
        const double factor = size == 0.0 ? 0.0 : size < (double)INFINITY ? 1.0 / size : (double)NAN;
        for (int64_t i = 0; i < 2 * k; i++)
            t->r[i] = (float)((double)t->r[i] * factor);
        power *= (float)(0.5 + tanh(size));
    }
    for (int64_t i = 0; i < 2 * k; i += VF) {
        const int n = 2 * k - i < VF ? (int)(2 * k - i) : VF;
        vf_store_n(t->r + i, power_of(vf_load_n(t->r + i, n), power), n);
    }
    put(t, 0, t->r, 2 * k);
}

static void map_row(const struct part *t)
{
    const struct map *s = t->s;
    int64_t all;
    double sum;
    switch (s->p.kind) {
    case F(SOFTMAX):
        memcpy(t->r, t->x, (size_t)s->k * sizeof(float));
        softmax(t, s->k);
        break;
    case F(L2):
        sum = squares(t->x, s->k);
        scale(t, sum < (double)INFINITY ? 1.0 / sqrt(sum + (double)s->p.eps) : (double)NAN);
        break;
    case F(SUMNORM):
        sum = spread_sum(t->x, s->k, 0, 0.0, 0, &all);
        scale(t, fabs(sum) < (double)INFINITY ? 1.0 / (sum + (double)s->p.eps) : (double)NAN);
        break;
    case F(HEDGEHOG):
        hedgehog(t);
        break;
    case F(DPFP):
        dpfp(t);
        break;
    case F(TAYLOR2):
        taylor2(t);
        break;
    case F(NALA_Q):
    case F(NALA_K):
        nala(t);
        break;
    case F(OUTER):
        for (int64_t i = 0; i < s->k; i++)
            put_times(t, i * s->kb, vf_set1(t->x[i]), t->b, s->kb);
        break;
    default:
        map_entries(s->p.kind, t->x, s->k);
        put(t, 0, t->x, s->k);
    }
}

/* ---- the run ---- */

static void map_task(void *context, uint32_t i)
{
    const struct run *run = context;
    const struct map *s = run->s;
    const int64_t each = s->rows / s->tasks, rest = s->rows % s->tasks;
    const int64_t begin = each * i + (i < rest ? i : rest), end = begin + each + (i < rest);
    float *own = run->buffers + s->room * i, *b = own + (s->k + 15) / 16 * 16 + 16;
    struct part t = {.s = s, .x = own, .b = own};
    t.r = b + (s->kb + 15) / 16 * 16 + NU_MAX;
    for (int64_t row = begin; row < end; row++) {
        widen(own, (const char *)run->ptr[F(X)] + row * s->x_row, s->k, s->x_type);
        if (s->b_type) {
            widen(b, (const char *)run->ptr[F(B)] + row * s->b_row, s->kb, s->b_type);
            t.b = b;
        }
        t.y = (char *)run->ptr[F(Y)] + row * s->y_row;
        t.stream = s->stream && run->ptr[F(X)] != run->ptr[F(Y)];
        map_row(&t);
    }
    if (s->stream)
        simd_fence();
}

static void map_run(const struct cpu_plan *plan, void *const *ptr, void *workspace)
{
    const struct map *s = (const struct map *)(const void *)plan->state;
    struct run run = {s, ptr, workspace};
    if (s->tasks == 1)
        map_task(&run, 0);
    else if (s->tasks)
        plan->env->host->parallel(plan->env->host, s->tasks, map_task, &run);
}

static int32_t map_plan(struct cpu_plan *plan)
{
#define NAME_(NAME, name) name,
    static const char *const names[] = {TENON_FEATURE_MAP_LIST(NAME_)};
#undef NAME_
    struct map *s = (struct map *)(void *)plan->state;
    const struct tenon_tensor *x = &plan->tensor[F(X)], *b = &plan->tensor[F(B)], *y = &plan->tensor[F(Y)];
    int64_t rows, x_row, b_row = 0, y_row;
    _Static_assert(sizeof *s <= sizeof plan->state, "the plan's room");
    memcpy(&s->p, plan->params, sizeof s->p);
    int32_t status = tenon_tensor_rows(x, &s->rows, &x_row, &s->k);
    s->kb = s->k;
    if (!status && b->dtype)
        status = tenon_tensor_rows(b, &rows, &b_row, &s->kb);
    if (!status)
        status = tenon_tensor_rows(y, &rows, &y_row, &s->width);
    if (status)
        return status;
    s->x_type = x->dtype;
    s->b_type = b->dtype;
    s->y_type = y->dtype;
    s->x_row = x_row * (int64_t)TENON_DTYPE_SIZE(x->dtype);
    s->b_row = b->dtype ? b_row * (int64_t)TENON_DTYPE_SIZE(b->dtype) : 0;
    s->y_row = y_row * (int64_t)TENON_DTYPE_SIZE(y->dtype);
    const int64_t most = (int64_t)plan->env->threads * TASKS_PER_THREAD;
    const double work = (double)s->rows * ((double)s->width + 16);
    s->tasks = s->width == 0 ? 0
               : work < SMALL_WORK || plan->env->threads == 1 ? s->rows > 0
                                                              : (uint32_t)(s->rows < most ? s->rows : most);
    s->stream = y->dtype == TENON_F32 && tenon_tensor_bytes(y) > plan->env->l2 * 4;
    s->room = (uint64_t)(s->k + s->kb + 2 * s->k + 160) / 16 * 16;
    plan->workspace = s->room * sizeof(float) * s->tasks;
    snprintf(plan->impl, sizeof plan->impl, "feature_map_%s_%s_%s", names[s->p.kind], tenon_dtype_name(x->dtype),
             CPU_ISA_NAME);
    return TENON_OK;
}

const struct cpu_op CPU_OP_TABLE(feature_map) = {
    .op = TENON_OPNUM_feature_map,
    .plan = map_plan,
    .run = map_run,
};

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax_topk on the CPU: the two sweeps over one tile of a row, of which memory sees the first and L1 the second:
 * candidates and maximum, then the sum of exponentials against that maximum. */
#ifndef TENON_SOFTMAX_TOPK_CPU_TILE_H
#define TENON_SOFTMAX_TOPK_CPU_TILE_H

#include "lib/exp.h"
#include "lib/logits.h"
#include "softmax_topk_cpu_list.h"

/* The sums of a tile, or of the tiles so far, relative to m. */
struct part {
    double s, a; /* of e, and of e*d */
    float m;     /* the largest number; -Inf: none, and no sums */
};

/* What is bound to one row. */
struct row {
    struct logits l;
    uint32_t dtype;   /* of x */
    int64_t cols;     /* that exist: valid_len */
    double T;
    float half, rest; /* T = half * rest, half a power of two small enough that v*half - M*half cannot overflow */
    int flat;         /* T == 0: entries above -Inf count alike */
    int nan;          /* of T or the sink */
    int has_sink;
    float sink;
};

typedef float find_fn(const struct row *r, int64_t c0, int64_t c1, struct list *list, float *values);
typedef void sum_fn(const struct row *r, const void *v, int64_t n, int64_t ahead, struct part *part);

/* ---- candidates ---- */

/* The largest number of each lane over SEGMENT columns. k of these are numbers of the row: the k-th best of the row is
 * not below the k-th best of them, and little else is above that. */
#define SEGMENT   (16 * STEP)
#define PEAKS     (TILE / 16)
#define PEAK_LIST 64 /* more are left to select_keys */

SIMD_FN void peak_step(const struct row *r, int64_t c, int n, uint32_t dtype, int plain, float *values, vf *m, vm *nan)
{
    vf v[STEP_VECTORS];
    logits_load(&r->l, c, n, dtype, plain, !plain, MINUS_INF, v);
    STEP_EACH(b, n) {
        m[b] = vf_max(v[b], m[b]); /* keeps m past NaN */
        *nan = vm_or(*nan, vf_isnan(v[b]));
        if (values)
            vf_store(values + b * VF, v[b]);
    }
}

/* n columns from c on, which are x[at] and so on. */
SIMD_FN void take_step(const void *x, int64_t at, int64_t c, int n, uint32_t dtype, struct list *list)
{
    const vf least = vf_set1(list->least), below = vf_set1(list->below);
    STEP_EACH(b, n) {
        const int k = step_count(n, b);
        const vf v = load_x(x, at + b * VF, k, dtype);
        uint32_t there = vm_bits(vm_not(vm_or(vf_lt(v, least), vf_le(v, below)))); /* NaN too */
        if (n != STEP)
            there &= (1u << k) - 1u;
        if (there) {
            float lanes[VF];
            vf_store(lanes, v);
            list_take(list, lanes, there, (int32_t)c + b * VF);
        }
    }
}

/* The k-th largest of n peaks, a multiple of BLOCK, or -Inf when they are too few to tell much. They are folded while
 * twice as many as are wanted stay; a few are ranked against each other, without a branch to mispredict. */
static float least_of(float *peak, int n, int64_t k)
{
    int32_t key[PEAKS];
    if (n < 2 * k)
        return MINUS_INF;
    while (n % (2 * BLOCK) == 0 && n / 2 >= 2 * k) {
        n /= 2;
        for (int i = 0; i < n; i += VF)
            vf_store(peak + i, vf_max(vf_load(peak + i), vf_load(peak + n + i)));
    }
    if (n > PEAK_LIST) {
        for (int i = 0; i < n; i++)
            key[i] = order_key(peak[i]);
        return order_value(select_keys(key, n, k).key);
    }
    float least = INFINITY;
    for (int i = 0; i < n; i++) {
        int above = 0;
        for (int j = 0; j < n; j += VF)
            above += vm_count(vf_gt(vf_load(peak + j), vf_set1(peak[i])));
        least = above < k && peak[i] < least ? peak[i] : least;
    }
    return least;
}

/* Shows the columns [c0, c1) to the list; their largest number. values: room for the tile and a STEP, or NULL. */
SIMD_FN float tile_find(const struct row *row, int64_t c0, int64_t c1, struct list *list, float *values, uint32_t dtype,
                        int plain)
{
    const struct row r = *row; /* a copy that nothing can alias stays in registers */
    float peak[PEAKS];
    int peaks = 0;
    vf top = vf_set1(MINUS_INF);
    vm nan = vf_isnan(top);
    for (int64_t c = c0; c < c1;) {
        const int64_t end = c1 - c < SEGMENT ? c1 : c + SEGMENT;
        vf m[STEP_VECTORS];
        STEP_EACH(b, STEP)
            m[b] = vf_set1(MINUS_INF);
#define CALL(c, n) peak_step(&r, c, n, dtype, plain, values ? values + ((c) - c0) : NULL, m, &nan)
        STEP_ALL(c, c, end, CALL)
#undef CALL
        STEP_EACH(b, STEP) {
            vf_store(peak + peaks + b * VF, m[b]);
            top = vf_max(m[b], top);
        }
        peaks += STEP;
    }
    const float largest = vf_reduce_max(top);
    if (!vm_any(nan) && !(largest > list->below))
        return largest;
    if (list->n < list->k)
        list->least = least_of(peak, peaks, list->k);
    const void *x = values ? values : r.l.x;
    const int64_t shift = values ? -c0 : 0;
    int64_t c = c0;
#define CALL(c, n) take_step(x, (c) + shift, c, n, values ? TENON_F32 : dtype, list)
    STEP_ALL(c, c0, c1, CALL)
#undef CALL
    return largest;
}

/* ---- sums ---- */

SIMD_FN void sum_step(const struct row *r, const void *x, int64_t c, int n, uint32_t dtype, int plain, float m,
                      int64_t ahead, vf *sum, vf *moment)
{
    vf v[STEP_VECTORS], d[STEP_VECTORS], e[STEP_VECTORS];
    const vf half = vf_set1(r->half);
    STEP_EACH(b, n) {
        const int k = step_count(n, b);
        v[b] = load_x(x, c + b * VF, k, dtype);
        if (n != STEP)
            v[b] = vf_select(vm_first(k), v[b], vf_set1(MINUS_INF));
        if (plain)
            d[b] = vf_sub(v[b], vf_set1(m));
        else
            d[b] = vf_mul(vf_sub(vf_mul(v[b], half), vf_mul(vf_set1(m), half)), vf_set1(r->rest));
        e[b] = d[b];
    }
    /* This sweep is busy with arithmetic: memory can bring what comes next. */
    if (n == STEP && ahead)
        for (int64_t at = 0; at < STEP * TENON_DTYPE_SIZE(dtype); at += 64)
            simd_prefetch_far((const char *)x + c * TENON_DTYPE_SIZE(dtype) + at + ahead);
    vf_exp_each(e, step_vectors(n));
    STEP_EACH(b, n) {
        const int k = b % BLOCK_VECTORS;
        if (!plain && r->flat)
            e[b] = vf_select(vf_eq(v[b], vf_set1(MINUS_INF)), vf_zero(), e[b]);
        sum[k] = vf_add(sum[k], e[b]);
        if (!plain) /* e is 0 where d is cut off, and 0 * -Inf would be NaN */
            moment[k] = vf_add(moment[k], vf_mul(e[b], vf_max(d[b], vf_set1(-128.0f))));
    }
}

/* part->s, a from n logits at v, relative to part->m. plain: T == 1, and a is not wanted. */
SIMD_FN void tile_sum(const struct row *row, const void *v, int64_t n, int64_t ahead, struct part *part, uint32_t dtype,
                      int plain)
{
    const struct row r = *row;
    const float m = part->m;
    double sums[BLOCK] = {0}, products[BLOCK] = {0};
    for (int64_t c = 0, end; c < n; c = end) {
        vf sum[BLOCK_VECTORS], moment[BLOCK_VECTORS];
        end = n - c < BLOCK_RUN * BLOCK ? n : c + BLOCK_RUN * BLOCK;
        block_set(sum, 0.0f);
        block_set(moment, 0.0f);
#define CALL(c, n) sum_step(&r, v, c, n, dtype, plain, m, ahead, sum, moment)
        STEP_ALL(c, c, end, CALL)
#undef CALL
        block_flush(sums, sum);
        if (!plain)
            block_flush(products, moment);
    }
    part->s = block_sum(sums);
    part->a = plain ? 0.0 : block_sum(products);
}

/* Sums of two stretches, relative to the larger maximum. */
static void part_merge(const struct row *r, struct part *to, const struct part *p)
{
    if (!(p->m > MINUS_INF))
        return;
    if (!(to->m > MINUS_INF)) {
        *to = *p;
        return;
    }
    const double delta = -fabs((double)p->m - (double)to->m) * r->T, w = exp(delta);
    const double carry = w > 0.0 ? delta : 0.0; /* 0 * -Inf */
    if (p->m > to->m) {
        to->a = p->a + w * (to->a + to->s * carry);
        to->s = p->s + w * to->s;
        to->m = p->m;
    } else {
        to->a += w * (p->a + p->s * carry);
        to->s += w * p->s;
    }
}

/* ---- instances ---- */

#define TILES(dtype, DTYPE)                                                                                           \
    static float find_plain_##dtype(const struct row *r, int64_t c0, int64_t c1, struct list *list, float *values)    \
    {                                                                                                                 \
        (void)values;                                                                                                 \
        return tile_find(r, c0, c1, list, NULL, DTYPE, 1);                                                            \
    }                                                                                                                 \
    static void sum_plain_##dtype(const struct row *r, const void *v, int64_t n, int64_t ahead, struct part *part)    \
    {                                                                                                                 \
        tile_sum(r, v, n, ahead, part, DTYPE, 1);                                                                     \
    }
TILES(f32, TENON_F32)
TILES(f16, TENON_F16)
TILES(bf16, TENON_BF16)

/* Of everything else there is one instance: what it does besides outweighs the choice of the type. */
static float find_any(const struct row *r, int64_t c0, int64_t c1, struct list *list, float *values)
{
    return tile_find(r, c0, c1, list, values, r->dtype, 0);
}

static void sum_any(const struct row *r, const void *v, int64_t n, int64_t ahead, struct part *part)
{
    tile_sum(r, v, n, ahead, part, TENON_F32, 0);
}

#endif

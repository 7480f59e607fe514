/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax_topk on the CPU: the sweep that sums the exponentials of a tile and marks its candidates. Which numbers are
 * summed is of no interest to anybody, so that what makes softmax's own exponential exact to the last place is spared:
 *
 *     sum of e^(T v) = 2^N * sum of 2^(L v - N),   L = T log2(e) rounded, N = rint(L m)
 *
 * needs no difference v - m, no product by the power of two apart from the sum's own fma, and a polynomial of degree 5
 * (1.57 units of 2^-24 with this c0 = 1, where the sum may be wrong by about ten). L being rounded moves a term by
 * 2^-24 |T(v - m)|, for the power of the maximum is taken with the same L. */
#ifndef TENON_SOFTMAX_TOPK_CPU_SUM_H
#define TENON_SOFTMAX_TOPK_CPU_SUM_H

#include "lib/block.h"
#include "lib/element.h"
#include "lib/exp.h"

/* Bit i of mark[i / 8] is column i of the tile. */
#define MARKS (TILE / 8 + 64)

struct powers {
    float L, magic, least; /* z = L v + magic has L v - N in its low bits, as the exponent field; v above least */
    double back;           /* 2^(N - L m): the sum relative to m */
};

/* 2^x for |x| < 0.6, to 2^-38: sums and products alone, the same bits everywhere. */
static inline double power_small(double x)
{
    const double t = x * 0x1.62e42fefa39efp-1;
    double p = 1.0 / 3628800.0;
    p = p * t + 1.0 / 362880.0;
    p = p * t + 1.0 / 40320.0;
    p = p * t + 1.0 / 5040.0;
    p = p * t + 1.0 / 720.0;
    p = p * t + 1.0 / 120.0;
    p = p * t + 1.0 / 24.0;
    p = p * t + 1.0 / 6.0;
    p = p * t + 0.5;
    p = p * t + 1.0;
    return p * t + 1.0;
}

/* For a tile whose largest number is m. 0: not for this m and T, because L v has no bits left for a fraction, or
 * because what is far below m is not to be told from -Inf. */
static inline int powers_set(struct powers *p, double T, float m)
{
    p->L = (float)(T * 0x1.71547652b82fep+0);
    const double top = (double)p->L * (double)m;
    if (!(fabs(top) < 0x1p20))
        return 0;
    const double shifted = top + 0x1.8p52, N = shifted - 0x1.8p52; /* rint */
    const double least = (N - 125.0) / (double)p->L;
    if (!(least > -0x1p127))
        return 0;
    p->least = (float)least;
    p->magic = (float)((double)EXP_MAGIC + 127.0 - N);
    p->back = power_small(N - top);
    return 1;
}

/* n columns from c on: their powers into sum, if `summed`; where they are above `below` into mark. */
SIMD_FN void sweep_step(const void *x, int64_t c, int n, uint32_t dtype, const struct powers *p, float below,
                        int summed, int marked, int64_t ahead, vf *sum, uint8_t *mark)
{
    const vf L = vf_set1(p->L), magic = vf_set1(p->magic);
    vf v[STEP_VECTORS], z[STEP_VECTORS], r[STEP_VECTORS], q[STEP_VECTORS];
    uint32_t bits = 0;
    STEP_EACH(b, n) {
        v[b] = load_x(x, c + b * VF, step_count(n, b), dtype);
        if (n != STEP)
            v[b] = vf_select(vm_first(step_count(n, b)), v[b], vf_set1(-INFINITY));
        if (!marked)
            continue;
        bits |= vm_bits(vf_gt(v[b], vf_set1(below))) << b % BLOCK_VECTORS * VF;
        if ((b + 1) % BLOCK_VECTORS == 0) { /* a block is two bytes */
            uint8_t *const to = mark + (c + b * VF) / BLOCK * 2;
            to[0] = (uint8_t)bits;
            to[1] = (uint8_t)(bits >> 8);
            bits = 0;
        }
    }
    if (!summed)
        return;
    /* This sweep is busy with arithmetic: memory can bring what comes next. */
    if (n == STEP && ahead)
        for (int64_t at = 0; at < STEP * TENON_DTYPE_SIZE(dtype); at += 64)
            simd_prefetch_far((const char *)x + c * TENON_DTYPE_SIZE(dtype) + at + ahead);
#define EACH(statement) STEP_EACH(b, n) statement;
    EACH(v[b] = vf_max(vf_set1(p->least), v[b])) /* keeps NaN */
    EACH(z[b] = vf_fma(v[b], L, magic))
    EACH(r[b] = vf_sub(magic, z[b])) /* -rint(L v) */
    EACH(r[b] = vf_fma(v[b], L, r[b]))
    EACH(q[b] = vf_fma(vf_set1(0x1.5bf5d8p-10f), r[b], vf_set1(0x1.3ce9ecp-7f)))
    EACH(q[b] = vf_fma(q[b], r[b], vf_set1(0x1.c6b6aap-5f)))
    EACH(q[b] = vf_fma(q[b], r[b], vf_set1(0x1.ebf9bep-3f)))
    EACH(q[b] = vf_fma(q[b], r[b], vf_set1(0x1.62e42ap-1f)))
    EACH(q[b] = vf_fma(q[b], r[b], vf_set1(1.0f)))
    EACH(z[b] = vf_bits(vi_shl(vi_bits(z[b]), 23)))
    EACH(sum[b % BLOCK_VECTORS] = vf_fma(q[b], z[b], sum[b % BLOCK_VECTORS]))
#undef EACH
}

/* The sum over n columns at x relative to m, which is NaN when one of them is, and marks. */
SIMD_FN double tile_sweep(const void *x, int64_t n, uint32_t dtype, const struct powers *powers, float below,
                          int summed, int marked, int64_t ahead, uint8_t *mark)
{
    const struct powers p = *powers;
    double sums[BLOCK] = {0};
    int64_t c = 0;
    for (int64_t end; c < n; c = end) {
        vf sum[BLOCK_VECTORS];
        end = n - c < BLOCK_RUN * BLOCK ? n : c + BLOCK_RUN * BLOCK;
        block_set(sum, 0.0f);
#define CALL(c, n) sweep_step(x, c, n, dtype, &p, below, summed, marked, ahead, sum, mark)
        STEP_ALL(c, c, end, CALL)
#undef CALL
        if (summed)
            block_flush(sums, sum);
    }
    return summed ? block_sum(sums) * p.back : 0.0;
}

typedef double sweep_fn(const void *x, int64_t n, const struct powers *p, float below, int64_t ahead, uint8_t *mark);

#define SWEEPS(name, DTYPE)                                                                                           \
    static double sum_##name(const void *x, int64_t n, const struct powers *p, float below, int64_t ahead,            \
                             uint8_t *mark)                                                                           \
    {                                                                                                                 \
        return tile_sweep(x, n, DTYPE, p, below, 1, 0, ahead, mark);                                                  \
    }                                                                                                                 \
    static double mark_##name(const void *x, int64_t n, const struct powers *p, float below, int64_t ahead,           \
                              uint8_t *mark)                                                                          \
    {                                                                                                                 \
        return tile_sweep(x, n, DTYPE, p, below, 0, 1, ahead, mark);                                                  \
    }                                                                                                                 \
    static double sum_mark_##name(const void *x, int64_t n, const struct powers *p, float below, int64_t ahead,       \
                                  uint8_t *mark)                                                                      \
    {                                                                                                                 \
        return tile_sweep(x, n, DTYPE, p, below, 1, 1, ahead, mark);                                                  \
    }
SWEEPS(f32, TENON_F32)
SWEEPS(f16, TENON_F16)
SWEEPS(bf16, TENON_BF16)

#endif

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Mean and standard deviation of the entries of a row, for thresholds mean + std * Q, which are to be right to a few
 * parts in 2^24 of |mean| + std |Q|.
 *
 * Of a tile of at most TILE columns, the sum and the sum of squares about the tile's own mean, in doubles, over 16
 * lanes in the order of lib/block.h; tiles are merged ascending (Chan, Golub and LeVeque 1979, "Updating formulae and a
 * pairwise algorithm for computing sample variances"), their sums with a compensation (Neumaier 1974). So nothing that
 * is squared is ever subtracted again, and the mean is off by at most 2^-44 of the mean magnitude, which
 * |mean| + std bounds. That is not enough only where entries cancel and Q is near 0: where |mean| + std |Q| is less
 * than 2^-16 std. There the sum is made anew without any rounding (spread_exact_*). */
#ifndef TENON_LIB_SPREAD_H
#define TENON_LIB_SPREAD_H

#include <math.h>

#include "block.h"

struct spread {
    double n, sum, low; /* entries; their sum is sum + low */
    double squares;     /* of the differences from the mean */
};

SIMD_FN void spread_block(const float *v, int k, int above, double mean, int squares, double *sums, int32_t *counts)
{
    for (int l = 0; l < k; l++) {
        const int is_in = !above || v[l] > -INFINITY;
        const double d = is_in ? (double)v[l] - mean : 0.0;
        sums[l] += squares ? d * d : d;
        counts[l] += is_in;
    }
}

SIMD_FN double spread_sum(const float *v, int64_t count, int above, double mean, int squares, int64_t *n)
{
    double sums[BLOCK] = {0};
    int32_t counts[BLOCK] = {0};
    int64_t c = 0;
    for (; c + BLOCK <= count; c += BLOCK)
        spread_block(v + c, BLOCK, above, mean, squares, sums, counts);
    spread_block(v + c, (int)(count - c), above, mean, squares, sums, counts);
    *n = count;
    if (above) {
        *n = 0;
        for (int l = 0; l < BLOCK; l++)
            *n += counts[l];
    }
    return block_sum(sums);
}

/* Of at most TILE floats. `above`: only those above -Inf count; else all do, and one that is not finite makes the
 * spread NaN. */
SIMD_FN struct spread spread_tile(const float *v, int64_t count, int above)
{
    int64_t n;
    struct spread t = {.sum = spread_sum(v, count, above, 0.0, 0, &n)};
    t.n = (double)n;
    if (n > 0)
        t.squares = spread_sum(v, count, above, t.sum / t.n, 1, &n);
    return t;
}

static inline double spread_mean(const struct spread *s)
{
    return (s->sum + s->low) / s->n;
}

static inline void spread_merge(struct spread *to, const struct spread *p)
{
    if (!(p->n > 0.0))
        return;
    if (!(to->n > 0.0)) {
        *to = *p;
        return;
    }
    const double n = to->n + p->n, apart = spread_mean(p) - spread_mean(to);
    const double t = to->sum + p->sum;
    to->low += p->low + (fabs(to->sum) >= fabs(p->sum) ? to->sum - t + p->sum : p->sum - t + to->sum);
    to->sum = t;
    to->squares += p->squares + apart * apart * (to->n / n * p->n);
    to->n = n;
}

/* Whether the mean has to be made from the exact sum. */
static inline int spread_cancels(const struct spread *s, double ddof, double quantile)
{
    const double std = sqrt(s->squares / (s->n - ddof));
    return fabs(spread_mean(s)) + std * fabs(quantile) < std * 0x1p-16;
}

static inline double spread_theta(const struct spread *s, double ddof, double quantile)
{
    return spread_mean(s) + sqrt(s->squares / (s->n - ddof)) * quantile;
}

/* ---- exact sums ---- */

/* Mantissas by exponent, as integers: bin e counts 2^(e - 150), and no 2^39 entries overflow one. */
struct spread_exact {
    int64_t bin[256];
};

/* The finite of n floats. */
static inline void spread_exact_add(struct spread_exact *to, const float *v, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const uint32_t bits = simd_bits(v[i]), e = bits >> 23 & 255;
        const int64_t m = (int64_t)(bits & 0x7fffff) | (e ? 0x800000 : 0);
        if (e < 255)
            to->bin[e ? e : 1] += bits >> 31 ? -m : m;
    }
}

/* The bits of the sum, or of its negative, from the lowest; returns what is carried out of them: -1 if negative. */
static inline int64_t spread_exact_bits(const struct spread_exact *s, int negative, uint8_t bit[320])
{
    int64_t carry = 0;
    for (int e = 0; e < 320; e++) {
        const int64_t t = (e < 256 ? negative ? -s->bin[e] : s->bin[e] : 0) + carry;
        bit[e] = t & 1;
        carry = t >> 1;
    }
    return carry;
}

/* To the last digit of a double, whose type the sum cannot leave. */
static inline double spread_exact_sum(const struct spread_exact *s)
{
    uint8_t bit[320];
    double sum = 0.0;
    const int negative = spread_exact_bits(s, 0, bit) < 0;
    if (negative)
        spread_exact_bits(s, 1, bit);
    for (int e = 319; e >= 0; e--)
        sum += bit[e] ? ldexp(1.0, e - 150) : 0.0;
    return negative ? -sum : sum;
}

#endif

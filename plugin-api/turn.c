/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Arithmetic in pairs of f64 (Dekker 1971): hi + lo, with 106 bits. */
#include <math.h>

#include "turn.h"

struct pair {
    double hi, lo;
};

/* |a| >= |b| or a == 0. */
static struct pair pair_make(double a, double b)
{
    const double s = a + b;
    return (struct pair){s, b - (s - a)};
}

static struct pair pair_add(struct pair a, struct pair b)
{
    const double s = a.hi + b.hi, bb = s - a.hi;
    return pair_make(s, ((a.hi - (s - bb)) + (b.hi - bb)) + (a.lo + b.lo));
}

static struct pair pair_mul(struct pair a, struct pair b)
{
    const double p = a.hi * b.hi;
    return pair_make(p, fma(a.hi, b.hi, -p) + (a.hi * b.lo + a.lo * b.hi));
}

static struct pair pair_over(struct pair a, double b)
{
    const double q = a.hi / b;
    return pair_make(q, (fma(-q, b, a.hi) + a.lo) / b);
}

static struct pair pair_power(struct pair x, int32_t n)
{
    struct pair result = {1.0, 0.0};
    for (; n; n >>= 1) {
        if (n & 1)
            result = pair_mul(result, x);
        x = pair_mul(x, x);
    }
    return result;
}

/* base^(-1/m): each step squares what the relative error is, which begins at a few units of f64. */
static struct pair root_of(double base, int32_t m)
{
    struct pair r = {exp(-log(base) / m), 0.0};
    for (int step = 0; step < 2; step++) {
        const struct pair one = pair_mul(pair_power(r, m), (struct pair){base, 0.0});
        const struct pair off = pair_over(pair_add(one, (struct pair){-1.0, 0.0}), -(double)m);
        r = pair_add(r, pair_mul(r, off));
    }
    return r;
}

static void words_of(struct pair v, uint32_t words[3])
{
    if (v.hi >= 1.0) {
        words[0] = words[1] = words[2] = UINT32_MAX;
        return;
    }
    for (int i = 2; i >= 0; i--) {
        v.hi *= 0x1p32;
        v.lo *= 0x1p32;
        double whole = floor(v.hi);
        if (whole == v.hi && v.lo < 0.0)
            whole -= 1.0;
        words[i] = (uint32_t)whole;
        v = pair_make(v.hi - whole, v.lo);
    }
}

void tenon__turn_make(float base, int32_t n, float scaling, struct tenon__turn *turn)
{
    const struct pair inverse = {0x1.45f306dc9c883p-3, -0x1.6b01ec5417056p-57}; /* 1/(2 pi) */
    words_of(root_of((double)base, n / 2), turn->root);
    words_of(pair_over(inverse, (double)scaling), turn->unit);
}

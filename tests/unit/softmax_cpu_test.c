/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax on the CPU, called through its tables without a plugin around them. Against sums in double; every ISA gives
 * the same bits; bits do not depend on threads, on the order of the parallel regions, on other rows. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../tap.h"
#include "softmax_cpu.h"

/* ---- what should come out ---- */

struct want {
    double max, second, lse, pmax, margin, entropy, T, R, S;
    int64_t argmax, exist;
};

static int exists(const struct test_softmax *c, int64_t row, int64_t col)
{
    if (c->ptr[TENON_SOFTMAX_MASK])
        return ((const uint8_t *)c->ptr[TENON_SOFTMAX_MASK])[row * c->cols + col] != 0;
    return !c->ptr[TENON_SOFTMAX_VALID_LEN] || col < ((const int32_t *)c->ptr[TENON_SOFTMAX_VALID_LEN])[row];
}

static double logit(const struct test_softmax *c, int64_t row, int64_t col)
{
    const int64_t i = row * c->cols + col;
    const float *bias = c->ptr[TENON_SOFTMAX_BIAS];
    const double x = test_softmax_get(c, TENON_SOFTMAX_X, i);
    if (!bias && c->params.scale == 1.0f)
        return x;
    return (double)fmaf((float)x, c->params.scale, bias ? bias[i] : 0.0f);
}

static struct want expect(const struct test_softmax *c, int64_t row)
{
    const float *scale = c->ptr[TENON_SOFTMAX_ROW_SCALE], *sink = c->ptr[TENON_SOFTMAX_SINK];
    struct want w = {.max = -(double)INFINITY, .second = -(double)INFINITY, .argmax = -1};
    double s = 0, a = 0;
    w.T = (double)(c->params.inv_temp * (scale ? scale[row] : 1.0f));
    for (int64_t j = 0; j < c->cols; j++) {
        const double v = exists(c, row, j) ? logit(c, row, j) : -(double)INFINITY;
        w.exist += exists(c, row, j);
        if (v > w.max) {
            w.second = w.max;
            w.max = v;
            w.argmax = j;
        } else if (v > w.second) {
            w.second = v;
        }
    }
    w.R = sink && (double)sink[row] > w.max ? (double)sink[row] : w.max;
    for (int64_t j = 0; j < c->cols; j++)
        if (exists(c, row, j)) {
            const double d = (logit(c, row, j) - w.R) * w.T;
            s += exp(d);
            a += d * exp(d);
        }
    w.S = s + (sink ? exp(((double)sink[row] - w.R) * w.T) : 0);
    w.lse = w.R * w.T + log(w.S);
    w.pmax = exp((w.max - w.R) * w.T) / w.S;
    w.margin = w.pmax - exp((w.second - w.R) * w.T) / w.S;
    w.entropy = log(s) - a / s;
    return w;
}

/* The share of the tolerance that y uses up, at most 1. */
static double y_error(const struct test_softmax *c, const struct want *w, int64_t row)
{
    const uint32_t dtype = c->tensor[TENON_SOFTMAX_Y].dtype;
    const double u = 0x1p-24, ulp = dtype == TENON_F32 ? 0 : dtype == TENON_F16 ? 0x1p-10 : 0x1p-7;
    double worst = 0;
    for (int64_t j = 0; j < c->cols; j++) {
        const double got = test_softmax_get(c, TENON_SOFTMAX_Y, row * c->cols + j),
                     v = exists(c, row, j) ? logit(c, row, j) : 0;
        const double d = (v - w->R) * w->T;
        double y = c->params.kind ? d - log(w->S) : exp(d) / w->S;
        double bound = c->params.kind ? u * (8 + 2 * fabs(y) + fabs(w->R)) : y * u * (12 + 2 * fabs(d) + fabs(v));
        bound += fabs(y) * ulp + (dtype == TENON_F16 ? 0x1p-24 : 0x1p-126);
        if (!exists(c, row, j) || !w->exist) {
            y = c->params.kind ? -(double)INFINITY : 0;
            worst = got == y ? worst : 1e9;
        } else if (!(fabs(got - y) <= worst * bound)) {
            worst = isnan(got) ? 1e9 : fabs(got - y) / bound;
        }
    }
    return worst;
}

static double stat_error(const struct test_softmax *c, const struct want *w, int64_t row)
{
    const double u = 0x1p-24, lse_bound = u * (8 + 2 * fabs(w->lse) + fabs(w->R));
    const double p_bound = w->pmax * u * (32 + 2 * fabs((w->max - w->R) * w->T));
    double worst = test_softmax_get(c, TENON_SOFTMAX_MAX, row) == w->max ? 0 : 1e9;
    worst = fmax(worst, ((const int32_t *)c->ptr[TENON_SOFTMAX_ARGMAX])[row] == w->argmax ? 0 : 1e9);
    worst = fmax(worst, fabs(test_softmax_get(c, TENON_SOFTMAX_LSE, row) - w->lse) / lse_bound);
    worst = fmax(worst, fabs(test_softmax_get(c, TENON_SOFTMAX_PMAX, row) - w->pmax) / p_bound);
    worst = fmax(worst, fabs(test_softmax_get(c, TENON_SOFTMAX_MARGIN, row) - w->margin) / p_bound);
    worst = fmax(worst, fabs(test_softmax_get(c, TENON_SOFTMAX_ENTROPY, row) - w->entropy) /
                            (4e-6 * (1 + log((double)c->cols))));
    return fmax(worst, fabs(test_softmax_get(c, TENON_SOFTMAX_ENERGY, row) + w->lse / w->T) /
                           (lse_bound / w->T + 2 * u * fabs(w->lse / w->T)));
}

static double error_of(const struct test_softmax *c)
{
    double worst = 0;
    for (int64_t r = 0; r < c->rows; r++) {
        const struct want w = expect(c, r);
        const double y = y_error(c, &w, r), s = c->ptr[STAT0] && w.argmax >= 0 ? stat_error(c, &w, r) : 0;
        worst = y <= worst ? worst : y; /* NaN is an error */
        worst = s <= worst ? worst : s;
    }
    return worst;
}

/* ---- tests ---- */

static size_t bytes_of(const struct test_softmax *c, int i)
{
    return (size_t)(c->rows * (i <= TENON_SOFTMAX_MASK || i == TENON_SOFTMAX_Y ? c->cols : 1)) *
           TENON_DTYPE_SIZE(c->tensor[i].dtype);
}

/* All outputs, one after another; what the call held is garbage again. */
static unsigned char *take(struct test_softmax *c, size_t *size)
{
    *size = 0;
    for (int i = TENON_SOFTMAX_Y; i < N; i++)
        *size += c->ptr[i] ? bytes_of(c, i) : 0;
    unsigned char *all = malloc(*size + 1), *at = all;
    if (!all)
        bail("out of memory");
    for (int i = TENON_SOFTMAX_Y; i < N; i++)
        if (c->ptr[i]) {
            memcpy(at, c->ptr[i], bytes_of(c, i));
            memset(c->ptr[i], 0x5a, bytes_of(c, i));
            at += bytes_of(c, i);
        }
    return all;
}

static const struct variant {
    int64_t rows, cols;
    uint32_t x, y, kind;
    int options;
} variants[] = {
    {1, 1, TENON_F32, TENON_F32, 0, STATS},
    {3, 2, TENON_F32, TENON_F32, 0, 0},
    {5, 17, TENON_F32, TENON_F32, 1, 0},
    {7, 15, TENON_F16, TENON_F16, 0, STATS},
    {4, 63, TENON_BF16, TENON_BF16, 0, 0},
    {3, 65, TENON_BF16, TENON_F32, 1, STATS},
    {6, 100, TENON_F32, TENON_F32, 0, BIAS | STATS},
    {6, 513, TENON_F32, TENON_F32, 0, MASK | STATS},
    {6, 530, TENON_F32, TENON_F32, 1, VALID | SINK | STATS},
    {6, 530, TENON_F16, TENON_F32, 0, SCALE | BIAS | TEMP | ROW_SCALE | SINK | STATS},
    {40, 4096, TENON_F32, TENON_F32, 0, 0},
    {3, 4097, TENON_F16, TENON_F16, 0, 0},
    {2, 12345, TENON_F32, TENON_F32, 0, STATS | MASK},
    {1, 70001, TENON_F32, TENON_F32, 1, 0},
    {1, 100000, TENON_BF16, TENON_BF16, 0, ROW_SCALE | STATS},
    {2, 300007, TENON_F32, TENON_F32, 0, 0},
};

static int allowed(const struct variant *v, uint32_t algo)
{
    return algo != TENON_SOFTMAX_TWO_PASS_EXT || !(v->options & (BIAS | SCALE | TEMP | ROW_SCALE));
}

static void test_variant(const struct variant *v, uint32_t algo)
{
    static const struct {
        int order;
        uint32_t threads;
    } ways[] = {{0, 1}, {-1, 2}, {3, 3}, {0, 7}};
    struct test_softmax c = test_softmax(v->x, v->y, v->rows, v->cols, algo, v->kind, v->options);
    unsigned char *first = NULL;
    size_t size;
    int differ = 0;
    double worst = 0;
    for (unsigned i = 0; test_isa(i); i++)
        for (unsigned k = 0; k < (v->cols > 100000 && i == 0 ? 1 : 4); k++) {
            c.order = ways[k].order;
            c.threads = ways[k].threads;
            test_softmax_run(test_isa(i), &c);
            if (!first)
                worst = error_of(&c);
            unsigned char *out = take(&c, &size);
            differ += first && memcmp(first, out, size) != 0;
            if (first)
                free(out);
            else
                first = out;
        }
    ok(worst <= 1, "%lldx%lld options %d algo %u: within the tolerance (%.2f of it)", (long long)v->rows,
       (long long)v->cols, v->options, algo, worst);
    is_int(differ, 0, "%lldx%lld options %d algo %u: same bits on every ISA, for any threads", (long long)v->rows,
           (long long)v->cols, v->options, algo);
    free(first);
    test_softmax_free(&c);
}

/* A row alone, in place, and as one of many: the same bits. */
static void test_rows(uint32_t algo, int64_t cols)
{
    const struct isa *isa = test_isa(0);
    struct test_softmax c = test_softmax(TENON_F32, TENON_F32, 9, cols, algo, 0, 0);
    int wrong = 0;
    for (unsigned i = 0; test_isa(i); i++)
        isa = test_isa(i);
    c.threads = 2;
    test_softmax_run(isa, &c);
    for (int64_t r = 0; r < c.rows; r++) {
        struct test_softmax one = test_softmax(TENON_F32, TENON_F32, 1, cols, algo, 0, 0);
        memcpy(one.ptr[TENON_SOFTMAX_X], (float *)c.ptr[TENON_SOFTMAX_X] + r * cols, (size_t)cols * 4);
        free(one.ptr[TENON_SOFTMAX_Y]);
        one.ptr[TENON_SOFTMAX_Y] = one.ptr[TENON_SOFTMAX_X];
        one.threads = r % 2 ? 1 : 4;
        test_softmax_run(isa, &one);
        wrong += memcmp(one.ptr[TENON_SOFTMAX_Y], (float *)c.ptr[TENON_SOFTMAX_Y] + r * cols, (size_t)cols * 4) != 0;
        one.ptr[TENON_SOFTMAX_Y] = NULL;
        test_softmax_free(&one);
    }
    is_int(wrong, 0, "cols %lld algo %u: a row alone and in place has the bits it has among others", (long long)cols,
           algo);
    test_softmax_free(&c);
}

int main(void)
{
    for (uint32_t algo = 0; algo <= TENON_SOFTMAX_FIXED_MAX; algo++)
        for (unsigned k = 0; k < sizeof variants / sizeof variants[0]; k++)
            if (allowed(&variants[k], algo))
                test_variant(&variants[k], algo);
    for (uint32_t algo = 0; algo <= TENON_SOFTMAX_FIXED_MAX; algo++) {
        test_rows(algo, 33);
        test_rows(algo, 9000);
    }
    return tap_done();
}

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * linear on the CPU, each ISA, against a plain double loop; and what its contract promises of bits: a row depends
 * neither on other rows nor on M, its position, strides, the order of the parallel regions or the number of threads. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../tap.h"
#include "linear_cpu.h"

struct shape {
    int64_t m, n, k;
    uint32_t x, w, y, residual; /* types; residual 0: none */
    int64_t group;              /* of i8; 0: one scale a row */
    int trans_x, trans_w, bias, gap;
    uint32_t act;
};

struct problem {
    struct shape s;
    struct test_linear call;
    int64_t bytes[TENON_LINEAR_N_TENSORS];
    void *copy; /* of y before the run: the gaps must stay */
};

static int64_t elements(const struct tenon_tensor *t)
{
    if (t->dim[0] == 0 || t->dim[1] == 0)
        return 0;
    return (t->dim[0] - 1) * t->stride[0] + t->dim[1];
}

/* The exact size, so that a sanitizer sees one element too many. */
static void give(struct problem *p, int i, struct tenon_tensor t, uint64_t *seed)
{
    const int64_t n = elements(&t);
    p->bytes[i] = n * TENON_DTYPE_SIZE(t.dtype);
    p->call.tensor[i] = t;
    p->call.ptr[i] = malloc((size_t)p->bytes[i] + (p->bytes[i] == 0));
    if (!p->call.ptr[i])
        bail("out of memory");
    for (int64_t e = 0; e < n; e++)
        test_set(p->call.ptr[i], t.dtype, e, test_uniform(seed));
}

static void problem_make(struct problem *p, const struct shape *s, uint64_t seed)
{
    *p = (struct problem){.s = *s,
                          .call = {.params = {.act = s->act,
                                              .trans_x = (uint32_t)s->trans_x,
                                              .trans_w = (uint32_t)s->trans_w,
                                              .threshold = 0.1f}}};
    const int64_t g = s->gap;
    const struct tenon_tensor x =
        s->trans_x ? test_matrix(s->x, s->k, s->m, s->m + g) : test_matrix(s->x, s->m, s->k, s->k + g);
    give(p, TENON_LINEAR_X, x, &seed);
    give(p, TENON_LINEAR_W,
         s->trans_w ? test_matrix(s->w, s->k, s->n, s->n + g) : test_matrix(s->w, s->n, s->k, s->k + g), &seed);
    if (s->w == TENON_I8 && s->group)
        give(p, TENON_LINEAR_W_SCALE, test_matrix(TENON_F32, s->n, s->k / s->group, s->k / s->group + g), &seed);
    else if (s->w == TENON_I8)
        give(p, TENON_LINEAR_W_SCALE,
             (struct tenon_tensor){.dtype = TENON_F32, .rank = 1, .dim = {s->n, 1}, .stride = {1, 0}}, &seed);
    if (s->bias)
        give(p, TENON_LINEAR_BIAS,
             (struct tenon_tensor){.dtype = TENON_F32, .rank = 1, .dim = {s->n, 1}, .stride = {1, 0}}, &seed);
    if (s->residual)
        give(p, TENON_LINEAR_RESIDUAL, test_matrix(s->residual, s->m, s->n, s->n + 2 * g), &seed);
    give(p, TENON_LINEAR_Y, test_matrix(s->y, s->m, s->n, s->n + g), &seed);
    p->copy = malloc((size_t)p->bytes[TENON_LINEAR_Y] + 1);
    if (!p->copy)
        bail("out of memory");
    memcpy(p->copy, p->call.ptr[TENON_LINEAR_Y], (size_t)p->bytes[TENON_LINEAR_Y]);
}

static void problem_free(struct problem *p)
{
    for (int i = 0; i < TENON_LINEAR_N_TENSORS; i++)
        free(p->call.ptr[i]);
    free(p->copy);
}

static double element(const struct problem *p, int i, int64_t row, int64_t col)
{
    const struct tenon_tensor *t = &p->call.tensor[i];
    return test_get(p->call.ptr[i], t->dtype, row * t->stride[0] + col * (t->rank > 1 ? t->stride[1] : 0));
}

static double weight(const struct problem *p, int64_t n, int64_t k)
{
    const struct shape *s = &p->s;
    const double w = s->trans_w ? element(p, TENON_LINEAR_W, k, n) : element(p, TENON_LINEAR_W, n, k);
    if (s->w != TENON_I8)
        return w;
    return w * (s->group ? element(p, TENON_LINEAR_W_SCALE, n, k / s->group) : element(p, TENON_LINEAR_W_SCALE, n, 0));
}

/* |got - want| as a part of the tolerance of the contract. */
static double excess(const struct problem *p, int64_t m, int64_t n)
{
    const struct shape *s = &p->s;
    double sum = s->bias ? element(p, TENON_LINEAR_BIAS, n, 0) : 0, chain = fabs(sum);
    for (int64_t k = 0; k < s->k; k++) {
        const double x = s->trans_x ? element(p, TENON_LINEAR_X, k, m) : element(p, TENON_LINEAR_X, m, k);
        sum += x * weight(p, n, k);
        chain += fabs(x * weight(p, n, k));
    }
    double want = (double)test_act(s->act, (long double)sum, 0, (long double)p->call.params.threshold);
    const double slope = s->act == TENON_ACT_RELU2 ? 2 * fabs(sum) + 1 : 1.2;
    if (s->residual)
        want += element(p, TENON_LINEAR_RESIDUAL, m, n);
    double bound = 4e-7 * sqrt(fmax(1, (double)s->k / 1024)) * slope * chain + 4 * 0x1p-24 * fabs(want) + 0x1p-126;
    if (s->y == TENON_F16)
        bound += fmax(fabs(want) * 0x1p-11, 0x1p-25);
    if (s->y == TENON_BF16)
        bound += fabs(want) * 0x1p-8;
    if (s->act == TENON_ACT_FATRELU && fabs(sum - (double)p->call.params.threshold) < bound)
        return 0; /* either side of the step is right */
    const double got = element(p, TENON_LINEAR_Y, m, n);
    if (s->y == TENON_F16 && fabs(want) + bound >= 65520) /* may round past the largest f16, and then is infinite */
        return isinf(got) && (got > 0) == (want > 0) ? 0 : fabs(got - want) / bound;
    return fabs(got - want) / bound;
}

static int gaps_kept(const struct problem *p)
{
    const struct tenon_tensor *t = &p->call.tensor[TENON_LINEAR_Y];
    const int64_t size = TENON_DTYPE_SIZE(t->dtype), row = t->dim[1] * size, pitch = t->stride[0] * size;
    for (int64_t m = 0; m + 1 < t->dim[0]; m++)
        if (memcmp((char *)p->call.ptr[TENON_LINEAR_Y] + m * pitch + row, (char *)p->copy + m * pitch + row,
                   (size_t)(pitch - row)) != 0)
            return 0;
    return 1;
}

static double check_shape(const struct isa *isa, const struct shape *s, uint64_t seed)
{
    struct problem p;
    double worst = 0;
    problem_make(&p, s, seed);
    p.call.threads = 1 + (uint32_t)(seed % 3);
    test_linear_run(isa, &p.call);
    for (int64_t m = 0; m < s->m; m++)
        for (int64_t n = 0; n < s->n; n++)
            worst = fmax(worst, excess(&p, m, n));
    if (!gaps_kept(&p))
        worst = INFINITY;
    problem_free(&p);
    if (worst > 1)
        tap_note("%s: m %lld n %lld k %lld x %x w %x y %x residual %x group %lld trans %d %d bias %d gap %d act %u: %g",
                 isa->name, (long long)s->m, (long long)s->n, (long long)s->k, s->x, s->w, s->y, s->residual,
                 (long long)s->group, s->trans_x, s->trans_w, s->bias, s->gap, s->act, worst);
    return worst;
}

static const uint32_t floats[] = {TENON_F32, TENON_F16, TENON_BF16, TENON_I8};

static struct shape random_shape(uint64_t *seed)
{
    static const int64_t sizes[] = {1, 2, 3, 4, 5, 7, 8, 13, 14, 15, 16, 17, 28, 31, 32, 33, 47, 64, 65, 100};
    enum { SIZES = sizeof sizes / sizeof *sizes };
    struct shape s = {.m = sizes[test_random(seed) % SIZES],
                      .n = sizes[test_random(seed) % SIZES],
                      .k = sizes[test_random(seed) % SIZES],
                      .x = floats[test_random(seed) % 3],
                      .w = floats[test_random(seed) % 4],
                      .act = (uint32_t)(test_random(seed) % TENON_ACT_COUNT),
                      .trans_x = test_random(seed) % 4 == 0,
                      .trans_w = test_random(seed) % 3 == 0,
                      .bias = test_random(seed) % 2 == 0,
                      .gap = test_random(seed) % 3 == 0 ? 5 : 0};
    s.y = test_random(seed) % 2 ? TENON_F32 : s.x;
    s.residual = test_random(seed) % 2 ? 0 : test_random(seed) % 2 ? TENON_F32 : s.y;
    if (s.w == TENON_I8 && test_random(seed) % 2) {
        s.group = 32 << test_random(seed) % 2;
        s.k = s.group * (1 + (int64_t)(test_random(seed) % 3));
    }
    return s;
}

static void check_random(const struct isa *isa, int cases)
{
    uint64_t seed = 1;
    double worst = 0;
    for (int i = 0; i < cases; i++) {
        const struct shape s = random_shape(&seed);
        worst = fmax(worst, check_shape(isa, &s, test_random(&seed)));
    }
    ok(worst <= 1, "%s: %d random shapes against double loops (%.2f of the tolerance)", isa->name, cases, worst);
}

/* More than one block of K, more than one slice of rows, several panels a worker; the empty ones. */
static void check_large(const struct isa *isa)
{
    static const struct shape shapes[] = {
        {.m = 3, .n = 37, .k = 9001, .x = TENON_F32, .w = TENON_F32, .y = TENON_F32, .bias = 1},
        {.m = 1, .n = 70, .k = 8192 + 64, .x = TENON_BF16, .w = TENON_I8, .y = TENON_F32, .group = 96 * 86},
        {.m = 2, .n = 19, .k = 4608, .x = TENON_F32, .w = TENON_I8, .y = TENON_F32, .group = 96},
        {.m = 31, .n = 67, .k = 4096 + 17, .x = TENON_F16, .w = TENON_BF16, .y = TENON_F16},
        {.m = 30, .n = 35, .k = 4608, .x = TENON_F32, .w = TENON_I8, .y = TENON_F32, .group = 96, .trans_w = 1},
        {.m = 421, .n = 33, .k = 130, .x = TENON_F32, .w = TENON_F16, .y = TENON_F32, .residual = TENON_F32},
        {.m = 33,
         .n = 421,
         .k = 130,
         .x = TENON_BF16,
         .w = TENON_BF16,
         .y = TENON_BF16,
         .residual = TENON_BF16,
         .trans_x = 1},
        {.m = 5,
         .n = 40,
         .k = 0,
         .x = TENON_F32,
         .w = TENON_F32,
         .y = TENON_F32,
         .bias = 1,
         .residual = TENON_F32,
         .act = TENON_ACT_GELU},
        {.m = 5, .n = 40, .k = 0, .x = TENON_F16, .w = TENON_F16, .y = TENON_F16},
        {.m = 0, .n = 40, .k = 30, .x = TENON_F32, .w = TENON_F32, .y = TENON_F32, .bias = 1},
        {.m = 5, .n = 0, .k = 30, .x = TENON_F32, .w = TENON_F32, .y = TENON_F32},
    };
    double worst = 0;
    for (unsigned i = 0; i < sizeof shapes / sizeof *shapes; i++)
        worst = fmax(worst, check_shape(isa, &shapes[i], i));
    ok(worst <= 1, "%s: several blocks, slices and pieces; empty shapes (%.2f of the tolerance)", isa->name, worst);
}

/* Row m of p alone, in a problem of its own with one row. */
static int row_alone(const struct isa *isa, const struct problem *p, int64_t m)
{
    const struct shape *s = &p->s;
    const int64_t y_size = TENON_DTYPE_SIZE(s->y), x_size = TENON_DTYPE_SIZE(s->x);
    struct test_linear one = p->call;
    void *y = malloc((size_t)(s->n * y_size));
    void *x = malloc((size_t)(s->k * x_size));
    if (!y || !x)
        bail("out of memory");
    for (int64_t k = 0; k < s->k; k++)
        memcpy((char *)x + k * x_size,
               (char *)p->call.ptr[TENON_LINEAR_X] + x_size * (s->trans_x
                                                                   ? k * p->call.tensor[TENON_LINEAR_X].stride[0] + m
                                                                   : m * p->call.tensor[TENON_LINEAR_X].stride[0] + k),
               (size_t)x_size);
    one.params.trans_x = 0;
    one.threads = 1;
    one.order = TEST_ASCENDING;
    one.tensor[TENON_LINEAR_X] = test_matrix(s->x, 1, s->k, 0);
    one.tensor[TENON_LINEAR_Y] = test_matrix(s->y, 1, s->n, 0);
    one.ptr[TENON_LINEAR_X] = x;
    one.ptr[TENON_LINEAR_Y] = y;
    test_linear_run(isa, &one);
    const int same =
        memcmp(y, (char *)p->call.ptr[TENON_LINEAR_Y] + m * p->call.tensor[TENON_LINEAR_Y].stride[0] * y_size,
               (size_t)(s->n * y_size)) == 0;
    free(x);
    free(y);
    return same;
}

static void check_rows(const struct isa *isa)
{
    static const int64_t heights[] = {1, 2, 3, 4, 5, 14, 15, 29, 40}, depths[] = {1, 15, 16, 33, 257, 4096 + 31, 0};
    uint64_t seed = 7;
    for (int type = 0; type < 4; type++)
        for (int trans = 0; trans < 4; trans++) {
            int different = 0;
            for (int h = 0; h < 9; h++)
                for (int d = 0; depths[d]; d++) {
                    const struct shape s = {.m = heights[h],
                                            .n = 37,
                                            .k = depths[d],
                                            .x = floats[(h + d) % 3],
                                            .w = floats[type],
                                            .y = TENON_F32,
                                            .bias = 1,
                                            .act = TENON_ACT_SILU,
                                            .trans_x = trans & 1,
                                            .trans_w = trans >> 1,
                                            .gap = h % 2};
                    struct problem p;
                    problem_make(&p, &s, test_random(&seed));
                    p.call.threads = 3;
                    p.call.order = TEST_DESCENDING;
                    test_linear_run(isa, &p.call);
                    for (int64_t m = 0; m < s.m; m += 1 + (s.k > 1000) * 3)
                        different += !row_alone(isa, &p, m);
                    problem_free(&p);
                }
            is_int(different, 0, "%s: weights %x, trans_x %d, trans_w %d: a row alone has the bits it has among others",
                   isa->name, floats[type], trans & 1, trans >> 1);
        }
}

static void check_threads(const struct isa *isa, const struct shape *s, const char *name)
{
    struct problem p;
    int different = 0;
    problem_make(&p, s, 11);
    void *y = p.call.ptr[TENON_LINEAR_Y];
    const size_t bytes = (size_t)p.bytes[TENON_LINEAR_Y];
    char *first = malloc(bytes);
    if (!first)
        bail("out of memory");
    test_linear_run(isa, &p.call);
    memcpy(first, y, bytes);
    static const int orders[] = {TEST_ASCENDING, TEST_DESCENDING, 4, 4, 4};
    for (int i = 0; i < 5; i++) {
        p.call.order = orders[i];
        p.call.threads = (uint32_t)(i + 2);
        memset(y, 0xee, bytes);
        test_linear_run(isa, &p.call);
        different += memcmp(first, y, bytes) != 0;
    }
    is_int(different, 0, "%s: %s: the same bits on 1 to 6 workers in any order", isa->name, name);
    free(first);
    problem_free(&p);
}

/* One NaN, one Inf in x: their rows alone change. An infinite scale with K no multiple of the lanes. */
static void check_special(const struct isa *isa, int64_t m)
{
    const struct shape s = {.m = m, .n = 35, .k = 37, .x = TENON_F32, .w = TENON_I8, .y = TENON_F32};
    struct problem p;
    problem_make(&p, &s, 5);
    float *x = p.call.ptr[TENON_LINEAR_X], *y = p.call.ptr[TENON_LINEAR_Y], *scale = p.call.ptr[TENON_LINEAR_W_SCALE];
    int8_t *w = p.call.ptr[TENON_LINEAR_W];
    for (int64_t i = 0; i < s.n * s.k; i++)
        w[i] = (int8_t)(w[i] | 1);
    for (int64_t i = 0; i < s.m * s.k; i++)
        x[i] = fabsf(x[i]) + 1.0f;
    x[3] = NAN;
    x[(s.m - 1) * s.k + 36] = INFINITY;
    scale[34] = INFINITY;
    for (int64_t k = 0; k < s.k; k++)
        w[34 * s.k + k] = 1;
    test_linear_run(isa, &p.call);
    int wrong = 0;
    for (int64_t r = 0; r < s.m; r++)
        for (int64_t n = 0; n < s.n; n++) {
            const float v = y[r * s.n + n];
            wrong += r == 0 ? !isnan(v) : n == 34 || r == s.m - 1 ? !isinf(v) : !isfinite(v);
        }
    is_int(wrong, 0, "%s: m %d: NaN and Inf stay in their rows and columns", isa->name, (int)m);
    problem_free(&p);
}

/* y == residual; leading axes that fold into no single stride. */
static void check_places(const struct isa *isa)
{
    const struct shape s = {
        .m = 12, .n = 21, .k = 19, .x = TENON_F32, .w = TENON_F32, .y = TENON_F32, .residual = TENON_F32};
    struct problem p;
    problem_make(&p, &s, 3);
    float *y = p.call.ptr[TENON_LINEAR_Y], *residual = p.call.ptr[TENON_LINEAR_RESIDUAL];
    test_linear_run(isa, &p.call);
    struct test_linear call = p.call;
    call.ptr[TENON_LINEAR_Y] = residual;
    test_linear_run(isa, &call);
    ok(memcmp(y, residual, (size_t)p.bytes[TENON_LINEAR_Y]) == 0, "%s: residual in place", isa->name);
    /* x seen as [3, 4, K] with the outer axes swapped: row (i, j) is row j * 3 + i */
    call = p.call;
    call.ptr[TENON_LINEAR_RESIDUAL] = NULL;
    call.tensor[TENON_LINEAR_RESIDUAL] = (struct tenon_tensor){.dtype = 0};
    test_linear_run(isa, &call);
    float *swapped = calloc((size_t)(s.m * s.n), sizeof *swapped);
    if (!swapped)
        bail("out of memory");
    call.tensor[TENON_LINEAR_X] =
        (struct tenon_tensor){.dtype = TENON_F32, .rank = 3, .dim = {3, 4, s.k}, .stride = {s.k, 3 * s.k, 1}};
    call.tensor[TENON_LINEAR_Y] =
        (struct tenon_tensor){.dtype = TENON_F32, .rank = 3, .dim = {3, 4, s.n}, .stride = {4 * s.n, s.n, 1}};
    call.ptr[TENON_LINEAR_Y] = swapped;
    test_linear_run(isa, &call);
    int different = 0;
    for (int64_t i = 0; i < 3; i++)
        for (int64_t j = 0; j < 4; j++)
            different += memcmp(swapped + (i * 4 + j) * s.n, y + (j * 3 + i) * s.n, (size_t)s.n * sizeof *y) != 0;
    is_int(different, 0, "%s: leading axes that do not fold into one stride", isa->name);
    free(swapped);
    problem_free(&p);
}

/* One order of the sums on all ISAs: where the product and the sum are one operation, their bits are the same. */
static void check_isas(const struct shape *s, const char *name)
{
    struct problem p;
    const struct isa *isa;
    char *first = NULL;
    int different = 0;
    problem_make(&p, s, 17);
    const size_t bytes = (size_t)p.bytes[TENON_LINEAR_Y];
    for (unsigned i = 0; (isa = test_isa(i)) != NULL; i++) {
        if (!isa->fma)
            continue;
        test_linear_run(isa, &p.call);
        if (first)
            different += memcmp(first, p.call.ptr[TENON_LINEAR_Y], bytes) != 0;
        else if ((first = malloc(bytes)) != NULL)
            memcpy(first, p.call.ptr[TENON_LINEAR_Y], bytes);
    }
    is_int(different, 0, "%s: the same bits on all ISAs that have FMA", name);
    free(first);
    problem_free(&p);
}

int main(void)
{
    static const struct shape packed = {.m = 67, .n = 301, .k = 700, .x = TENON_F32, .w = TENON_F32, .y = TENON_F32};
    static const struct shape dot = {.m = 1, .n = 999, .k = 300, .x = TENON_F16, .w = TENON_I8, .y = TENON_F32};
    static const struct shape tall = {.m = 900, .n = 40, .k = 100, .x = TENON_F32, .w = TENON_BF16, .y = TENON_F32};
    const int full = getenv("TENON_TEST_LEVEL") && strcmp(getenv("TENON_TEST_LEVEL"), "full") == 0;
    const struct isa *isa;
    for (unsigned i = 0; (isa = test_isa(i)) != NULL; i++) {
        check_random(isa, full ? 3000 : 300);
        check_large(isa);
        check_rows(isa);
        check_threads(isa, &packed, "packed");
        check_threads(isa, &dot, "in place");
        check_threads(isa, &tall, "tall");
        check_special(isa, 4);
        check_special(isa, 20);
        check_places(isa);
    }
    check_isas(&packed, "packed");
    check_isas(&dot, "in place");
    return tap_done();
}

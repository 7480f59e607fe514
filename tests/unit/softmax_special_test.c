/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax on the CPU: rows with NaN and infinities, empty rows, scales and temperatures at their ends, on every ISA. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../tap.h"
#include "softmax_cpu.h"

enum { SPECIAL_COLS = 5 };
static const float inf = INFINITY, nan_value = NAN;

static int equal(double a, double b)
{
    return a == b || (isnan(a) && isnan(b)) || fabs(a - b) <= 1e-6 * fabs(b);
}

static void test_special(const struct isa *isa, uint32_t algo, uint32_t kind)
{
    static const struct {
        const char *name;
        float x[SPECIAL_COLS], y0; /* y0: of EXP, first entry */
        float lse, max, entropy;
        int argmax;
    } rows[] = {
        {"NaN", {1, 2, NAN, 3, 0}, NAN, NAN, NAN, NAN, 3},
        {"+Inf", {1, INFINITY, 0, INFINITY, 2}, NAN, NAN, NAN, NAN, 1},
        {"empty", {-INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY}, 0, -INFINITY, -INFINITY, 0, -1},
        {"-Inf and NaN", {NAN, NAN, -INFINITY, NAN, -INFINITY}, NAN, NAN, NAN, NAN, 2},
        {"all NaN", {NAN, NAN, NAN, NAN, NAN}, NAN, NAN, NAN, NAN, 0},
        {"one finite", {-INFINITY, -INFINITY, 7, -INFINITY, -INFINITY}, 0, 7, 7, 0, 2},
        {"equal", {3, 3, 3, 3, 3}, 0.2f, 4.6094379f, 3, 1.6094379f, 0},
        {"wide", {-3e38f, 3e38f, 0, -1, 1}, 0, 3e38f, 3e38f, 0, 1},
        {"beyond 2^20", {2e6f, 2e6f, -5e6f, 0, -INFINITY}, 0.5f, 2000000.75f, 2e6f, 0.6931472f, 0},
    };
    const int64_t n = sizeof rows / sizeof rows[0];
    struct test_softmax c = test_softmax(TENON_F32, TENON_F32, n, SPECIAL_COLS, algo, kind, STATS);
    for (int64_t r = 0; r < n; r++)
        memcpy((float *)c.ptr[TENON_SOFTMAX_X] + r * SPECIAL_COLS, rows[r].x, sizeof rows[r].x);
    test_softmax_run(isa, &c);
    int wrong = 0;
    for (int64_t r = 0; r < n; r++) {
        const double want = kind ? log((double)rows[r].y0) : (double)rows[r].y0,
                     y = test_softmax_get(&c, TENON_SOFTMAX_Y, r * SPECIAL_COLS);
        const int fine = (equal(y, want) || (kind && isinf(want) && y < -1e6)) &&
                         equal(test_softmax_get(&c, TENON_SOFTMAX_LSE, r), (double)rows[r].lse) &&
                         equal(test_softmax_get(&c, TENON_SOFTMAX_MAX, r), (double)rows[r].max) &&
                         equal(test_softmax_get(&c, TENON_SOFTMAX_ENTROPY, r), (double)rows[r].entropy) &&
                         ((int32_t *)c.ptr[TENON_SOFTMAX_ARGMAX])[r] == rows[r].argmax;
        if (!fine)
            tap_note("%s: y[0] %g lse %g max %g entropy %g argmax %d", rows[r].name, y,
                     test_softmax_get(&c, TENON_SOFTMAX_LSE, r), test_softmax_get(&c, TENON_SOFTMAX_MAX, r),
                     test_softmax_get(&c, TENON_SOFTMAX_ENTROPY, r), ((int32_t *)c.ptr[TENON_SOFTMAX_ARGMAX])[r]);
        wrong += !fine;
    }
    is_int(wrong, 0, "%s: special rows, algo %u kind %u", isa->name, algo, kind);
    test_softmax_free(&c);
}

/* Rows with nothing in them by mask, by sink and by rule; bad scales; T == 0. */
static void test_empty(const struct isa *isa, uint32_t algo)
{
    struct test_softmax c = test_softmax(TENON_F32, TENON_F32, 1, 4, algo, 0, STATS | MASK);
    float *x = c.ptr[TENON_SOFTMAX_X], *y = c.ptr[TENON_SOFTMAX_Y];
    uint8_t *mask = c.ptr[TENON_SOFTMAX_MASK];
    for (int j = 0; j < 4; j++) {
        x[j] = j == 3 ? nan_value : -inf;
        mask[j] = j < 2;
    }
    c.params.empty_row = TENON_SOFTMAX_EMPTY_UNIFORM;
    test_softmax_run(isa, &c);
    ok(y[0] == 0.5f && y[1] == 0.5f && y[2] == 0 && y[3] == 0, "%s: empty row, uniform over what exists, algo %u",
       isa->name, algo);
    c.params.empty_row = TENON_SOFTMAX_EMPTY_NAN;
    test_softmax_run(isa, &c);
    ok(isnan(y[0]) && y[2] == 0 && y[3] == 0, "%s: empty row, NaN where something exists, algo %u", isa->name, algo);
    ok(test_softmax_get(&c, TENON_SOFTMAX_ENERGY, 0) == (double)inf && test_softmax_get(&c, TENON_SOFTMAX_PMAX, 0) == 0,
       "%s: its statistics", isa->name);
    test_softmax_give(&c, TENON_SOFTMAX_SINK, TENON_F32, 0);
    *(float *)c.ptr[TENON_SOFTMAX_SINK] = 2.5f;
    test_softmax_run(isa, &c);
    ok(y[0] == 0 && test_softmax_get(&c, TENON_SOFTMAX_LSE, 0) == 2.5, "%s: empty row with a sink, algo %u", isa->name,
       algo);
    test_softmax_free(&c);
}

static void test_scales(const struct isa *isa, uint32_t algo)
{
    static const float scale[] = {1, 0, -1, NAN, INFINITY, 0x1p-120f, 1e30f};
    struct test_softmax c = test_softmax(TENON_F32, TENON_F32, 7, 3, algo, 0, STATS | ROW_SCALE);
    float *x = c.ptr[TENON_SOFTMAX_X], *y = c.ptr[TENON_SOFTMAX_Y];
    memcpy(c.ptr[TENON_SOFTMAX_ROW_SCALE], scale, sizeof scale);
    c.params.inv_temp = 1e10f;
    for (int r = 0; r < 7; r++) {
        x[3 * r] = r == 5 ? -3e38f : 1;
        x[3 * r + 1] = r == 5 ? 3e38f : 2;
        x[3 * r + 2] = -inf;
    }
    test_softmax_run(isa, &c);
    ok(y[0] == 0 && y[1] == 1, "%s: a cold row, algo %u", isa->name, algo);
    ok(y[3] == 0.5f && y[4] == 0.5f && y[5] == 0, "%s: T = 0 is uniform above -Inf, algo %u", isa->name, algo);
    ok(test_softmax_get(&c, TENON_SOFTMAX_ENERGY, 1) == -(double)inf, "%s: and has energy -Inf", isa->name);
    int nans = 0;
    for (int r = 2; r < 5; r++)
        nans += isnan(y[3 * r]) && isnan(y[3 * r + 2]) && isnan(test_softmax_get(&c, TENON_SOFTMAX_MAX, r)) &&
                ((int32_t *)c.ptr[TENON_SOFTMAX_ARGMAX])[r] == 1;
    is_int(nans, 3, "%s: a scale that is negative, NaN or infinite makes the row NaN, algo %u", isa->name, algo);
    const double d = -6e38 * 0x1p-120 * (double)1e10f;
    ok(fabs((double)y[15] - exp(d) / (1 + exp(d))) < 1e-6, "%s: differences beyond the largest float, algo %u",
       isa->name, algo);
    ok(y[18] == 0 && y[19] == 1, "%s: a temperature beyond the largest float, algo %u", isa->name, algo);
    test_softmax_free(&c);
}

int main(void)
{
    for (unsigned i = 0; test_isa(i); i++)
        for (uint32_t algo = 0; algo <= TENON_SOFTMAX_FIXED_MAX; algo++) {
            test_special(test_isa(i), algo, TENON_SOFTMAX_EXP);
            test_special(test_isa(i), algo, TENON_SOFTMAX_LOG_EXP);
            test_empty(test_isa(i), algo);
            if (algo != TENON_SOFTMAX_TWO_PASS_EXT)
                test_scales(test_isa(i), algo);
        }
    return tap_done();
}

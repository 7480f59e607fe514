/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The reference of the softmax family: the specification's golden values, generated noise and exact logarithms bit for
 * bit, and rows whose outcome can be said without computing. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <tenon/ops/softmax.h>
#include "../tap.h"
#include "suite.h"

/* ---- numbers ---- */

static void test_philox(void)
{
    static const uint32_t counters[3][4] = {{0, 0, 0, 0},
                                            {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
                                            {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}};
    static const uint64_t keys[3] = {0, UINT64_MAX, UINT64_C(0x299f31d0a4093822)};
    static const uint32_t wants[3][4] = {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
                                         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
                                         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}};
    uint32_t got[4];
    for (int i = 0; i < 3; i++) {
        conform_philox(counters[i], keys[i], got);
        ok(memcmp(got, wants[i], sizeof got) == 0, "Philox4x32-10: known answer %d", i);
    }
    conform_philox((const uint32_t[]){1, 5, 1, 7}, UINT64_C(0x0000162e000004d2), got);
    ok(got[0] == 0xdfb64ad8 && got[1] == 0xdd1b5d6e && got[2] == 0xa1bffc6b && got[3] == 0x498fd79b,
       "the words of seed 0000162e000004d2, row 5, columns 4 to 7");
    conform_philox((const uint32_t[]){0, 0, 0, 0}, 0, got);
    static const uint32_t below[4] = {3, 7, 5, 4};
    for (int i = 0; i < 4; i++)
        is_int((int64_t)((uint64_t)got[i] * 8 >> 32), below[i], "an integer below 8 from word %d", i);
}

static void test_noise(void)
{
    static const uint32_t uniforms[4] = {0x3ecc4fd2, 0x3f6169c5, 0x3f3c57ad, 0x3f1b00db};
    static const uint32_t gumbels[4] = {0x3dadb63f, 0x4003f241, 0x3f973102, 0x3f308fa0};
    static const uint32_t others[4] = {0x40003ecc, 0x3ff5d37f, 0x3f474742, 0xbe621476};
    const struct conform_noise zero = {0, 0, 0}, other = {UINT64_C(0x0000162e000004d2), 7, 1};
    double sum = 0, squares = 0;
    for (uint32_t i = 0; i < 4; i++) {
        is_int(conform_float_bits(conform_noise_uniform(&zero, 0, i)), uniforms[i], "uniform %d", (int)i);
        is_int(conform_float_bits(conform_noise_gumbel(&zero, 0, i)), gumbels[i], "Gumbel %d", (int)i);
        is_int(conform_float_bits(conform_noise_gumbel(&other, 5, 4 + i)), others[i], "Gumbel of another seed %d",
               (int)i);
    }
    for (uint32_t i = 0; i < 20000; i++) {
        double value = conform_noise_normal(&zero, i / 100, i % 100);
        sum += value;
        squares += value * value;
    }
    ok(fabs(sum / 20000) < 0.03 && fabs(squares / 20000 - 1) < 0.05, "normals: mean %.3f, variance %.3f", sum / 20000,
       squares / 20000);
}

static void test_log(void)
{
    static const struct {
        float x;
        uint32_t bits;
    } logs[] = {{0.5f, 0xbf317218},     {2, 0x3f317218},  {0x1.fffffep-1f, 0xb3800000},
                {0x1p-24f, 0xc1851592}, {10, 0x40135d8e}, {1, 0}};
    double worst = 0;
    for (size_t i = 0; i < sizeof logs / sizeof logs[0]; i++)
        is_int(conform_float_bits(conform_exact_log(logs[i].x)), logs[i].bits, "log %g", (double)logs[i].x);
    for (uint32_t i = 0; i < 100000; i++) {
        float x = conform_bits_float(0x00800000 + (uint32_t)conform_below(7, i, 0x7f000000));
        double want = log((double)x);
        worst = fmax(worst, fabs((double)conform_exact_log(x) - want) / conform_ulp(TENON_F32, want));
    }
    ok(worst <= 0.82, "log: at most %.3f ulp", worst);
}

/* ---- golden rows ---- */

static struct conform_case c;
static struct conform_want *want;

/* One row x of n with y and every statistic its kind has. */
static struct tenon_softmax_params *begin(uint32_t kind, int64_t n)
{
    const struct conform_op *op = NULL;
    for (uint32_t i = 0; (op = conform_op_at(i)) != NULL && op->op != TENON_OPNUM_softmax; i++)
        ;
    memset(&c, 0, sizeof c);
    conform_case_make(op, 0, 1, &c);
    for (uint32_t i = 0; i < c.n; i++)
        memset(&c.slot[i].tensor, 0, sizeof c.slot[i].tensor);
    conform_slot_set(&c, TENON_SOFTMAX_X, TENON_F32, 2, (int64_t[]){1, n});
    conform_slot_set(&c, TENON_SOFTMAX_Y, TENON_F32, 2, (int64_t[]){1, n});
    c.slot[TENON_SOFTMAX_Y].same_as = -1;
    for (uint32_t i = TENON_SOFTMAX_MAX; i <= TENON_SOFTMAX_BETA; i++)
        conform_slot_set(&c, i, i == TENON_SOFTMAX_ARGMAX || i == TENON_SOFTMAX_NNZ ? TENON_I32 : TENON_F32, 1,
                         (int64_t[]){1});
    conform_slot_set(&c, TENON_SOFTMAX_FLAGS, TENON_U32, 1, (int64_t[]){4});
    ((struct tenon_softmax_params *)(void *)c.params)->kind = kind;
    return (void *)c.params;
}

static void run(const float *x, const float *sink, const float *mult)
{
    const int64_t n = c.slot[TENON_SOFTMAX_X].tensor.dim[1];
    if (sink)
        conform_slot_set(&c, TENON_SOFTMAX_SINK, TENON_F32, 1, (int64_t[]){1});
    if (mult)
        conform_slot_set(&c, TENON_SOFTMAX_MULT, TENON_F32, 1, &n);
    if (conform_case_alloc(&c) || (want = want_create(&c)) == NULL)
        bail("out of memory");
    memcpy(conform_first(&c.slot[TENON_SOFTMAX_X]), x, sizeof(float) * (size_t)n);
    if (sink)
        memcpy(conform_first(&c.slot[TENON_SOFTMAX_SINK]), sink, sizeof *sink);
    if (mult)
        memcpy(conform_first(&c.slot[TENON_SOFTMAX_MULT]), mult, sizeof(float) * (size_t)n);
    c.op->expect(&c, want);
}

static void end(void)
{
    want_destroy(&c, want);
    conform_case_free(&c);
}

static double y(int i)
{
    return want[TENON_SOFTMAX_Y].want[i];
}
static double bound(int i)
{
    return want[TENON_SOFTMAX_Y].bound[i];
}
static double stat(uint32_t i)
{
    return want[i].want[0];
}

static void near(double got, double value, const char *what)
{
    if (!ok(got == value || fabs(got - value) <= 5.1e-9 * fmax(1, fabs(value)), "%s is %.9g", what, value))
        tap_note("got %.12g", got);
}

static const float row[4] = {1, 2, -1, 0.5f};

static void golden(uint32_t kind, const char *name, double a, double b, double d, double e)
{
    const double values[4] = {a, b, d, e};
    begin(kind, 4);
    run(row, NULL, NULL);
    for (int i = 0; i < 4; i++)
        near(y(i), values[i], name);
}

static void test_golden(void)
{
    golden(TENON_SOFTMAX_EXP, "exp", 0.224207818, 0.609460038, 0.0303432286, 0.135988916);
    near(stat(TENON_SOFTMAX_SUMSQ), 0.44112438, "sumsq");
    near(log(stat(TENON_SOFTMAX_SUM)), 0.4951819, "ln sum");
    is_int((int64_t)stat(TENON_SOFTMAX_NNZ), 4, "entries with weight");
    end();
    golden(TENON_SOFTMAX_SOFTPICK, "softpick", 0.183025945, 0.680542047, 0, 0.0690997379);
    is_int((int64_t)stat(TENON_SOFTMAX_NNZ), 3, "softpick: entries with weight");
    end();
    golden(TENON_SOFTMAX_SIGMOID, "sigmoid", 0.404609675, 0.648785644, 0.0842238084, 0.291875133), end();
    golden(TENON_SOFTMAX_RELU_NORM, "relu_norm", 0.285713469, 0.571426939, 0, 0.142856735), end();
    golden(TENON_SOFTMAX_RELU2_NORM, "relu2_norm", 0.190475828, 0.761903311, 0, 0.0476189569), end();
    golden(TENON_SOFTMAX_QUAD_NORM, "quad_norm", 0.274285693, 0.373333305, 0.121904753, 0.230476173), end();
    golden(TENON_SOFTMAX_STABLEMAX, "stablemax", 0.285714286, 0.428571429, 0.0714285714, 0.214285714), end();
    golden(TENON_SOFTMAX_SCALE, "scale", 0.25, 0.5, -0.25, 0.125), end();
    golden(TENON_SOFTMAX_SPARSEMAX, "sparsemax", 0, 1, 0, 0);
    near(stat(TENON_SOFTMAX_TAU), 1, "tau of sparsemax");
    end();
    golden(TENON_SOFTMAX_ENTMAX15, "entmax15", 0.162070113, 0.814649437, 0, 0.0232804503);
    is_int((int64_t)stat(TENON_SOFTMAX_NNZ), 3, "entmax15: entries above tau");
    near(pow(1 - stat(TENON_SOFTMAX_TAU), 2), 0.814649437, "tau of entmax15 is in units of z/2");
    end();
}

static void test_options(void)
{
    struct tenon_softmax_params *p = begin(TENON_SOFTMAX_EXP, 4);
    p->adaptive = 1;
    run(row, NULL, NULL);
    /* The printed values are of coefficients that are not rounded to f32. */
    static const double adaptive[4] = {0.190734857, 0.694976978, 0.0143664467, 0.0999217181};
    ok(fabs(stat(TENON_SOFTMAX_BETA) - 1.29299444) < 2e-7, "beta %.9g", stat(TENON_SOFTMAX_BETA));
    for (int i = 0; i < 4; i++)
        ok(fabs(y(i) - adaptive[i]) < 5e-8, "adaptive %.9g", y(i));
    end();
    p = begin(TENON_SOFTMAX_EXP, 4);
    p->post = TENON_SOFTMAX_POST_CLIP;
    p->gamma = -0.1f;
    run(row, NULL, NULL);
    /* The printed values are of a gamma of exactly -0.1. */
    ok(fabs(y(0) - 0.1466286) < 1e-8 && fabs(y(1) - 0.570406041) < 1e-8 && y(2) == 0 &&
           fabs(y(3) - 0.0495878074) < 1e-8,
       "clip");
    ok(bound(2) == 0, "what clip takes away is exactly 0");
    end();
    p = begin(TENON_SOFTMAX_EXP, 4);
    p->post = TENON_SOFTMAX_POST_QUANT_U8;
    run(row, NULL, NULL);
    ok(y(0) == 57 && y(1) == 155 && y(2) == 8 && y(3) == 35 && bound(0) == 0 && bound(1) == 0, "quant_u8");
    end();
    p = begin(TENON_SOFTMAX_EXP, 4);
    p->post = TENON_SOFTMAX_POST_HARD;
    run(row, NULL, NULL);
    ok(y(0) == 0 && y(1) == 1 && y(2) == 0 && y(3) == 0 && want[TENON_SOFTMAX_Y].exact, "hard");
    end();
    p = begin(TENON_SOFTMAX_EXP, 4);
    p->support = TENON_SOFTMAX_SUPPORT_TOPK;
    p->k = 2;
    run(row, NULL, NULL);
    near(y(1), 1 / (1 + exp(-1)), "the best of two"), near(y(2), 0, "outside the support");
    is_int((int64_t)stat(TENON_SOFTMAX_NNZ), 2, "two have weight");
    end();
    begin(TENON_SOFTMAX_EXP, 4);
    run(row, NULL, (const float[]){2, 1, 0, 3});
    double sum = 2 * exp(-1) + 1 + 3 * exp(-1.5);
    near(y(0), exp(-1) / sum, "a column that counts twice"), near(y(2), 0, "one that does not count");
    near(stat(TENON_SOFTMAX_SUM), sum, "sum with multiplicities");
    end();
}

static void test_support(void)
{
    static const float ties[6] = {1, 3, 3, -INFINITY, 3, 1};
    static const float odd[4] = {NAN, 2, 1, -INFINITY};
    static const float infinite[3] = {1, INFINITY, 2};
    float normal[1000];
    struct tenon_softmax_params *p = begin(TENON_SOFTMAX_EXP, 6);
    p->support = TENON_SOFTMAX_SUPPORT_TOPK;
    p->k = 2;
    run(ties, NULL, NULL);
    ok(y(1) == 0.5 && y(2) == 0.5 && y(4) == 0, "of equals the smaller index");
    end();
    p = begin(TENON_SOFTMAX_EXP, 4);
    p->support = TENON_SOFTMAX_SUPPORT_TOPK;
    p->k = 2;
    run(odd, NULL, NULL);
    near(y(1), 1 / (1 + exp(-1)), "a NaN outside the support is as masked");
    ok(y(0) == 0 && want[TENON_SOFTMAX_FLAGS].want[0] == 0, "and flags nothing");
    end();
    p = begin(TENON_SOFTMAX_EXP, 4);
    p->support = TENON_SOFTMAX_SUPPORT_TOPK;
    p->k = 3;
    run(odd, NULL, NULL);
    ok(isnan(y(0)) && isnan(y(1)) && y(3) == 0 && want[TENON_SOFTMAX_FLAGS].want[0] == 1 &&
           want[TENON_SOFTMAX_FLAGS].want[2] == 1 && stat(TENON_SOFTMAX_ARGMAX) == 1,
       "one inside makes the row NaN");
    end();
    p = begin(TENON_SOFTMAX_SIGMOID, 3);
    run(infinite, NULL, NULL);
    near(y(1), 1, "sigmoid of +Inf"), near(y(0), 1 / (1 + 3 * exp(-1)), "its neighbour");
    ok(isnan(stat(TENON_SOFTMAX_MAX)) && want[TENON_SOFTMAX_FLAGS].want[0] == 1, "which is flagged");
    end();
    p = begin(TENON_SOFTMAX_EXP, 1000);
    p->support = TENON_SOFTMAX_SUPPORT_STAT_TOPK;
    p->k = 50;
    for (uint32_t i = 0; i < 1000; i++)
        normal[i] = conform_normal(5, i);
    run(normal, NULL, NULL);
    ok(stat(TENON_SOFTMAX_NNZ) > 35 && stat(TENON_SOFTMAX_NNZ) < 70, "stat_topk 50 of 1000 normals keeps %d",
       (int)stat(TENON_SOFTMAX_NNZ));
    end();
}

int main(void)
{
    test_philox();
    test_noise();
    test_log();
    test_golden();
    test_options();
    test_support();
    return tap_done();
}

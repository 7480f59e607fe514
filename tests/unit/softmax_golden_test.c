/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax on the CPU, the whole family: golden values on every ISA; every ISA gives the same bits, and no bit depends
 * on how many threads there are. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../tap.h"
#include "softmax_cpu.h"

/* ---- golden values of the row (1, 2, -1, 0.5) ---- */

static const struct golden {
    const char *name;
    uint32_t kind, post, adaptive, support, k;
    double y[4];
} golden[] = {
    {"exp, k = 4", 0, 0, 0, 1, 4, {0.224207818, 0.609460038, 0.0303432286, 0.135988916}},
    {"exp, k = 2", 0, 0, 0, 1, 2, {0.268941421, 0.731058579, 0, 0}},
    {"softpick", TENON_SOFTMAX_SOFTPICK, 0, 0, 0, 0, {0.183025945, 0.680542047, 0, 0.0690997379}},
    {"sparsemax", TENON_SOFTMAX_SPARSEMAX, 0, 0, 0, 0, {0, 1, 0, 0}},
    {"entmax15", TENON_SOFTMAX_ENTMAX15, 0, 0, 0, 0, {0.162070113, 0.814649437, 0, 0.0232804503}},
    {"sigmoid", TENON_SOFTMAX_SIGMOID, 0, 0, 0, 0, {0.404609675, 0.648785644, 0.0842238084, 0.291875133}},
    {"relu_norm", TENON_SOFTMAX_RELU_NORM, 0, 0, 0, 0, {0.285713469, 0.571426939, 0, 0.142856735}},
    {"relu2_norm", TENON_SOFTMAX_RELU2_NORM, 0, 0, 0, 0, {0.190475828, 0.761903311, 0, 0.0476189569}},
    {"quad_norm", TENON_SOFTMAX_QUAD_NORM, 0, 0, 0, 0, {0.274285693, 0.373333305, 0.121904753, 0.230476173}},
    {"stablemax", TENON_SOFTMAX_STABLEMAX, 0, 0, 0, 0, {0.285714286, 0.428571429, 0.0714285714, 0.214285714}},
    {"scale", TENON_SOFTMAX_SCALE, 0, 0, 0, 0, {0.25, 0.5, -0.25, 0.125}},
    {"clip", 0, TENON_SOFTMAX_POST_CLIP, 0, 0, 0, {0.1466286, 0.570406041, 0, 0.0495878074}},
    {"hard", 0, TENON_SOFTMAX_POST_HARD, 0, 0, 0, {0, 1, 0, 0}},
    {"adaptive", 0, 0, 1, 0, 0, {0.190734857, 0.694976978, 0.0143664467, 0.0999217181}},
};

static void test_golden(const struct isa *isa)
{
    static const float x[] = {1, 2, -1, 0.5f};
    for (size_t i = 0; i < sizeof golden / sizeof golden[0]; i++) {
        const struct golden *g = &golden[i];
        struct test_softmax c = test_softmax(TENON_F32, TENON_F32, 1, 4, 0, g->kind, 0);
        double worst = 0;
        c.params.post = g->post;
        c.params.gamma = g->post == TENON_SOFTMAX_POST_CLIP ? -0.1f : 0;
        c.params.adaptive = g->adaptive;
        c.params.support = g->support;
        c.params.k = g->k;
        memcpy(c.ptr[TENON_SOFTMAX_X], x, sizeof x);
        test_softmax_run(isa, &c);
        for (int j = 0; j < 4; j++)
            worst = fmax(worst, fabs(test_softmax_get(&c, TENON_SOFTMAX_Y, j) - g->y[j]));
        ok(worst < 3e-7, "%s: %s (off by %.2g)", isa->name, g->name, worst);
        test_softmax_free(&c);
    }
}

/* Gumbel noise on a row of zeros is seen whole in its maximum; of four columns of one row all words are used. */
static void test_noise(const struct isa *isa)
{
    static const float want[] = {0x1.5b6c7ep-4f, 0x1.07e482p+1f, 0x1.2e6204p+0f, 0x1.611f4p-1f};
    int same = 0;
    for (int j = 0; j < 4; j++) {
        struct test_softmax c = test_softmax(TENON_F32, TENON_F32, 1, 4, 0, TENON_SOFTMAX_RELU_NORM, 0);
        float *x = c.ptr[TENON_SOFTMAX_X];
        test_softmax_give(&c, TENON_SOFTMAX_MAX, TENON_F32, 0);
        c.params.noise = TENON_SOFTMAX_NOISE_GUMBEL;
        for (int i = 0; i < 4; i++)
            x[i] = i == j ? 0 : -100;
        test_softmax_run(isa, &c);
        same += test_softmax_get(&c, TENON_SOFTMAX_MAX, 0) == (double)want[j];
        test_softmax_free(&c);
    }
    is_int(same, 4, "%s: Gumbel noise, bit for bit", isa->name);
}

/* ---- the same bits on every ISA and for every number of threads ---- */

static int32_t clip_to(int64_t cols, uint32_t k)
{
    return (int32_t)(cols / (k ? 3 : 1));
}

static struct test_softmax any(const struct golden *g, int64_t cols, uint32_t noise)
{
    struct test_softmax c = test_softmax(TENON_F16, g->kind % 2 ? TENON_F16 : TENON_F32, 2, cols, 0, g->kind, MASK);
    c.params.post = g->post;
    c.params.gamma = -0.01f;
    c.params.adaptive = g->adaptive;
    c.params.support = g->support;
    c.params.k = g->support ? (uint32_t)clip_to(cols, g->k) : 0;
    c.params.noise = noise;
    c.params.inv_temp = 1.25f;
    return c;
}

static size_t y_bytes(const struct test_softmax *c)
{
    return (size_t)(c->rows * c->cols) * TENON_DTYPE_SIZE(c->tensor[TENON_SOFTMAX_Y].dtype);
}

static void test_bits(int64_t cols)
{
    for (size_t i = 0; i < sizeof golden / sizeof golden[0]; i++) {
        struct test_softmax c = any(&golden[i], cols, (uint32_t)i % 3);
        const size_t bytes = y_bytes(&c);
        void *first = malloc(bytes);
        int differ = 0;
        if (!first)
            bail("out of memory");
        for (unsigned k = 0; test_isa(k); k++)
            for (int threads = 1; threads <= 3; threads += 2) {
                c.threads = (uint32_t)threads;
                c.order = threads > 1 ? threads : -1;
                memset(c.ptr[TENON_SOFTMAX_Y], 0xff, bytes);
                test_softmax_run(test_isa(k), &c);
                if (k == 0 && threads == 1)
                    memcpy(first, c.ptr[TENON_SOFTMAX_Y], bytes);
                differ += memcmp(first, c.ptr[TENON_SOFTMAX_Y], bytes) != 0;
            }
        is_int(differ, 0, "%s, %d columns: the same bits everywhere", golden[i].name, (int)cols);
        free(first);
        test_softmax_free(&c);
    }
}

int main(void)
{
    for (unsigned i = 0; test_isa(i); i++) {
        test_golden(test_isa(i));
        test_noise(test_isa(i));
    }
    test_bits(37);
    test_bits(40000);
    return tap_done();
}

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the parts of causal_conv1d on the CPU share: the plan, the call, and where rows of a sequence lie. */
#ifndef CPU_CAUSAL_CONV1D_H
#define CPU_CAUSAL_CONV1D_H

#include <tenon/ops/causal_conv1d.h>

#include "cpu.h"
#include "lib/silu.h"
#include "lib/element.h"

#define CONV(NAME) TENON_CAUSAL_CONV1D_##NAME
/* Tokens whose sums are made at once: weights are loaded once for them. */
#define CONV_ROWS (VF == 16 ? 8 : 4)
#define CONV_W    TENON_CAUSAL_CONV1D_W_MAX

struct conv;
/* Sums of `count` tokens from t on of a sequence, of the channels from..to of y. */
struct conv_call;
struct conv_run;
typedef void conv_fn(const struct conv_call *call, const struct conv_run *run, int64_t t, int count);

/* Lives in cpu_plan.state. */
struct conv {
    int64_t batches, tokens, seqs, cin, cout, cg, cog, groups;
    int64_t taps, dil, back, n;                     /* n: rows of a state */
    int64_t x[2], y[2], gate[2], residual[2];       /* bytes from batch to batch, token to token */
    int64_t size;                                   /* bytes of an element */
    int64_t padded, vectors;                        /* channels of y of a group as whole vectors; how many those are */
    int64_t blocks, width;                          /* pieces of the channels of y, and how wide they are */
    int64_t rows;                                   /* tokens of a unit of work */
    uint64_t in_bias, in_zeros, in_cu, in_own, own; /* bytes into the workspace; of a task */
    uint32_t depthwise, silu, stream, tasks, dtype;
    conv_fn *fn;
};

struct conv_call {
    struct conv g;
    void *const *ptr;
    float *w, *bias;
    const char *zeros; /* a row of x */
    int32_t *cu;       /* NULL: sequences are batches */
    unsigned char *own;
};

/* A sequence, and where a unit of work is in it. */
struct conv_run {
    int64_t s, batch, start, len; /* tokens are start .. start + len of the batch */
    int64_t from, to, group;      /* channels of y, and their group where there are groups of several */
    float *scratch;
};

/* Row t of a sequence, which may lie before it or beyond. */
SIMD_FN const char *conv_row(const struct conv_call *call, const struct conv_run *run, int64_t t)
{
    const struct conv *g = &call->g;
    if (t >= 0 && t < run->len)
        return (const char *)call->ptr[CONV(X)] + run->batch * g->x[0] + (run->start + t) * g->x[1];
    if (t < 0 && call->ptr[CONV(STATE)])
        return (const char *)call->ptr[CONV(STATE)] + (run->s * g->n + g->n + t) * g->cin * g->size;
    return call->zeros;
}

/* Rows of y, and of what follows the sums, of neighbouring tokens. */
struct conv_rows {
    char *y[CONV_ROWS];
    const char *gate[CONV_ROWS], *residual[CONV_ROWS]; /* [0] NULL: absent */
};

SIMD_FN void conv_rows_of(const struct conv_call *call, const struct conv_run *run, int64_t t, int count,
                          struct conv_rows *rows)
{
    const struct conv *g = &call->g;
    const char *gate = call->ptr[CONV(GATE)], *residual = call->ptr[CONV(RESIDUAL)];
    for (int r = 0; r < count; r++) {
        const int64_t row = run->start + t + r;
        rows->y[r] = (char *)call->ptr[CONV(Y)] + run->batch * g->y[0] + row * g->y[1];
        rows->gate[r] = gate ? gate + run->batch * g->gate[0] + row * g->gate[1] : NULL;
        rows->residual[r] = residual ? residual + run->batch * g->residual[0] + row * g->residual[1] : NULL;
    }
}

/* What follows the sums of `count` tokens, n channels of y from c on, n <= VF. */
SIMD_FN void conv_finish(const struct conv_call *call, const struct conv_rows *rows, vf *sum, const int count,
                         int64_t c, int n, const uint32_t dtype)
{
    if (call->g.silu)
        for (int r = 0; r < count; r++)
            sum[r] = silu_short(sum[r]);
    if (rows->gate[0])
        for (int r = 0; r < count; r++)
            sum[r] = vf_mul(sum[r], load_x(rows->gate[r], c, n, dtype));
    if (rows->residual[0])
        for (int r = 0; r < count; r++)
            sum[r] = vf_add(sum[r], load_x(rows->residual[r], c, n, dtype));
    SIMD_UNROLL_MAYBE for (int r = 0; r < count; r++) store_y(rows->y[r], c, sum[r], n, dtype, (int)call->g.stream);
}

#endif

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * sparse_ffn on the CPU: what its parts share. Included once an ISA; everything is static. */
#ifndef TENON_SPARSE_FFN_CPU_H
#define TENON_SPARSE_FFN_CPU_H

#include "lib/act.h"
#include "lib/matmul.h"
#include "ops/sparse_ffn_op.h"

#define CHUNK 256 /* tokens at a time: what lies between the products stays small */

/* One of wg, wu, wd, or a factor of a complement: [rows, width], or the other way with trans. */
struct matrix {
    const void *data;
    const float *scale;
    uint32_t dtype, trans;
    int64_t rows, width, depth; /* depth: width up to whole lanes, the stride of what it is multiplied with */
    int64_t row, scale_stride, group;
};

/* Computed once by the plan; lives in cpu_plan.state. Places are bytes in the workspace. */
struct sparse_ffn {
    int64_t tokens, d, f, o, chunk, rank;                  /* rank: the largest of the complements */
    int64_t d_depth, f_depth, o_depth, width[2], first[2]; /* of what wg and wu see: columns of x, from which on */
    int64_t x_row, y_row, ext_row;
    struct act act;
    uint64_t in, rest, gate, up, low, low_in, sum, lists, counts, sub;
};

struct sparse_run {
    const struct cpu_plan *plan;
    const struct sparse_ffn *s;
    void *const *ptr;
    char *workspace;
    int64_t token, n; /* the chunk at work */
};

static inline const struct tenon_sparse_ffn_params *params_of(const struct cpu_plan *plan)
{
    return (const void *)plan->params;
}

static inline int64_t lanes_up(int64_t n)
{
    return (n + PRODUCT_LANES - 1) / PRODUCT_LANES * PRODUCT_LANES;
}

static inline float *place(const struct sparse_run *run, uint64_t at)
{
    return (float *)(void *)(run->workspace + at);
}

/* fn(context, i) for i < n, in a parallel region when the work, in multiply-adds or so, is worth it. */
static inline void sparse_pieces(const struct sparse_run *run, double work, uint32_t n,
                                 void (*fn)(void *context, uint32_t i), void *context)
{
    const struct tenon_host *host = run->plan->env->host;
    if (work > 100000 && run->plan->env->threads > 1 && n > 1) {
        host->parallel(host, n, fn, context);
        return;
    }
    for (uint32_t i = 0; i < n; i++)
        fn(context, i);
}

#endif

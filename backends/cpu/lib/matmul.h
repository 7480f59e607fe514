/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * A whole product x w^T, threads included: what linear is and what other operators have inside. The path depends on
 * shapes; the bits of a row do not depend on the path (product.h). Whoever includes this gives matmul_emit(). Included
 * once an ISA; everything is static. */
#ifndef TENON_MATMUL_H
#define TENON_MATMUL_H

#include <stdatomic.h>

#include "cpu.h"
#include "lib/dot.h"

/* Made by matmul_plan() from what stands first; lives in cpu_plan.state. */
struct matmul {
    int64_t m, n, k;
    uint32_t x_type, w_type, y_type; /* of y the size alone matters */
    uint32_t trans_x, trans_w;       /* x is [K,M], w is [K,N] */
    int64_t x_row, w_row, y_row;     /* strides of the rows; MATMUL_FOLDED: the leading axes have no one */
    int64_t scale_stride, group;     /* i8 */

    uint64_t workspace; /* bytes that a run needs */
    int64_t depth;      /* k, up to whole lanes */
    uint32_t path;      /* MATMUL_EMPTY ... */
    uint32_t workers;   /* tasks of a parallel region; 1: all on the calling thread */
    /* packed */
    int64_t rows;    /* of x that are packed at a time */
    int64_t height;  /* of their tallest panel */
    int64_t slices;  /* into which the rows are cut for the workers */
    int64_t columns; /* panels of w that a worker packs at a time */
    uint64_t x_bytes, worker_bytes;
};

enum { MATMUL_EMPTY, MATMUL_DOT, MATMUL_DOT_X, MATMUL_COLUMNS, MATMUL_PACKED };
#define MATMUL_FOLDED INT64_MIN

/* One run of it. */
struct matmul_run {
    const struct matmul *plan;
    const struct cpu_env *env;
    const struct tenon_tensor *x_tensor, *y_tensor; /* for what is folded */
    const void *x, *w;
    const float *scale;
    void *y;             /* on its way to the cache while a tile is computed; matmul_emit() writes it */
    const void *context; /* of matmul_emit() */
    char *workspace;
    int64_t m0, m1;            /* packed: the rows at work */
    atomic_uint_fast64_t next; /* the next piece of work */
};

/* The sums of row m and the columns [n0, n0 + n); sum is overwritten and readable up to a whole vector. */
static void matmul_emit(const struct matmul_run *run, int64_t m, int64_t n0, int64_t n, float *sum);

/* fn(run, i) for i < n, in a parallel region if the plan has one. */
static inline void matmul_pieces(struct matmul_run *run, uint32_t n, void (*fn)(void *run, uint32_t i))
{
    const struct tenon_host *host = run->env->host;
    if (run->plan->workers > 1) {
        host->parallel(host, n, fn, run);
        return;
    }
    for (uint32_t i = 0; i < n; i++)
        fn(run, i);
}

/* The one stride of the rows of t, or MATMUL_FOLDED. */
static __attribute__((unused)) int64_t matmul_row_stride(const struct tenon_tensor *t)
{
    int64_t stride = 0, next = 0;
    int found = 0;
    for (uint32_t d = t->rank - 1; d-- > 0;) {
        if (t->dim[d] == 1)
            continue;
        if (found && t->stride[d] != next)
            return MATMUL_FOLDED;
        if (!found)
            stride = t->stride[d];
        found = 1;
        next = t->stride[d] * t->dim[d];
    }
    return stride;
}

/* Element at which row m of tensor t starts. */
static inline int64_t matmul_row(const struct tenon_tensor *t, int64_t stride, int64_t m)
{
    if (stride != MATMUL_FOLDED)
        return m * stride;
    int64_t at = 0;
    for (uint32_t d = t->rank - 1; d-- > 0; m /= t->dim[d])
        at += m % t->dim[d] * t->stride[d];
    return at;
}

static inline struct pack_source matmul_weights(const struct matmul_run *run)
{
    const struct matmul *s = run->plan;
    return (struct pack_source){.data = run->w,
                                .row_stride = s->w_row,
                                .scale = run->scale,
                                .scale_stride = s->scale_stride,
                                .group = s->group};
}

/* The type of an operand becomes a constant of the code that it runs. */
#define MATMUL_BY_TYPE(dtype, call, ...)                                                                               \
    do {                                                                                                               \
        switch (dtype) {                                                                                               \
        case TENON_F16:                                                                                                \
            call(TENON_F16, __VA_ARGS__);                                                                              \
            break;                                                                                                     \
        case TENON_BF16:                                                                                               \
            call(TENON_BF16, __VA_ARGS__);                                                                             \
            break;                                                                                                     \
        case TENON_I8:                                                                                                 \
            call(TENON_I8, __VA_ARGS__);                                                                               \
            break;                                                                                                     \
        default:                                                                                                       \
            call(TENON_F32, __VA_ARGS__);                                                                              \
        }                                                                                                              \
    } while (0)

#include "lib/matmul_dot.h"
#include "lib/matmul_columns.h"
#include "lib/matmul_packed.h"

/* Fills what follows the shapes. Returns the name of the path. */
static const char *matmul_plan(const struct cpu_env *env, struct matmul *s)
{
    s->depth = (s->k + PRODUCT_LANES - 1) / PRODUCT_LANES * PRODUCT_LANES;
    s->group = s->group > 0 ? s->group : 1;
    s->workspace = 0;
    s->workers = 1;
    /* Cycles, roughly: below some 10 us a parallel region costs more than it saves. */
    const double cost = (double)s->m * (double)s->n * (double)s->k / (2 * VF) +
                        (double)s->n * (double)s->k * TENON_DTYPE_SIZE(s->w_type) / 8;
    if (cost > 30000)
        s->workers = env->threads;
    if (s->m == 0 || s->n == 0 || s->k == 0) {
        s->path = MATMUL_EMPTY;
        return "empty";
    }
    if (s->m <= (s->trans_w ? COLUMNS_M : DOT_MOST)) {
        s->path = s->trans_w ? MATMUL_COLUMNS : MATMUL_DOT;
        matmul_dot_plan(s);
        return s->trans_w ? "in place, columns" : "in place";
    }
    if (s->n <= DOT_MOST && !s->trans_w && !s->trans_x && s->x_row != MATMUL_FOLDED && s->w_type != TENON_I8) {
        s->path = MATMUL_DOT_X;
        matmul_dot_plan(s);
        return "in place, rows of x";
    }
    s->path = MATMUL_PACKED;
    matmul_packed_plan(env, s);
    return "packed";
}

/* K == 0: every sum is 0. */
static void matmul_empty_run(const struct matmul_run *run)
{
    const struct matmul *s = run->plan;
    for (int64_t m = 0; m < s->m; m++)
        for (int64_t n = 0; n < s->n; n += PRODUCT_NR) {
            float sum[PRODUCT_NR] __attribute__((aligned(64))) = {0};
            matmul_emit(run, m, n, s->n - n < PRODUCT_NR ? s->n - n : PRODUCT_NR, sum);
        }
}

static void matmul(struct matmul_run *run)
{
    switch (run->plan->path) {
    case MATMUL_DOT:
    case MATMUL_DOT_X:
        matmul_dot_run(run);
        break;
    case MATMUL_COLUMNS:
        matmul_columns_run(run);
        break;
    case MATMUL_PACKED:
        matmul_packed_run(run);
        break;
    default:
        matmul_empty_run(run);
    }
}

#endif

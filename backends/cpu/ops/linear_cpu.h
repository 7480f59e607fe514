/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * linear on the CPU: what its two products (packed, in place) share. Included once an ISA; everything is static. */
#ifndef TENON_LINEAR_CPU_H
#define TENON_LINEAR_CPU_H

#include <stdatomic.h>
#include <stdio.h>
#include <tenon/ops/linear.h>

#include "cpu.h"
#include "lib/act.h"
#include "lib/dot.h"

/* Computed once by the plan; lives in cpu_plan.state. */
struct linear_state {
    int64_t m, n, k;
    int64_t x_row, y_row, residual_row, w_row; /* strides of the rows; LINEAR_FOLDED: the leading axes have no one */
    int64_t scale_stride, group;
    int64_t depth; /* k, up to whole lanes */
    struct act act;
    uint32_t path;    /* LINEAR_EMPTY ... */
    uint32_t workers; /* tasks of a parallel region; 1: all on the calling thread */
    /* packed */
    int64_t rows;    /* of x that are packed at a time */
    int64_t height;  /* of their tallest panel */
    int64_t slices;  /* into which the rows are cut for the workers */
    int64_t columns; /* panels of w that a worker packs at a time */
    uint64_t x_bytes, worker_bytes;
};

enum { LINEAR_EMPTY, LINEAR_DOT, LINEAR_COLUMNS, LINEAR_PACKED };
#define LINEAR_FOLDED INT64_MIN

/* One run of a plan. */
struct linear_run {
    const struct cpu_plan *plan;
    const struct linear_state *state;
    void *const *ptr;
    char *workspace;
    int64_t m0, m1;            /* packed: the rows at work */
    atomic_uint_fast64_t next; /* the next piece of work */
};

/* fn(run, i) for i < n, in a parallel region if the plan has one. */
static inline void linear_pieces(struct linear_run *run, uint32_t n, void (*fn)(void *run, uint32_t i))
{
    const struct tenon_host *host = run->plan->env->host;
    if (run->state->workers > 1) {
        host->parallel(host, n, fn, run);
        return;
    }
    for (uint32_t i = 0; i < n; i++)
        fn(run, i);
}

/* Element at which row m of tensor t starts. */
static inline int64_t linear_row(const struct tenon_tensor *t, int64_t stride, int64_t m)
{
    if (stride != LINEAR_FOLDED)
        return m * stride;
    int64_t at = 0;
    for (uint32_t d = t->rank - 1; d-- > 0; m /= t->dim[d])
        at += m % t->dim[d] * t->stride[d];
    return at;
}

/* y[m][n0 .. n0 + n) from sums; sum is overwritten and readable up to a whole vector. */
static void linear_emit(const struct linear_run *run, int64_t m, int64_t n0, int64_t n, float *sum)
{
    const struct linear_state *s = run->state;
    const struct tenon_tensor *t = run->plan->tensor;
    const float *bias = run->ptr[TENON_LINEAR_BIAS];
    const void *residual = run->ptr[TENON_LINEAR_RESIDUAL];
    const uint32_t type = t[TENON_LINEAR_Y].dtype;
    if (bias)
        for (int64_t i = 0; i < n; i += VF)
            vf_store(sum + i, vf_add(vf_load(sum + i), pack_load_n(TENON_F32, bias, n0 + i, n - i)));
    act_apply(&s->act, sum, n);
    const int64_t from = residual ? linear_row(&t[TENON_LINEAR_RESIDUAL], s->residual_row, m) + n0 : 0;
    const int64_t to = linear_row(&t[TENON_LINEAR_Y], s->y_row, m) + n0;
    for (int64_t i = 0; i < n; i += VF) {
        vf v = vf_load(sum + i);
        if (residual) /* the same memory as y, perhaps: read just before y is written */
            v = vf_add(v, pack_load_n(t[TENON_LINEAR_RESIDUAL].dtype, residual, from + i, n - i));
        pack_store_n(type, run->ptr[TENON_LINEAR_Y], to + i, v, n - i);
    }
}

static inline struct pack_source linear_weights(const struct linear_run *run)
{
    const struct linear_state *s = run->state;
    return (struct pack_source){.data = run->ptr[TENON_LINEAR_W],
                                .row_stride = s->w_row,
                                .scale = run->ptr[TENON_LINEAR_W_SCALE],
                                .scale_stride = s->scale_stride,
                                .group = s->group};
}

/* The type of an operand becomes a constant of the code that it runs. */
#define LINEAR_BY_TYPE(dtype, call, ...)                                                                               \
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

#endif

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * kv_select on the CPU: what its files share. A row is a block of queries of a list; its columns are the blocks of
 * keys. Scores of a row, then the rule in its scope, which comes down to a cut: the least pair that is listed. */
#ifndef TENON_KV_SELECT_CPU_H
#define TENON_KV_SELECT_CPU_H

#include <tenon/ops/kv_select.h>

#include "cpu.h"
#include "lib/dot_one.h"
#include "lib/exact.h"

#define KEY_FORCED INT32_MAX /* above every number */

/* Lives in cpu_plan.state. */
struct select {
    struct tenon_kv_select_params p;
    float scale;
    int64_t batch, queries, keys, heads, kv_heads, lists, width, nq, nk, rows, nnz;
    int64_t padded;                   /* nk, filled up to PAD */
    int64_t length, scopes;           /* pairs of a scope */
    int64_t q_stride[3], k_stride[3]; /* elements, of batch, token, head */
    int64_t kpos_stride, qpos_stride; /* 0 where one serves all */
    uint32_t dtype, tasks;
    /* byte offsets in the workspace */
    uint64_t pooled_q, pooled_k, span_q, span_k, scores, keys_at, cuts, counts, slots, slot;
};

struct span {
    int32_t low, high;
};

/* Listed is what is better, and of this key what is not beyond `at`. */
struct cut {
    int32_t key;
    int64_t at;
};

/* Of a row. */
struct count {
    int32_t entries, nan;
};

struct run {
    const struct select *s;
    const struct tenon_host *host;
    void *const *ptr;
    float *pooled_q, *pooled_k, *scores;
    struct span *span_q, *span_k;
    int32_t *keys;
    struct cut *cuts;
    struct count *counts;
    unsigned char *slots;
};

/* Of a task. */
struct slot {
    float *row, *head, *prob, *query, *products;
    double *mass;
};

/* Keys that are there. */
static inline int64_t length_of(const struct run *run, int64_t b)
{
    const int32_t *len = run->ptr[TENON_KV_SELECT_KV_LEN];
    const int64_t n = len ? len[b] : run->s->keys;
    return n < 0 ? 0 : n > run->s->keys ? run->s->keys : n;
}

static inline int64_t query_position(const struct run *run, int64_t b, int64_t t)
{
    const int32_t *pos = run->ptr[TENON_KV_SELECT_QPOS];
    return pos ? pos[b * run->s->qpos_stride + t] : length_of(run, b) - run->s->queries + t;
}

static inline int64_t key_position(const struct run *run, int64_t b, int64_t u)
{
    const int32_t *pos = run->ptr[TENON_KV_SELECT_KPOS];
    return pos ? pos[b * run->s->kpos_stride + u] : u;
}

static inline int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int is_visible(const struct run *run, int64_t b, int64_t i, int64_t j)
{
    const struct select *s = run->s;
    return j * s->p.block_k < length_of(run, b) &&
           (!s->p.causal || run->span_k[b * s->nk + j].low <= run->span_q[b * s->nq + i].high);
}

#endif

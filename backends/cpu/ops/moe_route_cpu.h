/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * moe_route on the CPU: what its files share. A task has tiles of tokens; a tile's statistics are its own, so that their
 * sums depend on no thread. Every step that an index or a weight depends on is an IEEE operation that is rounded once,
 * or one of integers (tenon/ops/moe_route.h). */
#ifndef TENON_MOE_ROUTE_CPU_H
#define TENON_MOE_ROUTE_CPU_H

#include <float.h>
#include <tenon/ops/moe_route.h>

#include "cpu.h"
#include "lib/element.h"
#include "lib/exp.h"
#include "lib/philox.h"
#include "lib/select.h"

#define TOKENS    64   /* of a tile */
#define TILE_K    8    /* the most slots of a token that are found a token a lane */
#define PAD       16   /* rows are filled up to a multiple with -Inf, which weighs nothing */
#define SUM_RUN   4096 /* multiples of 2^-40 up to 1 that a double adds exactly */
#define FOLD_RUN  4096 /* tokens whose probabilities 32 bits hold */
#define FLAGS     4
#define KEY_NONE  INT32_MIN      /* of what is absent */
#define KEY_NAN   ORDER_MINUS_INF /* after all numbers, but not absent */
#define MINUS_INF (-INFINITY)

/* Lives in cpu_plan.state. */
struct route {
    struct tenon_moe_route_params p;
    int64_t tokens, columns, experts, padded, tiles; /* padded: columns or experts, the larger */
    int64_t logits_row, group_row, idx_row, w_row, sel_row, g_row, table_row, table_rows; /* strides in elements */
    int64_t pairs;                   /* room */
    uint64_t slot, losses, dense, odd, cuts; /* bytes of a task; offsets behind the slots */
    uint32_t tasks, choice_tasks;
    uint8_t plain;      /* logits are z as they are */
    uint8_t tiled;      /* and the best of them are found a token a lane */
    uint8_t reads;      /* logits are looked at */
    uint8_t needs_finite, by_score, all_scores, sums, clean, counts, stats;
};

/* Of a task. */
struct slot {
    float *z, *clean, *noisy, *s;  /* s: scores, where all are needed */
    float *prob;                   /* exp(z - top) */
    int32_t *key, *key2, *idx;
    int32_t *picked; /* [TOKENS][k], where tiled */
    float *w;
    uint64_t *pair;
    int32_t *count1, *count_k, *p_high, *p_low; /* p in units of 2^-16 and 2^-32 */
    uint64_t *p;                                /* folded, in units of 2^-32 */
    uint32_t flags[FLAGS];
    int64_t folded;
    uint64_t n;
};

struct losses {
    double n, square, entropy, relu;
};

struct run {
    const struct route *r;
    const struct tenon_host *host;
    void *const *ptr;
    unsigned char *workspace;
};

/* Of one token. */
struct token {
    float top, inverse;             /* of the softmax of z */
    float clean_top, clean_inverse; /* of the logits without noise */
    double sum, moment; /* sum of exp, and of exp times its argument */
    int bad, empty, odd, cut;
    const int32_t *picked; /* its best experts, if they are known; not those of an odd row */
    uint32_t range;
};

/* Results below the smallest normal number are 0 on every device, with or without subnormals. */
SIMD_FN float normal_or_0(float x)
{
    return fabsf(x) < FLT_MIN ? 0.0f : x;
}

SIMD_FN vf vf_normal_or_0(vf x)
{
    return vf_keep(vf_nlt(vf_abs(x), vf_set1(FLT_MIN)), x);
}

static inline int has(const struct run *run, uint32_t i)
{
    return run->ptr[i] != NULL;
}

#endif

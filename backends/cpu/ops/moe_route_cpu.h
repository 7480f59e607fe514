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
#include "lib/exact.h"
#include "lib/exp.h"
#include "lib/philox.h"
#include "lib/select.h"

#define TOKENS    64   /* of a tile */
#define TILE_K    8    /* the most slots of a token that are found a token a lane */
#define FOLD_RUN  4096 /* tokens whose probabilities 32 bits hold */
#define FLAGS     4

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

static inline int has(const struct run *run, uint32_t i)
{
    return run->ptr[i] != NULL;
}

#endif

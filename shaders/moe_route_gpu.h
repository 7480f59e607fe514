/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the files of moe_route's launches share. */
#ifndef TENON_MOE_ROUTE_GPU_H
#define TENON_MOE_ROUTE_GPU_H

#include <tenon/ops/moe_route.h>

#include "recipe.h"

/* Of lib/moe_route.h. */
enum {
    OPT_DROP = 0x800,
    OPT_NOISE = 0x1000,
    OPT_SECOND = 0x2000,
    OPT_MASK = 0x4000,
    OPT_VALID = 0x8000,
    OPT_BIAS = 0x10000,
    OPT_GAIN = 0x20000,
    OPT_BY_SCORE = 0x40000,
    OPT_FINITE = 0x80000,
    OPT_READS = 0x100000,
    OPT_CLEAN = 0x200000,
    OPT_SUMS = 0x400000,
    OPT_LOSSES = 0x800000,
    OPT_LEVELS = 0x1000000,
    OPT_SORTED = 0x2000000,
    OPT_SCALED = 0x4000000,
    OPT_SCORES = 0x8000000
};
enum { STATE_WORDS = 16, LOSS_P = 1, LOSS_AUX = 2, FLAGS_BYTES = 16 };

#define WORK_BYTES   (UINT64_C(64) << 20) /* tokens go in chunks whose scratch is about this */
#define LAUNCHES_MAX 65536u
#define PICK_ROUNDS  8192u                /* of an invocation that looks for the best; longer lists are sorted */
#define TILE         UINT64_C(4096)       /* tokens whose statistics are one sum */

/* The scratch of some rows, laid out as in lib/moe_route.h. */
struct region {
    uint64_t at, bytes, words; /* byte offset in the scratch */
    uint64_t count, columns, slots, lists, pitch, most;
    int sorted;
};

/* Word of the first slot. */
static inline uint64_t slots_at(const struct region *r)
{
    return r->count * (4 * r->columns + STATE_WORDS);
}

/* Some tokens: their scratch, after what is there for all of them. */
struct chunk {
    struct region rows, groups, inner;
    uint64_t flags, count1, count_k, cuts, terms, sums; /* byte offsets */
    uint64_t start, end;                                /* of the regions */
};

struct job {
    const struct tenon_moe_route_params *params;
    const struct gpu_limits *limits;
    struct gpu_recipe *recipe;
    struct gpu_rows t[TENON_MOE_ROUTE_N_TENSORS];
    uint64_t tokens, columns, experts, bits;
    uint32_t options, losses, local;
};

/* A launch of at least n invocations; NULL: no memory. */
struct gpu_launch *tenon__route_add(struct job *job, const char *kernel, uint64_t n);

/* Counts and statistics; 0: no memory. */
void tenon__route_fixed(const struct job *job, struct chunk *at);
void tenon__route_bind_counts(const struct job *job, struct gpu_launch *launch, uint32_t i, uint64_t scratch);
int tenon__route_add_clears(struct job *job, const struct chunk *at);
int tenon__route_add_choice(struct job *job, const struct chunk *at);
int tenon__route_add_tiles(struct job *job, const struct chunk *at, uint64_t row);
int tenon__route_add_ends(struct job *job, const struct chunk *at);

#endif

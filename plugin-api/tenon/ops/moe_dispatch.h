/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * moe_dispatch: from the experts of each token to the tokens of each expert: counts, segments and a stable permutation,
 * with or without a capacity. Nothing of it passes through the host: how many rows there are is in tensors alone.
 *
 * A pair is a slot (t, j) with idx[t,j] in [first, end), where end is `end`, or `experts` for 0. A slot of another
 * expert (expert parallel: some other device's) or of none (-1) is no pair. Any other entry of idx is no pair either
 * and is counted in flags: data never gives an error code. Two slots of a token with the same expert are two pairs.
 *
 *  1 counts[e] = pairs of expert e, before anything is dropped
 *  2 the list of all pairs: TOKEN_MAJOR by (t, j), CHOICE_MAJOR by (j, t); with drop BPR, t is not the number of the
 *    token but its rank by the largest weight of its slots with an expert in [0, experts), the largest first
 *      POSITION, BPR: a pair is kept when fewer than `capacity` earlier pairs of its expert exist
 *      PROB: each expert keeps its `capacity` pairs of largest w, ties the earlier in the list
 *    capacity -1: all are kept. r = kept pairs of the same expert earlier in the list
 *  3 seg[e] = kept[e] rounded up to a multiple of `align` (pad_to_capacity: capacity, for e in [first, end));
 *    offsets[e] = seg[0] + .. + seg[e-1], e = 0 .. experts
 *  4 row = offsets[e] + r;  src[row] = t K + j;  pos[t,j] = row;  xp[row] = x[t]
 *    every other row of src, also from offsets[experts] on, is -1, and of xp zeros; pos of what is not kept is -1
 *  5 w2 = w where the pair is kept, else 0; renorm AFTER_DROP: over max(sum over j of w2, eps), eps = 2^-23, the sum in
 *    f32, j ascending, each addition and the division rounded once. A sum that is NaN makes the kept ones NaN.
 *
 * Order of weights: NaN < -Inf < finite < +Inf, -0 equals +0; ties go to the lower t, the earlier pair. Dropless
 * TOKEN_MAJOR is a stable sort by expert; CHOICE_MAJOR with POSITION gives GShard's locations.
 *
 * Rows: src and xp have the same number Mp of them, at least tenon_moe_dispatch_rows(), which no data exceeds (SHAPE);
 * what that is for is a buffer of its own size whatever the data are. output() gives exactly that number.
 * flags: [0] tokens with a NaN weight on a pair; [1] tokens without a pair; [2] tokens that lost a pair to the
 * capacity; [3] entries of idx outside [-1, experts). ([0] is 0 where w is not given.)
 *
 * Errors: capacity < -1, align < 1, first >= experts, end not 0 and not in (first, experts], pad_to_capacity without a
 * capacity or with one that is no multiple of align, w2, PROB, BPR or AFTER_DROP without w, xp without x: ARG; Mp too
 * small: SHAPE. idx, w, pos, w2 are contiguous; x and xp have leading axes that fold (else UNSUPPORTED). T K < 2^31,
 * Mp < 2^31. A GPU takes tensors of slots of up to 2 GiB, rows of up to 2 GiB, x of any size; one whose loops end,
 * K < 2^15, T K < 2^27 and 2^39 / E. capacity 0 drops everything. T == 0, K == 0, D == 0: success, every output
 * is written.
 * Tolerance: exact. Determinism: D1 (w2 of AFTER_DROP: for weights of which none is subnormal). Thread rule: a plan may
 * run on any number of threads at once.
 * Traffic: 2R of idx (PROB, BPR: 10R), 1R of x, 1W of the rest.
 * Sources: Lepikhin et al., "GShard" (2021); Fedus et al., "Switch Transformers" (2022); Riquelme et al., "V-MoE"
 * (2021, batch prioritized routing); Gale et al., "MegaBlocks" (2022).
 */
#ifndef TENON_OPS_MOE_DISPATCH_H
#define TENON_OPS_MOE_DISPATCH_H

#include <stdint.h>

enum { TENON_MOE_DISPATCH_TOKEN_MAJOR = 0, TENON_MOE_DISPATCH_CHOICE_MAJOR = 1 };
enum { TENON_MOE_DISPATCH_POSITION = 0, TENON_MOE_DISPATCH_PROB = 1, TENON_MOE_DISPATCH_BPR = 2 };
enum { TENON_MOE_DISPATCH_NONE = 0, TENON_MOE_DISPATCH_AFTER_DROP = 1 };

/* Tensors, in this order. */
enum {
    TENON_MOE_DISPATCH_IDX,     /* in   i32 [...T,K] */
    TENON_MOE_DISPATCH_W,       /* in?  f32 as idx */
    TENON_MOE_DISPATCH_X,       /* in?  f32 f16 bf16 i8 u8 [...T,D] */
    TENON_MOE_DISPATCH_COUNTS,  /* out? i32 [E] */
    TENON_MOE_DISPATCH_KEPT,    /* out? i32 [E] */
    TENON_MOE_DISPATCH_OFFSETS, /* out? i32 [E+1] */
    TENON_MOE_DISPATCH_SRC,     /* out? i32 [Mp] */
    TENON_MOE_DISPATCH_POS,     /* out? i32 as idx */
    TENON_MOE_DISPATCH_W2,      /* out? f32 as idx */
    TENON_MOE_DISPATCH_XP,      /* out? x's type [Mp,D] */
    TENON_MOE_DISPATCH_FLAGS,   /* out? u32 [4] */
    TENON_MOE_DISPATCH_N_TENSORS
};

struct tenon_moe_dispatch_params {
    uint32_t struct_size;
    int32_t experts;          /* 1; E, within [1, 65536] */
    int32_t capacity;         /* -1: none; else >= 0 */
    uint32_t order;           /* TOKEN_MAJOR */
    uint32_t drop;            /* POSITION */
    int32_t align;            /* 1; at least 1 */
    uint32_t pad_to_capacity; /* 0 or 1 */
    uint32_t renorm;          /* NONE */
    int32_t first, end;       /* 0, 0: all experts */
};

/* The least Mp: rows that no data exceed. Below 0: 2^31 and more, which is too many. */
static inline int64_t tenon_moe_dispatch_rows(const struct tenon_moe_dispatch_params *p, int64_t tokens, int64_t k)
{
    const int64_t experts = (p->end ? p->end : p->experts) - p->first, pairs = tokens * k, align = p->align;
    const int64_t used = pairs < experts ? pairs : experts; /* experts that have a pair */
    int64_t rows = pairs + used * (align - 1);
    if (p->pad_to_capacity)
        rows = experts * p->capacity;
    else if (p->capacity >= 0 && rows > used * ((p->capacity + align - 1) / align * align))
        rows = used * ((p->capacity + align - 1) / align * align);
    return rows > INT32_MAX ? -1 : rows;
}

/* Capacities as they are published: ceil(factor T K / E), at least `least` (Megatron; Switch with K == 1);
 * floor(factor ceil(T / E)) (fairscale, the best expert); 2 ceil(T / E) (fairscale, the two best). E >= 1. */
static inline int32_t tenon_moe_capacity_ceil(double factor, int64_t tokens, int64_t k, int64_t experts, int32_t least)
{
    const double exact = factor * (double)(tokens * k) / (double)experts;
    const int32_t whole = exact < (double)INT32_MAX ? (int32_t)exact : INT32_MAX;
    const int32_t capacity = whole < INT32_MAX && (double)whole < exact ? whole + 1 : whole;
    return capacity < least ? least : capacity;
}

static inline int32_t tenon_moe_capacity_floor(double factor, int64_t tokens, int64_t experts)
{
    const double exact = factor * (double)((tokens + experts - 1) / experts);
    return exact < (double)INT32_MAX ? (int32_t)exact : INT32_MAX;
}

static inline int32_t tenon_moe_capacity_two(int64_t tokens, int64_t experts)
{
    return tenon_moe_capacity_floor(2, tokens, experts);
}

#endif

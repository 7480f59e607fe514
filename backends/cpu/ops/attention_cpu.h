/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * attention on the CPU: what its parts share. An item is some queries of one sequence with heads of one kv head (its
 * rows), which meet the same keys; a tile is 64 places of those (tenon/ops/attention.h, 4.). Scores of a tile are
 * products of packed rows; nothing is kept of a tile but what the rows sum. What a row does depends on its own query
 * and keys alone: every sum is a chain that no other row enters. */
#ifndef TENON_ATTENTION_CPU_H
#define TENON_ATTENTION_CPU_H

#include <stdatomic.h>
#include <stdio.h>

#include <tenon/ops/attention.h>

#include "cpu.h"
#include "lib/act.h"
#include "lib/element.h"
#include "lib/log.h"
#include "lib/panel.h"
#include "lib/transpose.h"

#define ATT_TILE    TENON_ATTENTION_TILE
#define ATT_TILES   (TENON_ATTENTION_SPLIT / TENON_ATTENTION_TILE) /* of a split */
#define ATT_VECTORS (ATT_TILE / VF)
#define ATT_ROWS    126 /* the most rows of an item: enough to pay for the packing of a tile */
#define ATT_FEW     4   /* of so many rows k and v are read in place */
#define ATT_STEP    16  /* places that are filled at once; at least VF */

enum { ATT_DENSE, ATT_RING, ATT_LIST };

/* Lives in cpu_plan.state. */
struct att_state {
    int64_t b, t, hq, hk, d, v, s, page; /* page: rows of a page, 0 without pages */
    int64_t sequences, bk;               /* and, packed, two more of the rows in none */
    int64_t unit, heads, queries;        /* heads with the same keys; heads and queries of an item, at most */
    int64_t hg, nq, nnz;                 /* of the list */
    int64_t dp, vp;                      /* d and v up to whole vectors */
    uint32_t kind, packed, plain;        /* plain: scores are products times scale */
    uint32_t k_type, v_type, workers;
    uint32_t in_place;         /* v can be read where it is, for few rows */
    uint32_t whole_k, whole_v; /* a row of codes has one affine pair */
    int64_t runs, together; /* of heads with the same keys: of a sequence, of an item */
    int64_t parts; /* of a row, where its splits are spread over workers; 0: they are not */
    float scale;
    uint64_t worker_bytes, at_starts, at_cq, at_ck, at_parts, at_workers;
    uint64_t in_row, in_q, in_o, in_all, in_k, in_v, in_wide, in_fcum, in_k_channel,
        in_v_channel; /* of a worker */
};

/* A sequence: where its rows are, and its keys. */
struct att_seq {
    int64_t n, b, bk;    /* of queries, of what is along S */
    int64_t t0, tn;      /* rows of q */
    int64_t k0, sn, len; /* rows of k, visible ones */
    int64_t qpos;        /* of its first query */
};

/* The sums of a row over a split, or over all before. z of EXP is relative to m. */
struct att_sums {
    float m, z, a; /* a: sum of w (s - m), for the entropy */
    uint32_t n;    /* visible keys */
};

struct att_row {
    struct att_sums now, all;
    int64_t lo, hi, window; /* positions from lo to below hi, and from window on but for the first */
    int64_t qpos, t, h;
    float scale, slope, fcum, beta, lnz;
    uint32_t outside; /* unified: a score was */
    int64_t mask;     /* element of the mask where the row's begins */
};

/* What a key has a row of, and those rows' places: keys that follow each other on a page are `row` bytes apart. */
enum { ATT_K_ROWS, ATT_V_ROWS, ATT_K_PAIRS, ATT_V_PAIRS, ATT_LINES };
struct att_line {
    uintptr_t from; /* 0: there are no such rows */
    int64_t outer, row, head, bytes; /* outer: from sequence (page) to sequence; bytes: of a row of one head */
    int beside;                      /* the heads of a key lie side by side */
    uint64_t step[ATT_STEP];  /* bytes of 0, 1, ... rows */
};

/* 64 places: which keys are there, and what goes with them. */
struct att_tile {
    uint64_t base;                    /* the places that hold keys which are kept */
    int straight, in_order;           /* keys (positions) follow each other from key[0] (pos[0]) */
    int first, end;                   /* of those with a bit in base */
    int64_t place;                    /* of the first */
    int32_t key[ATT_TILE + ATT_STEP]; /* along S, with k0; from here on arrays have room for a step too many */
    int32_t pos[ATT_TILE + ATT_STEP];
    uintptr_t at[ATT_LINES][ATT_TILE + ATT_STEP]; /* rows of the item's first kv head; no key: of another's key */
    float logw[ATT_TILE], vscale[ATT_TILE];
};

struct att_run {
    const struct cpu_plan *plan;
    const struct att_state *state;
    const struct tenon_attention_params *p;
    void *const *ptr;
    char *workspace;
    int64_t *starts;  /* items before those of a sequence */
    int64_t *cq, *ck; /* packed: rows where sequences begin, mended */
    int64_t items;
    atomic_uint_fast64_t next;
    atomic_uint nans, empty;
};

/* What the codes of k or of v mean. */
struct att_codes {
    int64_t hk; /* of this kv head */
    uint32_t quant, bits;
    const float *table; /* LUT */
    const float *s, *z; /* *_CHANNEL */
    int64_t group;      /* *_TOKEN: numbers that share a pair */
    uint32_t whole;     /* AFFINE_TOKEN: a row does */
};

/* What a worker has. */
struct att_work {
    struct att_run *run;
    struct att_codes codes[2]; /* of k, of v */
    struct att_seq seq;
    int64_t i0, i1, first, together; /* of the item: queries of the sequence, its first head, runs of heads */
    int64_t run_at;                  /* the run at hand */
    int64_t h0, heads, rows;         /* of the run at hand */
    struct att_row *rows_of;         /* of the first run, as the next three */
    float *q_of, *o_of, *all_of;
    int64_t list, list_end, seen;    /* entries of the list; the largest valid before `cursor` */
    int64_t cursor;
    struct att_row *row;
    float *q, *o, *all, *k, *v, *widened, *fcum_k;
    float *k_channel, *v_channel; /* *_CHANNEL: all s of this head, then all z */
    float *score;                 /* of a panel of rows */
    struct att_line line[ATT_LINES];
    float k_scale[ATT_TILE], k_zero[ATT_TILE], v_scale[ATT_TILE], v_zero[ATT_TILE]; /* whole_k, whole_v */
    int64_t past[ATT_LINES];      /* bytes from the first kv head's rows to those of the run at hand */
    struct att_tile tiles[2];
    struct att_tile *tile, *next; /* next is asked for; where there is none, the tile itself */
};

enum { ATT_STATS, ATT_SUMS, ATT_CLIP, ATT_UNIFIED }; /* what a pass over the keys is for */

SIMD_FN int64_t att_all_rows(const struct att_work *w)
{
    return w->together * w->rows;
}

/* Run g of the item is at hand. */
SIMD_FN void att_turn_to(struct att_work *w, int64_t g)
{
    const struct att_state *s = w->run->state;
    w->run_at = g;
    w->h0 = w->first + g * w->heads;
    w->row = w->rows_of + g * w->rows;
    w->q = w->q_of + g * w->rows * s->dp;
    w->o = w->o_of + g * w->rows * s->vp;
    w->all = w->all_of + g * w->rows * s->vp;
    for (int i = 0; i < ATT_LINES; i++)
        w->past[i] = g * w->line[i].head; /* runs are of kv heads after each other */
}

/* Row of the key in place u, of line i. */
SIMD_FN const char *att_line_at(const struct att_work *w, int i, int u)
{
    return (const char *)(w->tile->at[i][u] + (uint64_t)w->past[i]);
}

SIMD_FN const float *att_pair_at(const struct att_work *w, int i, int u)
{
    return (const float *)(const void *)att_line_at(w, i, u);
}

SIMD_FN int att_given(const struct att_run *run, uint32_t i)
{
    return run->plan->tensor[i].dtype != TENON_ABSENT;
}

SIMD_FN int64_t att_least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

SIMD_FN int64_t att_most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* The n lowest bits. */
SIMD_FN uint64_t att_ones(int64_t n)
{
    return n <= 0 ? 0 : n >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << n) - 1;
}

SIMD_FN float att_lane(vf v)
{
    float lanes[VF];
    vf_store(lanes, v);
    return lanes[0];
}

/* e^x for x <= 0 or NaN. */
SIMD_FN float att_exp(float x)
{
    return att_lane(vf_exp(vf_set1(x)));
}

SIMD_FN float att_log(float x)
{
    if (!(x > 0.0f))
        return x == 0.0f ? -INFINITY : NAN;
    if (x == INFINITY)
        return x;
    return x < 0x1p-100f ? att_lane(vf_log(vf_set1(x * 0x1p64f))) - 0x1.62e43p+5f : att_lane(vf_log(vf_set1(x)));
}

#endif

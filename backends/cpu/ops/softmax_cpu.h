/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax on the CPU: what the plan decides once (struct softmax), what a row needs (struct row), and what a tile of a
 * row gives (struct part). softmax_cpu_tile.h has the passes over one tile, softmax_cpu_sweep.h takes them over a row,
 * softmax_cpu_row.h and softmax_cpu_stage.h have the rows of EXP and LOG_EXP, softmax_cpu_stats.h what a row leaves
 * beside y, softmax_cpu.c the plan. What has a kind, noise, support, multiplicities, an adaptive temperature or a post
 * step goes by softmax_cpu_family.h: _logits.h, _support.h and _kinds.h are its parts.
 *
 * A row is cut into tiles of 4096 columns. The passes run over one tile at a time; parts are merged in ascending
 * order, so that nothing depends on which thread did which tile, nor on whether the rows or the tiles were shared
 * out. */
#ifndef TENON_SOFTMAX_CPU_H
#define TENON_SOFTMAX_CPU_H

#include <tenon/ops/softmax.h>

#include "cpu.h"
#include "lib/logits.h"

/* Our own, for AUTO alone: ONLINE that keeps the exponentials of each tile relative to that tile's maximum, and
 * scales them by tile at the end: 2R+2W, of which memory sees 1R+1W, and one exponential an element. */
#define ONLINE_RELOAD (TENON_SOFTMAX_FIXED_MAX + 1u)

#define STACK_COLS TILE /* exponentials of a row this long stay on the stack */

struct softmax;
struct row;
struct part;
struct family;
typedef void tile_fn(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *part);

/* Three passes of three tiles in one loop: arithmetic of one while memory brings the next and takes the last. */
struct stage {
    const void *x;     /* sum: e of this tile, relative to reference */
    float reference;
    float *e;
    const void *next;  /* max: what comes next; NULL: nothing */
    const float *last; /* y: e of the tile that is done, times factor; NULL: none */
    float factor;
    void *y;
    int stream;
    double s;          /* out: the sum */
    float m;           /* out: the maximum of next */
};
typedef void stage_fn(struct stage *stage, int64_t cols, int64_t next_cols);

/* Lives in cpu_plan.state. */
struct softmax {
    tile_fn *max;      /* m; with top: m, m2, arg */
    tile_fn *sum;      /* s relative to r->reference, and a if the entropy is wanted; stores e when r->e is given */
    tile_fn *pairs;    /* TWO_PASS_EXT */
    tile_fn *fixed;    /* FIXED_MAX */
    tile_fn *scan;     /* of a row with nothing above -Inf: nan, arg */
    tile_fn *write;    /* y from x */
    tile_fn *write_recompute; /* y from x of rows that TWO_PASS_EXT gives up */
    tile_fn *reload;   /* y from e: factor * e */
    tile_fn *keep_logits; /* the family's first pass */
    tile_fn *family_sum;  /* .. and its second, where terms share a sum */
    stage_fn *stage;   /* NULL: row by row, pass by pass */
    int64_t rows, cols;
    int64_t x_stride, y_stride, bias_stride, mask_stride, noise_stride; /* bytes from row to row */
    int64_t x_size;
    int64_t ahead;     /* see struct row */
    uint64_t slot;     /* bytes for e and tops of a row, 0: none, or on the stack */
    uint64_t tops;     /* where the tops begin in it (the family: counts) */
    uint64_t keys;     /* the family: where the room to select in, or the set, begins */
    double quantile;   /* STAT_TOPK */
    uint64_t scratch;  /* slots of a task */
    float scale, inv_temp, phi, win;
    uint32_t algo, kind, empty_row, y_dtype;
    uint32_t tasks;    /* of the loop over rows */
    uint32_t select_tasks; /* support TOPK: of one row */
    /* one_sweep: y of a tile needs no look at the others; surveyed: something besides y wants to know of the logits. */
    uint8_t affine, stats, moments, split, stream, sink_step, keep, in_y, family, one_sweep, surveyed;
};

/* What is bound to one row. */
struct row {
    struct logits in;
    struct family *family; /* of the kinds and options that softmax_cpu_family.h has */
    void *y;             /* NULL: not wanted */
    float *e;            /* where sum leaves the exponentials, NULL: nowhere */
    float *tops;         /* ONLINE_RELOAD: the maximum of each tile, to which its e is relative */
    int64_t cols;        /* that exist: valid_len */
    int64_t ahead;       /* bytes from x to what the next tile or row begins with */
    double T;
    float half, rest;    /* T = half * rest, half a power of two small enough that v*half - M*half cannot overflow */
    float reference;     /* M, or what else d is relative to */
    float inverse;       /* EXP: y = e * inverse */
    float log_sum;       /* LOG_EXP: y = d - log_sum */
    float exponent;      /* TWO_PASS_EXT: y = m * inverse * 2^(n - exponent) */
    uint8_t flat;        /* T == 0: entries above -Inf count alike */
    uint8_t stream;      /* y is aligned for stores past the cache, and they pay */
};

/* Of one tile, and merged of a whole row. */
struct part {
    double s, a, q;       /* sums of e, e*d and e*e, relative to m (three passes: to r->reference) */
    int64_t n;            /* entries above -Inf; with moments, and of the family */
    int64_t there, nans, positive, bad; /* of the family: that exist, are NaN, above 0, of a bad multiplicity */
    double pair, pair_n;  /* TWO_PASS_EXT: sum = pair * 2^pair_n */
    double fixed;         /* FIXED_MAX: sum relative to phi */
    float m, m2;          /* largest, second largest (equal to m when m is there twice) */
    float reach;          /* TWO_PASS_EXT: largest finite |v| */
    int32_t arg;          /* smallest index of m; -1 while nothing is above -Inf (scan: of the first -Inf) */
    int32_t nan;          /* scan: index of the first NaN, or -1 */
};

#endif

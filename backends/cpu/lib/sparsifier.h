/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * A rule by which entries of a row are kept (plugin-api/sparsifier_rule.h), over stretches of a row.
 *
 * Every kind ends as one of eight rules that judge an entry by itself; TOPK and BATCH_TOPK as RULE_CUT
 * (lib/select_row.h), STAT_TOPK as RULE_GT or RULE_SHIFT with theta for t. Sweeps are written once with the rule and
 * the type of x as constants; SPARSIFIER_TYPE makes those of a type, SPARSIFIER_SWEEPS a table of them. */
#ifndef TENON_LIB_SPARSIFIER_H
#define TENON_LIB_SPARSIFIER_H

#include <float.h>

#include "lib/block.h"
#include "lib/element.h"
#include "lib/select_row.h"
#include "lib/spread.h"
#include "normal.h"
#include "sparsifier_rule.h"

/* The first seven are kinds. */
enum {
    RULE_ABS_GT = SPARSIFIER_ABS_GT,
    RULE_ABS_GE = SPARSIFIER_ABS_GE,
    RULE_GT = SPARSIFIER_GT,
    RULE_GE = SPARSIFIER_GE,
    RULE_RELU = SPARSIFIER_RELU,
    RULE_SHIFT = SPARSIFIER_SHIFT_RELU,
    RULE_SOFT = SPARSIFIER_SOFT,
    RULE_CUT,
    RULES
};

/* What a kind comes to in rows of so many columns. */
struct sparsifier {
    uint32_t how; /* RULE_ */
    float t, cap; /* of RULE_SHIFT and RULE_SOFT, t is tau; cap INFINITY: none */
    int64_t k;
    double quantile;         /* Q(1 - k/cols) */
    uint8_t cut, batch, stat; /* where t comes from, if not from here: a cut, one of all rows, theta */
    uint8_t by_abs, ddof;
};

static inline struct sparsifier sparsifier_of(const struct sparsifier_rule *p, int64_t cols)
{
    struct sparsifier s = {.how = p->kind,
                           .t = p->t,
                           .cap = p->cap == FLT_MAX ? INFINITY : p->cap,
                           .k = p->k,
                           .batch = p->kind == SPARSIFIER_BATCH_TOPK,
                           .stat = p->kind == SPARSIFIER_STAT_TOPK && p->k > 0 && p->k < cols,
                           .by_abs = p->by == SPARSIFIER_BY_ABS && p->kind != SPARSIFIER_STAT_TOPK,
                           .ddof = (uint8_t)p->ddof};
    s.cut = p->kind >= SPARSIFIER_TOPK && !s.stat;
    if (p->kind == SPARSIFIER_SHIFT_RELU || p->kind == SPARSIFIER_SOFT)
        s.t = p->tau;
    if (s.cut)
        s.how = RULE_CUT;
    if (s.stat) {
        s.how = p->keep == SPARSIFIER_KEEP ? RULE_GT : RULE_SHIFT;
        s.cap = INFINITY;
        s.quantile = -tenon__normal_quantile((double)s.k / (double)cols);
    }
    return s;
}

/* A stretch of a row on its way through a sweep. */
struct row {
    const void *x;
    void *y;                    /* NULL: not wanted */
    const float *t_col, *wgt;   /* NULL: none */
    int32_t *cidx;              /* NULL: not wanted */
    unsigned char *cval;        /* NULL: not wanted */
    int64_t kmax;               /* 0 without cidx and cval */
    int64_t n;                  /* kept so far, which is the next place in cidx and cval */
    int64_t equal;              /* RULE_CUT: how many equal to the cut are still to be kept */
    int64_t above, ties;        /* out: entries kept but for ties with the cut; those ties */
    float t, cap;               /* threshold; of RULE_SHIFT and RULE_SOFT tau */
    int32_t key;                /* RULE_CUT */
    uint8_t by_abs, stream, special; /* special, out: a NaN or +Inf was seen */
};

/* ---- judging ---- */

/* What a rule needs of the row, out of memory before the loop. */
struct judge {
    const float *t_col, *wgt;
    vf t, cap;
    vi key;
    int by_abs;
};

SIMD_FN struct judge judge_of(const struct row *r)
{
    return (struct judge){r->t_col, r->wgt, vf_set1(r->t), vf_set1(r->cap), vi_set1(r->key), r->by_abs};
}

SIMD_FN vf load_f32(const float *p, int64_t c, int n)
{
    return n == VF ? vf_load(p + c) : vf_load_n(p + c, n);
}

SIMD_FN vf score_of(const struct judge *j, int64_t c, int n, vf v)
{
    const vf s = vf_abs(v);
    return j->wgt ? vf_mul(s, load_f32(j->wgt, c, n)) : s;
}

/* Which of the n entries v from column c on are kept, and as what. RULE_CUT: those above the cut, and in `ties` those
 * that are equal to it. */
SIMD_FN vm judge_entries(const struct judge *j, int64_t c, int n, vf v, uint32_t rule, vf *value, vm *ties)
{
    const vf t = j->t_col ? load_f32(j->t_col, c, n) : j->t;
    *value = v;
    switch (rule) {
    case RULE_ABS_GT: return vf_gt(score_of(j, c, n, v), t);
    case RULE_ABS_GE: return vf_ge(vf_abs(v), t);
    case RULE_GT: return vf_gt(v, t);
    case RULE_GE: return vf_ge(v, t);
    case RULE_RELU: return vm_not(vf_le(v, vf_zero()));
    case RULE_SHIFT: *value = vf_min(vf_sub(v, j->t), j->cap); return vf_gt(v, j->t);
    case RULE_SOFT: {
        const vf size = vf_min(vf_sub(vf_abs(v), j->t), j->cap);
        const vi sign = vi_and(vi_bits(v), vi_set1(INT32_MIN));
        *value = vf_bits(vi_or(vi_bits(size), sign));
        return vf_gt(vf_abs(v), j->t);
    }
    default: {
        const vi key = order_keys(j->by_abs ? score_of(j, c, n, v) : v);
        *ties = vi_eq(key, j->key);
        return vi_gt(key, j->key);
    }
    }
}

/* ---- y alone ---- */

SIMD_FN void map_one(const struct judge *j, const struct row *r, int64_t c, int n, uint32_t dtype, uint32_t rule,
                     int stream)
{
    vm ties;
    vf value;
    const vm kept = judge_entries(j, c, n, load_x(r->x, c, n, dtype), rule, &value, &ties);
    store_y(r->y, c, vf_keep(kept, value), n, dtype, stream);
}

#define MAP_VECTORS 4

SIMD_FN void sparsifier_map(struct row *row, int64_t c0, int64_t c1, uint32_t dtype, uint32_t rule)
{
    const struct row *r = row;
    const struct judge j = judge_of(r);
    int64_t c = c0;
    if (dtype == TENON_F32 && r->stream) {
        const int64_t past = (int64_t)((uintptr_t)((float *)r->y + c) % (4 * VF)) / 4;
        const int64_t head = past == 0 ? 0 : VF - past < c1 - c0 ? VF - past : c1 - c0;
        if (head > 0)
            map_one(&j, r, c, (int)head, dtype, rule, 0);
        for (c += head; c + MAP_VECTORS * VF <= c1; c += MAP_VECTORS * VF) {
            SIMD_UNROLL
            for (int b = 0; b < MAP_VECTORS; b++)
                map_one(&j, r, c + b * VF, VF, dtype, rule, 1);
        }
    }
    for (; c + MAP_VECTORS * VF <= c1; c += MAP_VECTORS * VF) {
        SIMD_UNROLL
        for (int b = 0; b < MAP_VECTORS; b++)
            map_one(&j, r, c + b * VF, VF, dtype, rule, 0);
    }
    for (; c + VF <= c1; c += VF)
        map_one(&j, r, c, VF, dtype, rule, 0);
    if (c < c1)
        map_one(&j, r, c, (int)(c1 - c), dtype, rule, 0);
}

/* ---- everything, in order ---- */

/* The first n of the lanes in m. */
SIMD_FN vm first_of(vm m, int64_t n)
{
    uint32_t bits = vm_bits(m);
    if (n >= __builtin_popcount(bits))
        return m;
    for (; n > 0; n--)
        bits &= bits - 1;
    return vm_and(m, vm_first(__builtin_ctz(bits)));
}

/* The kept of a vector go to the compact outputs, as long as there is room. */
SIMD_FN void append(struct row *r, int64_t c, uint32_t bits, vf value, uint32_t dtype)
{
    const int64_t size = TENON_DTYPE_SIZE(dtype);
    unsigned char lanes[4 * VF];
    if (r->cval)
        store_y(lanes, 0, value, VF, dtype, 0);
    int64_t n = r->n;
    for (; bits && n < r->kmax; bits &= bits - 1, n++) {
        const int lane = __builtin_ctz(bits);
        if (r->cidx)
            r->cidx[n] = (int32_t)(c + lane);
        if (r->cval)
            memcpy(r->cval + n * size, lanes + lane * size, (size_t)size);
    }
}

SIMD_FN void sweep_one(const struct judge *j, struct row *r, int64_t c, int n, uint32_t dtype, uint32_t rule)
{
    vm ties;
    vf value;
    const vf v = load_x(r->x, c, n, dtype);
    vm kept = judge_entries(j, c, n, v, rule, &value, &ties);
    const vm there = vm_first(n);
    if (n < VF)
        kept = vm_and(kept, there);
    r->special |= vm_any(vm_and(there, vf_nlt(v, vf_set1(INFINITY))));
    r->above += vm_count(kept);
    if (rule == RULE_CUT && vm_any(vm_and(ties, there))) {
        ties = vm_and(ties, there);
        r->ties += vm_count(ties);
        ties = first_of(ties, r->equal);
        r->equal -= vm_count(ties);
        kept = vm_or(kept, ties);
    }
    const uint32_t bits = vm_bits(kept);
    if (bits && r->n < r->kmax)
        append(r, c, bits, value, dtype);
    r->n += __builtin_popcount(bits);
    if (r->y)
        store_y(r->y, c, vf_keep(kept, value), n, dtype, 0);
}

SIMD_FN void sparsifier_sweep(struct row *row, int64_t c0, int64_t c1, uint32_t dtype, uint32_t rule)
{
    struct row r = *row; /* a copy that nothing can alias stays in registers */
    const struct judge j = judge_of(&r);
    int64_t c = c0;
    for (; c + VF <= c1; c += VF)
        sweep_one(&j, &r, c, VF, dtype, rule);
    if (c < c1)
        sweep_one(&j, &r, c, (int)(c1 - c), dtype, rule);
    *row = r;
}

/* ---- what the thresholds come from ---- */

SIMD_FN vi key_of(const struct judge *j, const struct row *r, int64_t c, int n, uint32_t dtype)
{
    const vf v = load_x(r->x, c, n, dtype);
    return order_keys(j->by_abs ? score_of(j, c, n, v) : v);
}

/* Keys of [c0, c1), one after the other. */
SIMD_FN void sparsifier_keys(const struct row *r, int64_t c0, int64_t c1, int32_t *keys, uint32_t dtype)
{
    const struct judge j = judge_of(r);
    for (int64_t c = c0; c < c1; c += VF) {
        const int n = c1 - c < VF ? (int)(c1 - c) : VF;
        const vi key = key_of(&j, r, c, n, dtype);
        if (n == VF)
            vi_store(keys + (c - c0), key);
        else
            vi_store_n(keys + (c - c0), key, n);
    }
}

/* At most a TILE of x as floats, in `room` where they are not. */
SIMD_FN const float *row_floats(const struct row *r, int64_t c0, int64_t c1, float *room, uint32_t dtype)
{
    if (dtype == TENON_F32)
        return (const float *)r->x + c0;
    int64_t c = c0;
    for (; c + VF <= c1; c += VF)
        vf_store(room + (c - c0), load_x(r->x, c, VF, dtype));
    if (c < c1)
        vf_store_n(room + (c - c0), load_x(r->x, c, (int)(c1 - c), dtype), (int)(c1 - c));
    return room;
}

SIMD_FN struct spread sparsifier_spread(const struct row *r, int64_t c0, int64_t c1, uint32_t dtype)
{
    float room[TILE] __attribute__((aligned(64)));
    return spread_tile(row_floats(r, c0, c1, room, dtype), c1 - c0, 0);
}

SIMD_FN void sparsifier_exact(const struct row *r, int64_t c0, int64_t c1, struct spread_exact *to, uint32_t dtype)
{
    float room[TILE] __attribute__((aligned(64)));
    spread_exact_add(to, row_floats(r, c0, c1, room, dtype), c1 - c0);
}

/* ---- one instance a rule and type ---- */

#define SPARSIFIER_RULE_(dtype, DTYPE, rule, RULE)                                                                     \
    static void map_##rule##_##dtype(struct row *r, int64_t c0, int64_t c1)                                            \
    {                                                                                                                  \
        sparsifier_map(r, c0, c1, DTYPE, RULE);                                                                        \
    }                                                                                                                  \
    static void sweep_##rule##_##dtype(struct row *r, int64_t c0, int64_t c1)                                          \
    {                                                                                                                  \
        sparsifier_sweep(r, c0, c1, DTYPE, RULE);                                                                      \
    }
#define SPARSIFIER_TYPE(dtype, DTYPE)                                                                                  \
    SPARSIFIER_RULE_(dtype, DTYPE, abs_gt, RULE_ABS_GT)                                                                \
    SPARSIFIER_RULE_(dtype, DTYPE, abs_ge, RULE_ABS_GE)                                                                \
    SPARSIFIER_RULE_(dtype, DTYPE, gt, RULE_GT)                                                                        \
    SPARSIFIER_RULE_(dtype, DTYPE, ge, RULE_GE)                                                                        \
    SPARSIFIER_RULE_(dtype, DTYPE, relu, RULE_RELU)                                                                    \
    SPARSIFIER_RULE_(dtype, DTYPE, shift, RULE_SHIFT)                                                                  \
    SPARSIFIER_RULE_(dtype, DTYPE, soft, RULE_SOFT)                                                                    \
    SPARSIFIER_RULE_(dtype, DTYPE, cut, RULE_CUT)                                                                      \
    static void keys_##dtype(const struct row *r, int64_t c0, int64_t c1, int32_t *keys)                               \
    {                                                                                                                  \
        sparsifier_keys(r, c0, c1, keys, DTYPE);                                                                       \
    }                                                                                                                  \
    static struct spread spread_##dtype(const struct row *r, int64_t c0, int64_t c1)                                   \
    {                                                                                                                  \
        return sparsifier_spread(r, c0, c1, DTYPE);                                                                    \
    }                                                                                                                  \
    static void exact_##dtype(const struct row *r, int64_t c0, int64_t c1, struct spread_exact *to)                    \
    {                                                                                                                  \
        sparsifier_exact(r, c0, c1, to, DTYPE);                                                                        \
    }

struct sparsifier_sweeps {
    uint32_t dtype;
    void (*map[RULES])(struct row *r, int64_t c0, int64_t c1);   /* y alone, of entries that are judged one by one */
    void (*sweep[RULES])(struct row *r, int64_t c0, int64_t c1); /* everything, in order */
    void (*keys)(const struct row *r, int64_t c0, int64_t c1, int32_t *keys);
    struct spread (*spread)(const struct row *r, int64_t c0, int64_t c1);
    void (*exact)(const struct row *r, int64_t c0, int64_t c1, struct spread_exact *to);
};
#define SPARSIFIER_ALL_(form, dtype)                                                                                   \
    {                                                                                                                  \
        form##_abs_gt_##dtype, form##_abs_ge_##dtype, form##_gt_##dtype, form##_ge_##dtype, form##_relu_##dtype,       \
            form##_shift_##dtype, form##_soft_##dtype, form##_cut_##dtype                                              \
    }
#define SPARSIFIER_SWEEPS(dtype, DTYPE)                                                                                \
    {                                                                                                                  \
        DTYPE, SPARSIFIER_ALL_(map, dtype), SPARSIFIER_ALL_(sweep, dtype), keys_##dtype, spread_##dtype, exact_##dtype \
    }

/* ---- where the data decide ---- */

/* NaN is never kept, not even when there is nothing better. */
static void set_cut(struct row *r, struct select_cut cut)
{
    r->key = cut.key;
    r->equal = cut.key == ORDER_NAN ? 0 : cut.equal;
    if (r->equal == INT64_MAX) { /* all that are equal: then there are no ties to be counted */
        r->key--;
        r->equal = 0;
    }
}

/* From the spread of a row; NaN where an entry is not finite: that keeps nothing. */
static void set_theta(const struct sparsifier *s, const struct sparsifier_sweeps *sweeps, struct row *r, int64_t cols,
                      struct spread *spread)
{
    const double ddof = (double)s->ddof;
    if (spread_cancels(spread, ddof, s->quantile)) { /* too rare to be shared out */
        struct spread_exact exact = {{0}};
        for (int64_t c0 = 0; c0 < cols; c0 += TILE)
            sweeps->exact(r, c0, cols - c0 < TILE ? cols : c0 + TILE, &exact);
        spread->sum = spread_exact_sum(&exact);
        spread->low = 0.0;
    }
    r->t = (float)spread_theta(spread, ddof, s->quantile);
}

static void theta_row(const struct sparsifier *s, const struct sparsifier_sweeps *sweeps, struct row *r, int64_t cols)
{
    struct spread spread = {0};
    for (int64_t c0 = 0; c0 < cols; c0 += TILE) {
        const struct spread part = sweeps->spread(r, c0, cols - c0 < TILE ? cols : c0 + TILE);
        spread_merge(&spread, &part);
    }
    set_theta(s, sweeps, r, cols, &spread);
}

#endif

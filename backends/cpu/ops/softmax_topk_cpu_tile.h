/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax_topk on the CPU: the two sweeps over one tile of a row, of which memory sees the first and L1 the second: the
 * largest numbers of its parts, which tell what is no candidate; then the sum of exponentials, and on the way which
 * columns are candidates after all. */
#ifndef TENON_SOFTMAX_TOPK_CPU_TILE_H
#define TENON_SOFTMAX_TOPK_CPU_TILE_H

#include "lib/exp.h"
#include "lib/logits.h"
#include "softmax_topk_cpu_list.h"
#include "softmax_topk_cpu_sum.h"

/* The sums of a tile, or of the tiles so far, relative to m. */
struct part {
    double s, a; /* of e, and of e*d */
    float m;     /* the largest number; -Inf: none, and no sums */
};

/* What is bound to one row. */
struct row {
    struct logits l;
    uint32_t dtype;   /* of x */
    int64_t cols;     /* that exist: valid_len */
    double T;
    float half, rest; /* T = half * rest, half a power of two small enough that v*half - M*half cannot overflow */
    int flat;         /* T == 0: entries above -Inf count alike */
    int nan;          /* of T or the sink */
    int has_sink;
    float sink;
};

/* ---- the first sweep ---- */

/* The largest number of each lane over a stretch of columns. k of these are numbers of the row: the k-th best of the
 * row is not below the k-th best of them, and little else is above that. */
#define PEAKS     (TILE / 2)
#define PEAK_LIST 64 /* more are left to select_keys */

struct peaks {
    float top; /* the largest number */
    int nan;
    int n; /* a multiple of BLOCK */
    float peak[PEAKS];
};

typedef void peaks_fn(const struct row *r, int64_t c0, int64_t c1, int64_t stretch, float *values, struct peaks *p);

SIMD_FN void peak_step(const struct row *r, int64_t c, int n, uint32_t dtype, int plain, int nans, float *values, vf *m,
                       vm *nan)
{
    vf v[STEP_VECTORS];
    logits_load(&r->l, c, n, dtype, plain, !plain, MINUS_INF, v);
    STEP_EACH(b, n) {
        m[b] = vf_max(v[b], m[b]); /* keeps m past NaN */
        if (values)
            vf_store(values + b * VF, v[b]);
    }
    STEP_EACH(b, n) {
        if (nans && n == STEP && STEP_VECTORS % 2 == 0)
            *nan = b % 2 ? vm_or(*nan, vf_unordered(v[b - 1], v[b])) : *nan;
        else if (nans)
            *nan = vm_or(*nan, vf_isnan(v[b]));
    }
}

/* The columns [c0, c1), which go into `values` too unless that is NULL. stretch: a multiple of STEP. nans: look for
 * them; a sum finds them by itself. */
SIMD_FN void tile_peaks(const struct row *row, int64_t c0, int64_t c1, int64_t stretch, float *values, struct peaks *p,
                        uint32_t dtype, int plain, int nans)
{
    const struct row r = *row; /* a copy that nothing can alias stays in registers */
    vf top = vf_set1(MINUS_INF);
    vm nan = vf_isnan(top);
    p->n = 0;
    for (int64_t c = c0; c < c1;) {
        const int64_t end = c1 - c < stretch ? c1 : c + stretch;
        vf m[STEP_VECTORS];
        STEP_EACH(b, STEP)
            m[b] = vf_set1(MINUS_INF);
#define CALL(c, n) peak_step(&r, c, n, dtype, plain, nans, values ? values + ((c) - c0) : NULL, m, &nan)
        STEP_ALL(c, c, end, CALL)
#undef CALL
        STEP_EACH(b, STEP) {
            vf_store(p->peak + p->n + b * VF, m[b]);
            top = vf_max(m[b], top);
        }
        p->n += STEP;
    }
    p->top = vf_reduce_max(top);
    p->nan = vm_any(nan);
}

/* Stretches short enough that there are twice as many peaks as are wanted, if there can be. */
static int64_t stretch_of(int64_t n, int64_t k)
{
    int64_t steps = 16;
    while (steps > 2 && n < 2 * k * steps)
        steps /= 2;
    return steps * STEP;
}

/* The k-th largest of the peaks, or -Inf when they are too few to tell much. They are folded while twice as many as are
 * wanted stay; a few are ranked against each other, without a branch to mispredict. */
static float least_of(struct peaks *p, int64_t k)
{
    float *const peak = p->peak;
    int n = p->n;
    if (n < 2 * k)
        return MINUS_INF;
    while (n % (2 * BLOCK) == 0 && n / 2 >= 2 * k) {
        n /= 2;
        for (int i = 0; i < n; i += VF)
            vf_store(peak + i, vf_max(vf_load(peak + i), vf_load(peak + n + i)));
    }
    if (n > PEAK_LIST) {
        int32_t key[PEAKS];
        for (int i = 0; i < n; i += VF)
            vi_store(key + i, order_keys(vf_load(peak + i)));
        return order_value(select_keys(key, n, k).key);
    }
    vf least = vf_set1(INFINITY);
    for (int i = 0; i < n; i += VF) {
        const vf one = vf_load(peak + i);
        vi above = vi_zero();
        for (int j = 0; j < n; j++)
            above = vi_more(above, vf_gt(vf_set1(peak[j]), one));
        least = vf_min(least, vf_select(vi_gt(vi_set1((int32_t)k), above), one, vf_set1(INFINITY)));
    }
    return vf_reduce_min(least);
}

/* ---- candidates ---- */

static float value_at(const void *x, int64_t c, uint32_t dtype)
{
    if (dtype == TENON_F32)
        return ((const float *)x)[c];
    return dtype == TENON_F16 ? simd_from_f16(((const uint16_t *)x)[c]) : simd_from_bf16(((const uint16_t *)x)[c]);
}

/* The keys of the entries from `from` on, of which the columns are there. */
static void take_keys(struct list *list, int64_t from, const void *x, int64_t c0, uint32_t dtype)
{
    if (dtype != TENON_F32) {
        for (int64_t i = from; i < list->n; i++)
            list->key[i] = order_key(value_at(x, list->idx[i] - c0, dtype));
        return;
    }
    for (int64_t i = from; i < list->n; i += VF) {
        const vm there = vm_first(list->n - i < VF ? (int)(list->n - i) : VF);
        const vi c = vi_select(there, vi_sub(vi_load(list->idx + i), vi_set1((int32_t)c0)), vi_zero());
        vi_store(list->key + i, order_keys(vf_gather(x, c)));
    }
}

/* Columns [c, n) when the list has been full: what is left of it may pass over much more than the marks do. */
static void take_rest(struct list *list, int64_t from, const void *x, int64_t c0, int64_t c, int64_t n, uint32_t dtype)
{
    take_keys(list, from, x, c0, dtype);
    list_cut(list);
    for (; c < n; c += VF) {
        const int count = n - c < VF ? (int)(n - c) : VF;
        const vm above = vf_gt(load_x(x, c, count, dtype), vf_set1(list->below));
        for (uint32_t bits = vm_bits(vm_and(above, vm_first(count))); bits; bits &= bits - 1) {
            const int64_t column = c + __builtin_ctz(bits);
            list_push(list, order_key(value_at(x, column, dtype)), (int32_t)(c0 + column));
        }
    }
}

/* The columns of a word of marks, two at a time: how many there are is then no branch to mispredict, mostly. */
static inline int take_word(int32_t *idx, uint64_t bits, int64_t c)
{
    const int n = __builtin_popcountll(bits);
    int i = 0;
    do {
        SIMD_UNROLL for (int j = 0; j < 2; j++, bits &= bits - 1)
            idx[i + j] = (int32_t)c + __builtin_ctzll(bits | UINT64_C(1) << 63);
    } while ((i += 2) < n);
    return n;
}

/* The marked ones of n columns. Where marks are rare it is worth a look at which bytes have any. */
static void take_marked(struct list *list, const void *x, int64_t c0, int64_t n, uint32_t dtype, uint8_t *mark)
{
    const int64_t bytes = (n + BLOCK - 1) / BLOCK * 2, from = list->n;
    memset(mark + bytes, 0, 64);
    const int rare = n >= 2048 && n >= 64 * list->k;
    for (int64_t at = 0; !rare && at < bytes; at += 8) {
        uint64_t there;
        if (list->n + 64 > list->room) {
            take_rest(list, from, x, c0, 8 * at, n, dtype);
            return;
        }
        memcpy(&there, mark + at, sizeof there);
        if (__BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__)
            there = __builtin_bswap64(there);
        list->n += take_word(list->idx + list->n, there, c0 + 8 * at);
    }
    for (int64_t at = 0; rare && at < bytes; at += 64) {
        uint64_t there = 0;
        for (int i = 0; i < 64; i += VF)
            there |= (uint64_t)vm_bits(vm_load_u8(mark + at + i)) << i;
        for (; there; there &= there - 1) {
            const int64_t byte = at + __builtin_ctzll(there);
            uint32_t bits = mark[byte];
            if (list->n + 8 > list->room) {
                take_rest(list, from, x, c0, 8 * byte, n, dtype);
                return;
            }
            do
                list->idx[list->n++] = (int32_t)(c0 + byte * 8) + __builtin_ctz(bits);
            while (bits &= bits - 1);
        }
    }
    take_keys(list, from, x, c0, dtype);
}

/* Of a few columns the few best, one after the other: no threshold, no marks, no ranking, and not a branch that depends
 * on the numbers. Each waits for the one before it, and so rows are done side by side. */
#define PICK_COLS 64
#define PICK_K    8
#define PICK_ROWS (VF == 16 ? 4 : VF == 8 ? 2 : 1)

/* One row of the group. */
struct pick {
    vf v[PICK_COLS / VF];
    float top; /* the largest number; NaN when that is +Inf or there is a NaN */
};

/* n <= PICK_COLS columns. */
SIMD_FN void pick_load(struct pick *p, const void *x, int64_t n, uint32_t dtype)
{
    vf m = vf_set1(MINUS_INF);
    vm nan = vf_isnan(m);
    SIMD_UNROLL for (int b = 0; b < PICK_COLS / VF; b++) {
        const int64_t left = n - b * VF;
        p->v[b] = vf_set1(MINUS_INF);
        if (left >= VF)
            p->v[b] = load_x(x, b * VF, VF, dtype);
        else if (left > 0)
            p->v[b] = vf_select(vm_first((int)left), load_x(x, b * VF, (int)left, dtype), p->v[b]);
        nan = vm_or(nan, vf_isnan(p->v[b]));
        m = vf_max(p->v[b], m);
    }
    p->top = vf_reduce_max(m);
    if (vm_any(nan) || p->top == INFINITY)
        p->top = NAN;
}

/* The best of those that are left, with all that equal it, go to the list if they are above -Inf; as floats, which
 * become keys together. */
SIMD_FN void pick_next(struct pick *p, struct list *list)
{
    vf m = p->v[0];
    uint64_t there = 0;
    SIMD_UNROLL for (int b = 1; b < PICK_COLS / VF; b++)
        m = vf_max(m, p->v[b]);
    const float best = vf_reduce_max(m);
    SIMD_UNROLL for (int b = 0; b < PICK_COLS / VF; b++) {
        const vm same = vf_eq(p->v[b], vf_set1(best));
        there |= (uint64_t)vm_bits(same) << b * VF;
        p->v[b] = vf_select(same, vf_set1(MINUS_INF), p->v[b]);
    }
    list->key[list->n] = (int32_t)simd_bits(best);
    list->idx[list->n] = __builtin_ctzll(there | UINT64_C(1) << 63);
    list->n += best > MINUS_INF;
    if (!(there & (there - 1)) || !(best > MINUS_INF))
        return;
    while (there &= there - 1) {
        list->key[list->n] = (int32_t)simd_bits(best);
        list->idx[list->n++] = __builtin_ctzll(there);
    }
}

/* Rows x of cols columns, PICK_ROWS of them; top as in struct pick. */
SIMD_FN void pick_group(struct list *list, const void *const *x, const int64_t *cols, int64_t k, uint32_t dtype,
                        float *top)
{
    struct pick p[PICK_ROWS];
    SIMD_UNROLL for (int q = 0; q < PICK_ROWS; q++) {
        pick_load(&p[q], x[q], cols[q], dtype);
        top[q] = p[q].top;
    }
    for (int64_t i = 0; i < k; i++)
        SIMD_UNROLL for (int q = 0; q < PICK_ROWS; q++)
            pick_next(&p[q], &list[q]);
    for (int q = 0; q < PICK_ROWS; q++)
        for (int64_t i = 0; i < list[q].n; i += VF)
            vi_store(list[q].key + i, order_keys(vf_bits(vi_load(list[q].key + i))));
}

/* In tiles with NaN or +Inf. n columns from c on, which are x[c - c0]. */
static void take_all(struct list *list, const void *x, int64_t c0, int64_t n, uint32_t dtype)
{
    for (int64_t c = 0; c < n; c++) {
        const float v = value_at(x, c, dtype);
        if (v != v)
            list_push(list, LIST_NAN, (int32_t)(c0 + c));
        else if (v > list->below)
            list_push(list, order_key(v), (int32_t)(c0 + c));
    }
    list->bad = 1;
}

/* ---- sums that want more: a moment, T == 0, or logits too large for their exponent ---- */

SIMD_FN void sum_step(const struct row *r, const void *x, int64_t c, int n, uint32_t dtype, float m, vf *sum,
                      vf *moment)
{
    vf v[STEP_VECTORS], d[STEP_VECTORS], e[STEP_VECTORS];
    const vf half = vf_set1(r->half);
    STEP_EACH(b, n) {
        const int k = step_count(n, b);
        v[b] = load_x(x, c + b * VF, k, dtype);
        if (n != STEP)
            v[b] = vf_select(vm_first(k), v[b], vf_set1(MINUS_INF));
        d[b] = vf_mul(vf_sub(vf_mul(v[b], half), vf_mul(vf_set1(m), half)), vf_set1(r->rest));
        e[b] = d[b];
    }
    vf_exp_each(e, step_vectors(n));
    STEP_EACH(b, n) {
        const int k = b % BLOCK_VECTORS;
        if (r->flat)
            e[b] = vf_select(vf_eq(v[b], vf_set1(MINUS_INF)), vf_zero(), e[b]);
        sum[k] = vf_add(sum[k], e[b]);
        /* e is 0 where d is cut off, and 0 * -Inf would be NaN */
        moment[k] = vf_add(moment[k], vf_mul(e[b], vf_max(d[b], vf_set1(-128.0f))));
    }
}

/* part->s, a from n logits at v, relative to part->m. */
SIMD_FN void tile_sum(const struct row *row, const void *v, int64_t n, struct part *part, uint32_t dtype)
{
    const struct row r = *row;
    const float m = part->m;
    double sums[BLOCK] = {0}, products[BLOCK] = {0};
    for (int64_t c = 0, end; c < n; c = end) {
        vf sum[BLOCK_VECTORS], moment[BLOCK_VECTORS];
        end = n - c < BLOCK_RUN * BLOCK ? n : c + BLOCK_RUN * BLOCK;
        block_set(sum, 0.0f);
        block_set(moment, 0.0f);
#define CALL(c, n) sum_step(&r, v, c, n, dtype, m, sum, moment)
        STEP_ALL(c, c, end, CALL)
#undef CALL
        block_flush(sums, sum);
        block_flush(products, moment);
    }
    part->s = block_sum(sums);
    part->a = block_sum(products);
}

/* Sums of two stretches, relative to the larger maximum. */
static void part_merge(const struct row *r, struct part *to, const struct part *p)
{
    if (!(p->m > MINUS_INF))
        return;
    if (!(to->m > MINUS_INF)) {
        *to = *p;
        return;
    }
    const double delta = -fabs((double)p->m - (double)to->m) * r->T, w = exp(delta);
    const double carry = w > 0.0 ? delta : 0.0; /* 0 * -Inf */
    if (p->m > to->m) {
        to->a = p->a + w * (to->a + to->s * carry);
        to->s = p->s + w * to->s;
        to->m = p->m;
    } else {
        to->a += w * (p->a + p->s * carry);
        to->s += w * p->s;
    }
}

/* ---- a tile ---- */

typedef void pick_fn(struct list *list, const void *const *x, const int64_t *cols, int64_t k, float *top);

/* Of a type of x, and of logits that are made of more than x, which are f32. */
struct passes {
    peaks_fn *peaks, *peaks_nan;
    pick_fn *pick;
    sweep_fn *sum, *mark, *sum_mark;
    uint32_t dtype; /* of what the second sweep reads */
};

#define PASSES(name, DTYPE)                                                                                           \
    static void peaks_##name(const struct row *r, int64_t c0, int64_t c1, int64_t stretch, float *values,             \
                             struct peaks *p)                                                                         \
    {                                                                                                                 \
        (void)values;                                                                                                 \
        tile_peaks(r, c0, c1, stretch, NULL, p, DTYPE, 1, 0);                                                         \
    }                                                                                                                 \
    static void peaks_nan_##name(const struct row *r, int64_t c0, int64_t c1, int64_t stretch, float *values,         \
                                 struct peaks *p)                                                                     \
    {                                                                                                                 \
        (void)values;                                                                                                 \
        tile_peaks(r, c0, c1, stretch, NULL, p, DTYPE, 1, 1);                                                         \
    }                                                                                                                 \
    static void pick_##name(struct list *list, const void *const *x, const int64_t *cols, int64_t k, float *top)      \
    {                                                                                                                 \
        pick_group(list, x, cols, k, DTYPE, top);                                                                     \
    }                                                                                                                 \
    static const struct passes passes_##name = {peaks_##name, peaks_nan_##name, pick_##name,     sum_##name,          \
                                                mark_##name,  sum_mark_##name,  DTYPE};
PASSES(f32, TENON_F32)
PASSES(f16, TENON_F16)
PASSES(bf16, TENON_BF16)

/* Of everything else there is one instance: what it does besides outweighs the choice of the type. */
static void peaks_any(const struct row *r, int64_t c0, int64_t c1, int64_t stretch, float *values, struct peaks *p)
{
    tile_peaks(r, c0, c1, stretch, values, p, r->dtype, 0, 1);
}
static const struct passes passes_any = {peaks_any, peaks_any, pick_f32, sum_f32, mark_f32, sum_mark_f32, TENON_F32};

static void sum_any(const struct row *r, const void *v, int64_t n, struct part *part, uint32_t dtype)
{
    if (dtype == TENON_F32)
        tile_sum(r, v, n, part, TENON_F32);
    else
        tile_sum(r, v, n, part, dtype);
}

/* A number is a candidate when it is above this. */
static float list_bar(const struct list *l)
{
    const int32_t key = order_key(l->least);
    /* l->least itself is one; before 0 comes what has the bits of -0, which is no key */
    const float under = key > ORDER_MINUS_INF ? order_value(key ? key - 1 : -2) : MINUS_INF;
    return under > l->below ? under : l->below;
}

/* How the tile at c0 is summed and marked. */
struct wanted {
    const struct passes *passes;
    int64_t ahead; /* bytes from where a sweep is to what comes next */
    int summed, moment;
};

/* Whether rows are picked. */
static int pick_fits(const struct wanted *w, int64_t cols, int64_t k)
{
    return w->passes != &passes_any && !w->moment && cols <= PICK_COLS && k <= PICK_K;
}

/* The sums of a row that was picked. */
static void pick_sum(const struct wanted *w, const struct row *r, struct part *part)
{
    struct powers powers;
    if (!w->summed || r->nan || !(part->m > MINUS_INF))
        return;
    if (powers_set(&powers, r->T, part->m))
        part->s = w->passes->sum(r->l.x, r->cols, &powers, 0.0f, w->ahead, NULL);
    else
        sum_any(r, r->l.x, r->cols, part, w->passes->dtype);
}

/* Both sweeps over the n columns from c0 on. The list takes its candidates, the part its sums. */
static void tile_do(const struct wanted *w, const struct row *r, int64_t c0, int64_t n, struct list *list,
                    struct part *part)
{
    float values[TILE + STEP];
    uint8_t mark[MARKS];
    struct peaks peaks;
    struct powers powers = {0};
    const struct passes *const passes = w->passes;
    const int wanted = w->summed && !list->bad && !r->nan; /* no sum of a NaN row is */
    (wanted && !w->moment ? passes->peaks : passes->peaks_nan)(r, c0, c0 + n, stretch_of(n, list->k), values, &peaks);
    const void *x = values;
    if (passes != &passes_any)
        x = (const char *)r->l.x + c0 * TENON_DTYPE_SIZE(passes->dtype);
    *part = (struct part){0.0, 0.0, peaks.top};
    int simple = wanted && !w->moment && powers_set(&powers, r->T, peaks.top);
    if (wanted && !w->moment && !simple) /* nothing that a fast sum would see */
        passes->peaks_nan(r, c0, c0 + n, stretch_of(n, list->k), values, &peaks);
    if (list->n < list->k && !peaks.nan)
        list->least = least_of(&peaks, list->k);
    const float bar = list_bar(list);
    const int marked = peaks.top > bar;
    if (simple)
        part->s = (marked ? passes->sum_mark : passes->sum)(x, n, &powers, bar, w->ahead, mark);
    if (peaks.nan || peaks.top == INFINITY || part->s != part->s) {
        *part = (struct part){0.0, 0.0, peaks.top};
        take_all(list, x, c0, n, passes->dtype);
        return;
    }
    if (marked && !simple)
        passes->mark(x, n, &powers, bar, 0, mark);
    if (wanted && !simple && peaks.top > MINUS_INF)
        sum_any(r, x, n, part, passes->dtype);
    if (marked)
        take_marked(list, x, c0, n, passes->dtype, mark);
}

#endif

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * kv_evict in f64, straight from tenon/ops/kv_evict.h. Where scores are within a bound, what is kept follows from those
 * that came back, or must be possible with some within their bounds. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "kv_evict_suite.h"

#define FLOOR 0x1p-126

struct score {
    double value, bound;
};

struct view {
    const struct conform_case *c;
    const struct tenon_kv_evict_params *p;
    struct evict_sizes z;
    double scale;
};

static double at(const struct conform_case *c, uint32_t i, int64_t index)
{
    const struct conform_slot *slot = &c->slot[i];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

struct evict_sizes tenon__evict_suite_sizes(const struct conform_case *c)
{
    const struct tenon_tensor *q = &c->slot[TENON_KV_EVICT_Q].tensor, *k = &c->slot[TENON_KV_EVICT_K].tensor;
    const struct tenon_tensor *given = &c->slot[TENON_KV_EVICT_SCORES].tensor;
    const struct tenon_tensor *list = &c->slot[TENON_KV_EVICT_LIST].tensor;
    struct evict_sizes z = {.batch = list->dim[0], .lists = list->dim[1], .most = list->dim[2]};
    z.keys = tenon__evict_suite_params(c)->slots;
    z.kv_heads = z.lists;
    if (given->dtype) {
        z.keys = given->dim[1];
        z.kv_heads = given->dim[2];
    }
    if (q->dtype) {
        z.queries = q->dim[1];
        z.heads = q->dim[2];
        z.width = q->dim[3];
        z.keys = k->dim[1];
        z.kv_heads = k->dim[2];
    }
    return z;
}

int64_t tenon__evict_suite_length(const struct conform_case *c, int64_t b, int64_t h)
{
    const struct tenon_tensor *len = &c->slot[TENON_KV_EVICT_KV_LEN].tensor;
    const int64_t keys = tenon__evict_suite_sizes(c).keys;
    if (!len->dtype)
        return keys;
    const int64_t each = len->rank == 2 ? len->dim[1] : 1;
    const double n = at(c, TENON_KV_EVICT_KV_LEN, b * each + (each > 1 ? h : 0));
    return n < 0 ? 0 : n > (double)keys ? keys : (int64_t)n;
}

static double key_position(const struct view *v, int64_t b, int64_t h, int64_t j)
{
    const struct tenon_tensor *pos = &v->c->slot[TENON_KV_EVICT_KPOS].tensor;
    if (!pos->dtype)
        return (double)j;
    const int64_t each = pos->rank == 3 ? pos->dim[1] : 1;
    return at(v->c, TENON_KV_EVICT_KPOS, (b * each + (each > 1 ? h : 0)) * v->z.keys + j);
}

/* ---- scores ---- */

/* Weights of query t of head hq at the keys of head h, added to `sum`. */
static void add_query(const struct view *v, int64_t b, int64_t h, int64_t hq, int64_t t, struct score *sum, double *s)
{
    const struct evict_sizes *z = &v->z;
    const int64_t n = tenon__evict_suite_length(v->c, b, h);
    const double own = v->c->slot[TENON_KV_EVICT_QPOS].tensor.dtype
                           ? at(v->c, TENON_KV_EVICT_QPOS, b * z->queries + t)
                           : (double)(n - z->queries + t);
    double top = -(double)INFINITY, all = 0, sigma = 0;
    int odd = 0;
    for (int64_t j = 0; j < n; j++) {
        double dot = 0, size = 0;
        s[j] = -(double)INFINITY;
        if (key_position(v, b, h, j) > own)
            continue;
        for (int64_t d = 0; d < z->width; d++) {
            const double x = at(v->c, TENON_KV_EVICT_Q, ((b * z->queries + t) * z->heads + hq) * z->width + d) *
                             at(v->c, TENON_KV_EVICT_K, ((b * z->keys + j) * z->kv_heads + h) * z->width + d);
            dot += x;
            size += fabs(x);
        }
        s[j] = v->scale * dot;
        odd |= isnan(s[j]) || s[j] == (double)INFINITY;
        top = fmax(top, s[j]);
        sigma = fmax(sigma, fabs(v->scale) * size);
    }
    for (int64_t j = 0; j < n; j++)
        all += s[j] == -(double)INFINITY ? 0 : exp(s[j] - top);
    for (int64_t j = 0; j < n; j++) {
        if (s[j] == -(double)INFINITY)
            continue;
        const double p = odd ? (double)NAN : exp(s[j] - top) / all;
        sum[j].value += p;
        sum[j].bound += p * 0x1p-20 * (1 + sigma) + FLOOR;
    }
}

static struct score pooled(const struct view *v, const struct score *m, int64_t n, int64_t j)
{
    const int64_t half = v->p->ks / 2;
    struct score r = {0, 0};
    double best = -1;
    int nan = 0;
    for (int64_t i = j - half; i <= j + half; i++) {
        if (i < 0 || i >= n)
            continue;
        nan |= isnan(m[i].value);
        best = fmax(best, m[i].value);
        r.value += m[i].value;
        r.bound = v->p->pool == TENON_KV_EVICT_MEAN ? r.bound + m[i].bound : fmax(r.bound, m[i].bound);
    }
    if (v->p->pool == TENON_KV_EVICT_MEAN) {
        r.value /= v->p->ks;
        r.bound /= v->p->ks;
    } else {
        r.value = best;
    }
    if (nan)
        r.value = (double)NAN;
    return r;
}

static void score_head(const struct view *v, int64_t b, int64_t h, struct score *out)
{
    const struct evict_sizes *z = &v->z;
    const int64_t n = tenon__evict_suite_length(v->c, b, h);
    const int snap = v->p->score == TENON_KV_EVICT_SNAP, products = v->p->score <= TENON_KV_EVICT_ACCUM;
    const int64_t inside = !snap ? n : n > v->p->w ? n - v->p->w : 0;
    const int64_t first = snap && z->queries > v->p->w ? z->queries - v->p->w : 0;
    struct score *m = calloc((size_t)z->keys + 1, sizeof *m);
    double *s = calloc((size_t)z->keys + 1, sizeof *s);
    if (!m || !s)
        abort();
    for (int64_t j = 0; j < z->keys; j++)
        out[j * z->kv_heads] = (struct score){0, 0};
    for (int64_t g = 0; products && g < z->heads / z->kv_heads; g++) {
        memset(m, 0, (size_t)z->keys * sizeof *m);
        for (int64_t t = first; t < z->queries; t++)
            add_query(v, b, h, h * (z->heads / z->kv_heads) + g, t, m, s);
        for (int64_t j = 0; j < inside; j++) {
            const struct score x = snap ? pooled(v, m, inside, j) : m[j];
            out[j * z->kv_heads].value += x.value;
            out[j * z->kv_heads].bound += x.bound;
        }
    }
    for (int64_t j = 0; j < n; j++) {
        struct score *x = &out[j * z->kv_heads];
        const double before = v->c->slot[TENON_KV_EVICT_SCORES].tensor.dtype
                                  ? at(v->c, TENON_KV_EVICT_SCORES, (b * z->keys + j) * z->kv_heads + h)
                                  : 0;
        x->value += before;
        if (products)
            x->bound = isinf(before) ? 0 : x->bound + 0x1p-20 * (fabs(x->value) + fabs(before)) + FLOOR;
    }
    free(s);
    free(m);
}

/* [batch,keys,kv_heads]. */
static struct score *scores_of(const struct view *v)
{
    const struct evict_sizes *z = &v->z;
    struct score *all = calloc((size_t)(z->batch * z->keys * z->kv_heads) + 1, sizeof *all);
    if (!all)
        abort();
    for (int64_t b = 0; b < z->batch; b++)
        for (int64_t h = 0; h < z->kv_heads; h++)
            score_head(v, b, h, all + b * z->keys * z->kv_heads + h);
    return all;
}

/* ---- what is kept ---- */

static float normal(float x)
{
    return fabsf(x) < 0x1p-126f ? 0 : x;
}

/* The score of list l; of exact scores as f32 has it. */
static struct score list_score(const struct view *v, const struct score *s, int64_t b, int64_t l, int64_t j)
{
    const struct score *x = s + (b * v->z.keys + j) * v->z.kv_heads;
    struct score sum = {0, 0};
    float exact = 0;
    if (v->p->share == TENON_KV_EVICT_PER_HEAD)
        return x[l];
    for (int64_t h = 0; h < v->z.kv_heads; h++) {
        exact = normal(exact + normal((float)x[h].value));
        sum.value += x[h].value;
        sum.bound += x[h].bound + 0x1p-22 * fabs(x[h].value) + FLOOR;
    }
    for (int64_t h = 0; h < v->z.kv_heads; h++)
        if (x[h].bound > 0)
            return sum;
    return (struct score){(double)exact, 0};
}

static int is_forced(const struct view *v, int64_t n, int64_t j)
{
    return j < n && (j < v->p->n_first || j >= n - v->p->w);
}

/* 1: x is the better one of two keys j > i by their scores x and y. */
static int is_better(double x, double y)
{
    return isnan(x) ? isnan(y) : isnan(y) || x >= y;
}

static void choose(const struct view *v, const struct score *s, int64_t b, int64_t l, unsigned char *kept)
{
    const int64_t n = tenon__evict_suite_length(v->c, b, l);
    double *x = calloc((size_t)v->z.keys + 1, sizeof *x);
    if (!x)
        abort();
    memset(kept, 0, (size_t)v->z.keys);
    for (int64_t j = 0; j < n; j++) {
        kept[j] = (unsigned char)is_forced(v, n, j);
        x[j] = list_score(v, s, b, l, j).value;
    }
    for (int32_t i = 0; i < v->p->n && i < n; i++) { /* the best of what is left, time and again */
        int64_t best = -1;
        for (int64_t j = 0; j < n; j++)
            if (!kept[j] && !(x[j] < (double)v->p->threshold) && (best < 0 || is_better(x[j], x[best])))
                best = j;
        if (best < 0)
            break;
        kept[best] = 1;
    }
    free(x);
}

static int has_nan(const struct view *v, const struct score *s, int64_t b, int64_t l)
{
    const int64_t n = tenon__evict_suite_length(v->c, b, l);
    int nan = 0;
    for (int64_t j = 0; j < n; j++)
        nan |= !is_forced(v, n, j) && isnan(list_score(v, s, b, l, j).value);
    return nan;
}

static void set(struct conform_want *want, int64_t index, double value)
{
    if (want->want)
        want->want[index] = value;
}

static double modulo(double x)
{
    return x > 2147483647.0 ? x - 4294967296.0 : x;
}

/* What a list is in all outputs. */
static void put_list(const struct view *v, int64_t b, int64_t l, const unsigned char *kept, struct conform_want *want)
{
    const struct evict_sizes *z = &v->z;
    const int64_t n = tenon__evict_suite_length(v->c, b, l), words = (z->keys + 31) / 32, row = b * z->lists + l;
    const double next = n ? key_position(v, b, l, n - 1) + 1 : 0;
    int64_t count = 0;
    for (int64_t w = 0; w < words; w++)
        set(&want[TENON_KV_EVICT_KEEP], row * words + w, 0);
    for (int64_t j = 0; j < n; j++) {
        if (!kept[j])
            continue;
        set(&want[TENON_KV_EVICT_LIST], row * z->most + count, (double)j);
        set(&want[TENON_KV_EVICT_ROWS], (b * z->most + count) * z->lists + l,
            (double)((b * z->keys + j) * z->lists + l));
        set(&want[TENON_KV_EVICT_KPOS_OUT], row * z->most + count, key_position(v, b, l, j));
        if (want[TENON_KV_EVICT_KEEP].want)
            want[TENON_KV_EVICT_KEEP].want[row * words + j / 32] += ldexp(1, (int)(j % 32));
        count++;
    }
    set(&want[TENON_KV_EVICT_KV_LEN_OUT], row, (double)count);
    for (int64_t i = count; i < z->most; i++) {
        set(&want[TENON_KV_EVICT_LIST], row * z->most + i, -1);
        set(&want[TENON_KV_EVICT_ROWS], (b * z->most + i) * z->lists + l, -1);
        set(&want[TENON_KV_EVICT_KPOS_OUT], row * z->most + i, modulo(next + (double)(i - count)));
    }
    if (want[TENON_KV_EVICT_FLAGS].want)
        want[TENON_KV_EVICT_FLAGS].want[1] += count == 0;
}

static struct view view_of(const struct conform_case *c)
{
    struct view v = {c, tenon__evict_suite_params(c), tenon__evict_suite_sizes(c), 0};
    v.scale = v.p->scale != 0 ? (double)v.p->scale : v.z.width ? 1 / sqrt((double)v.z.width) : 1;
    return v;
}

void tenon__conform_kv_evict_expect(const struct conform_case *c, struct conform_want *want)
{
    const struct view v = view_of(c);
    const struct tenon_tensor *len = &c->slot[TENON_KV_EVICT_KV_LEN].tensor;
    struct score *s = scores_of(&v);
    unsigned char *kept = malloc((size_t)v.z.keys + 1);
    double *flags = want[TENON_KV_EVICT_FLAGS].want;
    const int exact = v.p->score > TENON_KV_EVICT_ACCUM;
    if (!kept)
        abort();
    for (uint32_t i = TENON_KV_EVICT_LIST; i < TENON_KV_EVICT_N_TENSORS; i++)
        want[i].exact = exact;
    for (int64_t e = 0; e < want[TENON_KV_EVICT_SCORES_OUT].count; e++) {
        want[TENON_KV_EVICT_SCORES_OUT].want[e] = s[e].value;
        want[TENON_KV_EVICT_SCORES_OUT].bound[e] = s[e].bound;
    }
    for (int64_t b = 0; b < v.z.batch; b++)
        for (int64_t l = 0; l < v.z.lists; l++) {
            choose(&v, s, b, l, kept);
            put_list(&v, b, l, kept, want);
            if (flags)
                flags[0] += has_nan(&v, s, b, l);
        }
    for (int64_t i = 0; flags && v.z.lists && i < (len->dtype ? tenon_tensor_count(len) : 0); i++)
        flags[3] += at(c, TENON_KV_EVICT_KV_LEN, i) < 0 || at(c, TENON_KV_EVICT_KV_LEN, i) > (double)v.z.keys;
    for (uint32_t i = TENON_KV_EVICT_LIST; !exact && i <= TENON_KV_EVICT_KV_LEN_OUT; i++)
        for (int64_t e = 0; e < want[i].count; e++)
            want[i].bound[e] = (double)INFINITY; /* the check follows the scores */
    free(kept);
    free(s);
}

/* ---- what came back ---- */

/* Whether scores within their bounds could have kept this. */
static int is_possible(const struct view *v, const struct score *s, int64_t b, int64_t l, const unsigned char *kept)
{
    const int64_t n = tenon__evict_suite_length(v->c, b, l);
    const double threshold = (double)v->p->threshold;
    double worst = (double)INFINITY, best = -(double)INFINITY;
    int64_t others = 0, possible = 0;
    for (int64_t j = 0; j < n; j++) {
        const struct score x = list_score(v, s, b, l, j);
        const double high = isnan(x.value) ? -(double)FLT_MAX : x.value + x.bound;
        const double low = isnan(x.value) ? -(double)FLT_MAX : x.value - x.bound;
        if (is_forced(v, n, j)) {
            if (!kept[j])
                return 0;
            continue;
        }
        possible += isnan(x.value) || high >= threshold;
        others += kept[j];
        if (kept[j] && !isnan(x.value) && high < threshold)
            return 0;
        if (kept[j])
            worst = fmin(worst, high);
        else if (isnan(x.value) || low >= threshold)
            best = fmax(best, low);
    }
    return others <= v->p->n && others <= possible && best <= worst && (others == v->p->n || best == -(double)INFINITY);
}

static int compare(const struct conform_case *c, const struct conform_want *list, struct tenon_why *why)
{
    for (uint32_t i = TENON_KV_EVICT_LIST; i <= TENON_KV_EVICT_KV_LEN_OUT; i++)
        for (int64_t e = 0; list[i].want && e < tenon_tensor_count(&c->slot[i].tensor); e++)
            if (at(c, i, e) != list[i].want[e])
                return tenon_why_set(why, 1, "%s element %lld is %.10g, must be %.10g",
                                     tenon_op_contract_by_number(TENON_OPNUM_kv_evict)->tensors[i].name, (long long)e,
                                     at(c, i, e), list[i].want[e]);
    return 0;
}

/* The scores that came back, without bounds; or those of the reference, and what is kept as it came back. */
static int check_lists(const struct view *v, struct conform_want *list, unsigned char *kept, struct tenon_why *why)
{
    const int given = v->c->slot[TENON_KV_EVICT_SCORES_OUT].tensor.dtype != 0;
    struct score *s = scores_of(v);
    int bad = 0;
    for (int64_t e = 0; given && e < v->z.batch * v->z.keys * v->z.kv_heads; e++)
        s[e] = (struct score){at(v->c, TENON_KV_EVICT_SCORES_OUT, e), 0};
    for (int64_t row = 0; !bad && row < v->z.batch * v->z.lists; row++) {
        const int64_t b = row / v->z.lists, l = row % v->z.lists;
        if (given) {
            choose(v, s, b, l, kept);
        } else {
            memset(kept, 0, (size_t)v->z.keys);
            for (int64_t i = 0; i < v->z.most; i++) {
                const double j = at(v->c, TENON_KV_EVICT_LIST, row * v->z.most + i);
                if (j >= 0 && j < (double)v->z.keys)
                    kept[(int64_t)j] = 1;
            }
            if (!is_possible(v, s, b, l, kept))
                bad = tenon_why_set(why, 1, "list %lld: no scores within their bounds keep this", (long long)row);
        }
        put_list(v, b, l, kept, list);
    }
    free(s);
    return bad;
}

int tenon__conform_kv_evict_check(const struct conform_case *c, const struct conform_want *want, struct tenon_why *why)
{
    const struct view v = view_of(c);
    struct conform_want list[TENON_KV_EVICT_N_TENSORS];
    unsigned char *kept = malloc((size_t)v.z.keys + 1);
    (void)want;
    memset(list, 0, sizeof list);
    if (v.p->score > TENON_KV_EVICT_ACCUM) {
        free(kept);
        return 0;
    }
    for (uint32_t i = TENON_KV_EVICT_LIST; i <= TENON_KV_EVICT_KV_LEN_OUT; i++)
        if (c->slot[i].tensor.dtype)
            list[i].want = calloc((size_t)tenon_tensor_count(&c->slot[i].tensor) + 1, sizeof(double));
    if (!kept)
        abort();
    int bad = check_lists(&v, list, kept, why);
    if (!bad)
        bad = compare(c, list, why);
    for (uint32_t i = TENON_KV_EVICT_LIST; i <= TENON_KV_EVICT_KV_LEN_OUT; i++)
        free(list[i].want);
    free(kept);
    return bad;
}

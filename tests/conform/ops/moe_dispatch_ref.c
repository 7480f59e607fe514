/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * moe_dispatch as tenon/ops/moe_dispatch.h has it: the list of pairs, sorted by comparison, and gone through one by
 * one. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <tenon/ops/moe_dispatch.h>
#include "../conform.h"

struct pair {
    int64_t t, j, expert;  /* expert -1: none */
    int64_t place;         /* in the list */
    double w, best;        /* best: of its token */
    int kept;
};

struct dispatch {
    const struct conform_case *c;
    const struct tenon_moe_dispatch_params *p;
    struct conform_want *want;
    struct pair *pair;     /* in the order of the list */
    int64_t tokens, k, n, end;
    int64_t *counts, *kept, *offsets;
};

static double number(const struct conform_case *c, uint32_t i, int64_t index)
{
    const struct conform_slot *slot = &c->slot[i];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

/* Above 0 when a is the better weight. NaN is the worst. */
static int better(double a, double b)
{
    if (isnan(a) || isnan(b))
        return !isnan(a) - !isnan(b);
    return (a > b) - (a < b);
}

static int by_list(const void *left, const void *right)
{
    const struct pair *a = left, *b = right;
    const int first = better(b->best, a->best);
    if (first)
        return first;
    return (a->place > b->place) - (a->place < b->place);
}

static int by_weight(const void *left, const void *right)
{
    const struct pair *a = *(struct pair *const *)left, *b = *(struct pair *const *)right;
    const int first = better(b->w, a->w);
    if (first)
        return first;
    return (a->place > b->place) - (a->place < b->place);
}

/* The list. With BPR each token's place comes from its best weight: tokens of the same one are in order, and so, in
 * CHOICE_MAJOR, the tokens are put in order before the choices. */
static void make_list(struct dispatch *d)
{
    const int choice = d->p->order == TENON_MOE_DISPATCH_CHOICE_MAJOR, bpr = d->p->drop == TENON_MOE_DISPATCH_BPR;
    struct pair *token = calloc((size_t)d->tokens + 1, sizeof(*token));
    if (!token)
        abort();
    for (int64_t t = 0; t < d->tokens; t++) {
        token[t].place = token[t].t = t;
        token[t].best = bpr ? (double)NAN : 0;
        for (int64_t j = 0; bpr && j < d->k; j++) {
            const double e = number(d->c, TENON_MOE_DISPATCH_IDX, t * d->k + j);
            const double w = number(d->c, TENON_MOE_DISPATCH_W, t * d->k + j);
            if (e >= 0 && e < (double)d->p->experts && better(w, token[t].best) > 0)
                token[t].best = w;
        }
    }
    qsort(token, (size_t)d->tokens, sizeof(*token), by_list);
    for (int64_t place = 0; place < d->n; place++) {
        struct pair *pair = &d->pair[place];
        pair->j = choice ? place / d->tokens : place % d->k;
        pair->t = token[choice ? place % d->tokens : place / d->k].t;
        pair->place = place;
        const double e = number(d->c, TENON_MOE_DISPATCH_IDX, pair->t * d->k + pair->j);
        pair->expert = e >= d->p->first && e < (double)d->end ? (int64_t)e : -1;
        if (d->c->slot[TENON_MOE_DISPATCH_W].tensor.dtype)
            pair->w = number(d->c, TENON_MOE_DISPATCH_W, pair->t * d->k + pair->j);
    }
    free(token);
}

/* Which are kept: the first of each expert in the list, or in the list by weight. */
static void keep(struct dispatch *d)
{
    struct pair **order = calloc((size_t)d->n + 1, sizeof(*order));
    if (!order)
        abort();
    for (int64_t i = 0; i < d->n; i++)
        order[i] = &d->pair[i];
    if (d->p->drop == TENON_MOE_DISPATCH_PROB)
        qsort(order, (size_t)d->n, sizeof(*order), by_weight);
    for (int64_t i = 0; i < d->n; i++) {
        const int64_t e = order[i]->expert;
        if (e < 0)
            continue;
        d->counts[e]++;
        order[i]->kept = d->p->capacity < 0 || d->kept[e] < d->p->capacity;
        d->kept[e] += order[i]->kept;
    }
    free(order);
}

static void set(struct conform_want *want, int64_t index, double value)
{
    if (want->want)
        want->want[index] = value;
}

static void make_offsets(struct dispatch *d)
{
    for (int64_t e = 0; e < d->p->experts; e++) {
        const int64_t whole = (d->kept[e] + d->p->align - 1) / d->p->align * d->p->align;
        const int64_t padded = e >= d->p->first && e < d->end ? d->p->capacity : 0;
        set(&d->want[TENON_MOE_DISPATCH_COUNTS], e, (double)d->counts[e]);
        set(&d->want[TENON_MOE_DISPATCH_KEPT], e, (double)d->kept[e]);
        set(&d->want[TENON_MOE_DISPATCH_OFFSETS], e, (double)d->offsets[e]);
        d->offsets[e + 1] = d->offsets[e] + (d->p->pad_to_capacity ? padded : whole);
    }
    set(&d->want[TENON_MOE_DISPATCH_OFFSETS], d->p->experts, (double)d->offsets[d->p->experts]);
}

static void place(struct dispatch *d)
{
    struct conform_want *src = &d->want[TENON_MOE_DISPATCH_SRC], *xp = &d->want[TENON_MOE_DISPATCH_XP];
    const struct tenon_tensor *x = &d->c->slot[TENON_MOE_DISPATCH_X].tensor;
    const int64_t cols = x->dtype ? x->dim[x->rank - 1] : 0;
    int64_t *next = calloc((size_t)d->p->experts + 1, sizeof(*next));
    if (!next)
        abort();
    for (int64_t row = 0; row < src->count; row++)
        set(src, row, -1);
    for (int64_t i = 0; i < d->n; i++) {
        const struct pair *pair = &d->pair[i];
        const int64_t slot = pair->t * d->k + pair->j;
        set(&d->want[TENON_MOE_DISPATCH_POS], slot, -1);
        set(&d->want[TENON_MOE_DISPATCH_W2], slot, 0);
        if (!pair->kept)
            continue;
        const int64_t row = d->offsets[pair->expert] + next[pair->expert]++;
        set(src, row, (double)slot);
        set(&d->want[TENON_MOE_DISPATCH_POS], slot, (double)row);
        set(&d->want[TENON_MOE_DISPATCH_W2], slot, pair->w);
        for (int64_t col = 0; xp->want && col < cols; col++)
            xp->want[row * cols + col] = number(d->c, TENON_MOE_DISPATCH_X, pair->t * cols + col);
    }
    free(next);
}

/* w2 in f32, as the contract has its roundings: exact, and so the bound is 0. */
static void renormalise(const struct dispatch *d)
{
    double *w2 = d->want[TENON_MOE_DISPATCH_W2].want;
    char *kept = calloc((size_t)d->n + 1, 1);
    if (!kept)
        abort();
    for (int64_t i = 0; i < d->n; i++)
        kept[d->pair[i].t * d->k + d->pair[i].j] = (char)d->pair[i].kept;
    for (int64_t t = 0; w2 && t < d->tokens; t++) {
        float sum = 0;
        for (int64_t q = t * d->k; q < (t + 1) * d->k; q++)
            if (kept[q])
                sum = sum + (float)w2[q];
        if (sum <= 0x1p-23f)
            sum = 0x1p-23f;
        for (int64_t q = t * d->k; q < (t + 1) * d->k; q++)
            w2[q] = kept[q] ? (double)((float)w2[q] / sum) : 0;
    }
    free(kept);
}

static void count_flags(const struct dispatch *d)
{
    double *flags = d->want[TENON_MOE_DISPATCH_FLAGS].want;
    char *seen = calloc((size_t)d->tokens + 1, 1);
    if (!seen)
        abort();
    for (int64_t i = 0; i < d->n; i++) {
        const struct pair *pair = &d->pair[i];
        const double e = number(d->c, TENON_MOE_DISPATCH_IDX, pair->t * d->k + pair->j);
        flags[3] += e < -1 || e >= (double)d->p->experts;
        if (pair->expert >= 0)
            seen[pair->t] = (char)(seen[pair->t] | 1 | (isnan(pair->w) ? 2 : 0) | (pair->kept ? 0 : 4));
    }
    for (int64_t t = 0; t < d->tokens; t++) {
        flags[0] += (seen[t] & 2) != 0;
        flags[1] += (seen[t] & 1) == 0;
        flags[2] += (seen[t] & 4) != 0;
    }
    free(seen);
}

void tenon__conform_moe_dispatch_expect(const struct conform_case *c, struct conform_want *want)
{
    const struct tenon_tensor *idx = &c->slot[TENON_MOE_DISPATCH_IDX].tensor;
    struct dispatch d = {.c = c, .p = (const void *)c->params, .want = want, .tokens = 1};
    d.k = idx->dim[idx->rank - 1];
    for (uint32_t axis = 0; axis + 1 < idx->rank; axis++)
        d.tokens *= idx->dim[axis];
    d.n = d.tokens * d.k;
    d.end = d.p->end ? d.p->end : d.p->experts;
    d.pair = calloc((size_t)d.n + 1, sizeof(*d.pair));
    d.counts = calloc(3 * ((size_t)d.p->experts + 1), sizeof(*d.counts));
    if (!d.pair || !d.counts)
        abort();
    d.kept = d.counts + d.p->experts + 1;
    d.offsets = d.kept + d.p->experts + 1;
    for (uint32_t i = TENON_MOE_DISPATCH_COUNTS; i < TENON_MOE_DISPATCH_N_TENSORS; i++)
        want[i].exact = 1;
    make_list(&d);
    keep(&d);
    make_offsets(&d);
    place(&d);
    if (d.p->renorm)
        renormalise(&d);
    if (want[TENON_MOE_DISPATCH_FLAGS].want)
        count_flags(&d);
    free(d.pair);
    free(d.counts);
}

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * moe_dispatch written once more from tenon/ops/moe_dispatch.h, to check moe_dispatch_ref.c: not by going through lists
 * but by what comes before what, pair by pair. Integers are exact; w2 of AFTER_DROP is evaluated in 256 bits, and may
 * be off by what its f32 roundings lose: (K + 1) 2^-24 of the sum's terms, and one rounding. */
#include <math.h>
#include <tenon/ops/moe_dispatch.h>
#include "../precise.h"

#define SLOTS   12
#define EXPERTS 8
#define PAIRS   600 /* more are not compared with each other */

struct view {
    const struct conform_case *c;
    const struct tenon_moe_dispatch_params *p;
    const struct conform_want *want;
    struct conform_precise *precise;
    int64_t tokens, k, n, end;
    mpfr_t exact, sum;
};

static double number(const struct view *v, uint32_t i, int64_t at)
{
    return conform_get(conform_first(&v->c->slot[i]), v->c->slot[i].tensor.dtype, at);
}

static int64_t expert(const struct view *v, int64_t slot)
{
    const double e = number(v, TENON_MOE_DISPATCH_IDX, slot);
    return e >= v->p->first && e < (double)v->end ? (int64_t)e : -1;
}

/* As one number: NaN below everything. */
static double level(double w)
{
    return isnan(w) ? -(double)INFINITY : isinf(w) ? (w > 0 ? 1e300 : -1e300) : w;
}

static double token_level(const struct view *v, int64_t t)
{
    double best = -(double)INFINITY;
    for (int64_t q = t * v->k; q < (t + 1) * v->k; q++) {
        const double e = number(v, TENON_MOE_DISPATCH_IDX, q);
        if (e >= 0 && e < v->p->experts)
            best = fmax(best, level(number(v, TENON_MOE_DISPATCH_W, q)));
    }
    return best;
}

/* Whether slot a comes before slot b in the list. */
static int before(const struct view *v, int64_t a, int64_t b)
{
    const int64_t t[2] = {a / v->k, b / v->k}, j[2] = {a % v->k, b % v->k};
    int token = t[0] < t[1];
    if (v->p->drop == TENON_MOE_DISPATCH_BPR && t[0] != t[1]) {
        const double own[2] = {token_level(v, t[0]), token_level(v, t[1])};
        if (own[0] != own[1])
            token = own[0] > own[1];
    }
    if (v->p->order == TENON_MOE_DISPATCH_CHOICE_MAJOR)
        return j[0] != j[1] ? j[0] < j[1] : token;
    return t[0] != t[1] ? token : j[0] < j[1];
}

static int is_kept(const struct view *v, int64_t slot)
{
    const int64_t e = expert(v, slot);
    int64_t ahead = 0;
    if (e < 0 || v->p->capacity < 0)
        return e >= 0;
    for (int64_t q = 0; q < v->n; q++) {
        if (q == slot || expert(v, q) != e)
            continue;
        int first = before(v, q, slot);
        if (v->p->drop == TENON_MOE_DISPATCH_PROB) {
            const double a = level(number(v, TENON_MOE_DISPATCH_W, q));
            const double b = level(number(v, TENON_MOE_DISPATCH_W, slot));
            first = a != b ? a > b : first;
        }
        ahead += first;
    }
    return ahead < v->p->capacity;
}

static void is_number(struct view *v, uint32_t tensor, int64_t at, double value)
{
    if (!v->want[tensor].want || at >= v->want[tensor].count)
        return;
    mpfr_set_d(v->exact, value, MPFR_RNDN);
    precise_compare(v->precise, v->c, v->want, tensor, at, v->exact, 0);
}

static int64_t count_of(const struct view *v, int64_t e)
{
    int64_t count = 0;
    for (int64_t q = 0; q < v->n; q++)
        count += expert(v, q) == e;
    return count;
}

static int64_t kept_of(const struct view *v, int64_t e)
{
    const int64_t count = count_of(v, e);
    return v->p->capacity >= 0 && count > v->p->capacity ? v->p->capacity : count;
}

static int64_t segment_of(const struct view *v, int64_t e)
{
    if (v->p->pad_to_capacity)
        return e >= v->p->first && e < v->end ? v->p->capacity : 0;
    return (kept_of(v, e) + v->p->align - 1) / v->p->align * v->p->align;
}

static int64_t offset_of(const struct view *v, int64_t e)
{
    int64_t offset = 0;
    if (v->p->pad_to_capacity)
        return (e < v->p->first ? 0 : (e < v->end ? e : v->end) - v->p->first) * v->p->capacity;
    for (int64_t q = 0; q < v->n; q++) { /* each expert below e at its first slot */
        const int64_t own = expert(v, q);
        int64_t first = q;
        if (own < 0 || own >= e)
            continue;
        while (first > 0 && expert(v, first - 1) != own)
            first--;
        offset += first == 0 ? segment_of(v, own) : 0;
    }
    return offset;
}

static void check_weight(struct view *v, int64_t slot, int kept)
{
    const int64_t t = slot / v->k;
    double size = 0;
    if (!v->want[TENON_MOE_DISPATCH_W2].want)
        return;
    const double w = number(v, TENON_MOE_DISPATCH_W, slot);
    if (!kept || !v->p->renorm) {
        is_number(v, TENON_MOE_DISPATCH_W2, slot, kept ? w : 0);
        return;
    }
    mpfr_set_zero(v->sum, 1);
    for (int64_t q = t * v->k; q < (t + 1) * v->k; q++) {
        const double own = number(v, TENON_MOE_DISPATCH_W, q);
        if (!is_kept(v, q))
            continue;
        if (!isfinite(own))
            return; /* the suite's business */
        mpfr_add_d(v->sum, v->sum, own, MPFR_RNDN);
        size += fabs(own);
    }
    /* next to eps the other may be taken; where much cancels, the roundings are all there is */
    const double sum = mpfr_get_d(v->sum, MPFR_RNDN), loss = (double)(v->k + 1) * 0x1p-24 * size;
    if (loss > sum / 16 && sum > -loss)
        return;
    if (sum <= 0x1p-23)
        mpfr_set_d(v->sum, 0x1p-23, MPFR_RNDN);
    mpfr_set_d(v->exact, w, MPFR_RNDN);
    mpfr_div(v->exact, v->exact, v->sum, MPFR_RNDN);
    const double value = fabs(mpfr_get_d(v->exact, MPFR_RNDN));
    precise_compare(v->precise, v->c, v->want, TENON_MOE_DISPATCH_W2, slot, v->exact,
                    value * (2 * (sum > 0 ? loss / sum : 0) + 0x1p-24) + 0x1p-149);
}

static void check_slot(struct view *v, int64_t slot)
{
    const int64_t e = expert(v, slot), t = slot / v->k;
    const struct tenon_tensor *x = &v->c->slot[TENON_MOE_DISPATCH_X].tensor;
    const int64_t cols = x->dtype ? x->dim[x->rank - 1] : 0;
    const int kept = is_kept(v, slot);
    int64_t row = kept ? offset_of(v, e) : -1;
    for (int64_t q = 0; kept && q < v->n; q++)
        row += q != slot && expert(v, q) == e && before(v, q, slot) && is_kept(v, q);
    is_number(v, TENON_MOE_DISPATCH_POS, slot, (double)row);
    check_weight(v, slot, kept);
    if (row < 0)
        return;
    is_number(v, TENON_MOE_DISPATCH_SRC, row, (double)slot);
    if (cols)
        is_number(v, TENON_MOE_DISPATCH_XP, row * cols + slot % cols,
                  conform_get(conform_first(&v->c->slot[TENON_MOE_DISPATCH_X]), x->dtype,
                              conform_offset(x, t * cols) + slot % cols));
}

int tenon__conform_moe_dispatch_mpfr(const struct conform_case *c, const struct conform_want *want,
                                     struct conform_precise *precise)
{
    const struct tenon_tensor *idx = &c->slot[TENON_MOE_DISPATCH_IDX].tensor;
    struct view v = {.c = c, .p = (const void *)c->params, .want = want, .precise = precise};
    v.n = tenon_tensor_count(idx);
    v.k = idx->dim[idx->rank - 1];
    v.tokens = v.k ? v.n / v.k : 0;
    v.end = v.p->end ? v.p->end : v.p->experts;
    mpfr_inits2(PRECISE_BITS, v.exact, v.sum, (mpfr_ptr)0);
    const int64_t experts = v.p->experts < EXPERTS ? v.p->experts : EXPERTS, slots = v.n < SLOTS ? v.n : SLOTS;
    const int slot_wanted = precise->element >= 0 && precise->tensor == TENON_MOE_DISPATCH_POS;
    const int64_t must = slot_wanted ? precise->element : -1;
    for (int64_t i = 0; i < experts && v.n <= 40000; i++) {
        const int64_t e = precise_sample(c, i, experts, v.p->experts, -1);
        is_number(&v, TENON_MOE_DISPATCH_COUNTS, e, (double)count_of(&v, e));
        is_number(&v, TENON_MOE_DISPATCH_KEPT, e, (double)kept_of(&v, e));
        if (v.n <= PAIRS)
            is_number(&v, TENON_MOE_DISPATCH_OFFSETS, e + 1, (double)(offset_of(&v, e) + segment_of(&v, e)));
    }
    for (int64_t i = 0; i < slots && v.n <= PAIRS; i++)
        check_slot(&v, precise_sample(c, i, slots, v.n, must));
    double wrong = 0;
    for (int64_t q = 0; q < v.n; q++) {
        const double e = number(&v, TENON_MOE_DISPATCH_IDX, q);
        wrong += e < -1 || e >= v.p->experts;
    }
    is_number(&v, TENON_MOE_DISPATCH_FLAGS, 3, wrong);
    mpfr_clears(v.exact, v.sum, (mpfr_ptr)0);
    return 0;
}

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * linear_attention: properties that tie two runs. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "linear_attention_suite.h"

/* How the tokens, heads and sequences of the derived case lie in the base. */
struct map {
    const struct conform_case *base;
    int64_t T, HS;            /* of the base */
    int64_t n, b, first, len; /* its longest sequence */
    int64_t tokens;           /* of a derived batch */
    int alone;                /* the last head of that sequence */
    int packed;               /* batches are sequences */
    int reversed;             /* each sequence */
};

static const struct tenon_linear_attention_params *params_of(const struct conform_case *c)
{
    return (const struct tenon_linear_attention_params *)(const void *)c->params;
}

static uint32_t bits_at(const struct conform_slot *slot, int64_t i)
{
    const uint32_t size = TENON_DTYPE_SIZE(slot->tensor.dtype);
    uint32_t bits = 0;
    memcpy(&bits, (const char *)conform_first(slot) + conform_offset(&slot->tensor, i) * size, size);
    return bits;
}

static void put_bits(const struct conform_slot *slot, int64_t i, uint32_t bits)
{
    const uint32_t size = TENON_DTYPE_SIZE(slot->tensor.dtype);
    memcpy((char *)conform_first(slot) + conform_offset(&slot->tensor, i) * size, &bits, size);
}

static int64_t sequences_of(const struct map *m)
{
    const struct tenon_tensor *cu = &m->base->slot[LIN(CU_Q)].tensor;
    return cu->dtype ? cu->dim[0] - 1 : m->base->slot[LIN(Q)].tensor.dim[0];
}

/* Where sequence n begins; of packed ones. */
static int64_t start_of(const struct map *m, int64_t n)
{
    int64_t last = 0;
    for (int64_t i = 0; i <= n; i++) {
        const int64_t own = (int64_t)(int32_t)bits_at(&m->base->slot[LIN(CU_Q)], i), here = own > m->T ? m->T : own;
        last = here > last ? here : last;
    }
    return last;
}

static int open_map(struct map *m, const struct conform_case *base)
{
    const int64_t *o = base->slot[LIN(O)].tensor.dim;
    const int packed = base->slot[LIN(CU_Q)].tensor.dtype != 0;
    *m = (struct map){.base = base, .T = o[1], .HS = o[2], .len = -1};
    for (int64_t n = 0; n < sequences_of(m); n++) {
        const int64_t first = packed ? start_of(m, n) : 0, end = packed ? start_of(m, n + 1) : m->T;
        if (end - first <= m->len)
            continue;
        m->n = n;
        m->b = packed ? 0 : n;
        m->first = first;
        m->len = end - first;
    }
    m->tokens = m->T;
    return tenon_tensor_count(&base->slot[LIN(O)].tensor) > 0 && m->len > 0;
}

/* Token t of the derived batch b, as a token of all of the base. */
static int64_t token_of(const struct map *m, int64_t b, int64_t t)
{
    if (m->alone)
        return m->b * m->T + m->first + t;
    if (m->packed)
        return t;
    if (!m->reversed)
        return b * m->T + t;
    if (!m->base->slot[LIN(CU_Q)].tensor.dtype)
        return b * m->T + m->T - 1 - t;
    for (int64_t n = 0; n < sequences_of(m); n++) {
        const int64_t first = start_of(m, n), end = start_of(m, n + 1);
        if (t >= first && t < end)
            return first + end - 1 - t;
    }
    return t;
}

static int has_tokens(uint32_t i, const struct tenon_tensor *t)
{
    return i <= LIN(KN) && t->rank >= 3;
}

/* Element e of derived tensor i, in the base. */
static int64_t element_of(const struct map *m, uint32_t i, const struct tenon_tensor *derived, int64_t e)
{
    const struct tenon_tensor *t = &m->base->slot[i].tensor;
    if (has_tokens(i, t) || i == LIN(O)) {
        const int64_t wide = t->rank == 4 ? t->dim[3] : 1, heads = derived->dim[2], row = e / wide / heads;
        const int64_t head = m->alone ? (m->HS - 1) * t->dim[2] / m->HS : e / wide % heads;
        return (token_of(m, row / m->tokens, row % m->tokens) * t->dim[2] + head) * wide + e % wide;
    }
    if (!m->alone)
        return e;
    if (t->rank == 1) /* HEAD */
        return m->HS - 1;
    return (m->n * m->HS + m->HS - 1) * (tenon_tensor_count(derived)) + e; /* states */
}

static void set_shape(const struct map *m, struct conform_case *derived, uint32_t i)
{
    const struct tenon_tensor *t = &m->base->slot[i].tensor;
    int64_t dim[4];
    derived->slot[i].same_as = -1;
    if (!t->dtype)
        return;
    memcpy(dim, t->dim, sizeof(dim));
    if (has_tokens(i, t) || i == LIN(O)) {
        dim[0] = m->alone || m->packed ? 1 : dim[0];
        dim[1] = m->tokens;
        dim[2] = m->alone ? 1 : dim[2];
    } else if (m->alone && i != LIN(FLAGS) && i != LIN(CU_Q)) { /* HEAD, states */
        dim[0] = 1;
        dim[1] = t->rank == 1 ? dim[1] : 1;
    }
    conform_slot_set(derived, i, t->dtype, t->rank, dim);
}

static int derive(const struct map *m, struct conform_case *derived)
{
    *derived = *m->base;
    for (uint32_t i = 0; i < derived->n; i++) {
        derived->slot[i].data = NULL;
        set_shape(m, derived, i);
    }
    if (m->alone)
        memset(&derived->slot[LIN(CU_Q)].tensor, 0, sizeof(struct tenon_tensor));
    if (m->packed)
        conform_slot_set(derived, LIN(CU_Q), TENON_I32, 1, (int64_t[]){sequences_of(m) + 1});
    if (conform_case_alloc(derived))
        return 0;
    for (uint32_t i = 0; i < LIN(O); i++) {
        const struct conform_slot *to = &derived->slot[i];
        for (int64_t e = 0; to->tensor.dtype && e < tenon_tensor_count(&to->tensor); e++)
            put_bits(to, e, i == LIN(CU_Q) && m->packed ? (uint32_t)(e * m->T)
                                                        : bits_at(&m->base->slot[i], element_of(m, i, &to->tensor, e)));
    }
    return 1;
}

/* ---- checks ---- */

static double value_at(const struct conform_slot *slot, int64_t e)
{
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, e));
}

/* states: whether they are compared too. */
static int check_bits(const struct conform_case *base, const struct conform_case *derived, const struct map *m,
                      int states, struct tenon_why *why)
{
    for (uint32_t i = LIN(O); i <= (states ? LIN(NORM_STATE_OUT) : LIN(O)); i++) {
        const struct conform_slot *slot = &derived->slot[i];
        for (int64_t e = 0; slot->tensor.dtype && e < tenon_tensor_count(&slot->tensor); e++) {
            const int64_t from = element_of(m, i, &slot->tensor, e);
            if (bits_at(slot, e) == bits_at(&base->slot[i], from) ||
                (!isfinite(value_at(slot, e)) && !isfinite(value_at(&base->slot[i], from))))
                continue;
            return tenon_why_set(why, 1, "element %lld of tensor %u has the bits 0x%x, in the whole call 0x%x",
                                 (long long)e, i, bits_at(slot, e), bits_at(&base->slot[i], from));
        }
    }
    return 0;
}

static int check_near(const struct conform_case *base, const struct conform_case *derived, const struct map *m,
                      struct tenon_why *why)
{
    struct conform_want *want = calloc(TENON_MAX_TENSORS, sizeof(*want));
    int bad = want ? 0 : tenon_why_set(why, 1, "out of memory");
    for (uint32_t i = LIN(O); want && i < base->n; i++) {
        want[i].count = base->slot[i].tensor.dtype ? tenon_tensor_count(&base->slot[i].tensor) : 0;
        want[i].want = base->slot[i].tensor.dtype ? calloc((size_t)want[i].count + 1, 2 * sizeof(double)) : NULL;
        want[i].bound = want[i].want ? want[i].want + want[i].count : NULL;
    }
    if (want)
        base->op->expect(base, want);
    for (uint32_t i = LIN(O); want && !bad && i <= LIN(NORM_STATE_OUT); i++)
        for (int64_t e = 0; want[i].want && !bad && e < want[i].count; e++) {
            const int64_t from = element_of(m, i, &derived->slot[i].tensor, e);
            const double x = value_at(&derived->slot[i], e), y = value_at(&base->slot[i], from);
            if (isfinite(want[i].bound[from]) && !(fabs(x - y) <= 2 * want[i].bound[from]))
                bad = tenon_why_set(why, 1, "element %lld of tensor %u is %.9g, and %.9g in the other call",
                                    (long long)e, i, x, y);
        }
    for (uint32_t i = LIN(O); want && i < base->n; i++)
        free(want[i].want);
    free(want);
    return bad;
}

/* ---- properties ---- */

static int map_alone(const struct conform_case *base, struct map *m)
{
    const int good = open_map(m, base);
    m->alone = 1;
    m->tokens = m->len;
    return good;
}

static int derive_alone(const struct conform_case *base, struct conform_case *derived)
{
    struct map m;
    return map_alone(base, &m) && derive(&m, derived);
}

static int check_alone(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    struct map m;
    (void)map_alone(base, &m);
    return check_bits(base, derived, &m, 1, why);
}

/* Any number of tokens in RECURRENT, whole chunks in CHUNKED. */
static int map_earlier(const struct conform_case *base, struct map *m)
{
    const struct tenon_linear_attention_params *p = params_of(base);
    const int recurrent = p->mode == LIN(RECURRENT);
    const int good = open_map(m, base);
    m->tokens = recurrent ? (m->T + 1) / 2 : m->T / p->chunk * p->chunk;
    return good && p->direction == LIN(CAUSAL) && !base->slot[LIN(CU_Q)].tensor.dtype && m->tokens > 0 &&
           (recurrent || (p->mode == LIN(CHUNKED) && p->read != LIN(GROUP)));
}

static int derive_earlier(const struct conform_case *base, struct conform_case *derived)
{
    struct map m;
    return map_earlier(base, &m) && derive(&m, derived);
}

static int check_earlier(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    struct map m;
    (void)map_earlier(base, &m);
    return check_bits(base, derived, &m, 0, why);
}

static int map_packed(const struct conform_case *base, struct map *m)
{
    const int good = open_map(m, base);
    m->packed = 1;
    m->tokens = m->T * sequences_of(m);
    return good && !base->slot[LIN(CU_Q)].tensor.dtype;
}

static int derive_packed(const struct conform_case *base, struct conform_case *derived)
{
    struct map m;
    return map_packed(base, &m) && derive(&m, derived);
}

static int check_packed(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    struct map m;
    (void)map_packed(base, &m);
    return check_bits(base, derived, &m, 1, why);
}

/* The state that a run wrote over is not there to be looked at again. */
static int is_kept(const struct conform_case *base)
{
    return base->slot[LIN(STATE_OUT)].same_as < 0 && base->own[0] != LIN_SPECIAL;
}

static int derive_mode(const struct conform_case *base, struct conform_case *derived)
{
    struct map m;
    if (!is_kept(base) || !open_map(&m, base) || !derive(&m, derived))
        return 0;
    ((struct tenon_linear_attention_params *)(void *)derived->params)->mode =
        params_of(base)->mode == LIN(CHUNKED) ? LIN(RECURRENT) : LIN(CHUNKED);
    return 1;
}

static int check_mode(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    struct map m;
    (void)open_map(&m, base);
    return check_near(base, derived, &m, why);
}

static int map_reversed(const struct conform_case *base, struct map *m)
{
    const struct tenon_linear_attention_params *p = params_of(base);
    const int good = open_map(m, base);
    m->reversed = 1;
    return good && is_kept(base) && p->direction <= LIN(REVERSE) && p->read != LIN(GROUP) &&
           !base->slot[LIN(STATE)].tensor.dtype && !base->slot[LIN(STATE_OUT)].tensor.dtype;
}

static int derive_reversed(const struct conform_case *base, struct conform_case *derived)
{
    struct map m;
    if (!map_reversed(base, &m) || !derive(&m, derived))
        return 0;
    ((struct tenon_linear_attention_params *)(void *)derived->params)->direction = !params_of(base)->direction;
    return 1;
}

static int check_reversed(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    struct map m;
    (void)map_reversed(base, &m);
    return check_near(base, derived, &m, why);
}

const struct conform_property tenon__lin_suite_properties[LIN_PROPERTIES] = {
    {"one head of one sequence alone", derive_alone, check_alone},
    {"the first tokens", derive_earlier, check_earlier},
    {"batches as packed sequences", derive_packed, check_packed},
    {"in the other mode", derive_mode, check_mode},
    {"time reversed", derive_reversed, check_reversed},
};

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * attention: properties that tie the bits of two of its runs. */
#include <string.h>
#include "attention_suite_maps.h"

#define A(NAME) TENON_ATTENTION_##NAME

/* ---- one query alone ---- */

static int64_t query_of(const struct maps *m)
{
    return tenon__att_pick(m->a.c, 200, m->a.t);
}

static void add_qpos(struct maps *m, struct conform_case *d)
{
    if (!tenon__att_is(d, A(QPOS)))
        conform_slot_set(d, A(QPOS), TENON_I32, 2, (int64_t[]){m->a.b, 1});
}

static int open_row(struct maps *m, const struct conform_case *base)
{
    tenon__att_maps_open(m, base);
    return !m->a.varlen && m->a.t >= 2 && m->a.b && tenon__att_cut(m, AXIS_T, query_of(m), 1);
}

static int derive_row(const struct conform_case *base, struct conform_case *derived)
{
    struct maps m;
    int good = open_row(&m, base) && tenon__att_build(&m, derived, 0, add_qpos);
    for (int64_t b = 0; good && !tenon__att_is(base, A(QPOS)) && b < m.a.b; b++) {
        const struct att_seq seq = tenon__att_seq(&m.a, b);
        tenon__att_put(derived, A(QPOS), b, tenon__att_qpos(&m.a, &seq, query_of(&m)));
    }
    tenon__att_maps_close(&m);
    return good;
}

static int check_row(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    struct maps m;
    int bad = open_row(&m, base) ? tenon__att_same(&m, derived, why) : 0;
    tenon__att_maps_close(&m);
    return bad;
}

/* ---- decode: the same query when the keys after it are not there yet ---- */

static void add_kv_len(struct maps *m, struct conform_case *d)
{
    conform_slot_set(d, A(KV_LEN), TENON_I32, 1, (int64_t[]){m->n[AXIS_N]});
}

static int derive_decode(const struct conform_case *base, struct conform_case *derived)
{
    struct maps m;
    int good = open_row(&m, base) && m.a.p->causal && !m.a.p->ring && !tenon__att_is(base, A(QPOS)) &&
               !tenon__att_is(base, A(KPOS));
    int64_t longest = 0;
    for (int64_t b = 0; good && b < m.a.b; b++) {
        const struct att_seq seq = tenon__att_seq(&m.a, b);
        const int64_t len = tenon__att_qpos(&m.a, &seq, query_of(&m)) + 1;
        good = len > 0;
        longest = len > longest ? len : longest;
    }
    if (good && !m.a.page && (good = tenon__att_cut(&m, AXIS_S, 0, m.a.s)))
        for (int64_t i = 0; i < m.n[AXIS_C] * m.a.s; i++)
            m.from[AXIS_S][i] = i % m.a.s < longest ? i % m.a.s : -1;
    good = good && tenon__att_build(&m, derived, 0, add_kv_len);
    for (int64_t b = 0; good && b < m.a.b; b++) {
        const struct att_seq seq = tenon__att_seq(&m.a, b);
        tenon__att_put(derived, A(KV_LEN), b, tenon__att_qpos(&m.a, &seq, query_of(&m)) + 1);
    }
    tenon__att_maps_close(&m);
    return good;
}

/* ---- one kv head of one sequence alone ---- */

static int open_head(struct maps *m, const struct conform_case *base)
{
    tenon__att_maps_open(m, base);
    const struct att *a = &m->a;
    const int64_t hk = tenon__att_pick(base, 201, a->hk), b = tenon__att_pick(base, 202, a->b),
                  group = a->hk ? a->hq / a->hk : 0;
    if (!a->b || (a->b < 2 && a->hk < 2) || a->varlen)
        return 0;
    if (a->hg && a->hk % a->hg && a->hg % a->hk)
        return 0;
    const int64_t groups = a->hg > a->hk ? a->hg / a->hk : 1;
    return tenon__att_cut(m, AXIS_B, b, 1) && tenon__att_cut(m, AXIS_C, b, 1) && tenon__att_cut(m, AXIS_N, b, 1) &&
           tenon__att_cut(m, AXIS_K, hk, 1) && tenon__att_cut(m, AXIS_Q, hk * group, group) &&
           (!a->hg || tenon__att_cut(m, AXIS_G, a->hg > a->hk ? hk * groups : hk / (a->hk / a->hg), groups));
}

static int derive_head(const struct conform_case *base, struct conform_case *derived)
{
    struct maps m;
    const int good = open_head(&m, base) && tenon__att_build(&m, derived, 0, NULL);
    tenon__att_maps_close(&m);
    return good;
}

static int check_head(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    struct maps m;
    int bad = open_head(&m, base) ? tenon__att_same(&m, derived, why) : 0;
    tenon__att_maps_close(&m);
    return bad;
}

/* ---- one packed sequence alone ---- */

static int open_sequence(struct maps *m, const struct conform_case *base)
{
    tenon__att_maps_open(m, base);
    if (!m->a.varlen || !m->a.n)
        return 0;
    const int64_t start = tenon__att_pick(base, 203, m->a.n);
    for (int64_t i = 0; i < m->a.n; i++) {
        const struct att_seq seq = tenon__att_seq(&m->a, (start + i) % m->a.n);
        if (!seq.t)
            continue;
        return tenon__att_cut(m, AXIS_N, seq.n, 1) && tenon__att_cut(m, AXIS_T, seq.q0, seq.t) &&
               tenon__att_cut(m, AXIS_C, seq.row, 1) && (m->a.page || tenon__att_cut(m, AXIS_S, seq.k0, seq.s));
    }
    return 0;
}

#define BIT(name) (1u << TENON_ATTENTION_##name)

static int derive_sequence(const struct conform_case *base, struct conform_case *derived)
{
    struct maps m;
    const int good = open_sequence(&m, base) && tenon__att_build(&m, derived, BIT(CU_Q) | BIT(CU_K), NULL);
    tenon__att_maps_close(&m);
    return good;
}

static int check_sequence(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    struct maps m;
    int bad = open_sequence(&m, base) ? tenon__att_same(&m, derived, why) : 0;
    tenon__att_maps_close(&m);
    return bad;
}

/* ---- free slots behind the others ---- */

static int lengths_as_they_are(struct maps *m, struct conform_case *derived)
{
    for (int64_t n = 0; n < m->a.n; n++) {
        const struct att_seq seq = tenon__att_seq(&m->a, n);
        tenon__att_put(derived, A(KV_LEN), n, seq.len);
    }
    return 1;
}

static int derive_room(const struct conform_case *base, struct conform_case *derived)
{
    struct maps m;
    tenon__att_maps_open(&m, base);
    const int64_t s = m.a.s, more = s + 1 + tenon__att_pick(base, 204, 90);
    int good = !m.a.varlen && !m.a.page && !m.a.hg && !m.a.p->ring && tenon__att_cut(&m, AXIS_S, 0, more);
    for (int64_t i = 0; good && i < m.n[AXIS_C] * more; i++)
        m.from[AXIS_S][i] = i % more < s ? i % more : -1;
    good = good && tenon__att_build(&m, derived, 0, add_kv_len) && lengths_as_they_are(&m, derived);
    tenon__att_maps_close(&m);
    return good;
}

static int check_all(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    struct maps m;
    tenon__att_maps_open(&m, base);
    const int bad = tenon__att_same(&m, derived, why);
    tenon__att_maps_close(&m);
    return bad;
}

/* ---- the same cache in pages of 16, in any order ---- */

#define PAGE 16

static void add_pages(struct maps *m, struct conform_case *d)
{
    const int64_t row_pages = m->n[AXIS_S] / PAGE, pages = row_pages * m->a.b + 1;
    add_kv_len(m, d);
    conform_slot_set(d, A(PAGE_TABLE), TENON_I32, 2, (int64_t[]){m->a.b, row_pages});
    for (uint32_t i = A(K); i <= A(V); i++) {
        const struct tenon_tensor *t = &m->a.c->slot[i].tensor, *quant = &m->a.c->slot[i - A(K) + A(K_QUANT)].tensor;
        conform_slot_set(d, i, t->dtype, 4, (int64_t[]){pages, m->a.hk, PAGE, t->dim[3]});
        if (quant->rank == 5)
            conform_slot_set(d, i - A(K) + A(K_QUANT), TENON_F32, 5,
                             (int64_t[]){pages, m->a.hk, PAGE, quant->dim[3], 2});
    }
}

/* Rows of k, v and their pairs: [B,S,Hk,..] to [pages,Hk,16,..]. */
static void move_rows(const struct maps *m, struct conform_case *d, uint32_t tensor)
{
    const struct tenon_tensor *t = &m->a.c->slot[tensor].tensor;
    const int64_t row_pages = m->n[AXIS_S] / PAGE, pages = row_pages * m->a.b + 1;
    const int64_t wide = t->dim[3] * (t->rank == 5 ? 2 : 1);
    for (int64_t row = 0; row < m->a.b * m->a.s * m->a.hk; row++) {
        const int64_t hk = row % m->a.hk, s = row / m->a.hk % m->a.s, b = row / m->a.hk / m->a.s;
        const int64_t page = pages - 1 - (b * row_pages + s / PAGE);
        for (int64_t x = 0; x < wide; x++)
            tenon__att_copy(d, m->a.c, tensor, ((page * m->a.hk + hk) * PAGE + s % PAGE) * wide + x, row * wide + x);
    }
}

static int derive_pages(const struct conform_case *base, struct conform_case *derived)
{
    const uint32_t rows[4] = {A(K), A(V), A(K_QUANT), A(V_QUANT)};
    struct maps m;
    tenon__att_maps_open(&m, base);
    const int64_t s = m.a.s, more = (s + PAGE - 1) / PAGE * PAGE;
    int good = s && !m.a.varlen && !m.a.page && (!m.a.hg || s == more) && (!m.a.p->ring || s == more) &&
               tenon__att_cut(&m, AXIS_S, 0, more);
    for (int64_t i = 0; good && i < m.n[AXIS_C] * more; i++)
        m.from[AXIS_S][i] = i % more < s ? i % more : -1;
    /* k and v are moved below: for build they have no axes that change */
    if (good) {
        *derived = *base;
        for (uint32_t i = 0; i < base->n; i++)
            tenon__att_shape(&m, derived, i);
        if (tenon__att_is(base, A(ROW_PTR)))
            derived->slot[A(ROW_PTR)].tensor = tenon_tensor_make(TENON_I32, 3, base->slot[A(ROW_PTR)].tensor.dim);
        add_pages(&m, derived);
        good = conform_case_alloc(derived) == 0;
    }
    for (uint32_t i = 0; good && i < base->n; i++)
        if (tenon__att_is(base, i) && !base->slot[i].is_output && i != A(KEEP) && i != A(ROW_PTR) && i != A(K) &&
            i != A(V) && !((i == A(K_QUANT) || i == A(V_QUANT)) && base->slot[i].tensor.rank == 5))
            tenon__att_move(&m, derived, i);
    if (good) {
        tenon__att_move_keep(&m, derived);
        tenon__att_move_list(&m, derived);
        lengths_as_they_are(&m, derived);
    }
    for (int i = 0; good && i < 4; i++)
        if (tenon__att_is(base, rows[i]) && (i < 2 || base->slot[rows[i]].tensor.rank == 5))
            move_rows(&m, derived, rows[i]);
    for (int64_t i = 0; good && i < m.a.b * (more / PAGE); i++)
        tenon__att_put(derived, A(PAGE_TABLE), i, m.a.b * (more / PAGE) - i);
    tenon__att_maps_close(&m);
    return good;
}

/* ---- a ring as a cache that forgets nothing ---- */

static void add_keep(struct maps *m, struct conform_case *d)
{
    tenon__att_suite_params(d)->ring = 0;
    conform_slot_set(d, A(KEEP), TENON_U32, 3,
                     (int64_t[]){m->n[AXIS_C], tenon__att_is(m->a.c, A(KEEP)) ? m->a.c->slot[A(KEEP)].tensor.dim[1] : 1,
                                 (m->n[AXIS_S] + 31) / 32});
}

static int64_t slot_of(const struct att *a, int64_t position, int64_t len)
{
    const int64_t sinks = a->p->n_sink, ring = a->s - sinks;
    if (position >= len || (position >= sinks && position < len - ring))
        return -1;
    return position < sinks ? position : sinks + (position - sinks) % ring;
}

static int derive_unrolled(const struct conform_case *base, struct conform_case *derived)
{
    struct maps m;
    int64_t longest = 0;
    tenon__att_maps_open(&m, base);
    int good = m.a.p->ring && !m.a.page && m.a.b && !(tenon__att_is(base, A(MASK)) && m.a.b > 1);
    for (int64_t n = 0; good && n < m.a.n; n++) {
        const struct att_seq seq = tenon__att_seq(&m.a, n);
        longest = seq.len > longest ? seq.len : longest;
    }
    good = good && longest < 4000 && tenon__att_cut(&m, AXIS_S, 0, longest + 1);
    for (int64_t n = 0; good && n < m.a.n; n++) {
        const struct att_seq seq = tenon__att_seq(&m.a, n);
        for (int64_t s = 0; s <= longest; s++)
            m.from[AXIS_S][n * (longest + 1) + s] = slot_of(&m.a, s, seq.len);
    }
    /* keep of one row for all of them becomes one a sequence; sequences lie in their own maps */
    good = good && !(tenon__att_is(base, A(KEEP)) && base->slot[A(KEEP)].tensor.dim[0] != m.a.b) &&
           tenon__att_build(&m, derived, 0, add_keep);
    for (int64_t n = 0; good && n < m.a.n; n++)
        for (int64_t s = 0; s <= longest; s++) {
            const struct conform_slot *keep = &derived->slot[A(KEEP)];
            for (int64_t h = 0; m.from[AXIS_S][n * (longest + 1) + s] < 0 && h < keep->tensor.dim[1]; h++) {
                const int64_t word = (n * keep->tensor.dim[1] + h) * keep->tensor.dim[2] + s / 32;
                const uint32_t bits = (uint32_t)conform_get(conform_first(keep), TENON_U32, word);
                conform_set(conform_first(keep), TENON_U32, word, (double)(bits & ~(1u << s % 32)));
            }
        }
    tenon__att_maps_close(&m);
    return good;
}

const struct conform_property tenon__att_suite_properties[ATT_PROPERTIES] = {
    {"a query alone", derive_row, check_row},
    {"a query when later keys are not there", derive_decode, check_row},
    {"a kv head of a sequence alone", derive_head, check_head},
    {"a packed sequence alone", derive_sequence, check_sequence},
    {"free slots behind the others", derive_room, check_all},
    {"a cache in pages", derive_pages, check_all},
    {"a ring unrolled", derive_unrolled, check_all},
    {"codes as floats", tenon__att_derive_floats, tenon__att_check_floats},
    {"two halves of the keys", tenon__att_derive_halves, tenon__att_check_halves},
};

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * attention: cases made of other cases. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "attention_suite_maps.h"

#define A(NAME) TENON_ATTENTION_##NAME

/* The axes of each tensor; '.': copied as it is. Those of 1 that could be more stay. */
static const char *axes_of(const struct att *a, uint32_t tensor)
{
    static const char *const names[A(N_TENSORS)] = {
        "BTQ.", "CSK.", "CSK.", "N.", NULL, NULL, "N",    "CS",    "BT",    "BT.", NULL, "BQTS", "Q",   "BTQ", "CSQ",
        "BTQ",  "CSK",  "CSK",  NULL, NULL, "Q",  "BTQ.", "CSK..", "CSK..", ".",   ".",  "BTQ.", "BTQ", "."};
    const uint32_t rank = a->c->slot[tensor].tensor.rank;
    if (a->page && (tensor == A(K) || tensor == A(V)))
        return ".K..";
    if (tensor == A(K_QUANT) || tensor == A(V_QUANT))
        return rank == 3 ? "K.." : a->page ? ".K..." : "CSK..";
    if (tensor == A(LOGW) && rank == 1)
        return ".";
    if (tensor == A(GATE))
        return rank == 3 ? "BTQ" : "BTQ.";
    return names[tensor];
}

void tenon__att_maps_open(struct maps *m, const struct conform_case *c)
{
    memset(m, 0, sizeof(*m));
    tenon__att_open(&m->a, c);
    const int64_t n[AXES] = {m->a.b, m->a.t, m->a.varlen && !m->a.page ? 1 : m->a.n, m->a.s, m->a.hq, m->a.hk,
                             m->a.n, m->a.hg};
    memcpy(m->n, n, sizeof(n));
}

void tenon__att_maps_close(struct maps *m)
{
    for (int axis = 0; axis < AXES; axis++)
        free(m->from[axis]);
}

int tenon__att_cut(struct maps *m, int axis, int64_t from, int64_t n)
{
    const int64_t rows = axis == AXIS_S ? m->n[AXIS_C] : 1;
    m->from[axis] = malloc(sizeof(int64_t) * (size_t)(rows * n + 1));
    m->n[axis] = n;
    for (int64_t i = 0; m->from[axis] && i < rows * n; i++)
        m->from[axis][i] = from + i % n;
    return m->from[axis] != NULL;
}

static int axis_of(char letter)
{
    const char *at = strchr("BTCSQKNG", letter);
    return letter == '.' || !at ? -1 : (int)(at - "BTCSQKNG");
}

/* Whether an axis is one that stands for all of its kind. */
static int is_one(const struct maps *m, const struct tenon_tensor *t, uint32_t tensor, uint32_t i, int axis)
{
    const int broadcast =
        tensor == A(MASK) || tensor == A(KPOS) || tensor == A(QPOS) || tensor == A(BOUNDS) || tensor == A(KEEP);
    (void)m;
    return broadcast && axis != AXIS_S && t->dim[i] == 1 && (tensor == A(MASK) || i < 2) &&
           !(tensor == A(QPOS) && i == 1) && !(tensor == A(BOUNDS) && i == 1);
}

void tenon__att_shape(const struct maps *m, struct conform_case *d, uint32_t tensor)
{
    const struct tenon_tensor *t = &m->a.c->slot[tensor].tensor;
    const char *letters = axes_of(&m->a, tensor);
    int64_t dim[TENON_MAX_RANK];
    d->slot[tensor].data = NULL;
    d->slot[tensor].same_as = -1;
    if (!t->dtype)
        return;
    for (uint32_t i = 0; i < t->rank; i++) {
        const int axis = letters ? axis_of(letters[i]) : -1;
        dim[i] = axis < 0 || is_one(m, t, tensor, i, axis) ? t->dim[i] : m->n[axis];
    }
    if (tensor == A(KEEP)) {
        dim[0] = t->dim[0] == 1 ? 1 : m->n[AXIS_C];
        dim[1] = t->dim[1] == 1 ? 1 : m->n[AXIS_K];
        dim[2] = (m->n[AXIS_S] + 31) / 32;
    }
    conform_slot_set(d, tensor, t->dtype, t->rank, dim);
}

int64_t tenon__att_mapped(const struct maps *m, int axis, int64_t i, int64_t row)
{
    return m->from[axis] ? m->from[axis][axis == AXIS_S ? row * m->n[AXIS_S] + i : i] : i;
}

void tenon__att_copy(struct conform_case *d, const struct conform_case *base, uint32_t i, int64_t to, int64_t from)
{
    const struct conform_slot *a = &d->slot[i], *b = &base->slot[i];
    const int64_t size = TENON_DTYPE_SIZE(b->tensor.dtype);
    memcpy((char *)conform_first(a) + conform_offset(&a->tensor, to) * size,
           (const char *)conform_first(b) + conform_offset(&b->tensor, from) * size, (size_t)size);
}

void tenon__att_move(const struct maps *m, struct conform_case *d, uint32_t tensor)
{
    const struct tenon_tensor *to = &d->slot[tensor].tensor, *t = &m->a.c->slot[tensor].tensor;
    const char *letters = axes_of(&m->a, tensor);
    for (int64_t e = 0; e < tenon_tensor_count(to); e++) {
        int64_t index[TENON_MAX_RANK], rest = e, at = 0;
        for (uint32_t i = to->rank; i-- > 0; rest /= to->dim[i])
            index[i] = rest % to->dim[i];
        for (uint32_t i = 0; i < to->rank && at >= 0; i++) {
            const int axis = letters ? axis_of(letters[i]) : -1;
            const int64_t row = letters && (letters[0] == 'C' || letters[0] == 'B') && t->dim[0] > 1 ? index[0] : 0;
            const int64_t x =
                axis < 0 || is_one(m, t, tensor, i, axis) ? index[i] : tenon__att_mapped(m, axis, index[i], row);
            at = x < 0 ? -1 : at * t->dim[i] + x;
        }
        if (at >= 0)
            tenon__att_copy(d, m->a.c, tensor, e, at);
    }
}

/* Bit by bit; the bits of what nothing sees are set. */
void tenon__att_move_keep(const struct maps *m, struct conform_case *d)
{
    const struct conform_slot *from = &m->a.c->slot[A(KEEP)], *to = &d->slot[A(KEEP)];
    const int64_t *dim = to->tensor.dim;
    if (!to->tensor.dtype || !from->tensor.dtype)
        return;
    for (int64_t b = 0; b < dim[0]; b++)
        for (int64_t h = 0; h < dim[1]; h++)
            for (int64_t s = 0; s < m->n[AXIS_S]; s++) {
                const int64_t at = tenon__att_mapped(m, AXIS_S, s, b);
                const int64_t fb = dim[0] == 1 && from->tensor.dim[0] == 1 ? 0 : tenon__att_mapped(m, AXIS_C, b, 0);
                const int64_t fh = from->tensor.dim[1] == 1 ? 0 : tenon__att_mapped(m, AXIS_K, h, 0);
                const int64_t word = (b * dim[1] + h) * dim[2] + s / 32;
                uint32_t bits = (uint32_t)conform_get(conform_first(to), TENON_U32, word);
                const int64_t source = (fb * from->tensor.dim[1] + fh) * from->tensor.dim[2] + at / 32;
                if (at >= 0 && !((uint32_t)conform_get(conform_first(from), TENON_U32, source) >> at % 32 & 1))
                    bits &= ~(1u << s % 32);
                conform_set(conform_first(to), TENON_U32, word, (double)bits);
            }
}

/* The list, without the groups and the blocks of queries that are not taken. */
void tenon__att_move_list(const struct maps *m, struct conform_case *d)
{
    const struct att *a = &m->a;
    const struct conform_slot *to = &d->slot[A(ROW_PTR)];
    if (!to->tensor.dtype)
        return;
    const int64_t nq = to->tensor.dim[2] - 1, hg = to->tensor.dim[1];
    for (int64_t b = 0; b < to->tensor.dim[0]; b++)
        for (int64_t g = 0; g < hg; g++)
            for (int64_t i = 0; i <= nq; i++) {
                const int64_t fb = tenon__att_mapped(m, AXIS_B, b, 0), fg = tenon__att_mapped(m, AXIS_G, g, 0);
                const int64_t first = m->from[AXIS_T] && nq ? m->from[AXIS_T][0] / a->p->block_q : 0;
                tenon__att_copy(d, a->c, A(ROW_PTR), (b * hg + g) * (nq + 1) + i,
                                (fb * a->hg + fg) * (a->nq + 1) + first + i);
            }
}

int tenon__att_build(struct maps *m, struct conform_case *d, uint32_t without,
                     void (*add)(struct maps *, struct conform_case *))
{
    const struct conform_case *base = m->a.c;
    *d = *base;
    for (uint32_t i = 0; i < base->n; i++) {
        tenon__att_shape(m, d, i);
        if (without >> i & 1)
            memset(&d->slot[i].tensor, 0, sizeof(d->slot[i].tensor));
    }
    if (tenon__att_is(d, A(ROW_PTR)))
        conform_slot_set(
            d, A(ROW_PTR), TENON_I32, 3,
            (int64_t[]){m->n[AXIS_B], m->n[AXIS_G], (m->n[AXIS_T] + m->a.p->block_q - 1) / m->a.p->block_q + 1});
    if (add)
        add(m, d);
    if (conform_case_alloc(d))
        return 0;
    for (uint32_t i = 0; i < base->n; i++)
        if (tenon__att_is(base, i) && tenon__att_is(d, i) && !d->slot[i].is_output && i != A(KEEP) && i != A(ROW_PTR) &&
            d->slot[i].tensor.dtype == base->slot[i].tensor.dtype)
            tenon__att_move(m, d, i);
    tenon__att_move_keep(m, d);
    tenon__att_move_list(m, d);
    return 1;
}

int tenon__att_same(const struct maps *m, const struct conform_case *d, struct tenon_why *why)
{
    for (uint32_t tensor = A(O); tensor <= A(LNZ); tensor++) {
        const struct conform_slot *x = &m->a.c->slot[tensor], *y = &d->slot[tensor];
        const int64_t wide = tensor == A(O) ? m->a.v : 1;
        for (int64_t e = 0; tenon__att_is(d, tensor) && e < tenon_tensor_count(&y->tensor); e++) {
            const int64_t h = e / wide % m->n[AXIS_Q], row = e / wide / m->n[AXIS_Q];
            const int64_t b = tenon__att_mapped(m, AXIS_B, row / m->n[AXIS_T], 0),
                          t = tenon__att_mapped(m, AXIS_T, row % m->n[AXIS_T], 0);
            const int64_t at = ((b * m->a.t + t) * m->a.hq + tenon__att_mapped(m, AXIS_Q, h, 0)) * wide + e % wide;
            const double p = conform_get(conform_first(x), x->tensor.dtype, conform_offset(&x->tensor, at));
            const double q = conform_get(conform_first(y), y->tensor.dtype, conform_offset(&y->tensor, e));
            if (p == q || (isnan(p) && isnan(q)))
                continue;
            return tenon_why_set(why, 1, "%s of row %lld, head %lld, element %lld is %.9g, in the other run %.9g",
                                 tensor == A(O) ? "o" : "lnz", (long long)t,
                                 (long long)tenon__att_mapped(m, AXIS_Q, h, 0), (long long)(e % wide), p, q);
        }
    }
    return 0;
}

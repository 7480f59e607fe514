/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * attention: cases made of other cases by maps, one for each axis: which index of the first each index of the second
 * is, -1 for what nothing sees, which stays poison. */
#ifndef CONFORM_ATTENTION_SUITE_MAPS_H
#define CONFORM_ATTENTION_SUITE_MAPS_H

#include "attention_suite.h"

/* B, T: of q; C: first axis of what is along S; S; Q, K: heads of q, of k; N: sequences; G: groups of the list. */
enum { AXIS_B, AXIS_T, AXIS_C, AXIS_S, AXIS_Q, AXIS_K, AXIS_N, AXIS_G, AXES };

struct maps {
    struct att a;
    int64_t n[AXES], *from[AXES]; /* NULL: the same. from[AXIS_S] has a row for each of C */
};

void tenon__att_maps_open(struct maps *m, const struct conform_case *c);
void tenon__att_maps_close(struct maps *m);
/* The axis becomes n long, all of it `from` on; 0: out of memory. */
int tenon__att_cut(struct maps *m, int axis, int64_t from, int64_t n);
int64_t tenon__att_mapped(const struct maps *m, int axis, int64_t i, int64_t row);
/* A tensor of the derived case: its shape, and its elements; keep and row_ptr have their own ways. */
void tenon__att_shape(const struct maps *m, struct conform_case *d, uint32_t tensor);
void tenon__att_move(const struct maps *m, struct conform_case *d, uint32_t tensor);
void tenon__att_move_keep(const struct maps *m, struct conform_case *d);
void tenon__att_move_list(const struct maps *m, struct conform_case *d);
/* Element `to` becomes element `from` of the base's. */
void tenon__att_copy(struct conform_case *d, const struct conform_case *base, uint32_t i, int64_t to, int64_t from);
/* The derived case, all of it but what `add` adds. `without`: tensors to leave out, a bit each. 0: out of memory. */
int tenon__att_build(struct maps *m, struct conform_case *d, uint32_t without,
                     void (*add)(struct maps *, struct conform_case *));
/* o and lnz of the derived case are those of the base where it was taken, bit by bit. */
int tenon__att_same(const struct maps *m, const struct conform_case *d, struct tenon_why *why);

int tenon__att_derive_floats(const struct conform_case *base, struct conform_case *derived);
int tenon__att_check_floats(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why);
int tenon__att_derive_halves(const struct conform_case *base, struct conform_case *derived);
int tenon__att_check_halves(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why);

static inline int tenon__att_is(const struct conform_case *c, uint32_t tensor)
{
    return c->slot[tensor].tensor.dtype != 0;
}

static inline void tenon__att_put(struct conform_case *c, uint32_t tensor, int64_t at, int64_t value)
{
    conform_set(conform_first(&c->slot[tensor]), TENON_I32, at, (double)value);
}

static inline int64_t tenon__att_pick(const struct conform_case *c, uint64_t stream, int64_t n)
{
    return n > 0 ? (int64_t)conform_below(conform_key(c, stream), 0, (uint64_t)n) : 0;
}

#endif

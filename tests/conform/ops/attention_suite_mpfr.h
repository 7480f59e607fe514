/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the two files of attention in 256 bits share: one row of the outputs, and which keys it sees. */
#ifndef CONFORM_ATTENTION_SUITE_MPFR_H
#define CONFORM_ATTENTION_SUITE_MPFR_H

#include <tenon/ops/attention.h>
#include "../precise.h"

struct mp_row {
    const struct conform_case *c;
    const struct tenon_attention_params *p;
    int64_t b, t, hq, heads_k, d, v, s; /* extents; s: of what is along S */
    /* the row: its number among B*T*Hq, its head and kv head, its query of the tensor, its sequence */
    int64_t row, h, hk, query, batch, seq;
    int64_t first_q, first_k, own_t, own_s, len, qpos; /* of the sequence; seq -1: it is in none */
};

static inline double tenon__mp_get(const struct conform_case *c, uint32_t tensor, int64_t index)
{
    const struct conform_slot *slot = &c->slot[tensor];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}
void tenon__mp_open(struct mp_row *r, const struct conform_case *c);
void tenon__mp_row(struct mp_row *r, int64_t row);
/* Of key j, counted along S: whether it is seen, its row of what is [Bk,S,..], of k and v, its position, its mask, the
 * entry of the list that has its block. */
int tenon__mp_sees(const struct mp_row *r, int64_t j);
int64_t tenon__mp_slot(const struct mp_row *r, int64_t j);
int64_t tenon__mp_kv_row(const struct mp_row *r, int64_t j);
int64_t tenon__mp_kpos(const struct mp_row *r, int64_t j);
double tenon__mp_mask(const struct mp_row *r, int64_t j);
int64_t tenon__mp_entry(const struct mp_row *r, int64_t j);

#endif

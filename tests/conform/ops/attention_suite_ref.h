/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Which keys each query of attention sees, for the reference and for the filling of cases: what no query sees is left
 * poison. */
#ifndef CONFORM_ATTENTION_SUITE_REF_H
#define CONFORM_ATTENTION_SUITE_REF_H

#include <tenon/ops/attention.h>
#include "../conform.h"

/* The extents of a case. */
struct att {
    const struct conform_case *c;
    const struct tenon_attention_params *p;
    int64_t b, t, s, hq, hk, d, v;  /* s: keys a sequence may have in storage, as the tensors a key have them */
    int64_t n;                      /* sequences: b, or with cu_q those */
    int64_t page, pages, row_pages; /* P, N, max_pages; page 0: there is no page_table */
    int64_t hg, nq, nnz;            /* of the list of blocks; hg 0: there is none */
    int varlen;
};

/* One sequence: queries q0 .. q0 + t of row b; slots k0 .. k0 + s of row `row` of what is along S, of which those
 * before `len` are there. */
struct att_seq {
    int64_t n, b, row, q0, t, k0, s, len;
};

/* A visible key: its place in the tensors that have one entry a key, its position, what its block's logw adds. */
struct att_key {
    int64_t slot, pos, entry; /* entry: of col, -1 without a list */
};

void tenon__att_open(struct att *a, const struct conform_case *c);
struct att_seq tenon__att_seq(const struct att *a, int64_t n);
/* The keys, in the order of slots, that query i of head h of a sequence sees, mask apart; at most seq.s of them. */
int64_t tenon__att_keys(const struct att *a, const struct att_seq *seq, int64_t h, int64_t i, struct att_key *to);
int64_t tenon__att_qpos(const struct att *a, const struct att_seq *seq, int64_t i);
/* The element of k's (v's) tensor where slot's row of kv head hk begins, as a row-major index of rows; -1: no page. */
int64_t tenon__att_row(const struct att *a, const struct att_seq *seq, int64_t slot, int64_t hk);
/* The entries of col that count in a row of the list, at most nnz (entries may be NULL); odd: flags[3] of the row. */
int64_t tenon__att_list(const struct att *a, int64_t row, int64_t *entries, int64_t *odd);
/* What flags[3] counts. */
int64_t tenon__att_odd(const struct att *a);
/* The row-major index into mask of query i of head h and a slot. */
int64_t tenon__att_mask(const struct att *a, const struct att_seq *seq, int64_t h, int64_t i, int64_t slot);

static inline int tenon__att_has(const struct att *a, uint32_t i)
{
    return a->c->slot[i].tensor.dtype != 0;
}
static inline double tenon__att_get(const struct att *a, uint32_t i, int64_t index)
{
    const struct conform_slot *slot = &a->c->slot[i];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}
static inline int64_t tenon__att_dim(const struct att *a, uint32_t i, uint32_t axis)
{
    return a->c->slot[i].tensor.dim[axis];
}

#endif

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * attn_merge: the partial results of attention over disjoint sets of keys become its result (split-KV decoding, prefix
 * and suffix caches, a sequence on several devices).
 *
 * Sources: Dao et al., "Flash-Decoding" (2023); Ye et al., "Cascade inference" (2024); the sink: Agarwal et al.,
 * "gpt-oss" (2025), Miller, "Attention is off by one" (2023).
 *
 * Part p of a row (a token and a head) has o_p = o_parts[p,row,:] and, in ascending p:
 *     LNZ     l_p = lnz_parts[p,row], the logarithm of its normaliser: Z = sum e^l_p;  lnz = ln Z;
 *             o = sum e^l_p o_p / (Z + e^sink_h), without sink / Z
 *     SUM     o = sum o_p, for parts that were not divided by anything
 *     COUNT   n_p = counts[p,row], the keys that the part saw: o = sum n_p o_p / sum n_p, for parts that were divided by
 *             their number of keys
 * The sink enters here and only here, once: parts are made without it, and lnz never contains it. h is the last of the
 * leading axes.
 *
 * LNZ: a part with l_p == -Inf is empty: skipped, whatever its o_p holds. So is a part with l_p more than 172 below the
 * largest (for o: below the sink, where that is larger): nothing of it is left in float. An l_p that is NaN or +Inf makes o and lnz of the row NaN; a sink that is NaN
 * or +Inf makes o of the rows of its head NaN, but not lnz; a sink of -Inf is none. A row of empty parts has o = 0 and
 * lnz = -Inf, whatever the sink. COUNT: a part with n_p <= 0 is empty likewise; a row of empty parts has o = 0.
 * SUM has no empty parts; P == 0 is a row of empty parts everywhere (SUM: o = 0). NaN and infinities in o_p of other
 * parts go through the sums by IEEE's rules.
 *
 * Errors: lnz_parts, counts, sink or lnz given to a kind that has none of it, lnz_parts or counts missing where the kind
 * is made of it: ARG. Shapes: SHAPE; P > 4096: SHAPE. lnz_parts, counts, sink and lnz are contiguous; the leading axes
 * of o_parts fold into one stride, those of o too (else UNSUPPORTED). rows == 0, V == 0: success. rows < 2^32,
 * V < 2^31. A GPU takes lnz_parts, counts and o_parts of up to 2 GiB (else UNSUPPORTED).
 * Tolerance (u = 2^-24, sums over p): o 8u times the sum of the magnitudes of its terms, a 16-bit type 1 ulp more; lnz
 * u (8 + 2 |lnz| + max |l_p|), the max of parts that count. Floor 2^-126 (f16: 2^-25).
 * Determinism: D0. Rows are independent bitwise, and so are the columns of o. Thread rule: a plan may run on any number
 * of threads at once.
 * Traffic: 1R of o_parts, 1W of o.
 */
#ifndef TENON_OPS_ATTN_MERGE_H
#define TENON_OPS_ATTN_MERGE_H

#include <stdint.h>

/* Tensors, in this order. */
enum {
    TENON_ATTN_MERGE_O_PARTS,   /* in   f32 f16 bf16 [P,...rows,V]; rows: [B,T,Hq] or any axes */
    TENON_ATTN_MERGE_LNZ_PARTS, /* in?  f32 [P,...rows]; of LNZ */
    TENON_ATTN_MERGE_COUNTS,    /* in?  i32 [P,...rows]; of COUNT */
    TENON_ATTN_MERGE_SINK,      /* in?  f32 [Hq], the last axis of rows; LNZ alone */
    TENON_ATTN_MERGE_O,         /* out  f32 f16 bf16 [...rows,V] */
    TENON_ATTN_MERGE_LNZ,       /* out? f32 [...rows]; LNZ alone */
    TENON_ATTN_MERGE_N_TENSORS
};

enum { TENON_ATTN_MERGE_BY_LNZ, TENON_ATTN_MERGE_BY_SUM, TENON_ATTN_MERGE_BY_COUNT };

struct tenon_attn_merge_params {
    uint32_t struct_size;
    uint32_t kind; /* BY_LNZ: TENON_ATTN_MERGE_BY_* */
};

#endif

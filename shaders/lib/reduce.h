/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Reductions over a work-group, in an order that depends on LOCAL and TN_VW alone. They are macros because shared
 * arrays cannot be passed to functions; `lid` must be TN_LID, LOCAL a multiple of 8, and all invocations take part. A
 * shared array has TN_REDUCE_ROOM elements: each reduction of a kernel leaves its result in a slot of its own (0 to 7),
 * so that none has to wait before the next begins. Two levels instead of a tree: three barriers whatever LOCAL is,
 * which is what software devices pay for. */
#ifndef TN_LIB_REDUCE_H
#define TN_LIB_REDUCE_H

#define TN_REDUCE_WAYS (TN_WIDE != 0 ? 1u : 8u)
#define TN_REDUCE_LEFT (TN_REDUCE_WAYS * TN_VW)
#define TN_REDUCE_ROOM (LOCAL * TN_VW + 8u)

/* result = join over all invocations of the elements of the vector value; join(a, b) takes two scalars or two
 * vectors. */
#define TN_REDUCE(type, vector_type, shared_array, slot, join, value, result) \
    {                                                                      \
        tn_vshared_put(shared_array, lid, value);                          \
        TN_BARRIER;                                                        \
        if (lid < TN_REDUCE_WAYS) {                                        \
            vector_type part_ = tn_vshared_get(shared_array, lid);         \
            for (uint k_ = lid + TN_REDUCE_WAYS; k_ < LOCAL; k_ += TN_REDUCE_WAYS) \
                part_ = join(part_, tn_vshared_get(shared_array, k_));     \
            tn_vshared_put(shared_array, lid, part_);                      \
        }                                                                  \
        TN_BARRIER;                                                        \
        if (lid == 0u) {                                                   \
            type all_ = shared_array[0];                                   \
            for (uint k_ = 1u; k_ < TN_REDUCE_LEFT; k_ += 1u)              \
                all_ = join(all_, shared_array[k_]);                       \
            shared_array[LOCAL * TN_VW + slot] = all_;                     \
        }                                                                  \
        TN_BARRIER;                                                        \
        result = shared_array[LOCAL * TN_VW + slot];                       \
    }

/* The sum of float pairs, for invocation 0 alone (no barrier at the end); a pair lives in two shared arrays. */
#define TN_REDUCE_PAIR(shared_hi, shared_lo, value, result)                \
    {                                                                      \
        tn_vshared_put(shared_hi, lid, value.hi);                          \
        tn_vshared_put(shared_lo, lid, value.lo);                          \
        TN_BARRIER;                                                        \
        if (lid < TN_REDUCE_WAYS) {                                        \
            tn_vpair part_ = tn_pair_make(tn_vshared_get(shared_hi, lid), tn_vshared_get(shared_lo, lid)); \
            for (uint k_ = lid + TN_REDUCE_WAYS; k_ < LOCAL; k_ += TN_REDUCE_WAYS) \
                part_ = tn_pair_add_pair(part_, tn_pair_make(tn_vshared_get(shared_hi, k_), tn_vshared_get(shared_lo, k_))); \
            tn_vshared_put(shared_hi, lid, part_.hi);                      \
            tn_vshared_put(shared_lo, lid, part_.lo);                      \
        }                                                                  \
        TN_BARRIER;                                                        \
        if (lid == 0u) {                                                   \
            tn_pair all_ = tn_pair_make(shared_hi[0], shared_lo[0]);       \
            for (uint k_ = 1u; k_ < TN_REDUCE_LEFT; k_ += 1u)              \
                all_ = tn_pair_add_pair(all_, tn_pair_make(shared_hi[k_], shared_lo[k_])); \
            result = all_;                                                 \
        }                                                                  \
    }

/* Joins, of scalars or vectors. */
#define tn_imax(a, b) max(a, b)
#define tn_umin(a, b) min(a, b)
#define tn_umax(a, b) max(a, b)

#endif

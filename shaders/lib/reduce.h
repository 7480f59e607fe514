/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Reductions over a work-group, in an order that depends on LOCAL alone. They are macros because shared arrays cannot be
 * passed to functions; `lid` must be TN_LID, LOCAL a multiple of 8, and all invocations take part. Two levels of eight
 * instead of a tree: three barriers whatever LOCAL is, which is what software devices pay for. */
#ifndef TN_LIB_REDUCE_H
#define TN_LIB_REDUCE_H

#define TN_REDUCE_WAYS 8u

/* result = join over all invocations of value; join(a, b) is a macro or function of two scalars. */
#define TN_REDUCE(type, shared_array, join, value, result)                 \
    {                                                                      \
        shared_array[lid] = value;                                         \
        TN_BARRIER;                                                        \
        if (lid < TN_REDUCE_WAYS) {                                        \
            type part_ = shared_array[lid];                                \
            for (uint k_ = lid + TN_REDUCE_WAYS; k_ < LOCAL; k_ += TN_REDUCE_WAYS) \
                part_ = join(part_, shared_array[k_]);                     \
            shared_array[lid] = part_;                                     \
        }                                                                  \
        TN_BARRIER;                                                        \
        type all_ = shared_array[0];                                       \
        for (uint k_ = 1u; k_ < TN_REDUCE_WAYS; k_ += 1u)                  \
            all_ = join(all_, shared_array[k_]);                           \
        result = all_;                                                     \
        TN_BARRIER;                                                        \
    }

/* The same for the sum of float pairs; the pair lives in two shared arrays. */
#define TN_REDUCE_PAIR(shared_hi, shared_lo, value, result)                \
    {                                                                      \
        shared_hi[lid] = value.hi;                                         \
        shared_lo[lid] = value.lo;                                         \
        TN_BARRIER;                                                        \
        if (lid < TN_REDUCE_WAYS) {                                        \
            tn_pair part_ = tn_pair_make(shared_hi[lid], shared_lo[lid]);  \
            for (uint k_ = lid + TN_REDUCE_WAYS; k_ < LOCAL; k_ += TN_REDUCE_WAYS) \
                part_ = tn_pair_add_pair(part_, tn_pair_make(shared_hi[k_], shared_lo[k_])); \
            shared_hi[lid] = part_.hi;                                     \
            shared_lo[lid] = part_.lo;                                     \
        }                                                                  \
        TN_BARRIER;                                                        \
        tn_pair all_ = tn_pair_make(shared_hi[0], shared_lo[0]);           \
        for (uint k_ = 1u; k_ < TN_REDUCE_WAYS; k_ += 1u)                  \
            all_ = tn_pair_add_pair(all_, tn_pair_make(shared_hi[k_], shared_lo[k_])); \
        result = all_;                                                     \
        TN_BARRIER;                                                        \
    }

TN_FN int tn_imax(int a, int b)
{
    return a > b ? a : b;
}

TN_FN uint tn_umin(uint a, uint b)
{
    return a < b ? a : b;
}

TN_FN uint tn_umax(uint a, uint b)
{
    return a > b ? a : b;
}

#endif

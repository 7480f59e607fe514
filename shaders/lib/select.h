/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * A step of the radix selection, for kernels with the shared arrays sh_bins[SP_BINS], sh_part[SP_PARTS] and sh_state
 * {prefix of the key with the sign turned, places left, entries that have the prefix}. Macros, because shared arrays
 * cannot be passed. */
#ifndef TN_LIB_SELECT_H
#define TN_LIB_SELECT_H

#define SP_ROUNDS 4u
#define SP_BINS 256u
#define SP_PARTS 16u /* sixteen bins each: first the sixteen, then the bin in one of them */

/* From the bins of all to the digit at `shift`, whose bin has the last place. All invocations take part. */
#define SP_NARROW(shift)                                                     \
    {                                                                        \
        for (uint p_ = lid; p_ < SP_PARTS; p_ += LOCAL) {                    \
            uint sum_ = 0u;                                                  \
            for (uint b_ = 0u; b_ < 16u; b_ += 1u)                           \
                sum_ += sh_bins[p_ * 16u + b_];                              \
            sh_part[p_] = sum_;                                              \
        }                                                                    \
        TN_BARRIER;                                                          \
        if (lid == 0u) {                                                     \
            uint left_ = sh_state[1];                                        \
            uint p_ = 15u;                                                   \
            for (; p_ > 0u && sh_part[p_] < left_; p_ -= 1u)                 \
                left_ -= sh_part[p_];                                        \
            uint b_ = p_ * 16u + 15u;                                        \
            for (; b_ > p_ * 16u && sh_bins[b_] < left_; b_ -= 1u)           \
                left_ -= sh_bins[b_];                                        \
            sh_state[0] = sh_state[0] | (b_ << (shift));                     \
            sh_state[1] = left_;                                             \
            sh_state[2] = sh_bins[b_];                                       \
        }                                                                    \
        TN_BARRIER;                                                          \
    }

/* The prefix so far, or with `done` the cut itself: its key, how many equal to it are kept, how many there are. NaN is
 * never kept, not even when there is nothing better. */
#define SP_SAVE_STATE(at, done)                                              \
    {                                                                        \
        uint nan_ = (done) != 0u && sh_state[0] == (tn_as_uint(TN_ORDER_NAN) ^ 0x80000000u) ? 1u : 0u; \
        TN_W(state, at) = (done) != 0u ? sh_state[0] ^ 0x80000000u : sh_state[0]; \
        TN_W(state, (at) + 1u) = nan_ != 0u ? 0u : sh_state[1];              \
        TN_W(state, (at) + 2u) = nan_ != 0u ? 0u : sh_state[2];              \
    }

#endif

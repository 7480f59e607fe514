/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Frequencies in turns times 2^64: `padded` lower words, then as many upper ones, zeros from `half` on. From freqs where
 * given is not 0, else unit (u) times powers of root (r), fractions in 96 bits. */
#define GPU_KERNEL rope_turns
#define GPU_ARGS(BUF, U32, I32, F32)                                                             \
    BUF(freqs) BUF(turns)                                                                        \
    U32(half_n) U32(padded) U32(given) U32(r0) U32(r1) U32(r2) U32(u0) U32(u1) U32(u2)

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * TN_VW pairs, or columns that are no pair, of `span` heads of one token an invocation; `rows` tokens, `tokens` of each
 * batch. Strides in elements, of batch, token and head. angles: rope_turns' words, the upper ones `padded` later, or the
 * table of `positions` rows. options: the type, three bits; bit 3: interleaved; bit 4: a table; bit 5: entries of pos
 * are counted in flags[3]; bits 6 and 7: elements from the addresses of x and y to the first. */
#define GPU_KERNEL rope
#define GPU_ARGS(BUF, U32, I32, F32)                                                             \
    BUF(x) BUF(pos) BUF(angles) BUF(y) BUF(flags)                                                \
    U32(rows) U32(tokens) U32(heads) U32(span) U32(cols) U32(half_n) U32(padded)                 \
    U32(xb) U32(xt) U32(xh) U32(yb) U32(yt) U32(yh) U32(pos_row) U32(positions) U32(options) F32(amplitude)

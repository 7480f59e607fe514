/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * `count` entries of side from word `to` on, from entry `first` on: the rates as floats with channels next to each
 * other, [N][D], then Dskip, then dt_bias. options: the types of a, dskip and dt_bias, three bits each; what is absent
 * is 0. */
#define GPU_KERNEL selective_scan_pack
#define GPU_ARGS(BUF, U32, I32, F32)                                                             \
    BUF(a) BUF(dskip) BUF(dt_bias) BUF(side) U32(first) U32(count) U32(to) U32(d) U32(n) U32(options)

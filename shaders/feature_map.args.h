/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * A work-group has one row, or of TAYLOR2 and OUTER `span` entries of it, of which there are `pieces`; the launch
 * begins with unit `first`. Strides in elements. types: of x, b and y, three bits each, then elements from their
 * buffers' addresses to the first, a bit each. c1, c2, c3: the factors of TAYLOR2. */
#define GPU_KERNEL feature_map
#define GPU_ARGS(BUF, U32, I32, F32)                                                             \
    BUF(x) BUF(b) BUF(y) U32(first) U32(k) U32(kb) U32(x_stride) U32(b_stride) U32(y_stride)     \
    U32(types) U32(kind) U32(nu) U32(span) U32(pieces) F32(power) F32(eps) F32(c1) F32(c2) F32(c3)

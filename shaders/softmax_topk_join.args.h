/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * `each` lists a row, of which every `step`-th is alive; an invocation joins `ways` of those into the first. */
#define GPU_KERNEL softmax_topk_join
#define GPU_ARGS(BUF, U32, I32, F32)                                                             \
    BUF(lists) BUF(row_scale)                                                                    \
    U32(count) U32(each) U32(step) U32(ways) U32(options)                                        \
    F32(inv_temp)

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The scopes after a pass of their pieces. `rule`: 0 topk, 1 thresh, 2 cumul, 3 stat; `k`, `tau`: its own; `share`: tau
 * in units of 2^-32, 0 for 1. */
#define GPU_KERNEL kv_select_scope
#define GPU_ARGS(BUF, U32, I32, F32)                                                   \
    BUF(part) BUF(state)                                                            \
    U32(scopes) U32(pieces) U32(pass) U32(rule) U32(k) U32(share) U32(tau) U32(options)

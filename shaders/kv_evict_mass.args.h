/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The weights that `some` queries give to a key are added to its pair of `mass`; an invocation has key j of head
 * (b, h), of `count`. */
#define GPU_KERNEL kv_evict_mass
#define GPU_ARGS(BUF, U32, I32, F32) BUF(e) BUF(inverse) BUF(mass) U32(count) U32(keys) U32(some) U32(options)

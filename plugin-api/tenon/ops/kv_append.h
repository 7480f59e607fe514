/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * kv_append: new rows of keys and values go to their places in a cache: contiguous, paged or a ring, as they are or
 * quantised, in the storages that attention reads.
 *
 * Row t of sequence b, t < n_new[b] (absent: T), has the position p = pos[b] + t. Its slot is p; with ring
 *     p < n_sink ? p : n_sink + (p - n_sink) mod (S - n_sink)
 * S is that of k; with page_table it is max_pages P, and slot j is row j % P of page page_table[b, j / P]. Of rows of a
 * ring that have the same slot the last one is written.
 *     kpos[b,slot] = p        kv_len[b] = pos[b] + n_new[b], within [0, 2^31)
 * k, v, k_quant, v_quant and kpos hold the caches: only the rows that are named are written, all else stays what it was
 * (kv_len and flags are written whole). Rows of several sequences must not have the same place.
 *
 * Nothing passes through the host: one plan serves every step of decoding, prompts of any length up to T among them.
 * A row with p outside [0, 2^31), with no such slot, or whose page is absent (-1 or outside [0, pages)) is not written
 * and is counted: data never gives an error. n_new outside [0, T] is its nearest bound, and counted.
 * flags: [0] rows (b,t,h) that are written, of k and v each, with an element that is not finite, where that tensor is
 * quantised; [3] rows (b,t) without a place, entries of n_new out of range; the others are 0.
 *
 * Types: NONE: any of k_new's and k's, rounded to nearest even. Quantised k is u8, codes of k_bits = 8, 4, 2 bits,
 * several to a byte, the lowest bits first. With L = 2^bits - 1, x made finite (NaN and infinities are 0, what is
 * below 2^-60 in size is 0, what is beyond 2^60 is 2^60), [.] rounded to nearest even and cut to [0, L], every
 * operation f32:
 *   AFFINE_TOKEN    over `group` columns (0: all), d = max - min:  s = d / L, r = L / d, z = -(min r),
 *                   c = [(x - min) r];  d < 2^-90: s = 1, z = -min, c = 0.  k_quant = (s, z), read as (c - z) s
 *   AFFINE_CHANNEL  (s, z) = k_channel[h,col], which calibration gave:  c = [x (1/s) + z]
 *   LUT_TOKEN       over `group` columns: off = (max + min) / 2, rng = (max - min) / 2, y = (x - off) (1/rng), c the
 *                   entry of table nearest to y;  max - min < 2^-90: rng = 0, y = 0.  k_quant = (rng, off), read as
 *                   table[c] rng + off (KVQuant's nscale and noff belong into the table that is read with)
 *   LUT_CHANNEL     (rng, off) = k_channel[h,col]
 * s or rng of a channel outside [2^-40, 2^40] in size, or z or off beyond 2^60 or NaN: x counts as z = y = 0.
 * Nearest: a binary search over (table[i] + table[i+1]) / 2, ties to the lower; tables ascend.
 *
 * Keys before rotation (KVQuant, caches whose positions move): append them before rope. attention does not rotate what
 * it reads: gather the rows, turn them with rope and kpos, then call attention with kpos; or rotate and append anew.
 *
 * Errors: shapes that do not fit each other, P no multiple of 16, D no multiple of group, a group or a row of codes
 * that is no whole number of bytes, n_sink >= S: SHAPE; a quantised k that is not u8 or one of u8 that is not: DTYPE;
 * tensors that a mode has no use for, or lacks, n_sink without ring: ARG. k_new and v_new have any strides of their
 * first three axes, and so have k and v; the rest is contiguous (else UNSUPPORTED). B, T, Hk == 0: success. B T Hk, B S
 * below 2^31, D and V below 2^16. A GPU takes a cache of up to 2 GiB a sequence (paged: in all); one whose loops end,
 * groups of up to 8192.
 * Tolerance: exact. Determinism: D1. Rows are independent. Thread rule: a plan may run on any number of threads at
 * once. Traffic: 1R of k_new and v_new, 1W of what is written.
 * Sources: Kwon et al., "PagedAttention" (2023); Xiao et al., "StreamingLLM" (2023, sinks); Liu et al., "KIVI" (2024);
 * Hooper et al., "KVQuant" (2024).
 */
#ifndef TENON_OPS_KV_APPEND_H
#define TENON_OPS_KV_APPEND_H

#include <stdint.h>

enum {
    TENON_KV_APPEND_NONE = 0,
    TENON_KV_APPEND_AFFINE_TOKEN = 1,
    TENON_KV_APPEND_AFFINE_CHANNEL = 2,
    TENON_KV_APPEND_LUT_TOKEN = 3,
    TENON_KV_APPEND_LUT_CHANNEL = 4
};

/* Tensors, in this order. */
enum {
    TENON_KV_APPEND_K_NEW,      /* in   f32 f16 bf16 [B,T,Hk,D] */
    TENON_KV_APPEND_V_NEW,      /* in   f32 f16 bf16 [B,T,Hk,V] */
    TENON_KV_APPEND_POS,        /* in   i32 [B] */
    TENON_KV_APPEND_N_NEW,      /* in?  i32 [B] */
    TENON_KV_APPEND_PAGE_TABLE, /* in?  i32 [B,max_pages] */
    TENON_KV_APPEND_K_CHANNEL,  /* in?  f32 [Hk,D,2] */
    TENON_KV_APPEND_V_CHANNEL,  /* in?  f32 [Hk,V,2] */
    TENON_KV_APPEND_K_TABLE,    /* in?  f32 [2^k_bits] */
    TENON_KV_APPEND_V_TABLE,    /* in?  f32 [2^v_bits] */
    TENON_KV_APPEND_K,          /* out  float or u8 [B,S,Hk,D] or [pages,Hk,P,D]; u8: D k_bits / 8 */
    TENON_KV_APPEND_V,          /* out  likewise with V */
    TENON_KV_APPEND_K_QUANT,    /* out? f32, the leading axes of k, then [D/group,2] */
    TENON_KV_APPEND_V_QUANT,    /* out? f32, of v */
    TENON_KV_APPEND_KPOS,       /* out? i32 [B,S] */
    TENON_KV_APPEND_KV_LEN,     /* out? i32 [B] */
    TENON_KV_APPEND_FLAGS,      /* out? u32 [4] */
    TENON_KV_APPEND_N_TENSORS
};

struct tenon_kv_append_params {
    uint32_t struct_size;
    uint32_t quant_k, quant_v; /* NONE */
    uint32_t k_bits, v_bits;   /* 8; 8, 4, 2 */
    int32_t k_group, v_group;  /* 0: all columns; of *_TOKEN */
    uint32_t ring;             /* 0; 1 */
    int32_t n_sink;            /* 0; of ring */
};

#endif

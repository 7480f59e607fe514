/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the kernels of softmax_topk share: a list of the best entries, which is a heap in scratch with the worst of them
 * at the root, and the sums that go with it. An invocation owns its list, so nothing waits for anything; lists are
 * joined afterwards. The loops of a push are unrolled: some devices count rounds. Needs num.h and order.h. */
#ifndef TN_LIB_TOPK_H
#define TN_LIB_TOPK_H

/* The word of the launches. */
#define TK_DT_X (options & 3u)
#define TK_BIAS (options & 4u)
#define TK_MASK (options & 8u)
#define TK_VALID (options & 16u)
#define TK_ROW_SCALE (options & 32u)
#define TK_SCALE (options & 64u)
#define TK_T (options & 128u)          /* T may differ from 1 */
#define TK_NOISE ((options >> 8) & 3u) /* 0 none, 1 Gumbel, 3 of a tensor */
#define TK_SUMMED (options & 1024u)
#define TK_X_SHIFT ((options >> 12) & 1u)
#define TK_MASK_SHIFT ((options >> 13) & 3u)
#define TK_K ((options >> 15) & 0x1fffu)
#define TK_LANES (1u << (options >> 28))

/* A list: these words, then (key, column) pairs. */
#define TK_COUNT 0u
#define TK_BAD 1u   /* a NaN or +Inf was seen */
#define TK_TOP 2u   /* key of the largest number, TK_NONE: none */
#define TK_S 3u     /* two words: sum of e relative to the largest */
#define TK_A 5u     /* two words: sum of e*d */
#define TK_HEAD 8u
#define TK_LEVELS 13u /* of a heap of at most 4096 */

/* Keys are those of lib/order.h, but NaN has that of -Inf: after all entries above -Inf, which are no candidates. */
#define TK_NAN TN_ORDER_NEG_INF
#define TK_NONE TN_ORDER_NONE

TN_FN uint tk_key_bits(int key)
{
    return tn_as_uint(key ^ ((key >> 31) & 0x7fffffff));
}

TN_FN uint tk_worse(int a, uint a_index, int b, uint b_index)
{
    return a < b || (a == b && a_index > b_index) ? 1u : 0u;
}

TN_FN int tk_get_key(TN_BUF lists, uint base, uint i)
{
    return tn_as_int(TN_W(lists, base + TK_HEAD + 2u * i));
}

TN_FN uint tk_get_index(TN_BUF lists, uint base, uint i)
{
    return TN_W(lists, base + TK_HEAD + 2u * i + 1u);
}

TN_FN void tk_put(TN_BUF lists, uint base, uint i, int key, uint index)
{
    TN_W(lists, base + TK_HEAD + 2u * i) = tn_as_uint(key);
    TN_W(lists, base + TK_HEAD + 2u * i + 1u) = index;
}

/* An entry into the heap of n from the root down, in place of the root. */
TN_FN void tk_sift_down(TN_BUF lists, uint base, uint n, int key, uint index)
{
    uint at = 0u;
    uint moving = 1u;
    TN_UNROLL for (uint level = 0u; level < TK_LEVELS; level += 1u) {
        uint child = 2u * at + 1u;
        if (moving != 0u && child < n) {
            int child_key = tk_get_key(lists, base, child);
            uint child_index = tk_get_index(lists, base, child);
            if (child + 1u < n) {
                int other_key = tk_get_key(lists, base, child + 1u);
                uint other_index = tk_get_index(lists, base, child + 1u);
                if (tk_worse(other_key, other_index, child_key, child_index) != 0u) {
                    child = child + 1u;
                    child_key = other_key;
                    child_index = other_index;
                }
            }
            moving = tk_worse(child_key, child_index, key, index);
            if (moving != 0u) {
                tk_put(lists, base, at, child_key, child_index);
                at = child;
            }
        }
    }
    tk_put(lists, base, at, key, index);
}

TN_FN void tk_sift_up(TN_BUF lists, uint base, uint n, int key, uint index)
{
    uint at = n;
    uint moving = 1u;
    TN_UNROLL for (uint level = 0u; level < TK_LEVELS; level += 1u) {
        if (moving != 0u && at > 0u) {
            uint parent = (at - 1u) >> 1;
            int parent_key = tk_get_key(lists, base, parent);
            uint parent_index = tk_get_index(lists, base, parent);
            moving = tk_worse(key, index, parent_key, parent_index);
            if (moving != 0u) {
                tk_put(lists, base, at, parent_key, parent_index);
                at = parent;
            }
        }
    }
    tk_put(lists, base, at, key, index);
}

/* Shows an entry to a list of n that keeps k. Returns the new n. */
TN_FN uint tk_push(TN_BUF lists, uint base, uint n, uint k, int key, uint index)
{
    uint grown = n;
    if (n < k) {
        tk_sift_up(lists, base, n, key, index);
        grown = n + 1u;
    } else if (tk_worse(tk_get_key(lists, base, 0u), tk_get_index(lists, base, 0u), key, index) != 0u) {
        tk_sift_down(lists, base, n, key, index);
    }
    return grown;
}

/* (v - r) * T of scalars or vectors; needs `options`. Halved, so that the difference of two finite values is finite. */
#define tk_delta(v, r, t) (TK_T != 0u ? (((v) * 0.5f - (r) * 0.5f) * (t)) * 2.0f : (v) - (r))

/* Sums relative to a maximum. */
TN_STRUCT(tk_sums) { int top; tn_pair s; tn_pair a; };

TN_FN float tk_top_value(int top)
{
    return tn_float(top <= TN_ORDER_NEG_INF || top >= TN_ORDER_INF ? 0u : tk_key_bits(top));
}

/* s and a relative to what is -d above. */
TN_FN tk_sums tk_lower(tk_sums sums, float d, float rest)
{
    tk_sums low = sums;
    tn_pair w = tn_exp_pair(d);
    w = tn_pair_add(w, (tn_bits(d) & 0x7fffffffu) < TN_INF_BITS ? w.hi * rest : 0.0f);
    /* of what is that far below nothing is left, and 0 * Inf would be NaN */
    float shift = w.hi > 0.0f ? d : 0.0f;
    low.a = tn_pair_mul_pair(tn_pair_add_pair(sums.a, tn_pair_mul_pair(sums.s, tn_pair_make(shift, 0.0f))), w);
    low.s = tn_pair_mul_pair(sums.s, w);
    return low;
}

TN_FN tk_sums tk_merge(uint options, tk_sums x, tk_sums y, float t)
{
    int top = max(x.top, y.top);
    tk_sums a = x;
    tk_sums b = y;
    if (x.top > TN_ORDER_NEG_INF && y.top > TN_ORDER_NEG_INF) {
        float low = tk_top_value(min(x.top, y.top));
        float high = tk_top_value(top);
        float d = tk_delta(low, high, t);
        tn_pair exact = tn_two_sum(low, -high);
        float rest = TK_T != 0u ? 0.0f : exact.lo;
        if (x.top < y.top)
            a = tk_lower(x, d, rest);
        else
            b = tk_lower(y, d, rest);
    }
    a.s = tn_pair_add_pair(a.s, b.s);
    a.a = tn_pair_add_pair(a.a, b.a);
    a.top = top;
    return a;
}

TN_FN tk_sums tk_sums_empty(int top)
{
    tk_sums sums;
    sums.top = top;
    sums.s = tn_pair_make(0.0f, 0.0f);
    sums.a = tn_pair_make(0.0f, 0.0f);
    return sums;
}

TN_FN tk_sums tk_load(TN_BUF lists, uint base)
{
    tk_sums sums;
    sums.top = tn_as_int(TN_W(lists, base + TK_TOP));
    sums.s = tn_pair_make(tn_float(TN_W(lists, base + TK_S)), tn_float(TN_W(lists, base + TK_S + 1u)));
    sums.a = tn_pair_make(tn_float(TN_W(lists, base + TK_A)), tn_float(TN_W(lists, base + TK_A + 1u)));
    return sums;
}

TN_FN void tk_save(TN_BUF lists, uint base, tk_sums sums)
{
    TN_W(lists, base + TK_TOP) = tn_as_uint(sums.top);
    TN_W(lists, base + TK_S) = tn_bits(sums.s.hi);
    TN_W(lists, base + TK_S + 1u) = tn_bits(sums.s.lo);
    TN_W(lists, base + TK_A) = tn_bits(sums.a.hi);
    TN_W(lists, base + TK_A + 1u) = tn_bits(sums.a.lo);
}

/* T of a row; NaN where the row is. */
TN_FN uint tk_temperature(uint options, TN_BUF row_scale, uint row, float inv_temp)
{
    uint result = tn_bits(inv_temp);
    if (TK_ROW_SCALE != 0u) {
        uint bits = TN_W(row_scale, row);
        result = tn_bits(inv_temp * tn_float(bits));
        result = (result & 0x7fffffffu) >= TN_INF_BITS ? TN_NAN_BITS : result;
        result = bits >= TN_INF_BITS && bits != 0x80000000u ? TN_NAN_BITS : result;
    }
    return result;
}

#endif

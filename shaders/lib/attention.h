/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * attention: what its kernels find in the scratch, `side`, and how they read keys and values. What a launch has no
 * room for as an argument is in the words AT_* of `side`, which attention_setup.k writes; the recipe has the same list.
 * Needs num.h. */
#ifndef TN_LIB_ATTENTION_H
#define TN_LIB_ATTENTION_H

#define AT_OPTIONS 0u
#define AT_T 1u
#define AT_S 2u
#define AT_HQ 3u
#define AT_HK 4u
#define AT_D 5u
#define AT_V 6u
#define AT_GROUP 7u  /* query heads whose rows alternate in a tile */
#define AT_HEADS 8u  /* Hq / AT_GROUP */
#define AT_TILES 9u  /* tiles of rows of a batch and such a head */
#define AT_PAGES 10u
#define AT_PAGE_ROWS 11u
#define AT_MAX_PAGES 12u
#define AT_BLOCK_K 13u
#define AT_N_SINK 14u
#define AT_SCALE 15u
#define AT_SOFTCAP 16u
#define AT_SMAX 17u
#define AT_BIAS 18u
#define AT_QUAD_C 19u
#define AT_GAMMA 20u
#define AT_ZETA 21u
#define AT_Q_STRIDE 22u  /* of b, t, h */
#define AT_K_STRIDE 25u  /* of the leading axes */
#define AT_V_STRIDE 28u
#define AT_KQ_STRIDE 31u /* of the leading axes of k_quant, where a key has pairs of its own */
#define AT_VQ_STRIDE 34u
#define AT_K_GROUP 37u   /* channels that share a pair; 0: the pairs are those of channels */
#define AT_V_GROUP 38u
#define AT_K_BITS 39u
#define AT_V_BITS 40u
#define AT_MASK_STRIDE 41u /* of b, h, t, s */
#define AT_KPOS_B 45u
#define AT_KEEP_B 46u
#define AT_KEEP_H 47u
#define AT_SIDE_B 48u      /* keys from a sequence to the next, along S, of the tensors of keys */
#define AT_ROWS_AT 49u
#define AT_HEADS_AT 50u
#define AT_STATE_AT 51u
#define AT_OUT_AT 52u
#define AT_SPLITS 53u      /* states of a row */
#define AT_COLUMN_TILES 54u
#define AT_NNZ 55u
#define AT_SINK_SPLITS 56u /* ring: splits that hold the first positions */
#define AT_K_TABLE 128u
#define AT_V_TABLE 384u

/* Options. */
#define AT_DT_Q 0u       /* type of q, two bits */
#define AT_DT_K 2u       /* three bits: DT_U8 are codes */
#define AT_DT_V 5u
#define AT_DT_MASK 8u    /* DT_NONE without one */
#define AT_WEIGHT 10u    /* three bits */
#define AT_PAGED 0x2000u
#define AT_RING 0x4000u
#define AT_LIST 0x8000u
#define AT_KPOS 0x10000u
#define AT_KEEP 0x20000u
#define AT_SLOPE 0x40000u
#define AT_FCUM 0x80000u
#define AT_QTEMP 0x100000u
#define AT_VSCALE 0x200000u
#define AT_LOGW 0x400000u
#define AT_LOGW_BLOCK 0x800000u
#define AT_HAS_SMAX 0x1000000u
#define AT_HAS_CAP 0x2000000u
#define AT_K_LUT 0x4000000u
#define AT_V_LUT 0x8000000u

#define AT_EXP 0u
#define AT_SIGMOID 1u
#define AT_RELU 2u
#define AT_RELU2 3u
#define AT_QUAD 4u
#define AT_LINEAR 5u
#define AT_SOFTPICK 6u

/* Of a pass. */
#define AT_STATS 1u /* without v */
#define AT_MOMENT 2u /* and with the sum of w (s - m) */
#define AT_BETA 4u  /* scores are sharpened */
#define AT_CLIP 8u  /* by what an earlier pass has found */

/* Words of a row (b,t) and of a row and head. */
#define AT_ROW_WORDS 8u
#define AT_ROW_SEQ 0u  /* AT_NONE: in no sequence */
#define AT_ROW_KEY0 1u
#define AT_ROW_LEN 2u
#define AT_ROW_QPOS 3u
#define AT_ROW_LO 4u
#define AT_ROW_TOP 5u
#define AT_ROW_WLO 6u
#define AT_HEAD_WORDS 8u
#define AT_HEAD_QTEMP 0u
#define AT_HEAD_FCUM 1u
#define AT_HEAD_SLOPE 2u
#define AT_HEAD_FIRST 3u /* of its list */
#define AT_HEAD_COUNT 4u
#define AT_HEAD_BETA 5u
#define AT_HEAD_TOP 6u
#define AT_HEAD_INVERSE 7u
#define AT_STATE_WORDS 8u /* m, sum, keys (bit 31: NaN), moment; of a list: its last entry, its block */

#define AT_NONE 0xffffffffu
#define AT_HIDDEN 0x80000000u /* -0: the weight of a key that is not visible; weights are never that */
#define AT_INT_MIN (-2147483647 - 1)
#define AT_INT_MAX 2147483647

#define AT_KEYS 64u   /* TENON_ATTENTION_TILE */
#define AT_SPLIT 1024u
#define AT_CHUNK 16u
#define AT_COLUMNS 128u

TN_FN float at_f(TN_BUF side, uint word)
{
    return tn_float(TN_W(side, word));
}

/* An element by the strides of its leading axes. */
TN_FN uint at_place(TN_BUF side, uint strides, uint first, uint second, uint third)
{
    return first * TN_W(side, strides) + second * TN_W(side, strides + 1u) + third * TN_W(side, strides + 2u);
}

/* Number i of the codes that begin at byte `at`, with the pair at `pair` of the quantiser's floats. */
TN_FN float at_code(TN_BUF codes, uint at, uint i, uint bits, TN_BUF quant, uint pair, TN_BUF side, uint table)
{
    uint bit = i * bits;
    uint code = (tn_get8(codes, at + (bit >> 3)) >> (bit & 7u)) & ((1u << bits) - 1u);
    float s = at_f(quant, pair);
    float z = at_f(quant, pair + 1u);
    if (table != 0u) {
        TN_PRECISE float product = at_f(side, table + code) * s;
        return product + z;
    }
    TN_PRECISE float less = tn_real(code) - z;
    return less * s;
}

/* TN_VW numbers from number i on of a key or a value that has `width` of them at `at`: floats of type dt, or codes with
 * their pairs, one for `group` numbers, or one each where group is 0. */
TN_FN tn_vu at_load(TN_BUF data, uint dt, uint at, uint i, uint width, uint bits, TN_BUF quant, uint pairs, uint group,
                    TN_BUF side, uint table)
{
    tn_vu value = 0u;
    if (dt != DT_U8) {
        value = tn_vload_bits(data, dt, at + i, at + width);
    } else {
        TN_HOLD for (uint n = 0u; n < TN_VW; n += 1u) {
            uint number = i + n;
            uint pair = pairs + (group == 0u ? number : number / group) * 2u;
            if (number < width) {
                uint one = tn_bits(at_code(data, at, number, bits, quant, pair, side, table));
                TN_VLANES(if (tn_lane == n) tn_vat(value, tn_lane) = one;)
            }
        }
    }
    return value;
}

/* Where the weights of a row stand to each other: sums to 0 when all of it is far below. */
TN_FN float at_rescale(float from, float to)
{
    return tn_exp(tn_fmax(from - to, -1000.0f));
}

/* ln x, of subnormal x too; of Inf it is Inf. */
TN_FN float at_log(float x)
{
    bool tiny = x < 1e-30f;
    float scaled = tiny ? x * 1.26765060e30f : x; /* 2^100 */
    float value = tn_log(tn_fmax(scaled, 1.17549435e-38f));
    value = tiny ? value - 69.3147181f : value;
    return tn_bits(x) == TN_INF_BITS ? x : value;
}

/* What is known of a row after some of its keys, and what of the sums of values of both sides counts in a merge. */
TN_STRUCT(at_state) { float m; float z; float a; float old_share; float new_share; uint n; };

TN_FN at_state at_state_make(float m, float z, uint n, float a)
{
    at_state s;
    s.m = m;
    s.z = z;
    s.a = a;
    s.n = n;
    s.old_share = 1.0f;
    s.new_share = 0.0f;
    return s;
}

TN_FN at_state at_state_get(TN_BUF side, uint at)
{
    return at_state_make(at_f(side, at), at_f(side, at + 1u), TN_W(side, at + 2u), at_f(side, at + 3u));
}

TN_FN void at_state_put(TN_BUF side, uint at, at_state s)
{
    TN_W(side, at) = tn_bits(s.m);
    TN_W(side, at + 1u) = tn_bits(s.z);
    TN_W(side, at + 2u) = s.n;
    TN_W(side, at + 3u) = tn_bits(s.a);
}

/* bit 31 of n: the row has a NaN */
TN_FN at_state at_merge(at_state x, at_state y)
{
    at_state s = x;
    bool had = (x.n << 1) != 0u;
    if ((y.n << 1) != 0u) {
        s.m = had ? tn_fmax(x.m, y.m) : y.m;
        s.old_share = had ? at_rescale(x.m, s.m) : 0.0f;
        s.new_share = at_rescale(y.m, s.m);
        s.a = s.new_share * (y.a + y.z * (y.m - s.m));
        if (had)
            s.a = s.a + s.old_share * (x.a + x.z * (x.m - s.m));
        s.z = y.z * s.new_share;
        if (had)
            s.z = s.z + x.z * s.old_share;
        s.n = ((x.n + y.n) & 0x7fffffffu) | ((x.n | y.n) & 0x80000000u);
    }
    return s;
}

TN_FN tn_vf at_join(tn_vf x, float x_share, tn_vf y, float y_share)
{
    tn_vf sum = y * y_share;
    if (x_share != 0.0f)
        sum = sum + x * x_share;
    return sum;
}

#endif

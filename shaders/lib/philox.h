/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Random numbers without state: Philox4x32-10 (Salmon et al. 2011), one word an element, a function of the element's
 * place alone. Words, uniforms and Gumbel values have the bits of the CPU's, also where fma is not fused. Needs num.h;
 * everything is of TN_VW elements. */
#ifndef TN_LIB_PHILOX_H
#define TN_LIB_PHILOX_H

TN_STRUCT(tn_philox_words) { tn_vu w0; tn_vu w1; tn_vu w2; tn_vu w3; };

TN_FN tn_philox_words tn_philox(tn_vu c0, tn_vu c1, tn_vu c2, tn_vu c3, uint key_lo, uint key_hi)
{
    tn_philox_words c;
    c.w0 = c0;
    c.w1 = c1;
    c.w2 = c2;
    c.w3 = c3;
    tn_vu m0 = 0xd2511f53u;
    tn_vu m1 = 0xcd9e8d57u;
    uint k0 = key_lo;
    uint k1 = key_hi;
    TN_UNROLL for (uint round = 0u; round < 10u; round += 1u) {
        tn_vu p0 = tn_mulhi(m0, c.w0);
        tn_vu p2 = tn_mulhi(m1, c.w2);
        tn_vu q0 = m0 * c.w0;
        tn_vu q2 = m1 * c.w2;
        c.w0 = p2 ^ c.w1 ^ k0;
        c.w1 = q2;
        c.w2 = p0 ^ c.w3 ^ k1;
        c.w3 = q0;
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    return c;
}

/* In [2^-24, 1 - 2^-24], exact: 24 bits. */
TN_FN tn_vf tn_uniform(tn_vu word)
{
    TN_PRECISE tn_vf u = (tn_vreal(word >> 9) + 0.5f) * 1.1920928955078125e-07f;
    return u;
}

/* ln x for normal x > 0, every fma rounded once: the same bits everywhere. */
TN_FN tn_vf tn_log_exact(tn_vf x)
{
#define TN_LOG_STEP_(result, a, b, constant) { tn_vf c_ = constant; result = tn_fma_exact(a, b, c_); }
    tn_vi e = tn_vas_int(tn_vbits(x) - 0x3f3504f3u) >> 23;
    TN_PRECISE tn_vf f = tn_vfloat(tn_vbits(x) - (tn_vas_uint(e) << 23)) - 1.0f;
    tn_vf k = tn_vreal(e);
    tn_vf q = 0.067466408f;
    TN_LOG_STEP_(q, q, f, -0.116756521f)
    TN_LOG_STEP_(q, q, f, 0.11888162f)
    TN_LOG_STEP_(q, q, f, -0.124055892f)
    TN_LOG_STEP_(q, q, f, 0.142195523f)
    TN_LOG_STEP_(q, q, f, -0.166679963f)
    TN_LOG_STEP_(q, q, f, 0.200021192f)
    TN_LOG_STEP_(q, q, f, -0.250000089f)
    TN_LOG_STEP_(q, q, f, 0.333333135f)
    TN_PRECISE tn_vf f2 = f * f;
    TN_PRECISE tn_vf r = (f2 * f) * q;
    tn_vf ln2_lo = -1.90465421e-09f;
    tn_vf ln2_hi = 0.693147182f;
    tn_vf half_less = -0.5f;
    r = tn_fma_exact(k, ln2_lo, r);
    r = tn_fma_exact(half_less, f2, r);
    TN_PRECISE tn_vf sum = r + f;
    return tn_fma_exact(k, ln2_hi, sum);
#undef TN_LOG_STEP_
}

TN_FN tn_vf tn_gumbel(tn_vu word)
{
    return -tn_log_exact(-tn_log_exact(tn_uniform(word)));
}

/* cos(2 pi u) and sin(2 pi u) by quarter turns: 4u = quarter + rest exactly, |rest| <= 1/2. `sine` selects. */
TN_FN tn_vf tn_turn(tn_vf u, tn_vb sine)
{
    tn_vf four = u * 4.0f;
    tn_vf quarter = tn_round(four);
    tn_vf t = (four - quarter) * 1.57079637f;
    tn_vf t2 = t * t;
    tn_vf c = 2.48015873e-05f;
    c = tn_vfma(c, t2, -0.00138888889f);
    c = tn_vfma(c, t2, 0.0416666667f);
    c = tn_vfma(c, t2, -0.5f);
    c = tn_vfma(c, t2, 1.0f);
    tn_vf s = 2.75573192e-06f;
    s = tn_vfma(s, t2, -0.000198412698f);
    s = tn_vfma(s, t2, 0.00833333333f);
    s = tn_vfma(s, t2, -0.166666667f);
    s = tn_vfma(s * t2, t, t);
    /* sin is cos a quarter later */
    tn_vi q = tn_vint(quarter) + (sine ? 3 : 0);
    tn_vf value = (q & 1) != 0 ? s : c;
    return (q & 3) == 1 || (q & 3) == 2 ? -value : value;
}

/* To float accuracy, which no device promises. x > 0. */
TN_FN tn_vf tn_sqrt(tn_vf x)
{
    tn_vf r = sqrt(x);
    tn_vpair p = tn_two_prod(r, r);
    TN_PRECISE tn_vf e = (x - p.hi) - p.lo;
    return r + e * 0.5f / r;
}

/* |N(0,1)| by Box and Muller, of lane `lane` of four words: words (0,1) make the values 0 and 1, (2,3) make 2 and 3. */
TN_FN tn_vf tn_one_sided_normal(tn_philox_words words, tn_vu lane)
{
    tn_vu a = lane < 2u ? words.w0 : words.w2;
    tn_vu b = lane < 2u ? words.w1 : words.w3;
    tn_vf square = -2.0f * tn_log_exact(tn_uniform(a));
    tn_vf value = tn_sqrt(square) * tn_turn(tn_uniform(b), (lane & 1u) != 0u);
    return tn_vfloat(tn_vbits(value) & 0x7fffffffu);
}

/* The word of column `column`, of the four of its neighbours. */
TN_FN tn_vu tn_philox_word(tn_philox_words words, tn_vu column)
{
    tn_vu lane = column & 3u;
    tn_vu low = lane == 0u ? words.w0 : words.w1;
    tn_vu high = lane == 2u ? words.w2 : words.w3;
    return lane < 2u ? low : high;
}

#endif

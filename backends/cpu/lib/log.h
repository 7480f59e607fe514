/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * vf_log(x): the natural logarithm of normal x > 0, exactly specified like exp.h; 0.8317 ulp at most and nowhere
 * falling (make check-exp tries every float; above 0.82 ulp for five arguments). */
#ifndef TENON_LIB_LOG_H
#define TENON_LIB_LOG_H

#include "simd/simd.h"

SIMD_FN vf vf_log(vf x)
{
    const vi e = vi_sra(vi_sub(vi_bits(x), vi_set1(0x3f3504f3)), 23);
    const vf f = vf_sub(vf_bits(vi_sub(vi_bits(x), vi_shl(e, 23))), vf_set1(1.0f)), k = vf_from_vi(e);
    vf q = vf_set1(0x1.1457a8p-4f);
    q = vf_fma(q, f, vf_set1(-0x1.de3c16p-4f));
    q = vf_fma(q, f, vf_set1(0x1.e6f06ap-4f));
    q = vf_fma(q, f, vf_set1(-0x1.fc2208p-4f));
    q = vf_fma(q, f, vf_set1(0x1.233768p-3f));
    q = vf_fma(q, f, vf_set1(-0x1.555c4ep-3f));
    q = vf_fma(q, f, vf_set1(0x1.99a4b6p-3f));
    q = vf_fma(q, f, vf_set1(-0x1.000006p-2f));
    q = vf_fma(q, f, vf_set1(0x1.555548p-2f));
    const vf f2 = vf_mul(f, f);
    vf r = vf_mul(vf_mul(f2, f), q);
    r = vf_fma(k, vf_set1(-0x1.05c610p-29f), r);
    r = vf_fma(vf_set1(-0.5f), f2, r);
    r = vf_add(r, f);
    return vf_fma(k, vf_set1(0x1.62e430p-1f), r);
}

#endif

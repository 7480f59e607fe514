/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What gated_norm reads of a group of columns: i counts within it. Needs num.h, ieee.h and gate.h. */
#ifndef TN_LIB_GATED_NORM_H
#define TN_LIB_GATED_NORM_H

/* x + residual, and where gates come first s of that, and terms. */
TN_STRUCT(gn_row) { uint x0; uint gate0; uint residual0; uint terms0; uint end; uint types; uint options; };

TN_FN tn_vu gn_plain(TN_BUF x, TN_BUF residual, gn_row row, uint i)
{
    tn_vu v = tn_vload_bits(x, row.types & 7u, row.x0 + i, row.x0 + row.end);
    uint type = (row.types >> 12u) & 7u;
    if (type != DT_NONE)
        v = tn_sum_bits(v, tn_vload_bits(residual, type, row.residual0 + i, row.residual0 + row.end));
    if ((row.options & GN_TANH) != 0u)
        v = gate_tanh_bits(v);
    return v;
}

TN_FN tn_vu gn_joined(TN_BUF gate, TN_BUF terms, gn_row row, uint i, tn_vu v)
{
    tn_vu z = v;
    uint type = (row.types >> 3u) & 7u;
    if (type != DT_NONE)
        z = tn_product_bits(gate_bits(row.options, tn_vload_bits(gate, type, row.gate0 + i, row.gate0 + row.end)), z);
    if ((row.options & GN_TERMS) != 0u)
        z = tn_sum_bits(z, tn_vload_bits(terms, DT_F32, row.terms0 + i, row.terms0 + row.end));
    return z;
}

TN_FN tn_vu gn_value(TN_BUF x, TN_BUF residual, TN_BUF gate, TN_BUF terms, gn_row row, uint i)
{
    tn_vu v = gn_plain(x, residual, row, i);
    if ((row.options & GN_GATE_FIRST) != 0u)
        v = gn_joined(gate, terms, row, i, v);
    return v;
}

/* The finite, times scale. */
TN_FN tn_vf gn_finite(tn_vu v, float scale)
{
    tn_vu zero = 0u;
    return tn_vfloat((v & 0x7fffffffu) < TN_INF_BITS ? v : zero) * scale;
}

/* Its difference from the mean. (In a function of its own, so that what is precise ends at its arguments.) */
TN_FN tn_vf gn_centred(tn_vf f, float hi, float lo)
{
    TN_PRECISE tn_vf d = (f - hi) - lo;
    return d;
}

#endif

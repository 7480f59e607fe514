/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Of the body of softmax_steps.k, the steps that look at all entries: for the maximum, and again for what the support
 * leaves. */
if (looks) {
    tn_vi top_key = TN_ORDER_NONE;
    tn_vi top_second = TN_ORDER_NONE;
    tn_vu top_index = 0xffffffffu;
    tn_vu existing = 0u;
    tn_vu above = 0u;    /* -Inf */
    tn_vu solid = 0u;    /* not -Inf */
    tn_vu positive = 0u;
    tn_vu extent = 0u;   /* finite magnitude, as bits */
    tn_vu bad = 0u;      /* mult */
    bool all = ST(SW_ALL) != 0u;
    uint kth = ST(SW_ORD);
    uint kth_co = ST(SW_CO_INDEX);
    float theta = STF(SW_THETA);
    for (uint i = from; i < n; i += pace) {
        tn_vu v = tn_vget32(work, work0 + i);
        tn_vb there = v != SW_GONE;
        if (step == SW_STEP_KEEP && !all) {
            tn_vu ord = tn_vas_uint(tn_order_key(v)) ^ 0x80000000u;
            tn_vu co_index = ~(i + tn_viota);
            if (SW_SUPPORT == 1u)
                there = there && v != TN_NEG_INF_BITS && (ord > kth || (ord == kth && co_index >= kth_co));
            else
                there = there && tn_vfloat(v) > theta;
            v = there ? v : SW_GONE;
            tn_vput32(work, work0 + i, v);
        }
        tn_vu size = v & 0x7fffffffu;
        tn_vi key = there ? tn_order_key(v) : TN_ORDER_NONE;
        top_second = tn_imax(top_second, key > top_key ? top_key : key);
        top_index = key > top_key ? i + tn_viota : top_index;
        top_key = tn_imax(top_key, key);
        existing += there ? 1u : 0u;
        solid += there && v != TN_NEG_INF_BITS ? 1u : 0u;
        above += key > TN_ORDER_NEG_INF ? 1u : 0u;
        positive += v - 1u < TN_INF_BITS ? 1u : 0u;
        extent = tn_umax(extent, size < TN_INF_BITS ? size : 0u);
        if (SW_HAS_MULT != 0u)
            bad |= there && tn_vload_bits(mult, DT_F32, i, cols) >= TN_INF_BITS ? 1u : 0u;
    }
    for (uint r = lid; r < n_records; r += LOCAL) {
        uint at = (row * tiles + r) * SW_RECORD_WORDS;
        tn_vi key = one ? tn_as_int(TN_W(record, at)) : TN_ORDER_NONE;
        tn_vi second = one ? tn_as_int(TN_W(record, at + 2u)) : TN_ORDER_NONE;
        top_second = tn_imax(top_second, tn_imax(second, key > top_key ? top_key : key));
        top_index = key > top_key ? TN_W(record, at + 1u) : top_index;
        top_key = tn_imax(top_key, key);
        existing += REC(3u);
        above += REC(4u);
        solid += REC(5u);
        positive += REC(6u);
        extent = tn_umax(extent, REC(7u));
        bad |= REC(8u);
    }
    int best = TN_ORDER_NONE;
    int second = TN_ORDER_NONE;
    uint index = 0u;
    uint existing_n = 0u;
    uint above_n = 0u;
    uint solid_n = 0u;
    uint positive_n = 0u;
    uint extent_max = 0u;
    uint bad_mult = 0u;
    TN_REDUCE(int, tn_vi, sh_key, 0u, tn_imax, top_key, best)
    TN_REDUCE(uint, tn_vu, sh_index, 0u, tn_umin, top_key == best ? top_index : 0xffffffffu, index)
    if (SW_WANT_MARGIN != 0u) {
        /* whoever else has the maximum makes it the second largest too */
        uint owner = 0u;
        TN_REDUCE(uint, tn_vu, sh_index, 1u, tn_umin,
                  top_key == best ? lid * TN_VW + tn_viota : 0xffffffffu, owner)
        TN_REDUCE(int, tn_vi, sh_key, 1u, tn_imax,
                  lid * TN_VW + tn_viota == owner ? top_second : top_key, second)
    }
    TN_REDUCE(uint, tn_vu, sh_index, 2u, sw_plus, existing, existing_n)
    TN_REDUCE(uint, tn_vu, sh_index, 3u, sw_plus, above, above_n)
    TN_REDUCE(uint, tn_vu, sh_index, 4u, sw_plus, solid, solid_n)
    TN_REDUCE(uint, tn_vu, sh_index, 5u, sw_plus, positive, positive_n)
    TN_REDUCE(uint, tn_vu, sh_index, 6u, tn_umax, extent, extent_max)
    if (SW_HAS_MULT != 0u)
        TN_REDUCE(uint, tn_vu, sh_index, 7u, sw_or, bad, bad_mult)

    if (lid == 0u && SW_PART == SW_TILE) {
        uint at = group * SW_RECORD_WORDS;
        TN_W(record, at) = tn_as_uint(best);
        TN_W(record, at + 1u) = index;
        TN_W(record, at + 2u) = tn_as_uint(second);
        TN_W(record, at + 3u) = existing_n;
        TN_W(record, at + 4u) = above_n;
        TN_W(record, at + 5u) = solid_n;
        TN_W(record, at + 6u) = positive_n;
        TN_W(record, at + 7u) = extent_max;
        TN_W(record, at + 8u) = bad_mult;
    }
    if (lid == 0u && SW_PART != SW_TILE) {
        bool mixed = solid_n > above_n || best == TN_ORDER_INF; /* a NaN or +Inf is there */
        if (step == SW_STEP_MAX) {
            /* the support: what is known before its steps */
            bool every = SW_SUPPORT == 0u || k >= existing_n || (SW_SUPPORT == 2u && mixed);
            ST(SW_ALL) = every ? 1u : 0u;
            ST(SW_ORD) = 0u;
            ST(SW_CO_INDEX) = 0u;
            ST(SW_LEFT) = k;
            ST(SW_DONE) = every || (SW_SUPPORT == 1u && k >= solid_n) ? 1u : 0u;
            ST(SW_ABOVE) = above_n;
            ST(SW_SHORT) = SW_SUPPORT == 1u && above_n < k ? 4u : 0u;
            ST(SW_MEAN_V) = 0u;
            ST(SW_MEAN_REST) = 0u;
            ST(SW_THETA) = 0u;
        } else {
            ST(SW_DONE) = 0u;
        }
        if (supports == 0u)
            ST(SW_DONE) = 0u;
        /* the row */
        uint scale_bits = SW_HAS_ROW_SCALE != 0u ? TN_W(row_scale, row) : 0x3f800000u;
        float row_t = inv_temp * tn_float(scale_bits);
        bool wrong = (scale_bits >= TN_INF_BITS && scale_bits != 0x80000000u) || bad_mult != 0u ||
                     (tn_bits(row_t) & 0x7fffffffu) >= TN_INF_BITS;
        uint sink_bits = TN_NEG_INF_BITS;
        if (SW_SINK != 0u)
            sink_bits = TN_W(sink, SW_SINK == 1u ? row : 0u);
        bool sunk = sink_bits != TN_NEG_INF_BITS;
        wrong = wrong || sink_bits == TN_INF_BITS || (sink_bits & 0x7fffffffu) > TN_INF_BITS;
        wrong = wrong || (kind == SW_QUAD_NORM && existing_n > solid_n);
        bool single = kind == SW_SIGMOID || kind == SW_SCALE; /* element by element */
        bool flagged = wrong || mixed;
        bool empty = !flagged && best <= TN_ORDER_NEG_INF;
        row_t = wrong ? 1.0f : row_t;
        bool none = best <= TN_ORDER_NEG_INF || best >= TN_ORDER_INF;
        float top = tn_float(none ? 0u : tn_as_uint(best ^ ((best >> 31) & 0x7fffffff)));
        bool by_rule = kind == SW_EXP || kind == SW_LOG_EXP || kind == SW_SPARSEMAX || kind == SW_ENTMAX15;
        uint mode = empty && !single ? SW_EMPTY : SW_NORMAL;
        mode = wrong || (mixed && !single) ? SW_NAN : mode;
        uint fill = kind == SW_LOG_EXP ? TN_NEG_INF_BITS : 0u;
        float number_of = tn_real(max(existing_n, 1u));
        if (by_rule && SW_SINK == 0u) {
            if (SW_EMPTY_ROW == 1u)
                fill = TN_NAN_BITS;
            if (SW_EMPTY_ROW == 2u && (SW_POST == 0u || SW_POST == 3u))
                fill = tn_bits(kind == SW_LOG_EXP ? -tn_log(number_of) : 1.0f / number_of);
        }
        ST(SW_MODE) = mode;
        ST(SW_FILL) = mode == SW_NAN ? TN_NAN_BITS : fill;
        ST(SW_M) = tn_bits(top);
        ST(SW_R) = tn_bits(sunk && mode != SW_NAN && (empty || tn_float(sink_bits) > top) ? tn_float(sink_bits)
                                                                                         : top);
        ST(SW_T) = tn_bits(row_t);
        ST(SW_INDEX) = index;
        ST(SW_SECOND) = tn_as_uint(second);
        ST(SW_CUT) = tn_bits(-1.0f);
        ST(SW_INVERSE) = 0u;
        ST(SW_LOG_S) = 0u;
        /* the scale of z */
        float unit = 1.0f;
        int power = 0;
        float v_factor = 1.0f;
        float t_factor = row_t;
        int et = sw_exponent(row_t);
        if (step == SW_STEP_MAX && SW_SUPPORT == 2u) {
            v_factor = tn_pow2(tn_real(-sw_exponent(tn_float(extent_max))));
        } else if (kind == SW_RELU_NORM || kind == SW_RELU2_NORM ||
                   (kind == SW_STABLEMAX && top > 0.0f && sw_exponent(top) + et > 100)) {
            int ev = sw_exponent(top);
            v_factor = tn_pow2(tn_real(-ev));
            t_factor = row_t * tn_pow2(tn_real(-et));
            power = ev + et;
            unit = tn_shifted(1.0f, -power);
        } else if (kind == SW_QUAD_NORM) {
            int ev = sw_exponent(tn_float(extent_max));
            power = max(ev + et, sw_exponent(addend));
            v_factor = tn_pow2(tn_real(-ev));
            t_factor = tn_shifted(row_t * tn_pow2(tn_real(-et)), ev + et - power);
            unit = tn_shifted(addend, -power);
        } else if (kind == SW_SOFTPICK) {
            unit = tn_exp(-tn_fmax(top * row_t, 0.0f));
        } else if (kind == SW_SIGMOID) {
            unit = SW_FIXED_BIAS != 0u ? addend : number_of;
        } else if (kind == SW_SCALE) {
            unit = number_of;
        }
        ST(SW_POWER) = tn_as_uint(power);
        ST(SW_V_FACTOR) = tn_bits(v_factor);
        ST(SW_T_FACTOR) = tn_bits(t_factor);
        ST(SW_UNIT) = tn_bits(unit);
        /* statistics; of a normal row, those that later steps do not touch */
        bool picks = kind == SW_RELU_NORM || kind == SW_RELU2_NORM || kind == SW_SOFTPICK;
        uint weighed = picks ? (row_t > 0.0f ? positive_n : 0u) : above_n;
        uint nothing = flagged ? TN_NAN_BITS : 0u;
        float sink_lse = tn_float(sink_bits) * row_t;
        uint energy = TN_INF_BITS;
        if (sunk)
            energy = tn_bits((tn_bits(sink_lse) & 0x7fffffffu) < TN_INF_BITS ? -sink_lse / row_t
                                                                            : -tn_float(sink_bits));
        if (sunk && row_t == 0.0f)
            energy = TN_NEG_INF_BITS;
        ST(SW_MAX) = flagged ? TN_NAN_BITS : (empty ? TN_NEG_INF_BITS : tn_bits(top));
        ST(SW_ARGMAX) = best <= TN_ORDER_NEG_INF && solid_n == above_n ? 0xffffffffu : index;
        ST(SW_LSE) = flagged ? TN_NAN_BITS : (sunk ? tn_bits(sink_lse) : TN_NEG_INF_BITS);
        ST(SW_PMAX) = nothing;
        ST(SW_MARGIN) = nothing;
        ST(SW_ENTROPY) = nothing;
        ST(SW_ENERGY) = flagged ? TN_NAN_BITS : energy;
        ST(SW_SUM) = flagged ? TN_NAN_BITS : (sunk ? 0x3f800000u : 0u);
        ST(SW_SUMSQ) = nothing;
        ST(SW_NNZ) = flagged || empty ? 0u : weighed;
        ST(SW_TAU) = flagged ? TN_NAN_BITS : TN_NEG_INF_BITS;
        ST(SW_BETA) = flagged ? TN_NAN_BITS : 0x3f800000u;
        ST(SW_FLAGS) = (flagged ? 1u : 0u) | (empty ? 2u : 0u) | ST(SW_SHORT);
    }
}

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Of the body of softmax_steps.k, the steps that add up: mean and spread of the support, sums of the kind, its
 * threshold. */
if (step >= SW_STEP_MEAN && step != SW_STEP_KEEP) {
    tn_vpair s = tn_pair_make(zero, zero);
    tn_vpair a = s;
    tn_vpair q = s;
    tn_vu weighs_n = 0u;
    float mean = STF(SW_MEAN_V);
    float mean_rest = STF(SW_MEAN_REST);
    float factor = STF(SW_V_FACTOR);
    float t_factor = STF(SW_T_FACTOR);
    float unit = STF(SW_UNIT);
    float cut = STF(SW_CUT);
    float half_of = kind == SW_ENTMAX15 ? 0.5f : 1.0f;
    bool means = step <= SW_STEP_SPREAD;
    bool cutting = step >= SW_STEP_TAU;
    for (uint i = from; i < n; i += pace) {
        tn_vu v = tn_vget32(work, work0 + i);
        tn_vb weighs = v != SW_GONE && v != TN_NEG_INF_BITS;
        tn_vf value = tn_vfloat(weighs ? v : tn_bits(m));
        if (means) {
            /* about the mean, which is 0 while it is not known */
            tn_vpair d = tn_two_sum(value * factor, zero - mean);
            d.hi = weighs ? d.hi : zero;
            d.lo = weighs ? d.lo - mean_rest : zero;
            s = tn_pair_add_pair(s, step == SW_STEP_MEAN ? d : tn_pair_mul_pair(d, d));
        } else if (cutting) {
            tn_vf over = sw_delta(value, m, t) * half_of - cut;
            weighs = weighs && over > 0.0f;
            over = weighs ? over : zero;
            weighs_n += weighs ? 1u : 0u;
            s = tn_pair_add(s, over);
            q = tn_pair_add(q, over * over);
        } else {
            tn_vf score = sw_score(kind, value, m, t, factor, t_factor, unit);
            score = weighs ? tn_vfloat(tn_vbits(score) & 0x7fffffffu) : zero;
            if (kind <= SW_LOG_EXP) {
                tn_vf times = score;
                if (SW_HAS_MULT != 0u)
                    times = score * tn_vfloat(tn_vload_bits(mult, DT_F32, i, cols));
                times = weighs ? times : zero;
                tn_vf d = sw_delta(value, m, t);
                a = tn_pair_add(a, score > 0.0f ? times * d : zero);
                q = tn_pair_add(q, times * score);
                score = times;
            }
            s = tn_pair_add(s, score);
        }
    }
    for (uint r = lid; r < n_records; r += LOCAL) {
        uint at = (row * tiles + r) * SW_RECORD_WORDS;
        s = tn_pair_add_pair(s, tn_pair_make(RECF(0u), RECF(1u)));
        a = tn_pair_add_pair(a, tn_pair_make(RECF(2u), RECF(3u)));
        q = tn_pair_add_pair(q, tn_pair_make(RECF(4u), RECF(5u)));
        weighs_n += REC(6u);
    }
    tn_pair all_s = tn_pair_make(0.0f, 0.0f);
    tn_pair all_a = all_s;
    tn_pair all_q = all_s;
    uint weighing = 0u;
    TN_REDUCE_PAIR(sh_hi, sh_lo, s, all_s)
    TN_BARRIER;
    TN_REDUCE_PAIR(sh_hi, sh_lo, a, all_a)
    TN_BARRIER;
    TN_REDUCE_PAIR(sh_hi, sh_lo, q, all_q)
    TN_REDUCE(uint, tn_vu, sh_index, 0u, sw_plus, weighs_n, weighing)

    if (lid == 0u && SW_PART == SW_TILE) {
        uint at = group * SW_RECORD_WORDS;
        TN_W(record, at) = tn_bits(all_s.hi);
        TN_W(record, at + 1u) = tn_bits(all_s.lo);
        TN_W(record, at + 2u) = tn_bits(all_a.hi);
        TN_W(record, at + 3u) = tn_bits(all_a.lo);
        TN_W(record, at + 4u) = tn_bits(all_q.hi);
        TN_W(record, at + 5u) = tn_bits(all_q.lo);
        TN_W(record, at + 6u) = weighing;
    }
    bool concludes = lid == 0u && SW_PART != SW_TILE && (ST(SW_DONE) == 0u || step == SW_STEP_COUNT);
    if (concludes && means) {
        uint above_n = max(ST(SW_ABOVE), 1u);
        int up = tn_as_int(ST(SW_V_FACTOR) >> 23) - 127; /* V_FACTOR is a power of two */
        tn_pair of_all = tn_pair_make(mean, mean_rest);
        if (step == SW_STEP_MEAN)
            of_all = tn_pair_div(all_s, tn_pair_count(above_n));
        if (SW_EXACT != 0u) {
            uint power = ST(SW_SUM_V + 2u);
            if (step == SW_STEP_SPREAD)
                up = tn_exact_scale(power, quantile, up);
            of_all = tn_exact_mean(ST(SW_SUM_V), ST(SW_SUM_V + 1u), power, up, above_n);
        }
        if (step == SW_STEP_MEAN) {
            ST(SW_MEAN_V) = tn_bits(of_all.hi);
            ST(SW_MEAN_REST) = tn_bits(of_all.lo);
        } else {
            tn_pair q_pair = tn_pair_make(quantile, quantile_rest);
            tn_pair theta = tn_spread_theta(of_all, all_s, above_n, q_pair);
            ST(SW_THETA) = tn_bits(tn_shifted(theta.hi, -up));
        }
    }
    concludes = concludes && !means && ST(SW_MODE) == SW_NORMAL;
    if (concludes && step == SW_STEP_TAU) {
        /* Newton's method on sum(over) - 1, or on |over| - 1: convex, and from the left, so that it never goes
         * beyond; the slope is at least 1 where it ends */
        float norm = sqrt(all_q.hi + all_q.lo);
        float beyond = kind == SW_ENTMAX15 ? norm - 1.0f : (all_s.hi - 1.0f) + all_s.lo;
        float slope = kind == SW_ENTMAX15 ? (all_s.hi + all_s.lo) / norm : tn_real(max(weighing, 1u));
        cut = tn_fmin(cut + beyond / slope, 0.0f);
        ST(SW_CUT) = tn_bits(cut);
        ST(SW_DONE) = beyond <= 5.9604645e-08f ? 1u : 0u;
        ST(SW_TAU) = tn_bits(m * t * half_of + cut);
    }
    if (concludes && step == SW_STEP_COUNT)
        ST(SW_NNZ) = weighing;
    if (concludes && !cutting && kind > SW_LOG_EXP) {
        /* the scale of the scores is that of z, squared where they are squares */
        int e = kind == SW_RELU_NORM ? STI(SW_POWER) : 2 * STI(SW_POWER);
        float rest = kind == SW_SOFTPICK ? eps : tn_shifted(eps, -e);
        all_s = tn_pair_add(all_s, kind == SW_STABLEMAX ? 0.0f : rest);
        ST(SW_INVERSE) = tn_bits(all_s.hi > 0.0f ? tn_pair_inverse(all_s) : 0.0f);
    }
    if (concludes && !cutting && kind <= SW_LOG_EXP) {
        float entropy = tn_pair_log(all_s) - (all_a.hi + all_a.lo) / all_s.hi;
        ST(SW_ENTROPY) = tn_bits(entropy);
        if (SW_ADAPTIVE != 0u && step == SW_STEP_SUM) {
            /* its terms are twenty times its value */
            tn_pair h = tn_pair_make(entropy, 0.0f);
            tn_pair curve = tn_pair_add(tn_two_prod(entropy, c4), c3);
            curve = tn_pair_add(tn_pair_mul_pair(curve, h), c2);
            curve = tn_pair_add(tn_pair_mul_pair(curve, h), c1);
            curve = tn_pair_add(tn_pair_mul_pair(curve, h), c0);
            float beta = entropy > gate ? tn_fmax(curve.hi, 1.0f) : 1.0f;
            ST(SW_BETA) = tn_bits(beta);
            ST(SW_T) = tn_bits(tn_fmin(t * beta, 3.4028e38f));
            ST(SW_DONE) = beta == 1.0f ? 1u : 0u;
        }
        /* against R, with the sink */
        float big = STF(SW_R);
        uint sink_bits = TN_NEG_INF_BITS;
        if (SW_SINK != 0u)
            sink_bits = TN_W(sink, SW_SINK == 1u ? row : 0u);
        tn_pair sum = all_s;
        float top = 1.0f;
        if (sink_bits != TN_NEG_INF_BITS) {
            tn_pair d = tn_two_sum(m, -big);
            tn_pair p = tn_two_prod(d.hi, t);
            bool near = (tn_bits(p.hi) & 0x7fffffffu) < 0x44800000u; /* else nothing is left of the sum */
            float low = near ? p.lo + d.lo * t : 0.0f;
            tn_pair factor_of = tn_exp_pair(near ? p.hi : sw_delta(m, big, t));
            factor_of = tn_pair_add(factor_of, factor_of.hi * low);
            sum = tn_pair_mul_pair(sum, factor_of);
            top = factor_of.hi;
            sum = tn_pair_add(sum, tn_exp(sw_delta(tn_float(sink_bits), big, t)));
        }
        float inverse = tn_pair_inverse(sum);
        float log_s = tn_pair_log(sum);
        float pmax = top * inverse;
        int second = STI(SW_SECOND);
        int second_bits = second ^ ((second >> 31) & 0x7fffffff);
        float next = tn_exp(sw_delta(tn_float(tn_as_uint(second_bits)), big, t)) * inverse;
        next = second <= TN_ORDER_NEG_INF ? 0.0f : next;
        float lse = big * t + log_s;
        float energy = (tn_bits(lse) & 0x7fffffffu) < TN_INF_BITS ? -lse / t : -(big + log_s / t);
        ST(SW_INVERSE) = tn_bits(inverse);
        ST(SW_LOG_S) = tn_bits(log_s);
        ST(SW_LSE) = tn_bits(lse);
        ST(SW_PMAX) = tn_bits(pmax);
        ST(SW_MARGIN) = tn_bits(pmax - next);
        ST(SW_ENERGY) = t == 0.0f ? TN_NEG_INF_BITS : tn_bits(energy);
        ST(SW_SUM) = tn_bits(sum.hi);
        ST(SW_SUMSQ) = tn_bits((all_q.hi * pmax) * pmax);
    }
}

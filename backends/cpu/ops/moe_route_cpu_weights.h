/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * moe_route on the CPU: the weights of what is selected, and what a token adds to the statistics. */
#ifndef TENON_MOE_ROUTE_CPU_WEIGHTS_H
#define TENON_MOE_ROUTE_CPU_WEIGHTS_H

#include "moe_route_cpu_select.h"

/* w[j] = exp(z[idx[j]] - top) * inverse. */
static void share_selected(const float *z, float top, float inverse, const int32_t *idx, int64_t k, float *w)
{
    for (int64_t j = 0; j < k; j += VF) {
        float d[VF];
        const int n = k - j < VF ? (int)(k - j) : VF;
        for (int l = 0; l < VF; l++)
            d[l] = l < n && idx[j + l] >= 0 && inverse != 0.0f ? z[idx[j + l]] - top : MINUS_INF;
        vf_store_n(w + j, vf_normal_or_0(vf_mul(vf_exp(vf_load(d)), vf_set1(inverse))), n);
    }
}

/* Softmax of the selected z. */
static void norm_selected(struct slot *s, int64_t k, float *w)
{
    float top = MINUS_INF;
    uint64_t sum = 0;
    for (int64_t j = 0; j < k; j++)
        if (s->idx[j] >= 0)
            top = s->z[s->idx[j]] > top ? s->z[s->idx[j]] : top;
    if (top == MINUS_INF || top == INFINITY) {
        memset(w, 0, (size_t)k * sizeof *w);
        return;
    }
    share_selected(s->z, top, 1.0f, s->idx, k, w);
    for (int64_t j = 0; j < k; j++) {
        const float e = w[j] < ROUND_40 ? (w[j] + ROUND_40) - ROUND_40 : w[j];
        sum += (uint64_t)((double)e * 0x1p40);
    }
    const float inverse = inverse_of(sum);
    for (int64_t j = 0; j < k; j++)
        w[j] = normal_or_0(w[j] * inverse);
}

/* w /= sum + eps; the sum by TwoSum (Knuth) in slot order. */
static void norm_sum(const struct route *r, float *w)
{
    float high = 0.0f, low = 0.0f;
    for (int64_t j = 0; j < r->p.k; j++) {
        const float x = w[j] = normal_or_0(w[j]), s = high + x, back = s - high;
        low = low + ((high - (s - back)) + (x - back));
        high = s;
    }
    const float all = fabsf(high) < INFINITY ? high + low : high, below = all + r->p.norm_eps;
    if (fabsf(below) < FLT_MIN) {
        memset(w, 0, r->p.k * sizeof *w);
        return;
    }
    /* so that no inverse, and nothing on the way to it, is subnormal */
    const float shrink = fabsf(below) >= 0x1p64f ? 0x1p-64f : fabsf(below) < 0x1p-64f ? 0x1p64f : 1.0f;
    const float inverse = 1.0f / (below * shrink);
    for (int64_t j = 0; j < r->p.k; j++)
        w[j] = normal_or_0((w[j] * shrink) * inverse);
}

static void score_selected(const struct run *run, struct slot *s, const struct token *k)
{
    const struct route *r = run->r;
    const float *gain = run->ptr[TENON_MOE_ROUTE_GAIN];
    const double rms = r->p.score == TENON_MOE_ROUTE_RELU_RMS ? rms_of(r, s->z) : 1.0;
    float *w = s->w;
    for (int64_t j = 0; j < r->p.k; j++) {
        const int32_t e = s->idx[j];
        const float z = e >= 0 && r->reads ? s->z[e] : 0.0f, relu = z > 0.0f ? z : 0.0f;
        switch (r->p.score) {
        case TENON_MOE_ROUTE_SOFTMAX: w[j] = e >= 0 ? normal_or_0(s->prob[e] * k->inverse) : 0.0f; break;
        case TENON_MOE_ROUTE_SIGMOID: w[j] = r->all_scores && e >= 0 ? s->s[e] : z; break;
        case TENON_MOE_ROUTE_RELU: w[j] = relu; break;
        case TENON_MOE_ROUTE_RELU_RMS: w[j] = (float)((double)relu * rms) * (gain && e >= 0 ? gain[e] : 1.0f); break;
        case TENON_MOE_ROUTE_IDENTITY: w[j] = z; break;
        default: w[j] = z == MINUS_INF && r->reads ? 0.0f : 1.0f;
        }
    }
    if (r->p.score == TENON_MOE_ROUTE_SIGMOID && !r->all_scores)
        sigmoid_row(w, ((int64_t)r->p.k + VF - 1) / VF * VF, w);
}

/* Weights of all slots from idx; hier and DSELECT have theirs. */
static void make_weights(const struct run *run, struct slot *s, const struct token *k)
{
    const struct route *r = run->r;
    const int made = r->p.hier_g || r->p.select == TENON_MOE_ROUTE_DSELECT;
    if (r->p.norm == TENON_MOE_ROUTE_NORM_SOFTMAX_SEL) {
        norm_selected(s, r->p.k, s->w);
    } else if (r->p.weight_src == TENON_MOE_ROUTE_WEIGHT_ONE) {
        for (int64_t j = 0; j < r->p.k; j++)
            s->w[j] = 1.0f;
    } else if (r->p.weight_src == TENON_MOE_ROUTE_WEIGHT_CLEAN_SOFTMAX) {
        share_selected(s->clean, k->clean_top, k->clean_inverse, s->idx, r->p.k, s->w);
    } else if (!made) {
        score_selected(run, s, k);
    }
    for (int64_t j = 0; j < r->p.k; j++)
        s->w[j] = s->idx[j] < 0 ? 0.0f : s->w[j];
    if (r->p.norm == TENON_MOE_ROUTE_NORM_SUM)
        norm_sum(r, s->w);
    for (int64_t j = 0; r->p.scale != 1.0f && j < r->p.k; j++)
        s->w[j] = normal_or_0(s->w[j] * r->p.scale);
    for (int64_t j = 0; k->bad && j < r->p.k; j++)
        s->w[j] = s->idx[j] < 0 ? 0.0f : NAN;
}

/* ---- statistics ---- */

static void fold_p(const struct route *r, struct slot *s)
{
    for (int64_t e = 0; e < r->padded; e++)
        s->p[e] += ((uint64_t)(uint32_t)s->p_high[e] << 16) + (uint64_t)(uint32_t)s->p_low[e];
    memset(s->p_high, 0, (size_t)r->padded * sizeof *s->p_high);
    memset(s->p_low, 0, (size_t)r->padded * sizeof *s->p_low);
    s->folded = 0;
}

static void add_losses(const struct route *r, struct slot *s, const struct token *k, struct losses *l)
{
    if (k->odd || k->bad || k->top == MINUS_INF)
        return;
    const double log_sum = log(k->sum), lse = (double)k->top + log_sum;
    double relu[VF] = {0};
    for (int64_t i = 0; i < r->padded; i += VF) {
        const vf p = vf_mul(vf_mul(vf_load(s->prob + i), vf_set1(k->inverse)), vf_set1(0x1p16f));
        const vi high = vi_trunc(p);
        const vi low = vi_trunc(vf_mul(vf_sub(p, vf_from_vi(high)), vf_set1(0x1p16f)));
        vi_store(s->p_high + i, vi_add(vi_load(s->p_high + i), high));
        vi_store(s->p_low + i, vi_add(vi_load(s->p_low + i), low));
        vf_accumulate(relu, vf_max(vf_load(s->z + i), vf_zero()));
    }
    s->n++;
    if (++s->folded == FOLD_RUN)
        fold_p(r, s);
    l->n += 1.0;
    l->square += lse * lse;
    l->entropy += log_sum - k->moment / k->sum;
    for (int b = 0; b < VF; b++)
        l->relu += relu[b];
}

static void add_flags(const struct route *r, struct slot *s, const struct token *k)
{
    const int dropped = k->bad && r->p.nan_policy == TENON_MOE_ROUTE_DROP;
    s->flags[0] += k->bad != 0;
    s->flags[1] += k->empty != 0;
    s->flags[2] += !dropped && k->cut;
    s->flags[3] += k->range;
}

/* idx, w, nsel of token t, and the counts. */
static void put_token(const struct run *run, struct slot *s, int64_t t)
{
    const struct route *r = run->r;
    int32_t n = 0;
    for (int64_t j = 0; j < r->p.k; j++) {
        const int32_t e = s->idx[j];
        n += e >= 0;
        if (e >= 0 && r->counts) {
            s->count_k[e]++;
            s->count1[e] += j == 0;
        }
    }
    if (has(run, TENON_MOE_ROUTE_IDX))
        memcpy((int32_t *)run->ptr[TENON_MOE_ROUTE_IDX] + t * r->idx_row, s->idx, r->p.k * sizeof *s->idx);
    if (has(run, TENON_MOE_ROUTE_W))
        memcpy((float *)run->ptr[TENON_MOE_ROUTE_W] + t * r->w_row, s->w, r->p.k * sizeof *s->w);
    if (has(run, TENON_MOE_ROUTE_NSEL))
        ((int32_t *)run->ptr[TENON_MOE_ROUTE_NSEL])[t] = n;
}

/* Sums of the tiles and the tasks, ascending. */
static void put_losses(const struct run *run, const struct losses *tile, const uint64_t *p, const int32_t *count1,
                       const int32_t *count_k)
{
    const struct route *r = run->r;
    struct losses all = {0};
    double aux = 0;
    for (int64_t i = 0; i < r->tiles; i++) {
        all.n += tile[i].n;
        all.square += tile[i].square;
        all.entropy += tile[i].entropy;
        all.relu += tile[i].relu;
    }
    const double n = all.n > 0 ? all.n : 1;
    float *mean = run->ptr[TENON_MOE_ROUTE_P_MEAN];
    for (int64_t e = 0; e < r->columns; e++) {
        const double own = (double)p[e] * 0x1p-32 / n;
        const double f = r->p.aux_rule == TENON_MOE_ROUTE_AUX_GSHARD ? (double)count1[e] / n
                                                                     : (double)count_k[e] / (n * (double)r->p.k);
        aux += own * f;
        if (mean)
            mean[e] = (float)own;
    }
    const double value[] = {all.n > 0 ? aux * (double)r->columns : 0, all.square / n, all.entropy / n, all.relu / n};
    for (uint32_t i = 0; i < 4; i++)
        if (has(run, TENON_MOE_ROUTE_AUX + i))
            *(float *)run->ptr[TENON_MOE_ROUTE_AUX + i] = (float)value[i];
}

#endif

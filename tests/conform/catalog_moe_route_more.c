/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The other published routing rules: ReMoE to Adaptive Computation Modules. */
#include "catalog_moe_route.h"

static float extra[N], g[N], positive[1];
static int32_t list[N], key[TOKENS], sel[N];

/* The positive ones in order. */
static void want_positive(const double *factor)
{
    for (int64_t t = 0; t < tokens; t++) {
        int64_t at = t * EXPERTS;
        for (int32_t e = 0; e < EXPERTS; e++)
            if (logits[t * EXPERTS + e] > 0) {
                want_idx[at] = e;
                want[at++] = (double)logits[t * EXPERTS + e] * (factor ? factor[t] * (0.5 + 0.25 * e) : 1);
            }
    }
}

static void b9_b10(void)
{
    double factor[TOKENS], l1 = 0;
    float gain[EXPERTS];
    begin(10, TOKENS, EXPERTS, EXPERTS);
    p.score = R(RELU);
    p.select = R(POSITIVE);
    for (int i = 0; i < N; i++)
        l1 += logits[i] > 0 ? (double)logits[i] / TOKENS : 0;
    v[R(L1)] = tenon_value_host(positive, TENON_F32, 1, (int64_t[]){1});
    want_positive(NULL);
    gives_want("B9 ReMoE");
    ok(catalog_close((double)positive[0], l1), "%s: B9 ReMoE: l1", catalog_device);
    begin(11, TOKENS, EXPERTS, EXPERTS);
    p.score = R(RELU_RMS);
    p.select = R(POSITIVE);
    for (int64_t t = 0; t < tokens; t++) {
        double squares = 0;
        for (int e = 0; e < EXPERTS; e++)
            squares += logits[t * EXPERTS + e] > 0 ? pow((double)logits[t * EXPERTS + e], 2) / EXPERTS : 0;
        factor[t] = 1 / sqrt(squares + 1e-6);
    }
    for (int e = 0; e < EXPERTS; e++)
        gain[e] = 0.5f + 0.25f * (float)e;
    v[R(GAIN)] = tenon_value_host(gain, TENON_F32, 1, (int64_t[]){EXPERTS});
    want_positive(factor);
    gives_want("B10 BlockFFN");
}

static void b11(void)
{
    begin(12, TOKENS, EXPERTS, 4);
    p.hier_g = 4;
    p.hier_k1 = 2;
    for (int i = 0; i < TOKENS * 4; i++)
        extra[i] = (float)catalog_normal();
    v[R(GROUP_LOGITS)] = tenon_value_host(extra, TENON_F32, 2, (int64_t[]){TOKENS, 4});
    for (int64_t t = 0; t < tokens; t++) {
        double z[4], first[4], second[2];
        int32_t group[2];
        for (int i = 0; i < 4; i++)
            z[i] = (double)extra[t * 4 + i];
        catalog_exp_weights(z, first, 4);
        experts = 4;
        best_of(first, 2, group);
        experts = EXPERTS;
        for (int i = 0; i < 2; i++) {
            const double a = (double)logits[t * EXPERTS + 2 * group[i]], b = (double)logits[t * EXPERTS + 2 * group[i] + 1];
            catalog_exp_weights((double[]){a, b}, second, 2);
            const int turned = b > a;
            want_idx[t * 4 + 2 * i] = 2 * group[i] + turned;
            want_idx[t * 4 + 2 * i + 1] = 2 * group[i] + !turned;
            want[t * 4 + 2 * i] = first[group[i]] * second[turned];
            want[t * 4 + 2 * i + 1] = first[group[i]] * second[!turned];
        }
    }
    gives_want("B11 HMoE, two levels");
}

/* Over many samples the mean weight of the best expert's slot: the chance of the noise's arg-max is the softmax. */
static void b12(void)
{
    enum { SAMPLES = 600 };
    double first[EXPERTS] = {0}, s[EXPERTS], chi = 0;
    begin(13, 1, EXPERTS, 1);
    p.noise = R(NOISE_GUMBEL);
    softmax_of(0, s);
    for (uint32_t i = 0; i < SAMPLES; i++) {
        p.sample = i;
        v[R(LOGITS)] = tenon_value_host(logits, TENON_F32, 2, (int64_t[]){1, EXPERTS});
        v[R(IDX)] = tenon_value_host(idx, TENON_I32, 2, (int64_t[]){1, 1});
        if (tenon_run(catalog_context, TENON_OPNUM_moe_route, &p, v, R(N_TENSORS)) == TENON_OK && idx[0] >= 0)
            first[idx[0]]++;
    }
    for (int e = 0; e < EXPERTS; e++)
        chi += pow(first[e] - SAMPLES * s[e], 2) / (SAMPLES * s[e]);
    ok(chi < 24.3, "%s: B12 GG MoE: the noise draws by the softmax: chi2 %.1f on 7 degrees", catalog_device, chi);
    begin(13, TOKENS, EXPERTS, EXPERTS);
    p.noise = R(NOISE_GUMBEL);
    p.select = R(ALL);
    if (!runs("B12 GG MoE"))
        return;
    int wrong = 0;
    for (int64_t t = 0; t < tokens; t++) {
        double all = 0;
        for (int j = 0; j < EXPERTS; j++)
            all += (double)w[t * EXPERTS + j];
        wrong += !catalog_close(all, 1) || nsel[t] != EXPERTS;
    }
    is_int(wrong, 0, "%s: B12 GG MoE: all experts, weights of sum 1", catalog_device);
}

static void b14(void)
{
    enum { CAP = 3 };
    double s[TOKENS][EXPERTS], given[N];
    int wrong = 0;
    begin(14, TOKENS, EXPERTS, EXPERTS);
    p.select = R(EXPERT_CHOICE);
    p.cap = CAP;
    v[R(SEL)] = tenon_value_host(sel, TENON_I32, 2, (int64_t[]){EXPERTS, CAP});
    v[R(G)] = tenon_value_host(g, TENON_F32, 2, (int64_t[]){EXPERTS, CAP});
    for (int64_t t = 0; t < tokens; t++)
        softmax_of(t, s[t]);
    int64_t used[TOKENS] = {0};
    for (int e = 0; e < EXPERTS; e++)
        for (int i = 0; i < CAP; i++) {
            int best = -1;
            for (int t = 0; t < TOKENS; t++) {
                int taken = 0;
                for (int before = 0; before < i; before++)
                    taken |= list[e * CAP + before] == t;
                if (!taken && (best < 0 || s[t][e] > s[best][e]))
                    best = t;
            }
            list[e * CAP + i] = best;
            given[e * CAP + i] = s[best][e];
        }
    for (int e = 0; e < EXPERTS; e++)
        for (int t = 0; t < TOKENS; t++)
            for (int i = 0; i < CAP; i++)
                if (list[e * CAP + i] == t) {
                    want_idx[t * EXPERTS + used[t]] = e;
                    want[t * EXPERTS + used[t]++] = s[t][e];
                }
    gives_want("B14 expert choice");
    for (int i = 0; i < EXPERTS * CAP; i++)
        wrong += sel[i] != list[i];
    is_int(wrong, 0, "%s: B14 expert choice: the tokens", catalog_device);
    catalog_are(g, given, EXPERTS * CAP, "B14 expert choice: their weights");
}

static void b15_b16(void)
{
    begin(15, TOKENS, EXPERTS, 2);
    p.select = R(TABLE);
    p.score = R(ONE);
    for (int i = 0; i < 20; i++)
        list[i] = (int32_t)(catalog_uniform() * EXPERTS);
    for (int t = 0; t < TOKENS; t++) {
        key[t] = t % 10;
        for (int j = 0; j < 2; j++) {
            want_idx[2 * t + j] = list[2 * (t % 10) + j];
            want[2 * t + j] = 1;
        }
    }
    v[R(KEY)] = tenon_value_host(key, TENON_I32, 1, (int64_t[]){TOKENS});
    v[R(TABLE_IDX)] = tenon_value_host(list, TENON_I32, 2, (int64_t[]){10, 2});
    gives_want("B15 Hash Layers");
    begin(16, TOKENS, EXPERTS, 1);
    p.select = R(RANDOM);
    p.weight_src = R(WEIGHT_ONE);
    p.random = R(RANDOM_SEQ);
    p.random_len = 4;
    if (runs("B16 THOR"))
        ok(idx[0] == idx[3] && idx[4] == idx[7] && idx[8] == idx[11] && idx[0] >= 0 && idx[0] < EXPERTS && w[5] == 1,
           "%s: B16 THOR: one expert for a sequence", catalog_device);
    p.random = R(RANDOM_CALL);
    if (runs("B16 THOR in training"))
        ok(idx[0] == idx[11] && idx[5] == idx[0], "%s: B16 THOR: one expert for a call", catalog_device);
}

static void b18(void)
{
    enum { DRAWN = 2, BITS = 3 };
    double share[DRAWN];
    begin(18, 1, DRAWN, EXPERTS);
    p.select = R(DSELECT);
    p.experts = EXPERTS;
    for (int i = 0; i < DRAWN * BITS; i++)
        extra[i] = (float)(1.4 * catalog_uniform() - 0.7);
    v[R(ZSEL)] = tenon_value_host(extra, TENON_F32, 3, (int64_t[]){1, DRAWN, BITS});
    softmax_of(0, share);
    int64_t n = 0;
    for (int e = 0; e < EXPERTS; e++) {
        double all = 0;
        for (int r = 0; r < DRAWN; r++) {
            double product = share[r];
            for (int b = 0; b < BITS; b++) {
                const double x = (double)extra[r * BITS + b];
                const double st = x <= -0.5 ? 0 : x >= 0.5 ? 1 : -2 * x * x * x + 1.5 * x + 0.5;
                product *= e >> (BITS - 1 - b) & 1 ? st : 1 - st;
            }
            all += product;
        }
        if (all > 0) {
            want_idx[n] = e;
            want[n++] = all;
        }
    }
    gives_want("B18 DSelect-k");
}

static void b19_b22(void)
{
    static const uint8_t subset[EXPERTS] = {1, 0, 1, 1, 0, 1, 0, 1};
    static float bias[EXPERTS] = {3, 0, -3, 1, 0, 0, 2, -1};
    begin(19, TOKENS, EXPERTS, 2);
    p.norm = R(NORM_SUM);
    want_topk(1, 1);
    gives_want("B19 PHATGOOSE");
    begin(20, TOKENS, EXPERTS, 4);
    p.score = R(IDENTITY);
    p.weight_src = R(WEIGHT_ONE);
    v[R(CORR_BIAS)] = tenon_value_host(bias, TENON_F32, 1, (int64_t[]){EXPERTS});
    for (int64_t t = 0; t < tokens; t++) {
        double c[EXPERTS];
        for (int e = 0; e < EXPERTS; e++)
            c[e] = (double)(logits[t * EXPERTS + e] + bias[e]);
        best_of(c, 4, want_idx + t * 4);
        for (int j = 0; j < 4; j++)
            want[t * 4 + j] = 1;
    }
    gives_want("B20 SMoRA, ranks with bias");
    begin(21, TOKENS, EXPERTS, 2);
    v[R(EXPERT_MASK)] = tenon_value_host((void *)(uintptr_t)subset, TENON_U8, 1, (int64_t[]){EXPERTS});
    for (int64_t t = 0; t < tokens; t++) {
        double z[EXPERTS], s[EXPERTS];
        for (int e = 0; e < EXPERTS; e++)
            z[e] = subset[e] ? (double)logits[t * EXPERTS + e] : -(double)INFINITY;
        catalog_exp_weights(z, s, EXPERTS);
        best_of(z, 2, want_idx + t * 2);
        for (int j = 0; j < 2; j++)
            want[t * 2 + j] = s[want_idx[t * 2 + j]];
    }
    gives_want("B21 MoE^2, a subset of the experts");
    begin(22, TOKENS, EXPERTS, EXPERTS);
    p.select = R(PREFIX);
    p.score = R(ONE);
    for (int t = 0; t < TOKENS; t++) {
        key[t] = t % 9;
        for (int j = 0; j < t % 9; j++) {
            want_idx[t * EXPERTS + j] = j;
            want[t * EXPERTS + j] = 1;
        }
    }
    v[R(NUSE)] = tenon_value_host(key, TENON_I32, 1, (int64_t[]){TOKENS});
    gives_want("B22 Adaptive Computation Modules");
}

static void catalog(void)
{
    b9_b10();
    b11();
    b12();
    b14();
    b15_b16();
    b18();
    b19_b22();
}

int main(void)
{
    return catalog_devices(catalog);
}

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The published ways to send tokens to experts, from attributes of moe_dispatch, against what their papers do written
 * out. */
#include <tenon/ops/moe_dispatch.h>

#include "catalog.h"

enum { TOKENS = 60, SLOTS = 2, EXPERTS = 6, PAIRS = TOKENS * SLOTS };

static int32_t idx[PAIRS], pos[PAIRS], want_pos[PAIRS], offsets[EXPERTS + 1];
static float w[PAIRS], w2[PAIRS];
static double want_w[PAIRS];
static int64_t k;
static struct tenon_moe_dispatch_params p;
static struct tenon_value v[TENON_MOE_DISPATCH_N_TENSORS];

/* Routed tokens: distinct experts, the first ones much wanted; weights that fall with the slot. */
static void begin(int64_t slots)
{
    catalog_seed(41);
    k = slots;
    for (int64_t t = 0; t < TOKENS; t++) {
        idx[t * k] = (int32_t)(catalog_uniform() * catalog_uniform() * EXPERTS);
        w[t * k] = (float)(0.5 + 0.5 * catalog_uniform());
        if (k > 1) {
            idx[t * k + 1] = (idx[t * k] + 1 + (int32_t)(catalog_uniform() * (EXPERTS - 1))) % EXPERTS;
            w[t * k + 1] = 1 - w[t * k];
        }
    }
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_moe_dispatch), &p);
    p.experts = EXPERTS;
    memset(v, 0, sizeof v);
    v[TENON_MOE_DISPATCH_IDX] = tenon_value_host(idx, TENON_I32, 2, (int64_t[]){TOKENS, k});
    v[TENON_MOE_DISPATCH_W] = tenon_value_host(w, TENON_F32, 2, (int64_t[]){TOKENS, k});
    v[TENON_MOE_DISPATCH_OFFSETS] = tenon_value_host(offsets, TENON_I32, 1, (int64_t[]){EXPERTS + 1});
    v[TENON_MOE_DISPATCH_POS] = tenon_value_host(pos, TENON_I32, 2, (int64_t[]){TOKENS, k});
    v[TENON_MOE_DISPATCH_W2] = tenon_value_host(w2, TENON_F32, 2, (int64_t[]){TOKENS, k});
}

/* want_pos has places within the expert, -1 what is dropped. */
static void gives_want(const char *name)
{
    int wrong = 0;
    memset(pos, 0x55, sizeof pos);
    memset(w2, 0xff, sizeof w2);
    if (!is_int(tenon_run(catalog_context, TENON_OPNUM_moe_dispatch, &p, v, TENON_MOE_DISPATCH_N_TENSORS), TENON_OK,
                "%s: %s runs", catalog_device, name))
        return;
    for (int64_t q = 0; q < TOKENS * k; q++)
        wrong += pos[q] != (want_pos[q] < 0 ? -1 : offsets[idx[q]] + want_pos[q]);
    is_int(wrong, 0, "%s: %s, places", catalog_device, name);
    catalog_are(w2, want_w, (int)(TOKENS * k), name);
}

/* Switch Transformers: capacity factor * T / E, tokens in their order, those beyond pass by; w = p. */
static void b1(void)
{
    int32_t used[EXPERTS] = {0};
    begin(1);
    p.capacity = tenon_moe_capacity_ceil(1.25, TOKENS, 1, EXPERTS, 1);
    is_int(p.capacity, 13, "ceil(1.25 * 60 / 6)");
    for (int t = 0; t < TOKENS; t++) {
        want_pos[t] = used[idx[t]] < p.capacity ? used[idx[t]]++ : -1;
        want_w[t] = want_pos[t] < 0 ? 0 : (double)w[t];
    }
    gives_want("B1 Switch");
}

/* GShard: locations are cumulative sums of one-hot masks, the second choices behind all first ones; the two gates are
 * normalised after the capacity has masked them. */
static void b2(void)
{
    int32_t first[EXPERTS] = {0}, second[EXPERTS] = {0};
    begin(2);
    p.capacity = tenon_moe_capacity_two(TOKENS, EXPERTS) - 4; /* so that some are dropped */
    p.order = TENON_MOE_DISPATCH_CHOICE_MAJOR;
    p.renorm = TENON_MOE_DISPATCH_AFTER_DROP;
    for (int t = 0; t < TOKENS; t++)
        want_pos[2 * t] = first[idx[2 * t]]++;
    for (int t = 0; t < TOKENS; t++)
        want_pos[2 * t + 1] = first[idx[2 * t + 1]] + second[idx[2 * t + 1]]++;
    for (int t = 0; t < TOKENS; t++) {
        double gate[2], sum = 0;
        for (int j = 0; j < 2; j++) {
            want_pos[2 * t + j] = want_pos[2 * t + j] < p.capacity ? want_pos[2 * t + j] : -1;
            sum += gate[j] = want_pos[2 * t + j] < 0 ? 0 : (double)w[2 * t + j];
        }
        for (int j = 0; j < 2; j++)
            want_w[2 * t + j] = gate[j] / fmax(sum, 0x1p-23);
    }
    gives_want("B2 GShard, top-2");
}

/* Mixtral and the DeepSeek models: nothing is dropped. */
static void b3(void)
{
    begin(2);
    for (int q = 0; q < PAIRS; q++) {
        want_pos[q] = 0;
        for (int earlier = 0; earlier < q; earlier++)
            want_pos[q] += idx[earlier] == idx[q];
        want_w[q] = (double)w[q];
    }
    gives_want("B3 Mixtral, B8 DeepSeek: dropless");
}

/* V-MoE: the tokens with the best best weight come first; Megatron's policy by probability. */
static void priorities(void)
{
    begin(2);
    p.capacity = 15;
    p.drop = TENON_MOE_DISPATCH_BPR;
    for (int q = 0; q < PAIRS; q++) {
        int ahead = 0;
        for (int o = 0; o < PAIRS; o++) { /* the first weight of a token is its best */
            const float other = w[o / 2 * 2], own = w[q / 2 * 2];
            ahead += o != q && idx[o] == idx[q] && (other > own || (other == own && o < q));
        }
        want_pos[q] = ahead < p.capacity ? ahead : -1;
        want_w[q] = ahead < p.capacity ? (double)w[q] : 0;
    }
    gives_want("V-MoE, batch prioritized");
    p.drop = TENON_MOE_DISPATCH_PROB;
    for (int q = 0; q < PAIRS; q++) {
        int better = 0;
        for (int o = 0; o < PAIRS; o++)
            better += idx[o] == idx[q] && (w[o] > w[q] || (w[o] == w[q] && o < q));
        want_w[q] = better < p.capacity ? (double)w[q] : 0;
        want_pos[q] = better < p.capacity ? 0 : -1;
    }
    for (int q = 0; q < PAIRS; q++)
        for (int o = 0; o < q; o++)
            want_pos[q] += want_pos[q] >= 0 && want_pos[o] >= 0 && idx[o] == idx[q];
    gives_want("Megatron, drop by probability");
}

static void catalog(void)
{
    b1();
    b2();
    b3();
    priorities();
}

int main(void)
{
    return catalog_devices(catalog);
}

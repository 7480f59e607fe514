/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What a moe_logits may do wrong. */
#include <math.h>
#include <tenon/ops/moe_logits.h>
#include "faulty.h"

#define SPOIL(name, statement) FAULTY_SPOIL(name, tenon_moe_logits_params, statement)

SPOIL(no_act, p->act = TENON_MOE_LOGITS_ACT_NONE)
SPOIL(no_scale, p->scale = 1)
SPOIL(no_eps, p->eps = 0)
SPOIL(tanh_sigmoid, p->act = p->act == TENON_MOE_LOGITS_ACT_TANH ? TENON_MOE_LOGITS_ACT_SIGMOID : p->act)
SPOIL(all_dot, p->kind = TENON_MOE_LOGITS_DOT)
SPOIL(standard_cosine, p->kind = p->kind == TENON_MOE_LOGITS_STD_DOT ? TENON_MOE_LOGITS_COSINE : p->kind)

/* A token and an expert after a run, without activation, and what the layer itself makes of them. */
struct pair {
    const struct tenon_moe_logits_params *p;
    const float *x, *w;
    float *z, bias;
    int64_t width, token;
};

static void each_pair(const struct faulty_run *run, uint32_t kind, void (*spoil)(const struct pair *pair))
{
    const struct tenon_tensor *t = run->plan->tensor;
    struct pair pair = {.p = (const void *)run->plan->params, .width = t[TENON_MOE_LOGITS_W].dim[1]};
    const float *bias = tenon__faulty_memory(run, TENON_MOE_LOGITS_BIAS);
    if (pair.p->kind != kind || pair.p->act != TENON_MOE_LOGITS_ACT_NONE)
        return;
    for (int64_t row = 0; row < tenon__faulty_rows(&t[TENON_MOE_LOGITS_X]); row++)
        for (int64_t e = 0; e < t[TENON_MOE_LOGITS_W].dim[0]; e++) {
            float *z = tenon__faulty_row(run, TENON_MOE_LOGITS_Z, row);
            pair.token = row;
            pair.x = tenon__faulty_row(run, TENON_MOE_LOGITS_X, row);
            pair.w = tenon__faulty_row(run, TENON_MOE_LOGITS_W, e);
            pair.z = z ? z + e : NULL;
            pair.bias = bias ? bias[e] : 0;
            if (pair.x && pair.w && pair.z)
                spoil(&pair);
        }
}

#define EACH_PAIR(name, kind)                                                                                          \
    static void name##_pair(const struct pair *r);                                                                     \
    static void name(const struct faulty_run *run)                                                                     \
    {                                                                                                                  \
        each_pair(run, TENON_MOE_LOGITS_##kind, name##_pair);                                                          \
    }                                                                                                                  \
    static void name##_pair(const struct pair *r)

static double eps_of(const struct pair *r)
{
    const double own = r->p->kind == TENON_MOE_LOGITS_COSINE ? 1e-6 : 1e-5;
    return r->p->eps > 0 ? (double)r->p->eps : own;
}

static double dot(const struct pair *r, const float *a, const float *b)
{
    double sum = 0;
    for (int64_t k = 0; k < r->width; k++)
        sum += (double)a[k] * (double)b[k];
    return sum;
}

/* |x|^2 + |w|^2 - 2 x.w, in float. */
EACH_PAIR(expanded, NEG_L2)
{
    const float square = (float)dot(r, r->x, r->x) + (float)dot(r, r->w, r->w) - 2 * (float)dot(r, r->x, r->w);
    *r->z = r->bias - sqrtf(square > 0 ? square : 0);
}

EACH_PAIR(squared, NEG_L2)
{
    *r->z = r->bias - (*r->z - r->bias) * (*r->z - r->bias);
}

/* eps added to the product of the norms. */
EACH_PAIR(eps_once, COSINE)
{
    const double norms = sqrt(dot(r, r->x, r->x)) * sqrt(dot(r, r->w, r->w));
    *r->z = r->bias + r->p->scale * (float)(dot(r, r->x, r->w) / (norms + eps_of(r)));
}

EACH_PAIR(no_root, STD_DOT)
{
    *r->z = r->bias + (*r->z - r->bias) * sqrtf((float)r->width);
}

static double variance(const struct pair *r, const float *v, double over)
{
    double mean = 0, sum = 0;
    for (int64_t k = 0; k < r->width; k++)
        mean += (double)v[k] / (double)r->width;
    for (int64_t k = 0; k < r->width; k++)
        sum += ((double)v[k] - mean) * ((double)v[k] - mean);
    return sum / over + eps_of(r);
}

/* The variance over D - 1. */
EACH_PAIR(sample_variance, STD_DOT)
{
    const double d = (double)r->width, less = d > 1 ? d - 1 : 1;
    const double was = variance(r, r->x, d) * variance(r, r->w, d), is = variance(r, r->x, less) * variance(r, r->w, less);
    *r->z = r->bias + (*r->z - r->bias) * (float)sqrt(was / is);
}

/* Every token gets the first one's. */
static void first_token(const struct faulty_run *run)
{
    const struct tenon_tensor *z = &run->plan->tensor[TENON_MOE_LOGITS_Z];
    for (int64_t row = 1; row < tenon__faulty_rows(z); row++) {
        const uint32_t *first = tenon__faulty_row(run, TENON_MOE_LOGITS_Z, 0);
        uint32_t *own = tenon__faulty_row(run, TENON_MOE_LOGITS_Z, row);
        if (first && own)
            *own = *first;
    }
}

static const struct faulty_fault faults[] = {
    {"no_act", "the activation is ignored", "z[", .spoil = no_act},
    {"no_scale", "the scale of cosine is ignored", "cosine", .spoil = no_scale},
    {"no_eps", "eps is ignored", "z[", .spoil = no_eps},
    {"tanh_sigmoid", "tanh is the sigmoid", "tanh", .spoil = tanh_sigmoid},
    {"all_dot", "every kind is a product", "z[", .spoil = all_dot},
    {"standard_cosine", "rows keep their means", "std_dot", .spoil = standard_cosine},
    {"no_bias", "the bias is ignored", "+bias", .drop = TENON_MOE_LOGITS_BIAS},
    {"expanded", "distances come from norms and products", "neg_l2", .after = expanded},
    {"squared", "distances are squared", "neg_l2", .after = squared},
    {"eps_once", "eps is added to the product of norms", "cosine", .after = eps_once},
    {"no_root", "products are not over the root of D", "std_dot", .after = no_root},
    {"sample_variance", "the variance is over D - 1", "std_dot", .after = sample_variance},
    {"first_token", "the first expert of every token gets the first token's logit", "z[", .after = first_token},
};

const struct faulty_op tenon__faulty_moe_logits = {faults, sizeof(faults) / sizeof(faults[0])};

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What a sparse_ffn may do wrong. */
#include <float.h>
#include <math.h>
#include <tenon/ops/sparse_ffn.h>
#include "faulty.h"

#define SPOIL(name, statement) FAULTY_SPOIL(name, tenon_sparse_ffn_params, statement)

SPOIL(no_act, p->act = TENON_ACT_IDENTITY)
SPOIL(no_threshold, p->threshold = 0)
SPOIL(no_alpha, p->alpha = 0)
SPOIL(no_cap, p->p.cap = FLT_MAX)
SPOIL(no_tau, p->p.tau = 0)
SPOIL(not_shrunk, p->p.keep = TENON_SPARSE_FFN_KEEP)
SPOIL(one_less, p->h.k -= p->h.k > 0)
SPOIL(by_value, p->h.by = TENON_SPARSE_FFN_BY_VALUE)
SPOIL(strict, p->g.kind = p->g.kind == TENON_SPARSE_FFN_ABS_GE ? TENON_SPARSE_FFN_ABS_GT : p->g.kind)
SPOIL(soft_relu, p->p.kind = p->p.kind == TENON_SPARSE_FFN_SOFT ? TENON_SPARSE_FFN_SHIFT_RELU : p->p.kind)

/* A site is as if it were not there. */
static void no_site(struct tenon_tensor *t, struct tenon_sparse_ffn_site *site, uint32_t i)
{
    site->kind = TENON_SPARSE_FFN_NONE;
    t[TENON_SPARSE_FFN_T_XG + i].dtype = t[TENON_SPARSE_FFN_WGT_XG + i].dtype = 0;
}

#define NO_SITE(name, NAME)                                                                                            \
    static void no_##name(struct tenon_tensor *t, void *params)                                                        \
    {                                                                                                                  \
        no_site(t, &((struct tenon_sparse_ffn_params *)params)->name, TENON_SPARSE_FFN_SITE_##NAME);                   \
    }
TENON_SPARSE_FFN_SITE_LIST(NO_SITE)

static void no_complement(struct tenon_tensor *t, void *params)
{
    (void)params;
    for (uint32_t i = TENON_SPARSE_FFN_CU_G; i <= TENON_SPARSE_FFN_CV_D; i++)
        t[i].dtype = 0;
}

/* What is dropped of h does not pass. */
static void no_complement_down(struct tenon_tensor *t, void *params)
{
    (void)params;
    t[TENON_SPARSE_FFN_CU_D].dtype = t[TENON_SPARSE_FFN_CV_D].dtype = 0;
}

/* A product that multiplies its zeros: what is not finite in wd reaches every output. */
static void multiplied(const struct faulty_run *run)
{
    const struct tenon_tensor *wd = &run->plan->tensor[TENON_SPARSE_FFN_WD];
    for (int64_t row = 0; row < tenon__faulty_rows(wd); row++) {
        const float *w = tenon__faulty_row(run, TENON_SPARSE_FFN_WD, row);
        float *y = tenon__faulty_row(run, TENON_SPARSE_FFN_Y, 0);
        for (int64_t i = 0; w && y && i < tenon__faulty_columns(wd); i++)
            if (!isfinite(w[i]))
                y[0] = NAN;
    }
}

static const struct faulty_fault faults[] = {
    {"no_act", "the activation is ignored", "y[", .spoil = no_act},
    {"no_threshold", "the threshold of fatrelu is ignored", "y[", .spoil = no_threshold},
    {"no_alpha", "alpha is ignored", "mixed", .spoil = no_alpha},
    {"no_xg", "site xg is ignored", "y[", .spoil = no_xg},
    {"no_xu", "site xu is ignored", "y[", .spoil = no_xu},
    {"no_p", "site p is ignored", "y[", .spoil = no_p},
    {"no_g", "site g is ignored", "y[", .spoil = no_g},
    {"no_h", "site h is ignored", "y[", .spoil = no_h},
    {"no_cap", "what soft and shift_relu keep has no cap", "y[", .spoil = no_cap},
    {"no_tau", "tau is 0", "soft", .spoil = no_tau},
    {"soft_relu", "soft drops what is negative", "soft", .spoil = soft_relu},
    {"not_shrunk", "theta is not subtracted", "spark", .spoil = not_shrunk},
    {"one_less", "one neuron less is kept", "y[", .spoil = one_less},
    {"by_value", "top-k of h is by value", "wina", .spoil = by_value},
    {"strict", "abs_ge drops what equals its threshold", "chess", .spoil = strict},
    {"no_t_g", "thresholds of site g are ignored", "chess", .drop = TENON_SPARSE_FFN_T_G},
    {"no_wgt", "scores of site xu have no weights", "y[", .drop = TENON_SPARSE_FFN_WGT_XU},
    {"no_ext", "ext is ignored", "+ext", .drop = TENON_SPARSE_FFN_EXT},
    {"no_complement", "complements are ignored", "r_sparse", .spoil = no_complement},
    {"no_complement_down", "the complement of wd is ignored", "r_sparse", .spoil = no_complement_down},
    {"multiplied", "weights that meet zeros are multiplied with them", "masked", .after = multiplied},
};

const struct faulty_op tenon__faulty_sparse_ffn = {faults, sizeof(faults) / sizeof(faults[0])};

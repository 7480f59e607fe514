/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * moe_logits on the CPU: what its parts share. Included once an ISA; everything is static. */
#ifndef TENON_MOE_LOGITS_CPU_H
#define TENON_MOE_LOGITS_CPU_H

#include <tenon/ops/moe_logits.h>

#include "lib/act.h"
#include "lib/block.h"
#include "lib/matmul.h"

/* Computed once by the plan; lives in cpu_plan.state. */
struct moe_logits_state {
    struct matmul product; /* T is its m, E its n, D its k */
    uint32_t kind;
    struct act act;
    float scale, eps;
    int64_t x_row;       /* of x itself */
    uint64_t rows_bytes; /* normalised rows of x and w, `depth` floats each, at the start of the workspace */
};

struct moe_logits_run {
    const struct cpu_plan *plan;
    const struct moe_logits_state *state;
    void *const *ptr;
    float *rows; /* the workspace */
};

static inline void moe_logits_pieces(struct moe_logits_run *run, uint32_t n, void (*fn)(void *run, uint32_t i))
{
    const struct tenon_host *host = run->plan->env->host;
    if (run->state->product.workers > 1) {
        host->parallel(host, n, fn, run);
        return;
    }
    for (uint32_t i = 0; i < n; i++)
        fn(run, i);
}

/* z[t][e0 .. e0 + n) from what the kind gave; sum is overwritten and readable up to a whole vector. */
static void moe_logits_emit(const struct moe_logits_run *run, int64_t t, int64_t e0, int64_t n, float *sum)
{
    const struct moe_logits_state *s = run->state;
    const float *bias = run->ptr[TENON_MOE_LOGITS_BIAS];
    float *z = (float *)run->ptr[TENON_MOE_LOGITS_Z] +
               matmul_row(&run->plan->tensor[TENON_MOE_LOGITS_Z], s->product.y_row, t) + e0;
    if (s->kind == TENON_MOE_LOGITS_COSINE)
        for (int64_t i = 0; i < n; i += VF)
            vf_store(sum + i, vf_mul(vf_load(sum + i), vf_set1(s->scale)));
    if (bias)
        for (int64_t i = 0; i < n; i += VF)
            vf_store(sum + i, vf_add(vf_load(sum + i), pack_load_n(TENON_F32, bias, e0 + i, n - i)));
    act_apply(&s->act, sum, n);
    for (int64_t i = 0; i < n; i += VF)
        pack_store_n(TENON_F32, z, i, vf_load(sum + i), n - i);
}

#endif

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * moe_logits on the CPU. Products are lib/matmul.h's; COSINE and STD_DOT are products of rows that were normalised into
 * the workspace; distances have a kernel of their own. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <tenon/ops/moe_logits.h>

#include "lib/act.h"
#include "lib/matmul.h"
#include "lib/spread.h"
#include "ops/moe_logits_cpu.h"
#include "ops/moe_logits_cpu_distance.h"

static void matmul_emit(const struct matmul_run *product, int64_t t, int64_t e0, int64_t n, float *sum)
{
    moe_logits_emit(product->context, t, e0, n, sum);
}

/* The mean of a row and 1 over its spread, in doubles: 1/(norm + eps) about 0, or 1/sqrt(variance + eps) about the mean
 * times D^-1/4 (both sides have it). */
static void moe_logits_spread(const struct moe_logits_state *s, const float *v, double *mean, double *factor)
{
    int64_t n = s->product.k;
    *mean = s->kind == TENON_MOE_LOGITS_STD_DOT ? spread_sum(v, n, 0, 0.0, 0, &n) / (double)n : 0.0;
    const double squares = spread_sum(v, n, 0, *mean, 1, &n);
    if (s->kind == TENON_MOE_LOGITS_COSINE)
        *factor = 1 / (sqrt(squares) + (double)s->eps);
    else
        *factor = 1 / sqrt(sqrt((double)n)) / sqrt(squares / (double)n + (double)s->eps);
}

/* Row i of x, then of w, into the workspace. */
static void moe_logits_normalise(void *context, uint32_t i)
{
    const struct moe_logits_run *run = context;
    const struct moe_logits_state *s = run->state;
    const int64_t tokens = s->product.m, n = s->product.k, row = (int64_t)i < tokens ? i : i - tokens;
    const uint32_t tensor = (int64_t)i < tokens ? TENON_MOE_LOGITS_X : TENON_MOE_LOGITS_W;
    const struct tenon_tensor *t = &run->plan->tensor[tensor];
    const int64_t from = tensor == TENON_MOE_LOGITS_X ? matmul_row(t, s->x_row, row) : row * t->stride[0];
    float *to = run->rows + i * s->product.depth;
    double mean, factor;
    for (int64_t k = 0; k < s->product.depth; k += VF)
        vf_store(to + k, pack_load_n(t->dtype, run->ptr[tensor], from + k, n - k));
    moe_logits_spread(s, to, &mean, &factor);
    for (int64_t k = 0; k < s->product.depth; k += PRODUCT_LANES)
        for (int l = 0; l < PRODUCT_LANES; l++) /* a constant number, which compilers make vectors of */
            to[k + l] = (float)(((double)to[k + l] - mean) * factor);
    memset(to + n, 0, (size_t)(s->product.depth - n) * sizeof *to);
}

static int32_t moe_logits_plan(struct cpu_plan *plan)
{
    const struct tenon_moe_logits_params *p = (const void *)plan->params;
    static const uint32_t acts[TENON_MOE_LOGITS_ACTS] = {TENON_ACT_IDENTITY, TENON_ACT_RELU, ACT_SIGMOID,
                                                         ACT_TANH,           TENON_ACT_GELU, TENON_ACT_SILU};
    const struct tenon_tensor *x = &plan->tensor[TENON_MOE_LOGITS_X], *w = &plan->tensor[TENON_MOE_LOGITS_W];
    const int normalised = p->kind == TENON_MOE_LOGITS_COSINE || p->kind == TENON_MOE_LOGITS_STD_DOT;
    struct moe_logits_state *s = (void *)plan->state;
    struct matmul *product = &s->product;
    _Static_assert(sizeof *s <= sizeof plan->state, "the state fits the plan");
    *s = (struct moe_logits_state){.kind = p->kind,
                                   .act = {.kind = acts[p->act]},
                                   .scale = p->kind == TENON_MOE_LOGITS_COSINE ? p->scale : 1.0f,
                                   .eps = p->eps,
                                   .x_row = matmul_row_stride(x)};
    if (s->eps == 0)
        s->eps = p->kind == TENON_MOE_LOGITS_COSINE ? 1e-6f : 1e-5f;
    *product = (struct matmul){.m = 1,
                               .n = w->dim[0],
                               .k = w->dim[1],
                               .x_type = normalised ? TENON_F32 : x->dtype,
                               .w_type = normalised ? TENON_F32 : w->dtype,
                               .y_type = TENON_F32,
                               .x_row = s->x_row,
                               .w_row = w->stride[0],
                               .y_row = matmul_row_stride(&plan->tensor[TENON_MOE_LOGITS_Z])};
    for (uint32_t d = 0; d + 1 < x->rank; d++)
        product->m *= x->dim[d];
    if (normalised) {
        const int64_t depth = (product->k + PRODUCT_LANES - 1) / PRODUCT_LANES * PRODUCT_LANES;
        product->x_row = product->w_row = depth;
        s->rows_bytes = (uint64_t)((product->m + product->n) * depth) * sizeof(float);
    }
    const char *path = matmul_plan(plan->env, product);
    plan->workspace = s->rows_bytes + product->workspace;
    if (p->kind == TENON_MOE_LOGITS_NEG_L2 && product->path != MATMUL_EMPTY) {
        path = "distances";
        plan->workspace = moe_logits_distance_bytes(s);
    }
    snprintf(plan->impl, sizeof plan->impl, "%s: %s%s, %u workers", CPU_ISA_NAME, normalised ? "normalised, " : "",
             path, product->workers);
    return TENON_OK;
}

static void moe_logits_run(const struct cpu_plan *plan, void *const *ptr, void *workspace)
{
    const struct moe_logits_state *s = (const void *)plan->state;
    struct moe_logits_run run = {.plan = plan, .state = s, .ptr = ptr, .rows = workspace};
    struct matmul_run product = {.plan = &s->product,
                                 .env = plan->env,
                                 .x_tensor = &plan->tensor[TENON_MOE_LOGITS_X],
                                 .y_tensor = &plan->tensor[TENON_MOE_LOGITS_Z],
                                 .x = ptr[TENON_MOE_LOGITS_X],
                                 .w = ptr[TENON_MOE_LOGITS_W],
                                 .y = ptr[TENON_MOE_LOGITS_Z],
                                 .context = &run,
                                 .workspace = (char *)workspace + s->rows_bytes};
    if (s->product.path != MATMUL_EMPTY && s->kind == TENON_MOE_LOGITS_NEG_L2) {
        moe_logits_distance_run(&run);
        return;
    }
    if (s->product.path != MATMUL_EMPTY && s->rows_bytes) {
        moe_logits_pieces(&run, (uint32_t)(s->product.m + s->product.n), moe_logits_normalise);
        product.x = run.rows;
        product.w = run.rows + s->product.m * s->product.depth;
    }
    matmul(&product);
}

const struct cpu_op CPU_OP_TABLE(moe_logits);
const struct cpu_op CPU_OP_TABLE(moe_logits) = {
    .op = TENON_OPNUM_moe_logits,
    .plan = moe_logits_plan,
    .run = moe_logits_run,
};

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * linear on the CPU: lib/matmul.h, and what follows the sums. */
#include <stdio.h>
#include <tenon/ops/linear.h>

#include "lib/act.h"
#include "lib/matmul.h"

/* Computed once by the plan; lives in cpu_plan.state. */
struct linear_state {
    struct matmul product;
    int64_t residual_row;
    struct act act;
};

struct linear_run {
    const struct cpu_plan *plan;
    const struct linear_state *state;
    void *const *ptr;
};

/* y[m][n0 .. n0 + n) from sums. */
static void matmul_emit(const struct matmul_run *product, int64_t m, int64_t n0, int64_t n, float *sum)
{
    const struct linear_run *run = product->context;
    const struct linear_state *s = run->state;
    const struct tenon_tensor *t = run->plan->tensor;
    const float *bias = run->ptr[TENON_LINEAR_BIAS];
    const void *residual = run->ptr[TENON_LINEAR_RESIDUAL];
    const uint32_t type = t[TENON_LINEAR_Y].dtype;
    if (bias)
        for (int64_t i = 0; i < n; i += VF)
            vf_store(sum + i, vf_add(vf_load(sum + i), pack_load_n(TENON_F32, bias, n0 + i, n - i)));
    act_apply(&s->act, sum, n);
    const int64_t from = residual ? matmul_row(&t[TENON_LINEAR_RESIDUAL], s->residual_row, m) + n0 : 0;
    const int64_t to = matmul_row(&t[TENON_LINEAR_Y], s->product.y_row, m) + n0;
    for (int64_t i = 0; i < n; i += VF) {
        vf v = vf_load(sum + i);
        if (residual) /* the same memory as y, perhaps: read just before y is written */
            v = vf_add(v, pack_load_n(t[TENON_LINEAR_RESIDUAL].dtype, residual, from + i, n - i));
        pack_store_n(type, run->ptr[TENON_LINEAR_Y], to + i, v, n - i);
    }
}

static int32_t linear_plan(struct cpu_plan *plan)
{
    const struct tenon_linear_params *p = (const void *)plan->params;
    const struct tenon_tensor *t = plan->tensor, *x = &t[TENON_LINEAR_X], *w = &t[TENON_LINEAR_W];
    const struct tenon_tensor *scale = &t[TENON_LINEAR_W_SCALE];
    struct linear_state *s = (void *)plan->state;
    struct matmul *product = &s->product;
    _Static_assert(sizeof *s <= sizeof plan->state, "the state fits the plan");
    *s = (struct linear_state){.act = {p->act, p->alpha, p->threshold}};
    *product = (struct matmul){.m = 1,
                               .n = p->trans_w ? w->dim[1] : w->dim[0],
                               .k = p->trans_x ? x->dim[0] : x->dim[x->rank - 1],
                               .x_type = x->dtype,
                               .w_type = w->dtype,
                               .y_type = t[TENON_LINEAR_Y].dtype,
                               .trans_x = p->trans_x,
                               .trans_w = p->trans_w,
                               .x_row = p->trans_x ? x->stride[0] : matmul_row_stride(x),
                               .w_row = w->stride[0],
                               .y_row = matmul_row_stride(&t[TENON_LINEAR_Y])};
    if (p->trans_x)
        product->m = x->dim[1];
    else
        for (uint32_t d = 0; d + 1 < x->rank; d++)
            product->m *= x->dim[d];
    const int64_t groups = scale->dtype == TENON_ABSENT || scale->rank < 2 || scale->dim[1] < 1 ? 1 : scale->dim[1];
    product->scale_stride = scale->dtype == TENON_ABSENT ? 0 : scale->stride[0];
    product->group = product->k / groups;
    s->residual_row = t[TENON_LINEAR_RESIDUAL].dtype ? matmul_row_stride(&t[TENON_LINEAR_RESIDUAL]) : 0;
    const char *path = matmul_plan(plan->env, product);
    plan->workspace = product->workspace;
    snprintf(plan->impl, sizeof plan->impl, "%s: %s, %u workers", CPU_ISA_NAME, path, product->workers);
    return TENON_OK;
}

static void linear_run(const struct cpu_plan *plan, void *const *ptr, void *workspace)
{
    const struct linear_state *s = (const void *)plan->state;
    const struct linear_run run = {.plan = plan, .state = s, .ptr = ptr};
    struct matmul_run product = {.plan = &s->product,
                                 .env = plan->env,
                                 .x_tensor = &plan->tensor[TENON_LINEAR_X],
                                 .y_tensor = &plan->tensor[TENON_LINEAR_Y],
                                 .x = ptr[TENON_LINEAR_X],
                                 .w = ptr[TENON_LINEAR_W],
                                 .scale = ptr[TENON_LINEAR_W_SCALE],
                                 .y = ptr[TENON_LINEAR_Y],
                                 .context = &run,
                                 .workspace = workspace};
    matmul(&product);
}

const struct cpu_op CPU_OP_TABLE(linear);
const struct cpu_op CPU_OP_TABLE(linear) = {
    .op = TENON_OPNUM_linear,
    .plan = linear_plan,
    .run = linear_run,
};

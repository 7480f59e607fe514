/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * linear on the CPU. The path depends on shapes; the bits of a row do not depend on the path (lib/product.h). */
#include "ops/linear_cpu.h"
#include "ops/linear_cpu_columns.h"
#include "ops/linear_cpu_dot.h"
#include "ops/linear_cpu_packed.h"

/* The one stride of the rows of t, or LINEAR_FOLDED. */
static int64_t linear_row_stride(const struct tenon_tensor *t)
{
    int64_t stride = 0, next = 0;
    int found = 0;
    for (uint32_t d = t->rank - 1; d-- > 0;) {
        if (t->dim[d] == 1)
            continue;
        if (found && t->stride[d] != next)
            return LINEAR_FOLDED;
        if (!found)
            stride = t->stride[d];
        found = 1;
        next = t->stride[d] * t->dim[d];
    }
    return stride;
}

static void linear_scales(const struct cpu_plan *plan, struct linear_state *s)
{
    const struct tenon_tensor *t = &plan->tensor[TENON_LINEAR_W_SCALE];
    const int64_t groups = t->dtype == TENON_ABSENT || t->rank < 2 || t->dim[1] < 1 ? 1 : t->dim[1];
    s->scale_stride = t->dtype == TENON_ABSENT ? 0 : t->stride[0];
    s->group = s->k / groups > 0 ? s->k / groups : 1;
}

static int32_t linear_plan(struct cpu_plan *plan)
{
    const struct tenon_linear_params *p = (const void *)plan->params;
    const struct tenon_tensor *t = plan->tensor, *x = &t[TENON_LINEAR_X], *w = &t[TENON_LINEAR_W];
    struct linear_state *s = (void *)plan->state;
    _Static_assert(sizeof *s <= sizeof plan->state, "the state fits the plan");
    *s = (struct linear_state){.m = 1, .act = {p->act, p->alpha, p->threshold}, .workers = 1};
    s->k = p->trans_x ? x->dim[0] : x->dim[x->rank - 1];
    s->n = p->trans_w ? w->dim[1] : w->dim[0];
    if (p->trans_x)
        s->m = x->dim[1];
    else
        for (uint32_t d = 0; d + 1 < x->rank; d++)
            s->m *= x->dim[d];
    s->depth = (s->k + PRODUCT_LANES - 1) / PRODUCT_LANES * PRODUCT_LANES;
    s->x_row = p->trans_x ? x->stride[0] : linear_row_stride(x);
    s->w_row = w->stride[0];
    s->y_row = linear_row_stride(&t[TENON_LINEAR_Y]);
    s->residual_row = t[TENON_LINEAR_RESIDUAL].dtype ? linear_row_stride(&t[TENON_LINEAR_RESIDUAL]) : 0;
    linear_scales(plan, s);
    /* Cycles, roughly: below some 10 us a parallel region costs more than it saves. */
    const double cost = (double)s->m * (double)s->n * (double)s->k / (2 * VF) +
                        (double)s->n * (double)s->k * TENON_DTYPE_SIZE(w->dtype) / 8;
    if (cost > 30000)
        s->workers = plan->env->threads;
    plan->workspace = 0;
    const char *path = "empty";
    if (s->m == 0 || s->n == 0 || s->k == 0) {
        s->path = LINEAR_EMPTY;
    } else if (s->m <= (p->trans_w ? COLUMNS_M : LINEAR_DOT_ROWS)) {
        s->path = p->trans_w ? LINEAR_COLUMNS : LINEAR_DOT;
        linear_dot_plan(plan, s);
        path = p->trans_w ? "in place, columns" : "in place";
    } else {
        s->path = LINEAR_PACKED;
        linear_packed_plan(plan, s);
        path = "packed";
    }
    snprintf(plan->impl, sizeof plan->impl, "%s: %s, %u workers", CPU_ISA_NAME, path, s->workers);
    return TENON_OK;
}

/* K == 0: every sum is 0. */
static void linear_empty_run(const struct linear_run *run)
{
    const struct linear_state *s = run->state;
    for (int64_t m = 0; m < s->m; m++)
        for (int64_t n = 0; n < s->n; n += PRODUCT_NR) {
            float sum[PRODUCT_NR] = {0};
            linear_emit(run, m, n, s->n - n < PRODUCT_NR ? s->n - n : PRODUCT_NR, sum);
        }
}

static void linear_run(const struct cpu_plan *plan, void *const *ptr, void *workspace)
{
    const struct linear_state *s = (const void *)plan->state;
    struct linear_run run = {.plan = plan, .state = s, .ptr = ptr, .workspace = workspace};
    switch (s->path) {
    case LINEAR_DOT:
        linear_dot_run(&run);
        break;
    case LINEAR_COLUMNS:
        linear_columns_run(&run);
        break;
    case LINEAR_PACKED:
        linear_packed_run(&run);
        break;
    default:
        linear_empty_run(&run);
    }
}

const struct cpu_op CPU_OP_TABLE(linear);
const struct cpu_op CPU_OP_TABLE(linear) = {
    .op = TENON_OPNUM_linear,
    .plan = linear_plan,
    .run = linear_run,
};

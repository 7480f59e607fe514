/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Sites of sparse_ffn: sparsifiers of rows of floats, in place. A row is one task's; a token is not cut. */
#ifndef TENON_SPARSE_FFN_CPU_SITE_H
#define TENON_SPARSE_FFN_CPU_SITE_H

#include "lib/sparsifier.h"
#include "ops/sparse_ffn_cpu.h"

#define TASKS_PER_THREAD 4

SPARSIFIER_TYPE(f32, TENON_F32)
static const struct sparsifier_sweeps site_sweeps = SPARSIFIER_SWEEPS(f32, TENON_F32);

struct site {
    const struct sparse_run *run;
    struct sparsifier rule;
    const float *t, *wgt;
    float *v; /* [n, stride] */
    int64_t width, stride, n;
    uint64_t bytes; /* of workspace of a task */
    uint32_t tasks;
};

static const struct tenon_sparse_ffn_site *site_of(const struct cpu_plan *plan, uint32_t i)
{
    return tenon_sparse_ffn_site_at(params_of(plan), i);
}

static uint64_t site_tasks(const struct cpu_plan *plan, int64_t n)
{
    const int64_t most = (int64_t)plan->env->threads * TASKS_PER_THREAD;
    return (uint64_t)(n < most ? n : most);
}

/* A task of site i needs that many bytes of workspace: those of a cut. */
static uint64_t site_bytes(const struct cpu_plan *plan, uint32_t i, int64_t width)
{
    return site_of(plan, i)->kind == TENON_SPARSE_FFN_TOPK || site_of(plan, i)->kind == TENON_SPARSE_FFN_STAT_TOPK
               ? (select_row_bytes(width, 1) + 63) / 64 * 64
               : 0;
}

static void site_keys(const void *context, int64_t row, int64_t c0, int64_t c1, int32_t *keys)
{
    (void)row;
    site_sweeps.keys(context, c0, c1, keys);
}

static void site_task(void *context, uint32_t i)
{
    const struct site *s = context;
    const int64_t from = s->n * i / s->tasks, to = s->n * (i + INT64_C(1)) / s->tasks;
    for (int64_t t = from; t < to; t++) {
        float *v = s->v + t * s->stride;
        struct row r = {.x = v,
                        .y = v,
                        .t_col = s->t,
                        .wgt = s->wgt,
                        .t = s->rule.t,
                        .cap = s->rule.cap,
                        .key = ORDER_NAN,
                        .by_abs = s->rule.by_abs};
        if (s->rule.cut) {
            struct select_row select = {.tasks = 1,
                                        .memory = (unsigned char *)s->run->workspace + s->run->s->sub + i * s->bytes,
                                        .rows = 1,
                                        .cols = s->width,
                                        .k = s->rule.k,
                                        .keys = site_keys,
                                        .context = &r};
            set_cut(&r, select_row(&select));
        }
        if (s->rule.stat)
            theta_row(&s->rule, &site_sweeps, &r, s->width);
        if (r.equal > 0)
            site_sweeps.sweep[s->rule.how](&r, 0, s->width);
        else
            site_sweeps.map[s->rule.how](&r, 0, s->width);
    }
}

/* Of rows of `width` floats, as far apart as whole lanes, in place. */
static void site_inside(const struct sparse_run *run, uint32_t i, float *v, int64_t width)
{
    const struct tenon_sparse_ffn_site *of = site_of(run->plan, i);
    if (of->kind == TENON_SPARSE_FFN_NONE)
        return;
    const struct sparsifier_rule rule = tenon__sparse_ffn_rule(of);
    struct site s = {.run = run,
                     .rule = sparsifier_of(&rule, width),
                     .t = run->ptr[TENON_SPARSE_FFN_T_XG + i],
                     .wgt = run->ptr[TENON_SPARSE_FFN_WGT_XG + i],
                     .v = v,
                     .width = width,
                     .stride = lanes_up(width),
                     .n = run->n,
                     .bytes = site_bytes(run->plan, i, width),
                     .tasks = (uint32_t)site_tasks(run->plan, run->n)};
    sparse_pieces(run, (double)(run->n * width) * 4, s.tasks, site_task, &s);
}

#endif

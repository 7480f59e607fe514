/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * attention on the CPU: online over tiles of keys; nothing grows with the number of keys but, for few queries, what is
 * kept of splits that workers share. */
#include "ops/attention_cpu_item.h"

#define ATT_ITEM_BYTES (2u << 20) /* of the rows of an item: they stay in L2 */
#define ATT_PART_BYTES (8u << 20)
#define ATT_JOINED     16384 /* numbers of splits that one worker joins */

static int64_t att_up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}

static int64_t att_common(int64_t a, int64_t b)
{
    return b ? att_common(b, a % b) : a;
}

static void att_plan_shape(const struct cpu_plan *plan, struct att_state *s)
{
    const struct tenon_attention_params *p = (const void *)plan->params;
    const struct tenon_tensor *t = plan->tensor, *q = &t[TENON_ATTENTION_Q], *k = &t[TENON_ATTENTION_K];
    const int paged = t[TENON_ATTENTION_PAGE_TABLE].dtype != TENON_ABSENT;
    *s = (struct att_state){.b = q->dim[0],
                            .t = q->dim[1],
                            .hq = q->dim[2],
                            .hk = k->dim[paged ? 1 : 2],
                            .d = q->dim[3],
                            .v = t[TENON_ATTENTION_O].dim[3],
                            .page = paged ? k->dim[2] : 0,
                            .packed = t[TENON_ATTENTION_CU_Q].dtype != TENON_ABSENT,
                            .kind = p->ring                            ? ATT_RING
                                    : t[TENON_ATTENTION_ROW_PTR].dtype ? ATT_LIST
                                                                       : ATT_DENSE,
                            .k_type = k->dtype,
                            .v_type = t[TENON_ATTENTION_V].dtype,
                            .workers = 1};
    s->s = paged ? t[TENON_ATTENTION_PAGE_TABLE].dim[1] * s->page : k->dim[1];
    s->sequences = s->packed ? t[TENON_ATTENTION_CU_Q].dim[0] - 1 : s->b;
    s->scale = p->scale == 0.0f ? (float)(1.0 / sqrt((double)s->d)) : p->scale;
    s->plain = p->softcap == 0.0f && p->smax >= 0x1.fffffep+127f && !p->adapt && !t[TENON_ATTENTION_SLOPE].dtype &&
               !t[TENON_ATTENTION_FCUM].dtype && !t[TENON_ATTENTION_MASK].dtype && !t[TENON_ATTENTION_LOGW].dtype;
    s->dp = att_up(s->d, 16);
    s->vp = att_up(s->v, VF);
    s->unit = s->hk ? s->hq / s->hk : 1;
    if (s->kind == ATT_LIST) {
        s->hg = t[TENON_ATTENTION_ROW_PTR].dim[1];
        s->nq = t[TENON_ATTENTION_ROW_PTR].dim[2] - 1;
        s->nnz = t[TENON_ATTENTION_COL].dim[0];
        s->unit = s->hg ? att_common(s->unit, s->hq / s->hg) : 1;
    }
    s->unit = att_most(s->unit, 1);
}

/* What codes mean: rows with one affine pair, and whether v can be read where it is. */
static void att_plan_codes(const struct cpu_plan *plan, struct att_state *s)
{
    const struct tenon_attention_params *p = (const void *)plan->params;
    const struct tenon_tensor *t = plan->tensor;
    s->whole_k = p->quant_k == TENON_ATTENTION_AFFINE_TOKEN && t[TENON_ATTENTION_K_QUANT].dim[3] == 1;
    s->whole_v = p->quant_v == TENON_ATTENTION_AFFINE_TOKEN && t[TENON_ATTENTION_V_QUANT].dim[3] == 1;
    s->in_place = !p->quant_v || (p->v_bits == 8 && (p->quant_v == TENON_ATTENTION_AFFINE_CHANNEL || s->whole_v));
}

/* Items, and who shares them. */
static void att_plan_items(const struct cpu_plan *plan, struct att_state *s)
{
    const struct tenon_attention_params *p = (const void *)plan->params;
    const struct tenon_tensor *t = plan->tensor;
    const int64_t row = (s->dp + 2 * s->vp) * (int64_t)sizeof(float);
    att_plan_codes(plan, s);
    const int64_t most = att_least(ATT_ROWS, att_most(PANEL_MR, ATT_ITEM_BYTES / row / PANEL_MR * PANEL_MR));
    const double cost = (double)s->b * (double)s->t * (double)s->hq * (double)s->s * (double)(s->d + s->v + 16);
    if (cost / (2 * VF) > 30000)
        s->workers = plan->env->threads;
    s->heads = att_least(s->unit, most);
    s->queries = att_most(1, att_least(most / s->heads, s->t));
    const int64_t runs = s->hq / s->unit * ((s->unit + s->heads - 1) / s->heads);
    s->runs = runs;
    s->together = 1;
    while (s->workers > 1 && s->queries > 2 * PANEL_MR &&
           s->b * runs * ((s->t + s->queries - 1) / s->queries) < 4 * (int64_t)s->workers)
        s->queries = (s->queries + 1) / 2;
    const int64_t items = s->b * runs * ((s->t + s->queries - 1) / s->queries);
    const int64_t parts = (s->s + TENON_ATTENTION_SPLIT - 1) / TENON_ATTENTION_SPLIT;
    const double bytes =
        (double)s->b * (double)s->t * (double)s->hq * (double)parts * (double)(s->vp + 4) * sizeof(float);
    if (s->kind == ATT_DENSE && !s->packed && !p->post && !p->adapt && !p->unified && s->workers > 1 && parts > 1 &&
        items < 8 * (int64_t)s->workers && bytes <= ATT_PART_BYTES)
        s->parts = parts;
    /* few rows: the heads of a key, which lie side by side, are read together */
    const int one = !t[TENON_ATTENTION_KEEP].dtype || t[TENON_ATTENTION_KEEP].dim[1] == 1;
    if (s->kind == ATT_DENSE && !s->packed && !s->page && one && s->unit == s->heads && s->queries >= s->t)
        s->together = att_most(1, att_least(runs, most / att_most(1, s->heads * s->t)));
    while (s->together > 1 && s->workers > 1 &&
           s->b * ((runs + s->together - 1) / s->together) * att_most(1, s->parts) < 2 * (int64_t)s->workers)
        s->together = (s->together + 1) / 2;
}

static uint64_t att_take(uint64_t *used, uint64_t bytes)
{
    const uint64_t at = *used;
    *used += (bytes + 63) / 64 * 64;
    return at;
}

static int32_t att_plan(struct cpu_plan *plan)
{
    struct att_state *s = (void *)plan->state;
    const uint64_t size = sizeof(float);
    _Static_assert(sizeof *s <= sizeof plan->state, "the state fits the plan");
    att_plan_shape(plan, s);
    att_plan_items(plan, s);
    const uint64_t rows = (uint64_t)(s->heads * s->queries * s->together), dp = (uint64_t)s->dp, vp = (uint64_t)s->vp;
    const uint64_t sequences = (uint64_t)s->sequences + 3;
    const int quant = plan->tensor[TENON_ATTENTION_K].dtype == TENON_U8;
    s->in_row = att_take(&s->worker_bytes, rows * sizeof(struct att_row));
    s->in_q = att_take(&s->worker_bytes, rows * dp * size);
    s->in_o = att_take(&s->worker_bytes, rows * vp * size);
    s->in_all = att_take(&s->worker_bytes, rows * vp * size);
    s->in_k = att_take(&s->worker_bytes, dp * ATT_TILE * size);
    s->in_v = att_take(&s->worker_bytes, vp * ATT_TILE * size);
    s->in_wide = att_take(&s->worker_bytes, quant ? dp * VF * size : 0);
    s->in_k_channel = att_take(&s->worker_bytes, quant ? 2 * dp * size : 0);
    s->in_v_channel = att_take(&s->worker_bytes, plan->tensor[TENON_ATTENTION_V].dtype == TENON_U8 ? 2 * vp * size : 0);
    s->in_fcum = att_take(&s->worker_bytes, (uint64_t)s->heads * ATT_TILE * size);
    plan->workspace = 0;
    s->at_starts = att_take(&plan->workspace, sequences * sizeof(int64_t));
    s->at_cq = att_take(&plan->workspace, s->packed ? sequences * sizeof(int64_t) : 0);
    s->at_ck = att_take(&plan->workspace, s->packed ? sequences * sizeof(int64_t) : 0);
    s->at_parts =
        att_take(&plan->workspace,
                 s->parts ? (uint64_t)(s->b * s->t * s->hq * s->parts) * (vp * size + sizeof(struct att_sums)) : 0);
    s->at_workers = att_take(&plan->workspace, s->workers * s->worker_bytes);
    snprintf(plan->impl, sizeof plan->impl, "%s: %u rows a tile, %s spread", CPU_ISA_NAME, (unsigned)rows,
             s->parts ? "splits" : "rows");
    return TENON_OK;
}

/* ---- run ---- */

static void att_work_on(struct att_run *run, uint32_t worker, int64_t units,
                        void (*fn)(struct att_work *w, int64_t unit))
{
    const struct att_state *s = run->state;
    char *own = run->workspace + s->at_workers + worker * s->worker_bytes;
    float score[PANEL_MR * ATT_TILE] __attribute__((aligned(64)));
    struct att_work w = {.run = run,
                         .rows_of = (struct att_row *)(void *)(own + s->in_row),
                         .q_of = (float *)(void *)(own + s->in_q),
                         .o_of = (float *)(void *)(own + s->in_o),
                         .all_of = (float *)(void *)(own + s->in_all),
                         .k = (float *)(void *)(own + s->in_k),
                         .v = (float *)(void *)(own + s->in_v),
                         .widened = (float *)(void *)(own + s->in_wide),
                         .fcum_k = (float *)(void *)(own + s->in_fcum),
                         .k_channel = (float *)(void *)(own + s->in_k_channel),
                         .v_channel = (float *)(void *)(own + s->in_v_channel),
                         .score = score};
    w.tile = w.next = w.tiles;
    att_open_lines(&w);
    w.codes[0].hk = w.codes[1].hk = -1;
    for (;;) {
        const int64_t i = (int64_t)atomic_fetch_add_explicit(&run->next, 1, memory_order_relaxed);
        if (i >= units)
            return;
        fn(&w, i);
    }
}

static void att_items_worker(void *context, uint32_t worker)
{
    struct att_run *run = context;
    att_work_on(run, worker, run->items, att_item);
}

static void att_splits_worker(void *context, uint32_t worker)
{
    struct att_run *run = context;
    att_work_on(run, worker, run->items * run->state->parts, att_split);
}

static void att_gather_worker(void *context, uint32_t worker)
{
    struct att_run *run = context;
    att_work_on(run, worker, run->items, att_gather);
}

static void att_parallel(struct att_run *run, uint32_t workers, void (*fn)(void *context, uint32_t worker))
{
    const struct tenon_host *host = run->plan->env->host;
    atomic_store(&run->next, 0);
    if (workers > 1)
        host->parallel(host, workers, fn, run);
    else
        fn(run, 0);
}

/* Entries of pages and lists that are out of range. */
static uint32_t att_count_pages(const struct att_run *run)
{
    const struct att_state *s = run->state;
    const int32_t *table = run->ptr[TENON_ATTENTION_PAGE_TABLE];
    const int64_t pages = run->plan->tensor[TENON_ATTENTION_K].dim[0], most = s->page ? s->s / s->page : 0;
    uint32_t n = 0;
    for (int64_t i = 0; s->page && i < s->sequences; i++) {
        const struct att_seq seq = att_sequence(run, i);
        const int64_t used = (att_least(seq.len, s->s) + s->page - 1) / s->page;
        for (int64_t j = 0; j < used; j++)
            n += table[i * most + j] < -1 || table[i * most + j] >= pages;
    }
    return n;
}

static uint32_t att_count_list(struct att_run *run)
{
    const struct att_state *s = run->state;
    const int32_t *row_ptr = run->ptr[TENON_ATTENTION_ROW_PTR];
    struct att_work w = {.run = run};
    uint32_t n = 0;
    for (int64_t g = 0; s->kind == ATT_LIST && g < s->b * s->hg; g++)
        for (int64_t i = 0; i < s->nq; i++) {
            const int64_t r = g * (s->nq + 1) + i;
            w.list = w.cursor = att_clamp(row_ptr[r], 0, s->nnz);
            w.list_end = att_clamp(row_ptr[r + 1], w.list, s->nnz);
            w.seen = -1;
            n += w.list != row_ptr[r] || w.list_end != row_ptr[r + 1];
            for (int64_t e = w.list; e < w.list_end; e++)
                n += att_entry(&w, e) < 0;
        }
    return n;
}

static uint32_t att_count_lengths(const struct att_run *run)
{
    const struct att_state *s = run->state;
    const int32_t *kv_len = run->ptr[TENON_ATTENTION_KV_LEN];
    uint32_t n = 0;
    for (int64_t i = 0; kv_len && i < s->sequences; i++)
        n += kv_len[i] < 0 || (s->kind != ATT_RING && kv_len[i] > att_sequence(run, i).sn);
    return n;
}

static void att_run(const struct cpu_plan *plan, void *const *ptr, void *workspace)
{
    const struct att_state *s = (const void *)plan->state;
    struct att_run run = {
        .plan = plan, .state = s, .p = (const void *)plan->params, .ptr = ptr, .workspace = workspace};
    uint32_t changed = 0, *flags = ptr[TENON_ATTENTION_FLAGS];
    const int64_t sequences = s->sequences + (s->packed ? 2 : 0);
    run.starts = (int64_t *)(void *)(run.workspace + s->at_starts);
    run.cq = run.ck = (int64_t *)(void *)(run.workspace + s->at_cq);
    atomic_init(&run.next, 0);
    atomic_init(&run.nans, 0);
    atomic_init(&run.empty, 0);
    if (s->packed) {
        changed += att_mend(ptr[TENON_ATTENTION_CU_Q], s->sequences, s->t, run.cq);
        if (ptr[TENON_ATTENTION_CU_K]) {
            run.ck = (int64_t *)(void *)(run.workspace + s->at_ck);
            changed += att_mend(ptr[TENON_ATTENTION_CU_K], s->sequences, s->s, run.ck);
        }
    }
    const int64_t each = (s->runs + s->together - 1) / s->together;
    for (int64_t i = 0; i < sequences; i++) {
        run.starts[i] = run.items;
        run.items += att_blocks(&run, att_sequence(&run, i).tn) * (s->runs ? each : 0);
    }
    if (s->parts) {
        /* a few kilobytes are joined before another worker has heard of it */
        const int64_t joined = s->b * s->t * s->hq * s->parts * s->vp;
        att_parallel(&run, s->workers, att_splits_worker);
        att_parallel(&run, joined <= ATT_JOINED ? 1 : s->workers, att_gather_worker);
    } else if (run.items) {
        att_parallel(&run, s->workers, att_items_worker);
    }
    if (flags) {
        flags[0] = (uint32_t)atomic_load(&run.nans);
        flags[1] = (uint32_t)atomic_load(&run.empty);
        flags[2] = 0;
        flags[3] = changed + att_count_lengths(&run) + att_count_pages(&run) + att_count_list(&run);
    }
}

const struct cpu_op CPU_OP_TABLE(attention);
const struct cpu_op CPU_OP_TABLE(attention) = {
    .op = TENON_OPNUM_attention,
    .plan = att_plan,
    .run = att_run,
};

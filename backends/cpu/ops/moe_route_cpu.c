/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * moe_route on the CPU: the plan, and how tokens, and the experts of EXPERT_CHOICE, are shared out. */
#include <stdio.h>

#include "moe_route_cpu_tile.h"
#include "moe_route_cpu_weights.h"

#define TASKS_PER_THREAD 4
#define SMALL_WORK       (1 << 14) /* logits not worth waking threads for */

static uint64_t round_up(uint64_t n)
{
    return (n + 63) & ~UINT64_C(63);
}

/* Where the arrays of a task are; returns the bytes in all. memory may be NULL: only these. */
static uint64_t slot_layout(const struct route *r, unsigned char *memory, struct slot *s)
{
    const uint64_t n = (uint64_t)r->padded + PAD, pairs = (uint64_t)r->pairs;
    const uint64_t slots = (uint64_t)r->p.k + r->p.hier_k1 + PAD, widest = slots > n ? slots : n;
    const struct {
        void *at;
        uint64_t bytes;
    } table[] = {
        {&s->z, n * 4},          {&s->clean, n * 4},     {&s->noisy, n * 4},  {&s->s, n * 4},
        {&s->prob, n * 4},       {&s->key, pairs * 4},   {&s->key2, pairs * 4}, {&s->idx, slots * 4},
        {&s->w, widest * 4},     {&s->pair, pairs * 8},  {&s->count1, n * 4}, {&s->count_k, n * 4},
        {&s->p_high, n * 4},     {&s->p_low, n * 4},     {&s->p, n * 8},
        {&s->picked, r->tiled ? (uint64_t)TOKENS * r->p.k * 4 : 0},
    };
    uint64_t offset = round_up(sizeof *s);
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        void *at = memory ? memory + offset : NULL;
        memcpy(table[i].at, &at, sizeof at);
        offset += round_up(table[i].bytes);
    }
    return offset;
}

static struct slot *slot_at(const struct run *run, uint32_t i)
{
    return (struct slot *)(void *)(run->workspace + i * run->r->slot);
}

static struct slot *slot_begin(const struct run *run, uint32_t i)
{
    const struct route *r = run->r;
    struct slot *s = slot_at(run, i);
    memset(s, 0, sizeof *s);
    slot_layout(r, (unsigned char *)s, s);
    if (r->counts || r->stats) {
        memset(s->count1, 0, (size_t)r->padded * sizeof *s->count1);
        memset(s->count_k, 0, (size_t)r->padded * sizeof *s->count_k);
    }
    if (r->stats) {
        memset(s->p, 0, (size_t)r->padded * sizeof *s->p);
        fold_p(r, s);
        memset(s->p, 0, (size_t)r->padded * sizeof *s->p);
    }
    return s;
}

/* ---- one token ---- */

static int token_valid(const struct run *run, int64_t t)
{
    const uint8_t *valid = run->ptr[TENON_MOE_ROUTE_TOKEN_VALID];
    return !valid || valid[t];
}

static int zsel_nan(const struct run *run, int64_t t)
{
    const struct tenon_moe_route_params *p = &run->r->p;
    const float *x = run->ptr[TENON_MOE_ROUTE_ZSEL];
    int64_t bits = 0;
    int nan = 0;
    while (INT64_C(1) << bits < (int64_t)p->experts)
        bits++;
    for (int64_t i = 0; x && i < run->r->columns * bits; i++)
        nan |= x[t * run->r->columns * bits + i] != x[t * run->r->columns * bits + i];
    return nan;
}

/* Logits and scores, and what kind of row it is. */
static void score_token(const struct run *run, int64_t t, struct slot *s, struct token *k, int bad)
{
    const struct route *r = run->r;
    int nan, empty;
    make_logits(run, t, s);
    k->top = row_top(s->z, r->padded, &nan);
    k->odd = nan || k->top == INFINITY;
    k->bad = bad || nan || (k->odd && r->needs_finite);
    empty = k->top == MINUS_INF;
    if (r->p.hier_g) {
        const float *x = (const float *)run->ptr[TENON_MOE_ROUTE_GROUP_LOGITS] + t * r->group_row;
        int none = 1;
        for (uint32_t g = 0; g < r->p.hier_g; g++) {
            const float z = x[g] * r->p.inv_temp;
            k->bad |= z != z || z == INFINITY;
            none &= z == MINUS_INF;
        }
        empty |= none;
    }
    if (r->p.select == TENON_MOE_ROUTE_DSELECT)
        k->bad |= zsel_nan(run, t);
    k->empty = !k->bad && empty;
    if (!r->reads)
        k->bad = k->empty = 0;
    make_scores(r, s, k);
    if (r->clean)
        clean_softmax(r, s, k);
}

static void select_token(const struct run *run, int64_t t, struct slot *s, struct token *k)
{
    const struct route *r = run->r;
    switch (r->p.select) {
    case TENON_MOE_ROUTE_TOPK:
        if (r->p.hier_g)
            select_levels(run, s, t, k);
        else
            select_topk(run, s, k);
        break;
    case TENON_MOE_ROUTE_TABLE: select_table(run, s, t, k); break;
    case TENON_MOE_ROUTE_RANDOM: select_random(r, s, t); break;
    case TENON_MOE_ROUTE_PREFIX: select_prefix(run, s, t, k); break;
    case TENON_MOE_ROUTE_DSELECT: select_soft(run, s, t, k); break;
    default: select_by_id(run, s, k);
    }
}

static void no_experts(const struct route *r, struct slot *s)
{
    memset(s->idx, 0xff, r->p.k * sizeof *s->idx);
    memset(s->w, 0, r->p.k * sizeof *s->w);
}

static void route_token(const struct run *run, int64_t t, struct slot *s, struct losses *l, int bad,
                        const int32_t *picked)
{
    const struct route *r = run->r;
    struct token k = {.top = MINUS_INF, .picked = picked};
    const int valid = token_valid(run, t);
    if (valid && (r->reads || r->stats))
        score_token(run, t, s, &k, bad);
    no_experts(r, s);
    if (valid && !(k.bad && r->p.nan_policy == TENON_MOE_ROUTE_DROP)) {
        select_token(run, t, s, &k);
        if (has(run, TENON_MOE_ROUTE_W))
            make_weights(run, s, &k);
    }
    put_token(run, s, t);
    if (!valid)
        return;
    add_flags(r, s, &k);
    if (r->stats)
        add_losses(r, s, &k, l);
}

static int64_t share_of(int64_t n, uint32_t tasks, uint32_t i)
{
    return n / tasks * i + (n % tasks < i ? n % tasks : i);
}

static void tokens_task(void *context, uint32_t i)
{
    const struct run *run = context;
    const struct route *r = run->r;
    const int64_t from = share_of(r->tiles, r->tasks, i), to = share_of(r->tiles, r->tasks, i + 1);
    const int bad = bad_side(run);
    struct slot *s = slot_begin(run, i);
    for (int64_t tile = from; tile < to; tile++) {
        struct losses l = {0};
        const int64_t end = (tile + 1) * TOKENS < r->tokens ? (tile + 1) * TOKENS : r->tokens;
        const int64_t begin = tile * TOKENS, picked = pick_tile(run, begin, end, s);
        for (int64_t t = begin; t < end; t++)
            route_token(run, t, s, &l, bad, t - begin < picked ? s->picked + (t - begin) * r->p.k : NULL);
        if (r->stats)
            ((struct losses *)(void *)(run->workspace + r->losses))[tile] = l;
    }
    if (r->stats)
        fold_p(r, s);
}

/* ---- EXPERT_CHOICE: the scores of all, then the experts choose, then the tokens hear ---- */

/* The least that an expert took. */
struct cut {
    int32_t key, index;
};

static void choice_scores(void *context, uint32_t i)
{
    const struct run *run = context;
    const struct route *r = run->r;
    const int64_t from = share_of(r->tiles, r->tasks, i), to = share_of(r->tiles, r->tasks, i + 1);
    float *dense = (float *)(void *)(run->workspace + r->dense);
    uint8_t *odd = run->workspace + r->odd;
    struct slot *s = slot_begin(run, i);
    for (int64_t tile = from; tile < to; tile++) {
        struct losses l = {0};
        const int64_t end = (tile + 1) * TOKENS < r->tokens ? (tile + 1) * TOKENS : r->tokens;
        for (int64_t t = tile * TOKENS; t < end; t++) {
            struct token k = {.top = MINUS_INF};
            const int valid = token_valid(run, t);
            if (valid)
                score_token(run, t, s, &k, 0);
            odd[t] = (uint8_t)k.bad;
            const int none = !valid || (k.bad && r->p.nan_policy == TENON_MOE_ROUTE_DROP);
            for (int64_t e = 0; e < r->columns; e++)
                dense[t * r->columns + e] = none || s->z[e] == MINUS_INF ? MINUS_INF : s->s[e];
            if (valid) {
                add_flags(r, s, &k);
                if (r->stats)
                    add_losses(r, s, &k, &l);
            }
        }
        if (r->stats)
            ((struct losses *)(void *)(run->workspace + r->losses))[tile] = l;
    }
    if (r->stats)
        fold_p(r, s);
}

static float choice_weight(const struct run *run, int64_t t, int64_t e)
{
    const struct route *r = run->r;
    const float w = ((const float *)(const void *)(run->workspace + r->dense))[t * r->columns + e];
    if ((run->workspace + r->odd)[t])
        return NAN;
    return r->p.scale == 1.0f ? w : normal_or_0(w * r->p.scale);
}

static void choice_experts(void *context, uint32_t i)
{
    const struct run *run = context;
    const struct route *r = run->r;
    const float *dense = (const float *)(const void *)(run->workspace + r->dense);
    struct cut *cuts = (struct cut *)(void *)(run->workspace + r->cuts);
    struct slot *s = slot_at(run, i);
    for (int64_t e = share_of(r->columns, r->choice_tasks, i); e < share_of(r->columns, r->choice_tasks, i + 1); e++) {
        for (int64_t t = 0; t < r->tokens; t++) {
            const float c = dense[t * r->columns + e];
            s->key[t] = c != c ? KEY_NAN : c == MINUS_INF ? KEY_NONE : order_key(c);
        }
        const int64_t cap = r->p.cap, n = cap ? best_pairs(s->key, r->tokens, cap, s->key2, s->pair) : 0;
        cuts[e] = (struct cut){ORDER_ABOVE, -1};
        if (n) {
            const int32_t least = (int32_t)(0xffffffffu - (uint32_t)s->pair[n - 1]);
            cuts[e] = (struct cut){s->key[least], least};
        }
        for (int64_t j = 0; j < cap; j++) {
            const int32_t t = j < n ? (int32_t)(0xffffffffu - (uint32_t)s->pair[j]) : -1;
            if (has(run, TENON_MOE_ROUTE_SEL))
                ((int32_t *)run->ptr[TENON_MOE_ROUTE_SEL])[e * r->sel_row + j] = t;
            if (has(run, TENON_MOE_ROUTE_G))
                ((float *)run->ptr[TENON_MOE_ROUTE_G])[e * r->g_row + j] = t < 0 ? 0.0f : choice_weight(run, t, e);
        }
    }
}

static void choice_tokens(void *context, uint32_t i)
{
    const struct run *run = context;
    const struct route *r = run->r;
    const float *dense = (const float *)(const void *)(run->workspace + r->dense);
    const struct cut *cuts = (const struct cut *)(const void *)(run->workspace + r->cuts);
    struct slot *s = slot_at(run, i);
    for (int64_t t = share_of(r->tokens, r->tasks, i); t < share_of(r->tokens, r->tasks, i + 1); t++) {
        int64_t n = 0;
        no_experts(r, s);
        for (int64_t e = 0; e < r->columns; e++) {
            const float c = dense[t * r->columns + e];
            const int32_t key = c != c ? KEY_NAN : c == MINUS_INF ? KEY_NONE : order_key(c);
            if (key == KEY_NONE || key < cuts[e].key || (key == cuts[e].key && t > cuts[e].index))
                continue;
            if (n < r->p.k) {
                s->idx[n] = (int32_t)e;
                s->w[n] = choice_weight(run, t, e);
            }
            n++;
        }
        s->flags[2] += n > r->p.k;
        put_token(run, s, t);
    }
}

/* ---- the run and the plan ---- */

static void parallel(const struct run *run, uint32_t n, void (*fn)(void *context, uint32_t i))
{
    struct run copy = *run;
    if (n == 1)
        fn(&copy, 0);
    else
        run->host->parallel(run->host, n, fn, &copy);
}

/* Counts of the tasks, added to those of the first. */
static void put_counts(const struct run *run)
{
    const struct route *r = run->r;
    struct slot *all = slot_at(run, 0);
    uint32_t flags[FLAGS] = {0};
    for (uint32_t i = 0; i < r->tasks && r->tiles; i++) {
        const struct slot *s = slot_at(run, i);
        for (int f = 0; f < FLAGS; f++)
            flags[f] += s->flags[f];
        for (int64_t e = 0; (r->counts || r->stats) && i > 0 && e < r->padded; e++) {
            all->count1[e] += s->count1[e];
            all->count_k[e] += s->count_k[e];
        }
        for (int64_t e = 0; r->stats && i > 0 && e < r->padded; e++)
            all->p[e] += s->p[e];
    }
    if (has(run, TENON_MOE_ROUTE_FLAGS))
        memcpy(run->ptr[TENON_MOE_ROUTE_FLAGS], flags, sizeof flags);
    if (has(run, TENON_MOE_ROUTE_CNT1))
        memcpy(run->ptr[TENON_MOE_ROUTE_CNT1], all->count1, (size_t)r->experts * sizeof *all->count1);
    if (has(run, TENON_MOE_ROUTE_CNT_K))
        memcpy(run->ptr[TENON_MOE_ROUTE_CNT_K], all->count_k, (size_t)r->experts * sizeof *all->count_k);
    if (r->stats)
        put_losses(run, (const struct losses *)(const void *)(run->workspace + r->losses), all->p, all->count1,
                   all->count_k);
}

static void route_run(const struct cpu_plan *plan, void *const *ptr, void *workspace)
{
    const struct route *r = (const struct route *)(const void *)plan->state;
    const struct run run = {r, plan->env->host, ptr, workspace};
    if (!r->tiles) {
        (void)slot_begin(&run, 0);
    } else if (r->p.select != TENON_MOE_ROUTE_EXPERT_CHOICE) {
        parallel(&run, r->tasks, tokens_task);
    } else {
        parallel(&run, r->tasks, choice_scores);
        parallel(&run, r->choice_tasks, choice_experts);
        parallel(&run, r->tasks, choice_tokens);
    }
    if (!r->tiles && r->p.select == TENON_MOE_ROUTE_EXPERT_CHOICE) /* nothing to choose from */
        choice_experts((void *)(uintptr_t)&run, 0);
    put_counts(&run);
}

/* What has to be known of a row. */
static void choose_needs(const struct cpu_plan *plan, struct route *r)
{
    const struct tenon_moe_route_params *p = &r->p;
    const struct tenon_tensor *t = plan->tensor;
    const int by_tensor = p->select == TENON_MOE_ROUTE_TABLE || p->select == TENON_MOE_ROUTE_RANDOM ||
                          p->select == TENON_MOE_ROUTE_PREFIX;
    const int weighs = t[TENON_MOE_ROUTE_W].dtype && p->norm != TENON_MOE_ROUTE_NORM_SOFTMAX_SEL;
    const int ones = p->weight_src == TENON_MOE_ROUTE_WEIGHT_ONE ||
                     (p->weight_src == TENON_MOE_ROUTE_WEIGHT_SCORE && p->score == TENON_MOE_ROUTE_ONE);
    const int choice = p->select == TENON_MOE_ROUTE_EXPERT_CHOICE;
    r->reads = !by_tensor || !ones || p->norm == TENON_MOE_ROUTE_NORM_SOFTMAX_SEL;
    r->needs_finite = p->score == TENON_MOE_ROUTE_SOFTMAX || p->score == TENON_MOE_ROUTE_RELU_RMS ||
                      p->norm == TENON_MOE_ROUTE_NORM_SOFTMAX_SEL ||
                      p->weight_src == TENON_MOE_ROUTE_WEIGHT_CLEAN_SOFTMAX ||
                      (p->norm == TENON_MOE_ROUTE_NORM_SUM &&
                       (p->score == TENON_MOE_ROUTE_RELU || p->score == TENON_MOE_ROUTE_IDENTITY));
    r->by_score = t[TENON_MOE_ROUTE_CORR_BIAS].dtype || p->gscore == TENON_MOE_ROUTE_GSCORE_TOPN_SUM;
    r->all_scores = r->by_score || choice || p->select == TENON_MOE_ROUTE_THRESH ||
                    p->select == TENON_MOE_ROUTE_POSITIVE;
    r->sums = p->score == TENON_MOE_ROUTE_SOFTMAX && !p->hier_g &&
              (r->all_scores || p->select == TENON_MOE_ROUTE_DSELECT ||
               (weighs && p->weight_src == TENON_MOE_ROUTE_WEIGHT_SCORE));
    r->clean = weighs && p->weight_src == TENON_MOE_ROUTE_WEIGHT_CLEAN_SOFTMAX;
    r->plain = p->inv_temp == 1.0f && !p->noise && !t[TENON_MOE_ROUTE_EXPERT_MASK].dtype && !r->clean;
    r->tiled = r->plain && p->select == TENON_MOE_ROUTE_TOPK && !r->by_score && !p->n_group && !p->hier_g &&
               can_pick(p->k);
    for (uint32_t i = TENON_MOE_ROUTE_P_MEAN; i <= TENON_MOE_ROUTE_L1; i++)
        r->stats |= t[i].dtype != TENON_ABSENT;
    r->counts = r->stats || t[TENON_MOE_ROUTE_CNT1].dtype || t[TENON_MOE_ROUTE_CNT_K].dtype;
}

static int64_t stride_of(const struct cpu_plan *plan, uint32_t i)
{
    return plan->tensor[i].dtype ? plan->tensor[i].stride[0] : 0;
}

static void choose_room(struct cpu_plan *plan, struct route *r)
{
    struct slot none;
    const int choice = r->p.select == TENON_MOE_ROUTE_EXPERT_CHOICE;
    const uint64_t most = (uint64_t)plan->env->threads * TASKS_PER_THREAD;
    const int small = r->tokens == 0 || r->columns <= SMALL_WORK / r->tokens || plan->env->threads == 1;
    r->tasks = small || r->tiles == 0 ? 1 : (uint64_t)r->tiles < most ? (uint32_t)r->tiles : (uint32_t)most;
    r->choice_tasks = r->tasks;
    if (r->columns < (int64_t)r->choice_tasks)
        r->choice_tasks = r->columns ? (uint32_t)r->columns : 1;
    r->pairs = (choice && r->tokens > r->padded ? r->tokens : r->padded) + PAD;
    r->slot = slot_layout(r, NULL, &none);
    uint64_t at = r->slot * r->tasks;
    r->losses = at;
    at += r->stats ? round_up((uint64_t)r->tiles * sizeof(struct losses)) : 0;
    r->dense = at;
    at += choice ? round_up((uint64_t)r->tokens * (uint64_t)r->columns * sizeof(float)) : 0;
    r->odd = at;
    at += choice ? round_up((uint64_t)r->tokens) : 0;
    r->cuts = at;
    at += choice ? round_up((uint64_t)r->columns * sizeof(struct cut)) : 0;
    plan->workspace = at;
}

static int32_t route_plan(struct cpu_plan *plan)
{
    static const char *const selects[] = {"topk",  "thresh", "positive", "all",   "expert_choice",
                                          "table", "random", "dselect",  "prefix"};
    struct route *r = (struct route *)(void *)plan->state;
    const struct tenon_tensor *logits = &plan->tensor[TENON_MOE_ROUTE_LOGITS];
    _Static_assert(sizeof *r <= sizeof plan->state, "the plan's room");
    memcpy(&r->p, plan->params, sizeof r->p);
    r->tokens = logits->dim[0];
    r->columns = logits->dim[1];
    r->experts = r->p.select == TENON_MOE_ROUTE_DSELECT ? (int64_t)r->p.experts : r->columns;
    const int64_t widest = r->experts > r->columns ? r->experts : r->columns;
    r->padded = (widest + PAD - 1) / PAD * PAD;
    r->tiles = (r->tokens + TOKENS - 1) / TOKENS;
    r->logits_row = stride_of(plan, TENON_MOE_ROUTE_LOGITS);
    r->group_row = stride_of(plan, TENON_MOE_ROUTE_GROUP_LOGITS);
    r->idx_row = stride_of(plan, TENON_MOE_ROUTE_IDX);
    r->w_row = stride_of(plan, TENON_MOE_ROUTE_W);
    r->sel_row = stride_of(plan, TENON_MOE_ROUTE_SEL);
    r->g_row = stride_of(plan, TENON_MOE_ROUTE_G);
    r->table_row = stride_of(plan, TENON_MOE_ROUTE_TABLE_IDX);
    r->table_rows = plan->tensor[TENON_MOE_ROUTE_TABLE_IDX].dtype ? plan->tensor[TENON_MOE_ROUTE_TABLE_IDX].dim[0] : 0;
    choose_needs(plan, r);
    choose_room(plan, r);
    snprintf(plan->impl, sizeof plan->impl, "moe_route_%s %s", CPU_ISA_NAME, selects[r->p.select]);
    return TENON_OK;
}

const struct cpu_op CPU_OP_TABLE(moe_route) = {
    .op = TENON_OPNUM_moe_route,
    .plan = route_plan,
    .run = route_run,
};

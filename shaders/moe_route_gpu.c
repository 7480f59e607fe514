/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Launches of moe_route: logits, the states of the rows, keys, the best of them (a few one after the other, many by
 * sorting), slots, weights; then the statistics. Two levels are three regions of scratch: the groups, the experts of the
 * chosen groups, and the rows themselves. */
#include "moe_route_gpu.h"

#include <stdio.h>
#include <string.h>

static int32_t refuse(const struct job *job, const char *message)
{
    return job->recipe->host->fail(job->recipe->host, TENON_E_UNSUPPORTED, message);
}

static int has(const struct job *job, uint32_t i)
{
    return job->t[i].slot != GPU_SLOT_NONE;
}

static int32_t read_tensors(struct job *job, const struct tenon_tensor *tensors)
{
    for (uint32_t i = 0; i < TENON_MOE_ROUTE_N_TENSORS; i++) {
        const int ok = tensors[i].rank == 2 ? tenon__gpu_rows(&tensors[i], (int32_t)i, &job->t[i])
                                            : tenon__gpu_list(&tensors[i], (int32_t)i, &job->t[i]);
        if (!ok)
            return refuse(job, "a tensor has gaps, which are not supported");
        if (tensors[i].dtype && tenon_tensor_bytes(&tensors[i]) > GPU_SPAN)
            return refuse(job, "a tensor of 2^31 bytes and more is not supported");
    }
    job->tokens = (uint64_t)tensors[TENON_MOE_ROUTE_LOGITS].dim[0];
    job->columns = (uint64_t)tensors[TENON_MOE_ROUTE_LOGITS].dim[1];
    job->experts = job->params->select == TENON_MOE_ROUTE_DSELECT ? job->params->experts : job->columns;
    while ((UINT64_C(1) << job->bits) < job->experts)
        job->bits++;
    return TENON_OK;
}

/* What has to be known of a row, as lib/moe_route.h has it. */
static void choose_options(struct job *job)
{
    const struct tenon_moe_route_params *p = job->params;
    const int by_tensor = p->select == TENON_MOE_ROUTE_TABLE || p->select == TENON_MOE_ROUTE_RANDOM ||
                          p->select == TENON_MOE_ROUTE_PREFIX;
    const int choice = p->select == TENON_MOE_ROUTE_EXPERT_CHOICE, softmax = p->score == TENON_MOE_ROUTE_SOFTMAX;
    const int weighs = has(job, TENON_MOE_ROUTE_W) && p->norm != TENON_MOE_ROUTE_NORM_SOFTMAX_SEL;
    const int clean = p->weight_src == TENON_MOE_ROUTE_WEIGHT_CLEAN_SOFTMAX;
    const int ones = p->weight_src == TENON_MOE_ROUTE_WEIGHT_ONE ||
                     (p->weight_src == TENON_MOE_ROUTE_WEIGHT_SCORE && p->score == TENON_MOE_ROUTE_ONE);
    const int by_score = has(job, TENON_MOE_ROUTE_CORR_BIAS) || p->gscore == TENON_MOE_ROUTE_GSCORE_TOPN_SUM;
    const int scores = by_score || choice || p->select == TENON_MOE_ROUTE_THRESH ||
                       p->select == TENON_MOE_ROUTE_POSITIVE;
    const int finite = softmax || p->score == TENON_MOE_ROUTE_RELU_RMS || clean ||
                       p->norm == TENON_MOE_ROUTE_NORM_SOFTMAX_SEL ||
                       (p->norm == TENON_MOE_ROUTE_NORM_SUM &&
                        (p->score == TENON_MOE_ROUTE_RELU || p->score == TENON_MOE_ROUTE_IDENTITY));
    for (uint32_t i = TENON_MOE_ROUTE_P_MEAN; i <= TENON_MOE_ROUTE_L1; i++)
        job->losses |= has(job, i) ? 1u << (i - TENON_MOE_ROUTE_P_MEAN) : 0u;
    job->options = p->score | p->select << 3 | p->norm << 7 | p->weight_src << 9;
    const struct { int is; uint32_t bit; } table[] = {
        {p->nan_policy == TENON_MOE_ROUTE_DROP, OPT_DROP},
        {p->noise != 0, OPT_NOISE},
        {p->noise_use != 0, OPT_SECOND},
        {has(job, TENON_MOE_ROUTE_EXPERT_MASK), OPT_MASK},
        {has(job, TENON_MOE_ROUTE_TOKEN_VALID), OPT_VALID},
        {has(job, TENON_MOE_ROUTE_CORR_BIAS), OPT_BIAS},
        {has(job, TENON_MOE_ROUTE_GAIN), OPT_GAIN},
        {by_score, OPT_BY_SCORE},
        {finite, OPT_FINITE},
        {!by_tensor || !ones || p->norm == TENON_MOE_ROUTE_NORM_SOFTMAX_SEL, OPT_READS},
        {weighs && clean, OPT_CLEAN},
        {softmax && !p->hier_g &&
             (scores || p->select == TENON_MOE_ROUTE_DSELECT ||
              (weighs && p->weight_src == TENON_MOE_ROUTE_WEIGHT_SCORE)), OPT_SUMS},
        {job->losses != 0, OPT_LOSSES},
        {p->hier_g != 0, OPT_LEVELS},
        {p->scale != 1.0f, OPT_SCALED},
        {scores, OPT_SCORES},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        job->options |= table[i].is ? table[i].bit : 0u;
    job->local = job->limits->vector ? 1 : job->limits->software ? 8 : 64;
    if (job->limits->software && !job->limits->vector && job->limits->subgroup && job->limits->subgroup < 8)
        job->local = 16;
}

/* ---- the scratch ---- */

static uint64_t power_of_two(uint64_t n)
{
    uint64_t p = 2;
    while (p < n)
        p *= 2;
    return p;
}

/* `count` rows of `columns` logits with `slots` slots, and `lists` lists of `length` keys of which `most` are wanted, from
 * byte `at` of the scratch on. */
static struct region region_of(const struct job *job, uint64_t at, uint64_t count, uint64_t columns, uint64_t slots,
                               uint64_t lists, uint64_t length, uint64_t most)
{
    struct region r = {.at = at, .count = count, .columns = columns, .slots = slots, .lists = lists, .most = most};
    const int choice = job->params->select == TENON_MOE_ROUTE_EXPERT_CHOICE;
    r.sorted = choice || most * length > PICK_ROUNDS;
    r.pitch = r.sorted ? power_of_two(length) : length ? length : 1;
    r.words = count * (4 * columns + STATE_WORDS + 2 * slots) + 2 * lists * r.pitch;
    r.bytes = (r.words * 4 + 255) & ~UINT64_C(255);
    return r;
}

/* A launch of at least `n` invocations, for kernels in which those that are too many do nothing; NULL: no memory. */
struct gpu_launch *tenon__route_add(struct job *job, const char *kernel, uint64_t n)
{
    struct gpu_launch *launch = gpu_recipe_add(job->recipe, kernel, job->local);
    const uint64_t groups = n ? (n + job->local - 1) / job->local : 1, most = job->limits->groups_max[0];
    if (launch == NULL)
        return NULL;
    launch->groups[0] = (uint32_t)(groups < most ? groups : most);
    launch->groups[1] = (uint32_t)((groups + launch->groups[0] - 1) / launch->groups[0]);
    launch->groups[2] = 1;
    return launch;
}

static void add_work(struct gpu_launch *launch, const struct region *r)
{
    gpu_launch_buffer(launch, r ? GPU_SLOT_SCRATCH : GPU_SLOT_NONE, r ? r->at : 0);
}

/* Element `first` of a list. */
static void bind(const struct job *job, struct gpu_launch *launch, uint32_t i, uint64_t first)
{
    tenon__gpu_bind(launch, &job->t[i], 0, has(job, i) ? first : 0);
}

static uint32_t options_of(const struct job *job, const struct region *r)
{
    return job->options | (r->sorted ? OPT_SORTED : 0u);
}

/* The launches of the plain rows, of two levels' groups, and of the experts of the groups that were picked. */
enum { WHOLE, GROUPS, INNER };

static uint32_t level_options(const struct job *job, const struct region *r, int kind)
{
    uint32_t options = options_of(job, r);
    if (kind == WHOLE)
        return options;
    /* the softmax of each level; what is of tokens and experts is seen to by the rows themselves */
    options &= ~(uint32_t)(OPT_VALID | OPT_LOSSES | OPT_LEVELS);
    options |= OPT_SUMS | OPT_FINITE;
    return kind == GROUPS ? options & ~(uint32_t)OPT_MASK : options;
}

/* ---- the launches of some rows; 0: no memory ---- */

static int add_logits(struct job *job, const struct region *r, const struct region *picked, uint64_t row, int kind)
{
    const struct tenon_moe_route_params *p = job->params;
    const uint32_t source = kind == GROUPS ? TENON_MOE_ROUTE_GROUP_LOGITS : TENON_MOE_ROUTE_LOGITS;
    const uint64_t width = job->limits->vector ? job->limits->vector : 1, pieces = (r->columns + width - 1) / width;
    struct gpu_launch *launch = tenon__route_add(job, "moe_route_logits", r->count * pieces);
    if (launch == NULL)
        return 0;
    tenon__gpu_bind(launch, &job->t[source], row, 0);
    tenon__gpu_bind(launch, &job->t[TENON_MOE_ROUTE_EXPERT_MASK], 0, 0);
    add_work(launch, picked);
    add_work(launch, r);
    gpu_launch_u32(launch, (uint32_t)r->count);
    gpu_launch_u32(launch, (uint32_t)r->columns);
    gpu_launch_u32(launch, (uint32_t)r->slots);
    gpu_launch_u32(launch, (uint32_t)job->t[source].stride);
    gpu_launch_u32(launch, (uint32_t)pieces);
    gpu_launch_u32(launch, picked ? p->hier_k1 : 0);
    gpu_launch_u32(launch, picked ? (uint32_t)slots_at(picked) : 0);
    gpu_launch_u32(launch, level_options(job, r, kind));
    gpu_launch_u32(launch, 0);
    gpu_launch_u32(launch, (uint32_t)p->seed);
    gpu_launch_u32(launch, (uint32_t)(p->seed >> 32));
    gpu_launch_u32(launch, p->stream);
    gpu_launch_u32(launch, p->sample);
    gpu_launch_u32(launch, (uint32_t)row);
    /* 0: all the same, 1: each its own; a length of 1 is each its own too */
    gpu_launch_u32(launch, p->random == TENON_MOE_ROUTE_RANDOM_CALL    ? 0
                           : p->random == TENON_MOE_ROUTE_RANDOM_TOKEN ? 1
                                                                       : p->random_len);
    gpu_launch_f32(launch, p->inv_temp);
    return 1;
}

static int add_sums(struct job *job, const struct region *r, uint64_t row, int kind)
{
    const int soft = job->params->select == TENON_MOE_ROUTE_DSELECT;
    struct gpu_launch *launch = tenon__route_add(job, "moe_route_sums", r->count);
    if (launch == NULL)
        return 0;
    uint32_t options = level_options(job, r, kind);
    tenon__gpu_bind(launch, &job->t[TENON_MOE_ROUTE_EXPERT_MASK], 0, 0);
    bind(job, launch, TENON_MOE_ROUTE_TOKEN_VALID, kind == WHOLE ? row : 0);
    bind(job, launch, TENON_MOE_ROUTE_CORR_BIAS, 0);
    bind(job, launch, TENON_MOE_ROUTE_GAIN, 0);
    bind(job, launch, TENON_MOE_ROUTE_ZSEL, row * r->columns * job->bits);
    add_work(launch, r);
    gpu_launch_u32(launch, (uint32_t)r->count);
    gpu_launch_u32(launch, (uint32_t)r->columns);
    gpu_launch_u32(launch, options);
    gpu_launch_u32(launch, 0);
    gpu_launch_u32(launch, kind == WHOLE ? tenon__gpu_shift(&job->t[TENON_MOE_ROUTE_TOKEN_VALID], 0,
                                                            has(job, TENON_MOE_ROUTE_TOKEN_VALID) ? row : 0) : 0);
    gpu_launch_u32(launch, soft ? (uint32_t)(r->columns * job->bits) : 0);
    gpu_launch_f32(launch, job->params->rms_eps);
    return 1;
}

static int add_sort(struct job *job, const struct region *r)
{
    for (uint64_t size = 2; size <= r->pitch; size *= 2)
        for (uint64_t apart = size / 2; apart > 0; apart /= 2) {
            struct gpu_launch *launch = tenon__route_add(job, "moe_route_sort", r->lists * r->pitch / 2);
            if (launch == NULL)
                return 0;
            add_work(launch, r);
            gpu_launch_u32(launch, (uint32_t)r->count);
            gpu_launch_u32(launch, (uint32_t)r->columns);
            gpu_launch_u32(launch, (uint32_t)r->slots);
            gpu_launch_u32(launch, (uint32_t)r->lists);
            gpu_launch_u32(launch, (uint32_t)r->pitch);
            gpu_launch_u32(launch, (uint32_t)size);
            gpu_launch_u32(launch, (uint32_t)apart);
        }
    return 1;
}

static int add_groups(struct job *job, const struct region *r)
{
    const struct tenon_moe_route_params *p = job->params;
    struct gpu_launch *launch = tenon__route_add(job, "moe_route_groups", r->count);
    if (launch == NULL)
        return 0;
    add_work(launch, r);
    gpu_launch_u32(launch, (uint32_t)r->count);
    gpu_launch_u32(launch, (uint32_t)r->columns);
    gpu_launch_u32(launch, (uint32_t)r->slots);
    gpu_launch_u32(launch, (uint32_t)r->pitch);
    gpu_launch_u32(launch, p->n_group);
    gpu_launch_u32(launch, (uint32_t)(r->columns / p->n_group));
    gpu_launch_u32(launch, p->topk_group);
    gpu_launch_u32(launch, p->gscore == TENON_MOE_ROUTE_GSCORE_MAX ? 1 : p->gscore_n);
    return 1;
}

/* Keys, and the best of them in order. */
static int add_lists(struct job *job, const struct region *r, int kind)
{
    struct gpu_launch *launch = tenon__route_add(job, "moe_route_keys", r->lists * r->pitch);
    if (launch == NULL)
        return 0;
    tenon__gpu_bind(launch, &job->t[TENON_MOE_ROUTE_CORR_BIAS], 0, 0);
    add_work(launch, r);
    gpu_launch_u32(launch, (uint32_t)r->count);
    gpu_launch_u32(launch, (uint32_t)r->columns);
    gpu_launch_u32(launch, (uint32_t)r->slots);
    gpu_launch_u32(launch, (uint32_t)r->lists);
    gpu_launch_u32(launch, (uint32_t)r->pitch);
    gpu_launch_u32(launch, level_options(job, r, kind));
    if (job->params->n_group && !add_groups(job, r))
        return 0;
    if (r->most == 0)
        return 1;
    if (r->sorted)
        return add_sort(job, r);
    launch = tenon__route_add(job, "moe_route_pick", r->count);
    if (launch == NULL)
        return 0;
    add_work(launch, r);
    gpu_launch_u32(launch, (uint32_t)r->count);
    gpu_launch_u32(launch, (uint32_t)r->columns);
    gpu_launch_u32(launch, (uint32_t)r->slots);
    gpu_launch_u32(launch, (uint32_t)r->lists);
    gpu_launch_u32(launch, (uint32_t)r->pitch);
    gpu_launch_u32(launch, (uint32_t)r->most);
    return 1;
}

static int32_t key_of(float value)
{
    int32_t bits;
    value += 0.0f; /* -0 is 0 */
    memcpy(&bits, &value, sizeof(bits));
    return bits ^ (bits >> 31 & 0x7fffffff);
}

/* The slots of rows, from their lists or what else there is; groups, inner: of two levels. */
static int add_select(struct job *job, const struct chunk *at, const struct region *r, uint64_t row, int kind)
{
    const struct tenon_moe_route_params *p = job->params;
    const int levels = p->hier_g && kind == WHOLE;
    const uint32_t of_token = p->select == TENON_MOE_ROUTE_TABLE    ? TENON_MOE_ROUTE_KEY
                              : p->select == TENON_MOE_ROUTE_PREFIX ? TENON_MOE_ROUTE_NUSE
                                                                    : TENON_MOE_ROUTE_ZSEL;
    const uint64_t each = of_token == TENON_MOE_ROUTE_ZSEL ? r->columns * job->bits : 1;
    const float least = p->select == TENON_MOE_ROUTE_THRESH ? p->thresh : 0.0f;
    struct gpu_launch *launch = tenon__route_add(job, "moe_route_select", r->count);
    if (launch == NULL)
        return 0;
    bind(job, launch, of_token, row * each);
    if (levels)
        add_work(launch, &at->groups);
    else
        tenon__gpu_bind(launch, &job->t[TENON_MOE_ROUTE_TABLE_IDX], 0, 0);
    add_work(launch, r);
    if (levels)
        add_work(launch, &at->inner);
    else
        gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, at->cuts);
    if (kind == WHOLE)
        tenon__route_bind_counts(job, launch, TENON_MOE_ROUTE_FLAGS, at->flags);
    else
        gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, at->flags + FLAGS_BYTES);
    gpu_launch_u32(launch, (uint32_t)r->count);
    gpu_launch_u32(launch, (uint32_t)r->columns);
    gpu_launch_u32(launch, (uint32_t)r->slots);
    gpu_launch_u32(launch, (uint32_t)r->lists);
    gpu_launch_u32(launch, (uint32_t)r->pitch);
    gpu_launch_u32(launch, kind == WHOLE ? options_of(job, r) : level_options(job, r, kind) & ~(uint32_t)OPT_DROP);
    gpu_launch_u32(launch, (uint32_t)job->experts);
    gpu_launch_u32(launch, levels ? p->hier_g : (uint32_t)job->t[TENON_MOE_ROUTE_TABLE_IDX].rows);
    gpu_launch_u32(launch, (uint32_t)job->t[TENON_MOE_ROUTE_TABLE_IDX].stride);
    gpu_launch_u32(launch, levels ? p->k / p->hier_k1 : 1);
    gpu_launch_u32(launch, (uint32_t)key_of(least));
    gpu_launch_u32(launch, (uint32_t)job->bits);
    gpu_launch_u32(launch, levels ? (uint32_t)slots_at(&at->inner) : (uint32_t)row);
    gpu_launch_u32(launch, levels ? (uint32_t)slots_at(&at->groups) : 0);
    gpu_launch_f32(launch, p->gamma);
    gpu_launch_f32(launch, 1.0f / p->gamma);
    return 1;
}

static int add_weights(struct job *job, const struct chunk *at, uint64_t row)
{
    const struct tenon_moe_route_params *p = job->params;
    const struct region *r = &at->rows;
    struct gpu_launch *launch = tenon__route_add(job, "moe_route_weights", r->count);
    const int counts = (job->losses & LOSS_AUX) != 0;
    const int gshard = p->aux_rule == TENON_MOE_ROUTE_AUX_GSHARD;
    const int count1 = has(job, TENON_MOE_ROUTE_CNT1) || (counts && gshard);
    const int count_k = has(job, TENON_MOE_ROUTE_CNT_K) || (counts && !gshard);
    if (launch == NULL)
        return 0;
    bind(job, launch, TENON_MOE_ROUTE_GAIN, 0);
    add_work(launch, r);
    add_work(launch, p->hier_g ? &at->groups : NULL);
    add_work(launch, p->hier_g ? &at->inner : NULL);
    tenon__gpu_bind(launch, &job->t[TENON_MOE_ROUTE_IDX], has(job, TENON_MOE_ROUTE_IDX) ? row : 0, 0);
    tenon__gpu_bind(launch, &job->t[TENON_MOE_ROUTE_W], has(job, TENON_MOE_ROUTE_W) ? row : 0, 0);
    bind(job, launch, TENON_MOE_ROUTE_NSEL, row);
    tenon__route_bind_counts(job, launch, TENON_MOE_ROUTE_CNT1, at->count1);
    tenon__route_bind_counts(job, launch, TENON_MOE_ROUTE_CNT_K, at->count_k);
    gpu_launch_u32(launch, (uint32_t)r->count);
    gpu_launch_u32(launch, (uint32_t)r->columns);
    gpu_launch_u32(launch, (uint32_t)r->slots);
    gpu_launch_u32(launch, options_of(job, r));
    gpu_launch_u32(launch, (has(job, TENON_MOE_ROUTE_IDX) ? 1u : 0u) | (has(job, TENON_MOE_ROUTE_W) ? 2u : 0u) |
                               (has(job, TENON_MOE_ROUTE_NSEL) ? 4u : 0u) | (count1 ? 8u : 0u) |
                               (count_k ? 16u : 0u));
    gpu_launch_u32(launch, (uint32_t)job->t[TENON_MOE_ROUTE_IDX].stride);
    gpu_launch_u32(launch, (uint32_t)job->t[TENON_MOE_ROUTE_W].stride);
    gpu_launch_u32(launch, p->hier_g ? p->hier_g : 1);
    gpu_launch_u32(launch, p->hier_g ? p->hier_k1 : 1);
    gpu_launch_f32(launch, p->scale);
    gpu_launch_f32(launch, p->norm_eps);
    return 1;
}

static int add_chunk(struct job *job, const struct chunk *at, uint64_t row)
{
    const struct region *r = &at->rows;
    const int choice = job->params->select == TENON_MOE_ROUTE_EXPERT_CHOICE;
    if (job->params->hier_g) {
        if (!add_logits(job, &at->groups, NULL, row, GROUPS) || !add_sums(job, &at->groups, row, GROUPS) ||
            !add_lists(job, &at->groups, GROUPS) || !add_select(job, at, &at->groups, row, GROUPS) ||
            !add_logits(job, &at->inner, &at->groups, row, INNER) || !add_sums(job, &at->inner, row, INNER) ||
            !add_lists(job, &at->inner, INNER) || !add_select(job, at, &at->inner, row, INNER))
            return 0;
    }
    if (!add_logits(job, r, NULL, row, WHOLE) || !add_sums(job, r, row, WHOLE))
        return 0;
    if (job->params->select <= TENON_MOE_ROUTE_EXPERT_CHOICE && !job->params->hier_g && r->count &&
        !add_lists(job, r, WHOLE))
        return 0;
    if (choice && !tenon__route_add_choice(job, at))
        return 0;
    if (r->count == 0)
        return 1;
    return add_select(job, at, r, row, WHOLE) && add_weights(job, at, row) && tenon__route_add_tiles(job, at, row);
}

/* ---- chunks ---- */

static void layout(const struct job *job, uint64_t rows, struct chunk *at)
{
    const struct tenon_moe_route_params *p = job->params;
    const uint64_t k = p->k, k1 = p->hier_k1, parts = p->hier_g;
    const int choice = p->select == TENON_MOE_ROUTE_EXPERT_CHOICE, listed = p->select == TENON_MOE_ROUTE_TOPK && !parts;
    at->rows = region_of(job, at->start, rows, job->columns, k, choice ? job->columns : rows,
                         choice ? rows : job->columns, choice ? p->cap : listed ? k - (p->noise_use != 0) : 0);
    at->end = at->rows.at + at->rows.bytes;
    if (!parts)
        return;
    at->groups = region_of(job, at->end, rows, parts, k1, rows, parts, k1);
    at->end += at->groups.bytes;
    at->inner = region_of(job, at->end, rows * k1, job->columns / parts, k / k1, rows * k1, job->columns / parts, k / k1);
    at->end += at->inner.bytes;
}

static int fits(const struct chunk *at)
{
    return at->rows.bytes <= GPU_SPAN && at->groups.bytes <= GPU_SPAN && at->inner.bytes <= GPU_SPAN;
}

static int32_t add_all(struct job *job)
{
    const int choice = job->params->select == TENON_MOE_ROUTE_EXPERT_CHOICE;
    struct chunk at = {.rows = {.at = 0}};
    tenon__route_fixed(job, &at);
    uint64_t chunk = job->tokens;
    layout(job, chunk, &at);
    while (!choice && chunk > TILE && at.end - at.start > WORK_BYTES) {
        chunk = (chunk / 2 + TILE - 1) / TILE * TILE;
        layout(job, chunk, &at);
    }
    while (!choice && chunk > 1 && !fits(&at)) {
        chunk = chunk > TILE ? TILE : chunk / 2;
        layout(job, chunk, &at);
    }
    if (!fits(&at) || (job->losses && chunk < job->tokens && chunk % TILE))
        return refuse(job, "logits: so many tokens and experts are beyond what a GPU launch can address");
    job->recipe->scratch = at.end + FLAGS_BYTES; /* an empty region begins at the end, and is bound all the same */
    if (!tenon__route_add_clears(job, &at))
        return TENON_E_NOMEM;
    if (job->tokens == 0 && choice && !add_chunk(job, &at, 0))
        return TENON_E_NOMEM;
    for (uint64_t row = 0; row < job->tokens; row += chunk) {
        layout(job, job->tokens - row < chunk ? job->tokens - row : chunk, &at);
        if (job->recipe->n > LAUNCHES_MAX)
            return refuse(job, "logits: too many tokens for the launches of a plan");
        if (!add_chunk(job, &at, row))
            return TENON_E_NOMEM;
    }
    return tenon__route_add_ends(job, &at) ? TENON_OK : TENON_E_NOMEM;
}

/* Whether an invocation's loops end by themselves. */
static int loops_fit(const struct job *job)
{
    const uint64_t most = job->limits->loop_max, widest = job->columns > job->params->k ? job->columns : job->params->k;
    const int soft = job->params->select == TENON_MOE_ROUTE_DSELECT;
    if (!most)
        return 1;
    return widest <= most / 8 && (job->tokens + TILE - 1) / TILE <= most / 4 &&
           (!soft || job->experts * (job->columns * (job->bits + 1) + 1) <= most / 2);
}

static int32_t route_recipe(const void *params, const struct tenon_tensor *tensors, const struct gpu_limits *limits,
                            struct gpu_recipe *recipe)
{
    static const char *const selects[] = {"topk",  "thresh", "positive", "all",   "expert_choice",
                                          "table", "random", "dselect",  "prefix"};
    struct job job = {.params = params, .limits = limits, .recipe = recipe};
    int32_t status = read_tensors(&job, tensors);
    if (status != TENON_OK)
        return status;
    choose_options(&job);
    if (!loops_fit(&job))
        return refuse(&job, "logits: more experts, slots or tokens than this device's loops go over");
    snprintf(recipe->impl, sizeof(recipe->impl), "moe_route %s", selects[job.params->select]);
    status = add_all(&job);
    if (status == TENON_OK)
        status = gpu_recipe_check(recipe, limits);
    if (status != TENON_OK)
        gpu_recipe_finish(recipe);
    return status;
}

const struct gpu_op tenon__moe_route_gpu = {.op = TENON_OPNUM_moe_route, .recipe = route_recipe};

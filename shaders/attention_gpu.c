/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Launches of attention. attention_setup writes what the other kernels have no room for as arguments into the scratch,
 * sequences and attention_rows what each query sees, attention_check counts what is out of range. Then, for so many
 * tiles of rows as have room in the scratch, attention leaves the states and sums of each split there and attention_end
 * merges them; up to twice before that without values, for the entropy (adapt) and the normaliser (clip). */
#include "recipe.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <tenon/ops/attention.h>

#define LOCAL       64u
#define TILE_ROWS   8u                      /* TILE_Q of attention.k */
#define COLUMNS     128u                    /* AT_COLUMNS of lib/attention.h; the next ones too */
#define STATE_WORDS 8u
#define STATES_MAX  (UINT64_C(16) << 20)    /* words of the scratch for states and sums, where one tile has less */
#define LISTS_MAX   4096u                   /* launches for one list */

/* Words of lib/attention.h. */
enum { OPTIONS, TOKENS, KEYS, HQ, HK, WIDTH_K, WIDTH_V, GROUP, HEADS, TILES, PAGES, PAGE_ROWS, MAX_PAGES, BLOCK_K,
       N_SINK, SCALE, SOFTCAP, SMAX, BIAS, QUAD_C, GAMMA, ZETA, Q_STRIDE, K_STRIDE = 25, V_STRIDE = 28, KQ_STRIDE = 31,
       VQ_STRIDE = 34, K_GROUP = 37, V_GROUP, K_BITS, V_BITS, MASK_STRIDE, KPOS_B = 45, KEEP_B, KEEP_H, SIDE_B, ROWS_AT,
       HEADS_AT, STATE_AT, OUT_AT, SPLITS, COLUMN_TILES, NNZ, SINK_SPLITS, WORDS = 72, SETUP_WORDS = 24, CU_AT = 640 };
/* Bits of OPTIONS, from 13 on; of attention_rows.k and attention_check.k; of passes. */
enum { PAGED = 1 << 13, RING = 1 << 14, LIST = 1 << 15, HAS_KPOS = 1 << 16, HAS_KEEP = 1 << 17, HAS_SLOPE = 1 << 18,
       HAS_FCUM = 1 << 19, HAS_QTEMP = 1 << 20, HAS_VSCALE = 1 << 21, HAS_LOGW = 1 << 22, LOGW_BLOCK = 1 << 23,
       HAS_SMAX = 1 << 24, HAS_CAP = 1 << 25, K_LUT = 1 << 26, V_LUT = 1 << 27 };
enum { ROWS_PACKED = 1, ROWS_PAGED = 2, ROWS_CAUSAL = 4, ROWS_RING = 8, ROWS_KV_LEN = 16, ROWS_QPOS = 32,
       ROWS_BOUNDS = 64, ROWS_LIST = 128, ROWS_QTEMP = 256, ROWS_FCUM = 512, ROWS_SLOPE = 1024, ROWS_ONE_QPOS = 2048,
       ROWS_ONE_BOUNDS = 4096 };
enum { PASS_STATS = 1, PASS_MOMENT = 2, PASS_BETA = 4, PASS_CLIP = 8 };
enum { CHECK_KV_LEN, CHECK_PAGES, CHECK_LIST };

struct job {
    const struct tenon_attention_params *p;
    const struct tenon_tensor *t;
    const struct gpu_limits *limits;
    struct gpu_recipe *recipe;
    uint32_t word[WORDS];
    uint64_t b, n;                /* batches, sequences */
    uint64_t rows, tiles;         /* (b,t,h); tiles of all */
    uint64_t chunk;               /* tiles at a time */
    uint64_t sources;             /* numbers of rows of a tile that may have the same keys */
    uint64_t list_splits, list_launches;
    uint32_t local;
};

static int given(const struct job *job, uint32_t i)
{
    return job->t[i].dtype != TENON_ABSENT;
}

static int32_t refuse(const struct job *job, const char *message)
{
    return job->recipe->host->fail(job->recipe->host, TENON_E_UNSUPPORTED, message);
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static int32_t slot(const struct job *job, uint32_t i)
{
    return given(job, i) && tenon_tensor_count(&job->t[i]) ? (int32_t)i : GPU_SLOT_NONE;
}

static void bind(const struct job *job, struct gpu_launch *launch, uint32_t i)
{
    gpu_launch_buffer(launch, slot(job, i), 0);
}

/* Whether a launch reaches all of the tensor. */
static int reaches(const struct tenon_tensor *t)
{
    uint64_t last = 0;
    if (!t->dtype || !tenon_tensor_count(t))
        return 1;
    for (uint32_t i = 0; i < t->rank; i++)
        last += (uint64_t)(t->dim[i] - 1) * (uint64_t)t->stride[i];
    return (last + 1) * TENON_DTYPE_SIZE(t->dtype) <= GPU_SPAN;
}

/* Strides of the first n axes; 0 for those of one element. */
static void set_strides(struct job *job, uint32_t at, uint32_t i, uint32_t n)
{
    const struct tenon_tensor *t = &job->t[i];
    for (uint32_t axis = 0; t->dtype && axis < n; axis++)
        job->word[at + axis] = t->dim[axis] > 1 ? (uint32_t)t->stride[axis] : 0;
}

static void set_quantiser(struct job *job, uint32_t i, uint32_t quant, uint32_t wide, uint32_t group, uint32_t strides)
{
    const struct tenon_tensor *pairs = &job->t[i];
    if (quant != TENON_ATTENTION_AFFINE_TOKEN && quant != TENON_ATTENTION_LUT_TOKEN)
        return;
    job->word[group] = wide / (uint32_t)pairs->dim[3];
    set_strides(job, strides, i, 3);
}

static uint32_t options_of(const struct job *job)
{
    const struct tenon_attention_params *p = job->p;
    const struct tenon_tensor *t = job->t;
    static const struct {
        uint32_t tensor, bit;
    } bits[] = {{TENON_ATTENTION_PAGE_TABLE, PAGED}, {TENON_ATTENTION_ROW_PTR, LIST},
                {TENON_ATTENTION_KPOS, HAS_KPOS},    {TENON_ATTENTION_KEEP, HAS_KEEP},
                {TENON_ATTENTION_SLOPE, HAS_SLOPE},  {TENON_ATTENTION_FCUM, HAS_FCUM},
                {TENON_ATTENTION_QTEMP, HAS_QTEMP},  {TENON_ATTENTION_VSCALE, HAS_VSCALE},
                {TENON_ATTENTION_LOGW, HAS_LOGW}};
    uint32_t options = tenon__gpu_dtype(t[TENON_ATTENTION_Q].dtype) |
                       tenon__gpu_dtype(t[TENON_ATTENTION_K].dtype) << 2 |
                       tenon__gpu_dtype(t[TENON_ATTENTION_V].dtype) << 5 |
                       tenon__gpu_dtype(t[TENON_ATTENTION_MASK].dtype) << 8 | p->weight << 10;
    for (uint32_t i = 0; i < sizeof bits / sizeof bits[0]; i++)
        options |= given(job, bits[i].tensor) ? bits[i].bit : 0;
    options |= p->ring ? RING : 0;
    options |= (options & LIST) && (options & HAS_LOGW) && t[TENON_ATTENTION_LOGW].rank == 1 ? LOGW_BLOCK : 0;
    options |= p->smax < FLT_MAX ? HAS_SMAX : 0;
    options |= p->softcap > 0 ? HAS_CAP : 0;
    options |= given(job, TENON_ATTENTION_K_TABLE) ? K_LUT : 0;
    options |= given(job, TENON_ATTENTION_V_TABLE) ? V_LUT : 0;
    return options;
}

/* Shapes and attributes. */
static void read_call(struct job *job)
{
    const struct tenon_attention_params *p = job->p;
    const struct tenon_tensor *t = job->t, *q = &t[TENON_ATTENTION_Q], *k = &t[TENON_ATTENTION_K];
    const struct tenon_tensor *table = &t[TENON_ATTENTION_PAGE_TABLE], *keep = &t[TENON_ATTENTION_KEEP];
    uint32_t *w = job->word;
    const int paged = given(job, TENON_ATTENTION_PAGE_TABLE), packed = given(job, TENON_ATTENTION_CU_Q);
    job->b = (uint64_t)q->dim[0];
    job->n = packed ? (uint64_t)t[TENON_ATTENTION_CU_Q].dim[0] - 1 : job->b;
    w[OPTIONS] = options_of(job);
    w[TOKENS] = (uint32_t)q->dim[1];
    w[HQ] = (uint32_t)q->dim[2];
    w[WIDTH_K] = (uint32_t)q->dim[3];
    w[WIDTH_V] = (uint32_t)t[TENON_ATTENTION_O].dim[3];
    w[HK] = (uint32_t)(paged ? k->dim[1] : k->dim[2]);
    w[PAGES] = paged ? (uint32_t)k->dim[0] : 0;
    w[PAGE_ROWS] = paged ? (uint32_t)k->dim[2] : 1;
    w[MAX_PAGES] = paged ? (uint32_t)table->dim[1] : 0;
    w[KEYS] = paged ? w[MAX_PAGES] * w[PAGE_ROWS] : (uint32_t)k->dim[1];
    w[GROUP] = given(job, TENON_ATTENTION_ROW_PTR) || !w[HK] ? 1 : w[HQ] / w[HK];
    w[HEADS] = w[GROUP] ? w[HQ] / w[GROUP] : 0;
    w[TILES] = (uint32_t)(((uint64_t)w[TOKENS] * w[GROUP] + TILE_ROWS - 1) / TILE_ROWS);
    w[BLOCK_K] = p->block_k;
    w[N_SINK] = p->n_sink;
    const float scale = p->scale != 0 ? p->scale : (float)(1 / sqrt((double)w[WIDTH_K]));
    const float reals[] = {scale, p->softcap, p->smax, p->bias, p->quad_c, p->clip_gamma, p->clip_zeta};
    for (uint32_t i = 0; i < sizeof reals / sizeof reals[0]; i++)
        w[SCALE + i] = bits_of(reals[i]);
    set_strides(job, Q_STRIDE, TENON_ATTENTION_Q, 3);
    set_strides(job, K_STRIDE, TENON_ATTENTION_K, 3);
    set_strides(job, V_STRIDE, TENON_ATTENTION_V, 3);
    set_strides(job, MASK_STRIDE, TENON_ATTENTION_MASK, 4);
    set_quantiser(job, TENON_ATTENTION_K_QUANT, p->quant_k, w[WIDTH_K], K_GROUP, KQ_STRIDE);
    set_quantiser(job, TENON_ATTENTION_V_QUANT, p->quant_v, w[WIDTH_V], V_GROUP, VQ_STRIDE);
    w[K_BITS] = p->k_bits;
    w[V_BITS] = p->v_bits;
    w[KPOS_B] = given(job, TENON_ATTENTION_KPOS) && t[TENON_ATTENTION_KPOS].dim[0] > 1 ? w[KEYS] : 0;
    const uint32_t words = (w[KEYS] + 31) / 32;
    w[KEEP_H] = keep->dtype && keep->dim[1] > 1 ? words : 0;
    w[KEEP_B] = keep->dtype && keep->dim[0] > 1 ? words * (uint32_t)keep->dim[1] : 0;
    w[SIDE_B] = packed && !paged ? 0 : w[KEYS];
    w[NNZ] = given(job, TENON_ATTENTION_COL) ? (uint32_t)t[TENON_ATTENTION_COL].dim[0] : 0;
    job->rows = job->b * w[TOKENS] * w[HQ];
    job->tiles = job->b * w[HEADS] * w[TILES];
}

/* Rounds of loops of an invocation for a tile of keys, where leaving a loop counts as one more. */
static uint64_t rounds_of(const struct job *job, uint64_t local)
{
    const uint64_t each = 1024 / local + (128 + local - 1) / local + (64 + local - 1) / local + 4;
    return 64 / local + 2 + (job->word[WIDTH_K] + 15) / 16 * each + ((8 + local - 1) / local) * 134 +
           (128 + local - 1) / local * (8 * 10 + 1) + (job->word[OPTIONS] & LIST ? 65 : 0) + 8;
}

static int32_t choose_local(struct job *job)
{
    const uint64_t most = job->limits->loop_max;
    const int list = (job->word[OPTIONS] & LIST) != 0;
    job->local = job->limits->vector ? 1 : job->limits->software && job->limits->subgroup >= 8 ? 8 : LOCAL;
    job->list_splits = UINT32_MAX;
    job->list_launches = 1;
    if (!most)
        return TENON_OK;
    while (rounds_of(job, job->local) * 16 + 2048 > most && job->local * 2 <= job->limits->wg_max &&
           job->local < 1024)
        job->local *= 2;
    const uint64_t split = rounds_of(job, job->local) * 16 + 64;
    if (split + 2048 > most)
        return refuse(job, "D: a device whose loops end does not reach so many channels");
    if (!list)
        return TENON_OK;
    if (given(job, TENON_ATTENTION_FLAGS) && job->word[NNZ] > most / 2)
        return refuse(job, "col: a device whose loops end does not count what is out of range in so many entries");
    const uint64_t splits = ((uint64_t)job->word[NNZ] * job->word[BLOCK_K] + 1023) / 1024;
    job->list_splits = (most - 2048) / split;
    job->list_launches = splits ? (splits + job->list_splits - 1) / job->list_splits : 1;
    if (job->list_launches > LISTS_MAX)
        return refuse(job, "col: a device whose loops end does not reach so many entries of a list");
    return TENON_OK;
}

/* Where everything is in the scratch. */
static int32_t place(struct job *job)
{
    const struct tenon_attention_params *p = job->p;
    uint32_t *w = job->word;
    const uint64_t keys = w[KEYS];
    w[SINK_SPLITS] = p->ring ? (uint32_t)(((uint64_t)p->n_sink + 1023) / 1024) : 0;
    uint64_t splits = (keys + 1023) / 1024;
    if (p->ring)
        splits = w[SINK_SPLITS] + (keys - p->n_sink + 1023) / 1024 + 1;
    if (w[OPTIONS] & LIST)
        splits = 1;
    splits = splits ? splits : 1;
    w[SPLITS] = (uint32_t)splits;
    w[COLUMN_TILES] = (w[WIDTH_V] + COLUMNS - 1) / COLUMNS;
    job->sources = 1;
    if (given(job, TENON_ATTENTION_CU_Q))
        job->sources = (TILE_ROWS - 1) / w[GROUP] + 2;
    else if (w[OPTIONS] & LIST)
        job->sources = (TILE_ROWS - 1) / p->block_q + 2;
    job->sources = job->sources > TILE_ROWS ? TILE_ROWS : job->sources;
    const uint64_t rows_at = CU_AT + 2 * (job->n + 1), heads_at = rows_at + job->b * w[TOKENS] * 8;
    const uint64_t state_at = heads_at + job->rows * 8;
    const uint64_t states = TILE_ROWS * splits * w[COLUMN_TILES] * STATE_WORDS, sums = TILE_ROWS * splits * w[WIDTH_V];
    job->chunk = STATES_MAX / (states + sums);
    job->chunk = job->chunk < 1 ? 1 : job->chunk < job->tiles ? job->chunk : job->tiles;
    if (job->chunk > job->limits->groups_max[0])
        job->chunk = job->limits->groups_max[0];
    const uint64_t out_at = state_at + job->chunk * states, end = out_at + job->chunk * sums;
    if (end * 4 > GPU_SPAN || splits > job->limits->groups_max[1] ||
        w[COLUMN_TILES] * job->sources > job->limits->groups_max[2])
        return refuse(job, "B*T*Hq or S: the states of the rows are beyond what a GPU reaches");
    w[ROWS_AT] = (uint32_t)rows_at;
    w[HEADS_AT] = (uint32_t)heads_at;
    w[STATE_AT] = (uint32_t)state_at;
    w[OUT_AT] = (uint32_t)out_at;
    job->recipe->scratch = end * 4;
    return TENON_OK;
}

static void one_group(struct gpu_launch *launch)
{
    launch->groups[0] = launch->groups[1] = launch->groups[2] = 1;
}

static int add_setup(const struct job *job)
{
    const int k_table = given(job, TENON_ATTENTION_K_TABLE), v_table = given(job, TENON_ATTENTION_V_TABLE);
    for (uint32_t first = 0; first < WORDS; first += SETUP_WORDS) {
        struct gpu_launch *launch = gpu_recipe_add(job->recipe, "attention_setup", LOCAL);
        if (launch == NULL)
            return 0;
        one_group(launch);
        bind(job, launch, TENON_ATTENTION_K_TABLE);
        bind(job, launch, TENON_ATTENTION_V_TABLE);
        gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, 0);
        gpu_launch_u32(launch, first);
        gpu_launch_u32(launch, first ? 0
                                     : (k_table ? 1u << job->p->k_bits : 0u) |
                                           (v_table ? 1u << job->p->v_bits : 0u) << 16);
        for (uint32_t i = 0; i < SETUP_WORDS; i++)
            gpu_launch_u32(launch, job->word[first + i]);
    }
    return 1;
}

static int add_cu(const struct job *job, uint32_t tensor, uint64_t at, uint32_t limit, int counted)
{
    const struct gpu_sequences cu = {.cu_slot = (int32_t)tensor, .n = job->n, .at = (uint32_t)at, .limit = limit,
                                     .flags_slot = counted && given(job, TENON_ATTENTION_FLAGS)
                                                       ? (int32_t)TENON_ATTENTION_FLAGS
                                                       : GPU_SLOT_NONE};
    return tenon__gpu_sequences(job->recipe, &cu);
}

static uint32_t row_options(const struct job *job)
{
    static const struct {
        uint32_t tensor, bit;
    } bits[] = {{TENON_ATTENTION_CU_Q, ROWS_PACKED},  {TENON_ATTENTION_PAGE_TABLE, ROWS_PAGED},
                {TENON_ATTENTION_KV_LEN, ROWS_KV_LEN}, {TENON_ATTENTION_QPOS, ROWS_QPOS},
                {TENON_ATTENTION_BOUNDS, ROWS_BOUNDS}, {TENON_ATTENTION_ROW_PTR, ROWS_LIST},
                {TENON_ATTENTION_QTEMP, ROWS_QTEMP},   {TENON_ATTENTION_FCUM, ROWS_FCUM},
                {TENON_ATTENTION_SLOPE, ROWS_SLOPE}};
    uint32_t options = (job->p->causal ? ROWS_CAUSAL : 0u) | (job->p->ring ? ROWS_RING : 0u);
    for (uint32_t i = 0; i < sizeof bits / sizeof bits[0]; i++)
        options |= given(job, bits[i].tensor) ? bits[i].bit : 0u;
    options |= options & ROWS_QPOS && job->t[TENON_ATTENTION_QPOS].dim[0] == 1 ? ROWS_ONE_QPOS : 0u;
    options |= options & ROWS_BOUNDS && job->t[TENON_ATTENTION_BOUNDS].dim[0] == 1 ? ROWS_ONE_BOUNDS : 0u;
    return options;
}

static uint32_t lists_of(const struct job *job, uint32_t axis)
{
    return given(job, TENON_ATTENTION_ROW_PTR) ? (uint32_t)job->t[TENON_ATTENTION_ROW_PTR].dim[axis] : 1;
}

static int add_rows(const struct job *job)
{
    static const uint32_t tensors[] = {TENON_ATTENTION_KV_LEN, TENON_ATTENTION_QPOS,  TENON_ATTENTION_BOUNDS,
                                       TENON_ATTENTION_ROW_PTR, TENON_ATTENTION_QTEMP, TENON_ATTENTION_FCUM,
                                       TENON_ATTENTION_SLOPE};
    struct gpu_launch *launch = gpu_recipe_add(job->recipe, "attention_rows", LOCAL);
    const uint32_t *w = job->word;
    if (launch == NULL)
        return 0;
    (void)tenon__gpu_groups(job->limits, (job->rows + LOCAL - 1) / LOCAL, launch->groups); /* below 2^26 rows */
    for (uint32_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++)
        bind(job, launch, tensors[i]);
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, 0);
    const uint32_t words[] = {(uint32_t)job->rows, w[TOKENS], w[HQ], w[KEYS], (uint32_t)job->n, CU_AT, w[ROWS_AT],
                              w[HEADS_AT], lists_of(job, 1), lists_of(job, 2), job->p->block_q, w[NNZ], job->p->wl,
                              job->p->wr, row_options(job)};
    for (uint32_t i = 0; i < sizeof words / sizeof words[0]; i++)
        gpu_launch_u32(launch, words[i]);
    return 1;
}

static int add_check(const struct job *job, uint32_t what, uint64_t count)
{
    static const uint32_t tensors[] = {TENON_ATTENTION_KV_LEN, TENON_ATTENTION_PAGE_TABLE, TENON_ATTENTION_ROW_PTR,
                                       TENON_ATTENTION_COL};
    const uint32_t *w = job->word;
    if (count == 0)
        return 1;
    struct gpu_launch *launch = gpu_recipe_add(job->recipe, "attention_check", LOCAL);
    if (launch == NULL)
        return 0;
    (void)tenon__gpu_groups(job->limits, (count + LOCAL - 1) / LOCAL, launch->groups); /* entries within GPU_SPAN */
    for (uint32_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++)
        bind(job, launch, tensors[i]);
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, 0);
    bind(job, launch, TENON_ATTENTION_FLAGS);
    uint32_t options = row_options(job);
    options &= options & ROWS_PAGED ? ~(uint32_t)ROWS_PACKED : ~0u;
    const uint32_t words[] = {what, (uint32_t)count, w[KEYS], w[MAX_PAGES], w[PAGE_ROWS], w[PAGES], lists_of(job, 2),
                              w[NNZ], (w[KEYS] + w[BLOCK_K] - 1) / w[BLOCK_K], (uint32_t)(CU_AT + job->n + 1),
                              options};
    for (uint32_t i = 0; i < sizeof words / sizeof words[0]; i++)
        gpu_launch_u32(launch, words[i]);
    return 1;
}

/* What the kernels find beside the tensors, and the counts of what is out of range. */
static int add_before(const struct job *job)
{
    const struct tenon_tensor *t = job->t;
    const int paged = given(job, TENON_ATTENTION_PAGE_TABLE), flags = given(job, TENON_ATTENTION_FLAGS);
    const int own = given(job, TENON_ATTENTION_CU_K);
    int ok = !flags || tenon__gpu_fill(job->recipe, job->limits, TENON_ATTENTION_FLAGS, 0, 4, 0);
    ok = ok && add_setup(job);
    if (given(job, TENON_ATTENTION_CU_Q)) {
        ok = ok && add_cu(job, TENON_ATTENTION_CU_Q, CU_AT, job->word[TOKENS], 1);
        if (!paged)
            ok = ok && add_cu(job, own ? TENON_ATTENTION_CU_K : TENON_ATTENTION_CU_Q, CU_AT + job->n + 1,
                              job->word[KEYS], own);
    }
    if (flags && given(job, TENON_ATTENTION_KV_LEN))
        ok = ok && add_check(job, CHECK_KV_LEN, (uint64_t)t[TENON_ATTENTION_KV_LEN].dim[0]);
    if (flags && paged)
        ok = ok && add_check(job, CHECK_PAGES, (uint64_t)tenon_tensor_count(&t[TENON_ATTENTION_PAGE_TABLE]));
    if (flags && given(job, TENON_ATTENTION_ROW_PTR))
        ok = ok && add_check(job, CHECK_LIST, job->b * lists_of(job, 1) * (lists_of(job, 2) - 1));
    return ok;
}

static int add_tiles(const struct job *job, uint64_t first, uint64_t n, uint32_t pass, uint64_t split)
{
    static const uint32_t tensors[] = {TENON_ATTENTION_Q,      TENON_ATTENTION_K,       TENON_ATTENTION_V,
                                       TENON_ATTENTION_PAGE_TABLE, TENON_ATTENTION_KPOS, TENON_ATTENTION_KEEP,
                                       TENON_ATTENTION_MASK,   TENON_ATTENTION_FCUM_K,  TENON_ATTENTION_VSCALE,
                                       TENON_ATTENTION_LOGW,   TENON_ATTENTION_COL,     TENON_ATTENTION_K_QUANT,
                                       TENON_ATTENTION_V_QUANT};
    struct gpu_launch *launch = gpu_recipe_add(job->recipe, "attention", job->local);
    if (launch == NULL)
        return 0;
    launch->groups[0] = (uint32_t)n;
    launch->groups[1] = job->word[SPLITS];
    /* without values the first tile of columns has all that there is */
    launch->groups[2] = job->word[COLUMN_TILES] * (uint32_t)job->sources;
    for (uint32_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++)
        bind(job, launch, tensors[i]);
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, 0);
    gpu_launch_u32(launch, (uint32_t)first);
    gpu_launch_u32(launch, pass);
    gpu_launch_u32(launch, (uint32_t)split);
    gpu_launch_u32(launch, (uint32_t)job->list_splits);
    gpu_launch_spec(launch, TILE_ROWS);
    return 1;
}

static int add_end(const struct job *job, uint64_t first, uint64_t n, uint32_t pass)
{
    static const uint32_t acts[] = {11, 0, 3}; /* of lib/act.h: sigmoid, identity, silu */
    static const uint32_t tensors[] = {TENON_ATTENTION_O, TENON_ATTENTION_LNZ, TENON_ATTENTION_FLAGS,
                                       TENON_ATTENTION_GATE, TENON_ATTENTION_SINK_LOGIT};
    const struct tenon_tensor *o = &job->t[TENON_ATTENTION_O], *gate = &job->t[TENON_ATTENTION_GATE];
    const uint64_t width = job->limits->vector ? job->limits->vector : 1;
    const uint64_t each = pass & PASS_STATS ? 1 : (job->word[WIDTH_V] + width - 1) / width;
    struct gpu_launch *launch = gpu_recipe_add(job->recipe, "attention_end", LOCAL);
    if (launch == NULL)
        return 0;
    if (!tenon__gpu_groups(job->limits, (n * TILE_ROWS * each + LOCAL - 1) / LOCAL, launch->groups))
        return 0;
    for (uint32_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++)
        bind(job, launch, tensors[i]);
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, 0);
    gpu_launch_u32(launch, (uint32_t)(n * TILE_ROWS));
    gpu_launch_u32(launch, (uint32_t)first);
    for (uint32_t i = 0; i < 3; i++)
        gpu_launch_u32(launch, o->dim[i] > 1 ? (uint32_t)o->stride[i] : 0);
    for (uint32_t i = 0; i < 4; i++)
        gpu_launch_u32(launch, gate->dtype && i < gate->rank && gate->dim[i] > 1 ? (uint32_t)gate->stride[i] : 0);
    gpu_launch_u32(launch, tenon__gpu_dtype(o->dtype) | tenon__gpu_dtype(gate->dtype) << 2 | job->p->weight << 4 |
                               job->p->norm << 7 | acts[job->p->gate_act] << 10 |
                               (given(job, TENON_ATTENTION_LNZ) ? 0x4000u : 0u) |
                               (given(job, TENON_ATTENTION_FLAGS) ? 0x8000u : 0u) |
                               (given(job, TENON_ATTENTION_SINK_LOGIT) ? 0x10000u : 0u) | TILE_ROWS << 20);
    gpu_launch_u32(launch, pass);
    gpu_launch_f32(launch, job->p->norm_eps);
    gpu_launch_f32(launch, job->p->pow_alpha);
    gpu_launch_f32(launch, job->p->gate_mul);
    return 1;
}

static int add_passes(const struct job *job)
{
    const uint32_t beta = job->p->adapt ? PASS_BETA : 0u, clip = job->p->post ? PASS_CLIP : 0u;
    const uint32_t passes[] = {beta ? PASS_STATS | PASS_MOMENT : 0u, clip ? PASS_STATS | beta : 0u, beta | clip};
    for (uint64_t first = 0; first < job->tiles; first += job->chunk) {
        const uint64_t n = job->tiles - first < job->chunk ? job->tiles - first : job->chunk;
        for (uint32_t i = 0; i < 3; i++) {
            if (i < 2 && !passes[i])
                continue;
            for (uint64_t launch = 0; launch < job->list_launches; launch++)
                if (!add_tiles(job, first, n, passes[i], launch * job->list_splits))
                    return 0;
            if (!add_end(job, first, n, passes[i]))
                return 0;
        }
    }
    return 1;
}

static int32_t attention_recipe(const void *params, const struct tenon_tensor *tensors, const struct gpu_limits *limits,
                                struct gpu_recipe *recipe)
{
    struct job job = {.p = params, .t = tensors, .limits = limits, .recipe = recipe};
    for (uint32_t i = 0; i < TENON_ATTENTION_N_TENSORS; i++)
        if (!reaches(&tensors[i]))
            return refuse(&job, "a tensor is beyond 2 GiB, which a GPU does not reach");
    read_call(&job);
    int32_t status = choose_local(&job);
    if (status == TENON_OK)
        status = place(&job);
    if (status != TENON_OK)
        return status;
    snprintf(recipe->impl, sizeof(recipe->impl), "attention and attention_end");
    if (!add_before(&job) || (job.rows && (!add_rows(&job) || !add_passes(&job)))) {
        gpu_recipe_finish(recipe);
        return TENON_E_NOMEM;
    }
    status = gpu_recipe_check(recipe, limits);
    if (status != TENON_OK)
        gpu_recipe_finish(recipe);
    return status;
}

const struct gpu_op tenon__attention_gpu = {.op = TENON_OPNUM_attention, .recipe = attention_recipe};

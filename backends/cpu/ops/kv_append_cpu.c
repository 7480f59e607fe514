/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * kv_append on the CPU. A unit of work is one row of one sequence, all its heads, keys and values. Codes are made by
 * operations that round once, in the order of lib/kv_append.h of the GPU kernels, so that they are the same. */
#include <stdio.h>

#include <tenon/ops/kv_append.h>

#include "cpu.h"
#include "lib/pack.h"

#define SMALL_WORK       (1 << 14) /* elements not worth waking threads for */
#define TASKS_PER_THREAD 4
#define CHUNK            1024      /* columns that are made floats at a time; a multiple of 8 */
#define LARGE            0x1p60f
#define TINY             0x1p-90f  /* a range below this is none */

/* Keys, or values. */
struct side {
    int64_t cols, group, groups;
    int64_t from[3], to[3]; /* bytes from batch (or page), token (slot), head on; of to, in the cache's own axes */
    int64_t size;           /* bytes of an element of the source */
    uint32_t from_type, to_type, mode, bits;
    uint32_t tensor, channel, table, quant;
};

/* Lives in cpu_plan.state. */
struct append {
    int64_t batches, tokens, heads, slots, page, pages, ring, n_sink;
    struct side side[2];
    uint32_t tasks, per_task; /* per_task: bytes */
};

struct run {
    const struct append *g;
    void *const *ptr;
    unsigned char *workspace;
    float mids[2][256];
};

/* Where a row goes. */
struct place {
    int64_t slot, first, second; /* first and second: its numbers on axes 0 and 1 (2 where paged) of the cache */
    int there;
};

/* ---- places ---- */

static int32_t count_of(const struct run *run, int64_t b)
{
    const int32_t *n_new = run->ptr[TENON_KV_APPEND_N_NEW];
    const int64_t n = n_new ? n_new[b] : run->g->tokens;
    return (int32_t)(n < 0 ? 0 : n > run->g->tokens ? run->g->tokens : n);
}

/* there: 0 where it has no place, -1 where a later row takes it. */
static struct place place_of(const struct run *run, int64_t b, int64_t t)
{
    const struct append *g = run->g;
    const int32_t *table = run->ptr[TENON_KV_APPEND_PAGE_TABLE];
    const int64_t pos = ((const int32_t *)run->ptr[TENON_KV_APPEND_POS])[b], p = pos + t;
    struct place place = {.slot = p};
    if (p < 0 || p > INT32_MAX)
        return place;
    if (g->ring && p >= g->n_sink) {
        place.slot = g->n_sink + (p - g->n_sink) % g->ring;
        if (p + g->ring < pos + count_of(run, b) && p + g->ring <= INT32_MAX) {
            place.there = -1;
            return place;
        }
    }
    if (place.slot >= g->slots)
        return place;
    place.first = b;
    place.second = place.slot;
    if (g->page) {
        place.first = table[b * (g->slots / g->page) + place.slot / g->page];
        place.second = place.slot % g->page;
        if (place.first < 0 || place.first >= g->pages)
            return place;
    }
    place.there = 1;
    return place;
}

/* ---- codes ---- */

static float cleaned(float x, uint32_t *odd)
{
    const uint32_t size = simd_bits(x) & 0x7fffffff;
    *odd |= size >= 0x7f800000;
    if (size >= 0x7f800000 || size < 0x21800000) /* 2^-60 */
        return 0.0f;
    return size > 0x5d800000 ? (x < 0.0f ? -LARGE : LARGE) : x; /* 2^60 */
}

/* Whether a channel's (s, z) or (rng, off) can be divided by. */
static int is_usable(const float *pair)
{
    const float s = fabsf(pair[0]), z = fabsf(pair[1]);
    return s >= 0x1p-40f && s <= 0x1p40f && z <= LARGE;
}

static uint32_t code_affine(float q, float most)
{
    const float c = rintf(q);
    return (uint32_t)(c > 0.0f ? c < most ? c : most : 0.0f);
}

static uint32_t code_nearest(const float *mids, uint32_t bits, float y)
{
    uint32_t c = 0;
    for (uint32_t step = 1u << (bits - 1); step; step >>= 1)
        c += y > mids[c + step - 1] ? step : 0;
    return c;
}

/* Codes of n columns (whole bytes) of one group, or of channels. */
static void put_codes(unsigned char *to, const uint8_t *code, int64_t n, uint32_t bits)
{
    const uint32_t each = 8 / bits;
    for (int64_t i = 0; i < n; i += each) {
        uint32_t byte = 0;
        for (uint32_t k = 0; k < each; k++)
            byte |= (uint32_t)code[i + k] << (k * bits);
        to[i / each] = (unsigned char)byte;
    }
}

/* What the codes of a group are made with. */
struct scale {
    float low, factor; /* y = (x - low) factor */
    int tiny;
};

static struct scale scale_of(const struct side *s, float min, float max, float pair[2])
{
    const float d = max - min, levels = (float)((1u << s->bits) - 1);
    struct scale scale = {.low = min, .tiny = d < TINY};
    if (s->mode == TENON_KV_APPEND_LUT_TOKEN) {
        pair[0] = scale.tiny ? 0.0f : d * 0.5f;
        pair[1] = scale.low = (max + min) * 0.5f;
        scale.factor = scale.tiny ? 0.0f : 1.0f / pair[0];
    } else {
        pair[0] = scale.tiny ? 1.0f : d / levels;
        scale.factor = scale.tiny ? 0.0f : levels / d;
        pair[1] = scale.tiny ? 0.0f - min : 0.0f - min * scale.factor;
    }
    return scale;
}

static void token_codes(const struct side *s, const char *x, unsigned char *to, float *quant, const float *mids,
                        uint32_t *odd)
{
    const float most = (float)((1u << s->bits) - 1);
    uint8_t code[CHUNK];
    for (int64_t group = 0; group < s->groups; group++) {
        const int64_t from = group * s->group, end = from + s->group;
        float min = INFINITY, max = -INFINITY;
        for (int64_t c = from; c < end; c++) {
            const float v = cleaned(pack_one(s->from_type, x, c), odd);
            min = v < min ? v : min;
            max = v > max ? v : max;
        }
        const struct scale scale = scale_of(s, min, max, quant + 2 * group);
        for (int64_t c = from; c < end; c += CHUNK) {
            const int64_t n = end - c < CHUNK ? end - c : CHUNK;
            for (int64_t i = 0; i < n; i++) {
                const float v = cleaned(pack_one(s->from_type, x, c + i), odd);
                const float y = scale.tiny ? 0.0f : (v - scale.low) * scale.factor;
                code[i] = (uint8_t)(s->mode == TENON_KV_APPEND_LUT_TOKEN ? code_nearest(mids, s->bits, y)
                                                                          : code_affine(y, most));
            }
            put_codes(to + c * s->bits / 8, code, n, s->bits);
        }
    }
}

static void channel_codes(const struct side *s, const char *x, unsigned char *to, const float *pairs, const float *mids,
                          uint32_t *odd)
{
    const float most = (float)((1u << s->bits) - 1);
    uint8_t code[CHUNK];
    for (int64_t c = 0; c < s->cols; c += CHUNK) {
        const int64_t n = s->cols - c < CHUNK ? s->cols - c : CHUNK;
        for (int64_t i = 0; i < n; i++) {
            const float *pair = pairs + 2 * (c + i), v = cleaned(pack_one(s->from_type, x, c + i), odd);
            const int usable = is_usable(pair), lut = s->mode == TENON_KV_APPEND_LUT_CHANNEL;
            const float inverse = usable ? 1.0f / pair[0] : 0.0f;
            const float y = !usable ? 0.0f : lut ? (v - pair[1]) * inverse : v * inverse + pair[1];
            code[i] = (uint8_t)(lut ? code_nearest(mids, s->bits, y) : code_affine(y, most));
        }
        put_codes(to + c * s->bits / 8, code, n, s->bits);
    }
}

static void convert(const struct side *s, const char *x, char *to)
{
    if (s->from_type == s->to_type) {
        memcpy(to, x, (size_t)(s->cols * s->size));
        return;
    }
    for (int64_t c = 0; c < s->cols; c += VF)
        pack_store_n(s->to_type, to, c, pack_load_n(s->from_type, x, c, s->cols - c), s->cols - c);
}

/* ---- the run ---- */

static uint32_t put_row(const struct run *run, const struct side *s, const float *mids, int64_t b, int64_t t,
                        const struct place *place)
{
    const struct append *g = run->g;
    const int token = s->mode == TENON_KV_APPEND_AFFINE_TOKEN || s->mode == TENON_KV_APPEND_LUT_TOKEN;
    uint32_t odds = 0;
    for (int64_t h = 0; h < g->heads && s->cols; h++) {
        const char *x = (const char *)run->ptr[s->tensor] + b * s->from[0] + t * s->from[1] + h * s->from[2];
        char *to = (char *)run->ptr[s->tensor + (TENON_KV_APPEND_K - TENON_KV_APPEND_K_NEW)] +
                   place->first * s->to[0] + place->second * s->to[1] + h * s->to[2];
        const int64_t row = g->page ? (place->first * g->heads + h) * g->page + place->second
                                    : (b * g->slots + place->second) * g->heads + h;
        uint32_t odd = 0;
        if (s->mode == TENON_KV_APPEND_NONE)
            convert(s, x, to);
        else if (token)
            token_codes(s, x, (unsigned char *)to, (float *)run->ptr[s->quant] + row * s->groups * 2, mids, &odd);
        else
            channel_codes(s, x, (unsigned char *)to, (const float *)run->ptr[s->channel] + h * s->cols * 2, mids, &odd);
        odds += odd;
    }
    return odds;
}

static void append_task(void *context, uint32_t i)
{
    const struct run *run = context;
    const struct append *g = run->g;
    const int64_t units = g->batches * g->tokens, each = units / g->tasks, rest = units % g->tasks;
    const int64_t begin = each * i + (i < rest ? i : rest), end = begin + each + (i < rest);
    int32_t *kpos = run->ptr[TENON_KV_APPEND_KPOS];
    uint32_t *flags = (uint32_t *)(void *)(run->workspace + i * (int64_t)g->per_task);
    flags[0] = flags[1] = 0;
    for (int64_t unit = begin; unit < end; unit++) {
        const int64_t b = unit / g->tokens, t = unit % g->tokens;
        if (t >= count_of(run, b))
            continue;
        const struct place place = place_of(run, b, t);
        flags[1] += place.there == 0;
        if (place.there != 1)
            continue;
        for (int k = 0; k < 2; k++)
            flags[0] += put_row(run, &g->side[k], run->mids[k], b, t, &place);
        if (kpos)
            kpos[b * g->slots + place.slot] = (int32_t)(((const int32_t *)run->ptr[TENON_KV_APPEND_POS])[b] + t);
    }
}

static void set_mids(const struct side *s, const float *table, float *mids)
{
    uint32_t odd = 0;
    for (uint32_t c = 0; table && c + 1 < 1u << s->bits; c++)
        mids[c] = (cleaned(table[c], &odd) + cleaned(table[c + 1], &odd)) * 0.5f;
}

static void append_run(const struct cpu_plan *plan, void *const *ptr, void *workspace)
{
    const struct append *g = (const struct append *)(const void *)plan->state;
    struct run run = {.g = g, .ptr = ptr, .workspace = workspace};
    const int32_t *pos = ptr[TENON_KV_APPEND_POS], *n_new = ptr[TENON_KV_APPEND_N_NEW];
    int32_t *kv_len = ptr[TENON_KV_APPEND_KV_LEN];
    uint32_t flags[4] = {0};
    for (int k = 0; k < 2; k++)
        set_mids(&g->side[k], ptr[g->side[k].table], run.mids[k]);
    if (g->tasks == 1)
        append_task(&run, 0);
    else if (g->tasks)
        plan->env->host->parallel(plan->env->host, g->tasks, append_task, &run);
    for (uint32_t i = 0; i < g->tasks; i++) {
        const uint32_t *own = (const uint32_t *)(const void *)(run.workspace + i * (int64_t)g->per_task);
        flags[0] += own[0];
        flags[3] += own[1];
    }
    for (int64_t b = 0; b < g->batches; b++) {
        const int64_t all = (int64_t)pos[b] + count_of(&run, b);
        if (kv_len)
            kv_len[b] = (int32_t)(all < 0 ? 0 : all > INT32_MAX ? INT32_MAX : all);
        flags[3] += n_new && (n_new[b] < 0 || n_new[b] > g->tokens);
    }
    if (ptr[TENON_KV_APPEND_FLAGS])
        memcpy(ptr[TENON_KV_APPEND_FLAGS], flags, sizeof flags);
}

static void read_side(const struct tenon_tensor *t, struct side *s, int paged)
{
    const struct tenon_tensor *from = &t[s->tensor], *to = &t[s->tensor + (TENON_KV_APPEND_K - TENON_KV_APPEND_K_NEW)];
    s->cols = from->dim[3];
    s->group = s->group ? s->group : s->cols;
    s->groups = s->group ? s->cols / s->group : 0;
    s->from_type = from->dtype;
    s->to_type = to->dtype;
    s->size = TENON_DTYPE_SIZE(from->dtype);
    const int64_t size = TENON_DTYPE_SIZE(to->dtype);
    for (int axis = 0; axis < 3; axis++)
        s->from[axis] = from->stride[axis] * s->size;
    s->to[0] = to->stride[0] * size;
    s->to[1] = to->stride[paged ? 2 : 1] * size;
    s->to[2] = to->stride[paged ? 1 : 2] * size;
}

static int32_t append_plan(struct cpu_plan *plan)
{
    const struct tenon_kv_append_params *p = (const void *)plan->params;
    const struct tenon_tensor *t = plan->tensor, *x = &t[TENON_KV_APPEND_K_NEW], *k = &t[TENON_KV_APPEND_K];
    const int paged = t[TENON_KV_APPEND_PAGE_TABLE].dtype != 0;
    struct append *g = (struct append *)(void *)plan->state;
    _Static_assert(sizeof *g <= sizeof plan->state, "the plan's room");
    g->batches = x->dim[0];
    g->tokens = x->dim[1];
    g->heads = x->dim[2];
    g->page = paged ? k->dim[2] : 0;
    g->pages = paged ? k->dim[0] : 0;
    g->slots = paged ? t[TENON_KV_APPEND_PAGE_TABLE].dim[1] * g->page : k->dim[1];
    g->n_sink = p->n_sink;
    g->ring = p->ring ? g->slots - p->n_sink : 0;
    g->side[0] = (struct side){.mode = p->quant_k, .bits = p->k_bits, .group = p->k_group,
                               .tensor = TENON_KV_APPEND_K_NEW, .channel = TENON_KV_APPEND_K_CHANNEL,
                               .table = TENON_KV_APPEND_K_TABLE, .quant = TENON_KV_APPEND_K_QUANT};
    g->side[1] = (struct side){.mode = p->quant_v, .bits = p->v_bits, .group = p->v_group,
                               .tensor = TENON_KV_APPEND_V_NEW, .channel = TENON_KV_APPEND_V_CHANNEL,
                               .table = TENON_KV_APPEND_V_TABLE, .quant = TENON_KV_APPEND_V_QUANT};
    for (int i = 0; i < 2; i++)
        read_side(t, &g->side[i], paged);
    const int64_t units = g->batches * g->tokens, most = (int64_t)plan->env->threads * TASKS_PER_THREAD;
    const double work = (double)units * ((double)g->heads * (double)(g->side[0].cols + g->side[1].cols) + 8);
    g->tasks = work < SMALL_WORK || plan->env->threads == 1 ? units > 0 : (uint32_t)(units < most ? units : most);
    g->per_task = 64;
    plan->workspace = (uint64_t)g->per_task * g->tasks;
    snprintf(plan->impl, sizeof plan->impl, "kv_append_%s_%s_%s", paged ? "paged" : p->ring ? "ring" : "contiguous",
             tenon_dtype_name(k->dtype), CPU_ISA_NAME);
    return TENON_OK;
}

const struct cpu_op CPU_OP_TABLE(kv_append) = {
    .op = TENON_OPNUM_kv_append,
    .plan = append_plan,
    .run = append_run,
};

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * rope on the CPU. A unit of work is some heads of one token; the cosines and sines of a token are made once a unit and
 * lie in L1 while its heads are turned. Every operation is one that rounds once, in the order of lib/rope.h of the GPU
 * kernels, so that the bits are theirs. */
#include <stdio.h>

#include <tenon/ops/rope.h>

#include "cpu.h"
#include "lib/copy.h"
#include "lib/element.h"
#include "turn.h"

#define HEADS            8         /* of a unit, where there are few tokens */
#define SMALL_WORK       (1 << 14) /* elements not worth waking threads for */
#define TASKS_PER_THREAD 4
#define NO_FREQ          UINT64_MAX /* a frequency whose columns are NaN */

struct rope;
typedef void turn_fn(const struct rope *g, const char *x, char *y, const float *c, const float *s);

/* Lives in cpu_plan.state. */
struct rope {
    int64_t batches, tokens, heads, cols, half;
    int64_t x[3], y[3];       /* bytes from batch to batch, token to token, head to head */
    int64_t pos_row, positions; /* 0 or tokens; rows of the table, -1: none */
    int64_t span, blocks;     /* heads of a unit, units of a token */
    int64_t size;             /* bytes of an element */
    uint64_t room;            /* bytes of a task: counts, cosines, sines */
    struct tenon__turn turn;
    turn_fn *fn;
    float amplitude;
    uint32_t tasks, stream, interleaved;
};

struct run {
    const struct rope *g;
    void *const *ptr;
    const uint32_t *lo, *hi; /* the frequencies, in turns times 2^64 */
    unsigned char *workspace;
};

/* ---- frequencies ---- */

/* The upper half of the product of two fractions. */
static void fraction_mul(const uint32_t a[3], const uint32_t b[3], uint32_t out[3])
{
    uint32_t product[6] = {0};
    for (int i = 0; i < 3; i++) {
        uint64_t carry = 0;
        for (int j = 0; j < 3; j++) {
            carry += (uint64_t)a[i] * b[j] + product[i + j];
            product[i + j] = (uint32_t)carry;
            carry >>= 32;
        }
        product[i + 3] = (uint32_t)carry;
    }
    memcpy(out, product + 3, 3 * sizeof *out);
}

/* freq / (2 pi) modulo 1, times 2^64. */
static uint64_t turn_of(float freq)
{
    static const uint32_t inverse[4] = {0x7d4d3770, 0x7f09d5f4, 0x9391054a, 0x28be60db}; /* 2^128 / (2 pi) */
    const uint32_t bits = simd_bits(freq), exponent = bits >> 23 & 0xff;
    const uint64_t mantissa = exponent ? (bits & 0x7fffff) | 0x800000 : bits & 0x7fffff;
    const uint32_t shift = 214 - (exponent ? exponent : 1);
    uint32_t product[8] = {0};
    uint64_t carry = 0;
    if (exponent > 150)
        return NO_FREQ;
    for (int i = 0; i < 4; i++) {
        carry += mantissa * inverse[i];
        product[i] = (uint32_t)carry;
        carry >>= 32;
    }
    product[4] = (uint32_t)carry;
    const uint32_t word = shift / 32, rest = shift % 32;
    if (word > 4)
        return 0;
    uint64_t turn = (uint64_t)product[word + 1] << 32 | product[word];
    if (rest)
        turn = turn >> rest | (uint64_t)product[word + 2] << (64 - rest);
    turn = bits >> 31 ? 0 - turn : turn;
    return turn == NO_FREQ ? NO_FREQ - 1 : turn;
}

static void set_frequencies(const struct rope *g, const float *freqs, uint32_t *lo, uint32_t *hi)
{
    uint32_t power[3], turn[3] = {g->turn.unit[0], g->turn.unit[1], g->turn.unit[2]};
    for (int64_t i = 0; i < g->half; i++) {
        uint64_t bits = (uint64_t)turn[2] << 32 | turn[1];
        if (freqs) {
            bits = turn_of(freqs[i]);
        } else {
            if (i)
                fraction_mul(power, g->turn.root, power);
            else
                memcpy(power, g->turn.root, sizeof power);
            fraction_mul(power, g->turn.unit, turn);
        }
        lo[i] = (uint32_t)bits;
        hi[i] = (uint32_t)(bits >> 32);
    }
}

/* ---- cosines and sines ---- */

/* Of pi/2 z, |z| <= 0.5. */
SIMD_FN vf quarter_sin(vf z, vf w)
{
    vf p = vf_set1(0.000160441185f);
    p = vf_add(vf_mul(p, w), vf_set1(-0.00468175414f));
    p = vf_add(vf_mul(p, w), vf_set1(0.0796926262f));
    p = vf_add(vf_mul(p, w), vf_set1(-0.645964098f));
    p = vf_add(vf_mul(p, w), vf_set1(-4.371139e-08f));
    return vf_add(vf_mul(z, vf_set1(1.57079637f)), vf_mul(z, p));
}

SIMD_FN vf quarter_cos(vf w)
{
    vf p = vf_set1(-2.52020424e-05f);
    p = vf_add(vf_mul(p, w), vf_set1(0.000919260275f));
    p = vf_add(vf_mul(p, w), vf_set1(-0.0208634808f));
    p = vf_add(vf_mul(p, w), vf_set1(0.253669508f));
    p = vf_add(vf_mul(p, w), vf_set1(-1.23370055f));
    return vf_add(vf_mul(p, w), vf_set1(1.0f));
}

/* c[i] and s[i] of VF pairs at position p. */
SIMD_FN void angle(int32_t p, vi lo, vi hi, vf amplitude, vf *c, vf *s)
{
    const vi size = vi_set1(p < 0 ? (int32_t)(0u - (uint32_t)p) : p), sign = vi_set1(INT32_MIN);
    const vi turn = vi_add(vi_mul(size, hi), vi_mulhi(size, lo));
    const vi quarter = vi_shr(vi_add(turn, vi_set1(0x20000000)), 30);
    const vf z = vf_mul(vf_from_vi(vi_sub(turn, vi_shl(quarter, 30))), vf_set1(0x1p-30f)), w = vf_mul(z, z);
    const vf sine = quarter_sin(z, w), cosine = quarter_cos(w);
    const vm odd = vi_eq(vi_and(quarter, vi_set1(1)), vi_set1(1));
    const vm none = vm_and(vi_eq(lo, vi_set1(-1)), vi_eq(hi, vi_set1(-1)));
    const vi c_sign = vi_and(vi_shl(vi_add(quarter, vi_set1(1)), 30), sign);
    const vi s_sign = vi_and(vi_xor(vi_shl(quarter, 30), vi_set1(p)), sign);
    *c = vf_bits(vi_xor(vi_bits(vf_select(odd, sine, cosine)), c_sign));
    *s = vf_bits(vi_xor(vi_bits(vf_select(odd, cosine, sine)), s_sign));
    *c = vf_select(none, vf_set1(NAN), vf_mul(*c, amplitude));
    *s = vf_select(none, vf_set1(NAN), vf_mul(*s, amplitude));
}

/* Each cosine twice, each sine with both signs: what neighbours are multiplied by. From the end, in place. */
static void spread(const struct rope *g, float *c, float *s)
{
    for (int64_t i = g->half; i-- > 0;) {
        c[2 * i] = c[2 * i + 1] = c[i];
        s[2 * i + 1] = s[i];
        s[2 * i] = -s[i];
    }
}

static void set_angles(const struct run *run, int32_t p, float *c, float *s)
{
    const struct rope *g = run->g;
    const float *table = run->ptr[TENON_ROPE_TABLE];
    const vf amplitude = vf_set1(g->amplitude);
    if (table) {
        table += (int64_t)p * g->half * 2;
        for (int64_t i = 0; i < g->half; i++) {
            c[i] = table[2 * i] * g->amplitude;
            s[i] = table[2 * i + 1] * g->amplitude;
        }
    }
    for (int64_t i = 0; i < g->half && !table; i += VF) {
        const int n = g->half - i < VF ? (int)(g->half - i) : VF;
        vf cosine, sine;
        angle(p, vi_load_n((const int32_t *)(const void *)(run->lo + i), n),
              vi_load_n((const int32_t *)(const void *)(run->hi + i), n), amplitude, &cosine, &sine);
        vf_store_n(c + i, cosine, n);
        vf_store_n(s + i, sine, n);
    }
    if (g->interleaved && VF > 1)
        spread(g, c, s);
}

/* ---- heads ---- */

SIMD_FN void turn_half(const struct rope *g, const char *x, char *y, const float *c, const float *s,
                       const uint32_t dtype, int stream)
{
    for (int64_t i = 0; i < g->half; i += VF) {
        const int n = g->half - i < VF ? (int)(g->half - i) : VF;
        const vf cosine = n == VF ? vf_load(c + i) : vf_load_n(c + i, n);
        const vf sine = n == VF ? vf_load(s + i) : vf_load_n(s + i, n);
        const vf u = load_x(x, i, n, dtype), v = load_x(x, i + g->half, n, dtype);
        store_y(y, i, vf_sub(vf_mul(u, cosine), vf_mul(v, sine)), n, dtype, stream);
        store_y(y, i + g->half, vf_add(vf_mul(v, cosine), vf_mul(u, sine)), n, dtype, stream);
    }
}

SIMD_FN void turn_pairs(const struct rope *g, const char *x, char *y, const float *c, const float *s,
                        const uint32_t dtype, int stream)
{
    for (int64_t i = 0; VF > 1 && i < 2 * g->half; i += VF) {
        const int n = 2 * g->half - i < VF ? (int)(2 * g->half - i) : VF;
        const vf cosine = n == VF ? vf_load(c + i) : vf_load_n(c + i, n);
        const vf sine = n == VF ? vf_load(s + i) : vf_load_n(s + i, n);
        const vf u = load_x(x, i, n, dtype);
        store_y(y, i, vf_add(vf_mul(u, cosine), vf_mul(vf_swap(u), sine)), n, dtype, stream);
    }
    for (int64_t i = 0; VF == 1 && i < g->half; i++) {
        const vf cosine = vf_set1(c[i]), sine = vf_set1(s[i]);
        const vf u = load_x(x, 2 * i, 1, dtype), v = load_x(x, 2 * i + 1, 1, dtype);
        store_y(y, 2 * i, vf_sub(vf_mul(u, cosine), vf_mul(v, sine)), 1, dtype, 0);
        store_y(y, 2 * i + 1, vf_add(vf_mul(v, cosine), vf_mul(u, sine)), 1, dtype, 0);
    }
}

#define TURN(style, name, dtype)                                                                                       \
    static void style##_##name(const struct rope *g, const char *x, char *y, const float *c, const float *s)           \
    {                                                                                                                  \
        turn_##style(g, x, y, c, s, dtype, 0);                                                                         \
    }                                                                                                                  \
    static void style##_##name##_stream(const struct rope *g, const char *x, char *y, const float *c, const float *s)  \
    {                                                                                                                  \
        turn_##style(g, x, y, c, s, dtype, dtype == TENON_F32);                                                        \
    }
TURN(half, f32, TENON_F32)
TURN(half, f16, TENON_F16)
TURN(half, bf16, TENON_BF16)
TURN(pairs, f32, TENON_F32)
TURN(pairs, f16, TENON_F16)
TURN(pairs, bf16, TENON_BF16)

static turn_fn *fn_of(uint32_t dtype, int interleaved, int stream)
{
    static turn_fn *const fns[2][3][2] = {
        {{half_f32, half_f32_stream}, {half_f16, half_f16_stream}, {half_bf16, half_bf16_stream}},
        {{pairs_f32, pairs_f32_stream}, {pairs_f16, pairs_f16_stream}, {pairs_bf16, pairs_bf16_stream}}};
    return fns[interleaved != 0][dtype == TENON_F32 ? 0 : dtype == TENON_F16 ? 1 : 2][stream != 0];
}

/* ---- the run ---- */

/* Heads from..to of token (b, t). */
static void turn_heads(const struct run *run, int64_t b, int64_t t, int64_t from, int64_t to, const float *c,
                       const float *s)
{
    const struct rope *g = run->g;
    const int64_t turned = 2 * g->half * g->size, rest = g->cols * g->size - turned;
    for (int64_t h = from; h < to; h++) {
        const char *x = (const char *)run->ptr[TENON_ROPE_X] + b * g->x[0] + t * g->x[1] + h * g->x[2];
        char *y = (char *)run->ptr[TENON_ROPE_Y] + b * g->y[0] + t * g->y[1] + h * g->y[2];
        if (c == NULL) {
            memset(y, 0, (size_t)(turned + rest));
            continue;
        }
        if (g->half)
            g->fn(g, x, y, c, s);
        if (rest && x != y)
            memcpy(y + turned, x + turned, (size_t)rest);
    }
}

static void rope_task(void *context, uint32_t i)
{
    const struct run *run = context;
    const struct rope *g = run->g;
    const int64_t units = g->batches * g->tokens * g->blocks, each = units / g->tasks, rest = units % g->tasks;
    const int64_t begin = each * i + (i < rest ? i : rest), end = begin + each + (i < rest);
    const int32_t *pos = run->ptr[TENON_ROPE_POS];
    const int has_table = g->positions >= 0;
    unsigned char *own = run->workspace + i * g->room;
    float *c = (float *)(void *)(own + 64), *s = c + (g->half * 2 + 15) / 16 * 16;
    uint32_t wrong = 0;
    int64_t last = INT64_MAX; /* the position that c and s are of */
    for (int64_t unit = begin; unit < end; unit++) {
        const int64_t token = unit / g->blocks, b = token / g->tokens, t = token % g->tokens;
        const int64_t from = unit % g->blocks * g->span, to = from + g->span < g->heads ? from + g->span : g->heads;
        const int32_t p = pos[b * g->pos_row + t];
        const int there = !has_table || (p >= 0 && p < g->positions);
        wrong += !there && p != -1 && unit % g->blocks == 0 && (b == 0 || g->pos_row);
        if (there && p != last) {
            set_angles(run, p, c, s);
            last = p;
        }
        turn_heads(run, b, t, from, to, there ? c : NULL, s);
    }
    if (g->stream)
        simd_fence();
    *(uint32_t *)(void *)own = wrong;
}

static void rope_run(const struct cpu_plan *plan, void *const *ptr, void *workspace)
{
    struct rope own = *(const struct rope *)(const void *)plan->state;
    const uint64_t lists = ((uint64_t)own.half * 8 + 63) & ~UINT64_C(63);
    uint32_t *lo = workspace, *hi = lo + own.half, flags[4] = {0};
    /* What was just read lies in the caches. */
    own.stream = own.stream && ptr[TENON_ROPE_X] != ptr[TENON_ROPE_Y] &&
                 (uintptr_t)ptr[TENON_ROPE_Y] % (VF * sizeof(float)) == 0;
    own.fn = fn_of(plan->tensor[TENON_ROPE_X].dtype, (int)own.interleaved, (int)own.stream);
    struct run run = {&own, ptr, lo, hi, (unsigned char *)workspace + lists};
    if (own.tasks && !plan->tensor[TENON_ROPE_TABLE].dtype)
        set_frequencies(&own, ptr[TENON_ROPE_FREQS], lo, hi);
    if (own.tasks == 1)
        rope_task(&run, 0);
    else if (own.tasks)
        plan->env->host->parallel(plan->env->host, own.tasks, rope_task, &run);
    for (uint32_t i = 0; i < own.tasks; i++)
        flags[3] += *(const uint32_t *)(const void *)(run.workspace + i * own.room);
    if (ptr[TENON_ROPE_FLAGS])
        memcpy(ptr[TENON_ROPE_FLAGS], flags, sizeof flags);
}

static int32_t rope_plan(struct cpu_plan *plan)
{
    const struct tenon_rope_params *p = (const void *)plan->params;
    const struct tenon_tensor *x = &plan->tensor[TENON_ROPE_X], *y = &plan->tensor[TENON_ROPE_Y];
    const struct tenon_tensor *pos = &plan->tensor[TENON_ROPE_POS], *table = &plan->tensor[TENON_ROPE_TABLE];
    struct rope *g = (struct rope *)(void *)plan->state;
    _Static_assert(sizeof *g <= sizeof plan->state, "the plan's room");
    g->size = TENON_DTYPE_SIZE(x->dtype);
    g->batches = x->dim[0];
    g->tokens = x->dim[1];
    g->heads = x->dim[2];
    g->cols = x->dim[3];
    g->half = (p->n_rot ? p->n_rot : g->cols) / 2;
    for (int axis = 0; axis < 3; axis++) {
        g->x[axis] = x->stride[axis] * g->size;
        g->y[axis] = y->stride[axis] * g->size;
    }
    g->pos_row = pos->dim[0] == 1 ? 0 : g->tokens;
    g->positions = table->dtype ? table->dim[0] : -1;
    g->amplitude = p->amplitude;
    g->interleaved = p->style == TENON_ROPE_INTERLEAVED;
    if (g->half && !table->dtype)
        tenon__turn_make(p->base, (int32_t)g->half * 2, p->scaling, &g->turn);
    const int64_t tokens = g->batches * g->tokens, most = (int64_t)plan->env->threads * TASKS_PER_THREAD;
    g->span = tokens < most && g->heads > HEADS ? HEADS : g->heads ? g->heads : 1;
    g->blocks = g->heads > g->span ? (g->heads + g->span - 1) / g->span : 1;
    const int64_t units = tokens * g->blocks;
    const double work = (double)tokens * ((double)g->heads * (double)g->cols + 64);
    g->tasks = work < SMALL_WORK || plan->env->threads == 1 ? units > 0 : (uint32_t)(units < most ? units : most);
    /* Every row of a head, and its other half, must begin where a vector may be streamed to. */
    int64_t odd = g->half * g->size | g->cols * g->size;
    for (int axis = 0; axis < 3; axis++)
        odd |= y->dim[axis] > 1 ? g->y[axis] : 0;
    g->stream = x->dtype == TENON_F32 && odd % (VF * (int64_t)sizeof(float)) == 0 &&
                tenon_tensor_bytes(y) > plan->env->l2 * 4;
    g->room = 64 + 2 * (((uint64_t)g->half * 2 + 15) / 16 * 64);
    plan->workspace = (((uint64_t)g->half * 8 + 63) & ~UINT64_C(63)) + g->room * g->tasks;
    snprintf(plan->impl, sizeof plan->impl, "rope_%s_%s_%s", g->interleaved ? "interleaved" : "half",
             tenon_dtype_name(x->dtype), CPU_ISA_NAME);
    return TENON_OK;
}

const struct cpu_op CPU_OP_TABLE(rope) = {
    .op = TENON_OPNUM_rope,
    .plan = rope_plan,
    .run = rope_run,
};

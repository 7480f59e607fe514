/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What an attention may do wrong. */
#include <float.h>
#include <limits.h>
#include <math.h>
#include <string.h>
#include <tenon/ops/attention.h>
#include "faulty.h"

#define A(NAME)                TENON_ATTENTION_##NAME
#define SPOIL(name, statement) FAULTY_SPOIL(name, tenon_attention_params, statement)

SPOIL(no_causal, p->causal = 0)
SPOIL(no_wl, p->wl = A(ANY))
SPOIL(wl_long, p->wl += p->wl != A(ANY))
SPOIL(no_wr, p->wr = A(ANY))
SPOIL(wr_short, p->wr -= p->wr != A(ANY) && p->wr > 0)
SPOIL(no_n_sink, p->n_sink = p->ring ? p->n_sink : 0)
SPOIL(no_ring, p->ring = 0)
SPOIL(ring_sinks, p->n_sink = p->ring ? 0 : p->n_sink)
SPOIL(no_cap, p->softcap = 0)
SPOIL(no_smax, p->smax = FLT_MAX)
SPOIL(no_scale, p->scale = p->scale == 0 ? 1 : p->scale)
SPOIL(no_bias, p->bias = 0)
SPOIL(no_eps, p->norm_eps = 0)
SPOIL(no_quad, p->quad_c = 5)
SPOIL(no_alpha, p->pow_alpha = 1)
SPOIL(no_gamma, p->clip_gamma = 0)
SPOIL(no_zeta, p->clip_zeta = 1)
SPOIL(no_clip, p->post = 0)
SPOIL(no_adapt, p->adapt = 0)
SPOIL(count_lost, p->norm = p->norm == A(COUNT) ? A(NONE) : p->norm)
SPOIL(relu_once, p->weight = p->weight == A(RELU2) ? A(RELU) : p->weight)
SPOIL(relu_linear, p->weight = p->weight == A(RELU) ? A(LINEAR) : p->weight)
SPOIL(picked, p->weight = p->weight == A(SOFTPICK) ? A(EXP) : p->weight; p->norm_eps = p->weight ? p->norm_eps : 0)
SPOIL(gate_plain, p->gate_act = A(GATE_IDENTITY))
SPOIL(gate_sigmoid, p->gate_act = p->gate_act == A(GATE_SILU) ? A(GATE_SIGMOID) : p->gate_act)
SPOIL(no_gate_mul, p->gate_mul = 1)

static void no_fcum(struct tenon_tensor *t, void *params)
{
    (void)params;
    t[A(FCUM)].dtype = t[A(FCUM_K)].dtype = 0;
}

static void no_sink_logit(struct tenon_tensor *t, void *params)
{
    (void)params;
    t[A(SINK_LOGIT)].dtype = 0;
}

static void sink_lost(struct tenon_tensor *t, void *params)
{
    struct tenon_attention_params *p = params;
    p->norm = p->norm == A(SINK) ? A(SUM) : p->norm;
    t[A(SINK_LOGIT)].dtype = 0;
}

/* Every query head reads the first kv head's keys. */
static void share_heads(struct tenon_tensor *t, void *params)
{
    (void)params;
    t[A(K)].stride[t[A(PAGE_TABLE)].dtype ? 1 : 2] = 0;
}

static void share_batch(struct tenon_tensor *t, void *params)
{
    (void)params;
    if (!t[A(PAGE_TABLE)].dtype)
        t[A(V)].stride[0] = 0;
}

static void share_mask(struct tenon_tensor *t, void *params)
{
    (void)params;
    t[A(MASK)].stride[1] = 0;
}

static void share_mask_rows(struct tenon_tensor *t, void *params)
{
    (void)params;
    t[A(MASK)].stride[2] = 0;
}

static void no_list(struct tenon_tensor *t, void *params)
{
    (void)params;
    if (t[A(LOGW)].rank == 1)
        t[A(LOGW)].dtype = 0;
    t[A(ROW_PTR)].dtype = t[A(COL)].dtype = 0;
}

/* Keys after the first 1024 are lost, where nothing else tells how many there are. */
static void first_split(struct tenon_tensor *t, void *params)
{
    for (uint32_t i = A(PAGE_TABLE); i <= A(V_TABLE); i++)
        if (t[i].dtype && i != A(SLOPE) && i != A(GATE) && i != A(SINK_LOGIT) && i != A(QTEMP))
            return;
    (void)params;
    if (t[A(K)].dim[1] > TENON_ATTENTION_SPLIT)
        t[A(K)].dim[1] = t[A(V)].dim[1] = TENON_ATTENTION_SPLIT;
}

/* ---- memory that is changed before a run, and back after it ---- */

static void each_word(const struct faulty_run *run, uint32_t i, void (*change)(uint32_t *word, int64_t at))
{
    uint32_t *word = tenon__faulty_memory(run, i);
    const uint64_t bytes = word ? tenon_tensor_bytes(&run->plan->tensor[i]) : 0;
    for (int64_t at = 0; at < (int64_t)(bytes / 4); at++)
        change(&word[at], at);
}

static void turn_sign(uint32_t *word, int64_t at)
{
    (void)at;
    *word ^= 0x80000000;
}

static void turn_bits(uint32_t *word, int64_t at)
{
    uint32_t turned = 0;
    (void)at;
    for (int bit = 0; bit < 32; bit++)
        turned |= (*word >> bit & 1) << (31 - bit);
    *word = turned;
}

/* Halves of bytes. */
static void turn_halves(uint32_t *word, int64_t at)
{
    (void)at;
    *word = (*word & 0x0f0f0f0f) << 4 | (*word >> 4 & 0x0f0f0f0f);
}

static void more(uint32_t *word, int64_t at)
{
    (void)at;
    *word += 1;
}

static void less(uint32_t *word, int64_t at)
{
    (void)at;
    *word -= 1;
}

static void more_odd(uint32_t *word, int64_t at)
{
    *word += (uint32_t)(at & 1);
}

static void less_odd(uint32_t *word, int64_t at)
{
    *word -= (uint32_t)(at & 1);
}

#define MEMORY(name, tensor, first, second)                                                                            \
    static void name##_before(const struct faulty_run *run)                                                            \
    {                                                                                                                  \
        each_word(run, A(tensor), first);                                                                              \
    }                                                                                                                  \
    static void name##_after(const struct faulty_run *run)                                                             \
    {                                                                                                                  \
        each_word(run, A(tensor), second);                                                                             \
    }
MEMORY(slope_sign, SLOPE, turn_sign, turn_sign)
MEMORY(fcum_sign, FCUM_K, turn_sign, turn_sign)
MEMORY(keep_order, KEEP, turn_bits, turn_bits)
MEMORY(code_sign, K_QUANT, turn_sign, turn_sign)
MEMORY(kv_len_more, KV_LEN, more, less)
MEMORY(bounds_more, BOUNDS, more_odd, less_odd)
MEMORY(qpos_more, QPOS, more, less)
MEMORY(kpos_more, KPOS, more, less)

static void halves(const struct faulty_run *run)
{
    const struct tenon_attention_params *p = (const void *)run->plan->params;
    if (p->quant_v && p->v_bits == 4)
        each_word(run, A(V), turn_halves);
}

static void swap_pairs(const struct faulty_run *run)
{
    float *pair = tenon__faulty_memory(run, A(V_QUANT));
    const uint64_t bytes = pair ? tenon_tensor_bytes(&run->plan->tensor[A(V_QUANT)]) : 0;
    for (uint64_t at = 0; at + 1 < bytes / 4; at += 2)
        tenon__faulty_swap(&pair[at], &pair[at + 1]);
}

/* ---- memory after a run ---- */

struct row {
    const struct faulty_run *run;
    const struct tenon_tensor *t;
    char *o;
    float *lnz;
    int64_t b, i, h, at;
};

static void each_row(const struct faulty_run *run, void (*spoil)(const struct row *row))
{
    struct row r = {.run = run, .t = &run->plan->tensor[A(O)]};
    float *lnz = tenon__faulty_memory(run, A(LNZ));
    r.o = tenon__faulty_memory(run, A(O));
    for (int64_t row = 0; r.o && row < tenon__faulty_rows(r.t); row++) {
        r.h = row % r.t->dim[2];
        r.i = row / r.t->dim[2] % r.t->dim[1];
        r.b = row / r.t->dim[2] / r.t->dim[1];
        r.at = tenon__faulty_at(r.t, row);
        r.lnz = lnz ? lnz + row : NULL;
        spoil(&r);
    }
}

static void flip(const struct row *r)
{
    for (int64_t d = 0; d < r->t->dim[3]; d++) {
        const uint32_t bits = tenon__faulty_peek(r->t, r->o, r->at + d);
        if (r->t->dtype == TENON_F32 && (bits & 0x7fffffff) > 0x20000000 && (bits & 0x7fffffff) < 0x7f000000)
            tenon__faulty_poke(r->t, r->o, r->at + d, bits ^ 1);
    }
}

/* A query alone takes a path of its own, which sums in another order. */
FAULTY_EACH_ROW(decode_path)
{
    if (r->t->dim[1] == 1)
        flip(r);
}

/* And so do the rows of a tile that is not full. */
FAULTY_EACH_ROW(tail_path)
{
    if (r->t->dim[1] % 8 && r->i >= r->t->dim[1] / 8 * 8)
        flip(r);
}

FAULTY_EACH_ROW(batch_path)
{
    if (r->b && r->h)
        flip(r);
}

FAULTY_EACH_ROW(columns_lost)
{
    for (int64_t d = r->t->dim[3] / 8 * 8; d < r->t->dim[3]; d++)
        tenon__faulty_poke(r->t, r->o, r->at + d, 0xDEADBEEF);
}

/* 0 / 0 in a row that sees nothing. */
FAULTY_EACH_ROW(empty_nan)
{
    int zeros = 1;
    for (int64_t d = 0; d < r->t->dim[3]; d++)
        zeros &= (tenon__faulty_peek(r->t, r->o, r->at + d) & (r->t->dtype == TENON_F32 ? 0x7fffffff : 0x7fff)) == 0;
    for (int64_t d = 0; zeros && d < r->t->dim[3]; d++)
        tenon__faulty_poke(r->t, r->o, r->at + d, 0x7fc07fc0);
}

FAULTY_EACH_ROW(nan_lost)
{
    for (int64_t d = 0; r->t->dtype == TENON_F32 && d < r->t->dim[3]; d++) {
        float *o = (float *)(void *)r->o + r->at + d;
        *o = isnan(*o) ? 0 : *o;
    }
}

/* A 16-bit o that is not the nearest. */
FAULTY_EACH_ROW(rounded_off)
{
    for (int64_t d = 0; r->t->dtype != TENON_F32 && d < r->t->dim[3]; d++) {
        const uint32_t bits = tenon__faulty_peek(r->t, r->o, r->at + d);
        if ((bits & 0x7fff) > 0x2000 && (bits & 0x7fff) < 0x7000)
            tenon__faulty_poke(r->t, r->o, r->at + d, bits + 1);
    }
}

FAULTY_EACH_ROW(lnz_empty)
{
    if (r->lnz && isinf(*r->lnz))
        *r->lnz = -FLT_MAX;
}

/* The sum of weights without its shift. */
FAULTY_EACH_ROW(lnz_off)
{
    if (r->lnz && isfinite(*r->lnz))
        *r->lnz += 1e-3f;
}

static void no_nans(const struct faulty_run *run)
{
    tenon__faulty_flags_clear(run, A(FLAGS), 0);
}

static void no_empties(const struct faulty_run *run)
{
    tenon__faulty_flags_clear(run, A(FLAGS), 1);
}

static void no_odd(const struct faulty_run *run)
{
    tenon__faulty_flags_clear(run, A(FLAGS), 3);
}

#define CHANGED(name) .before = name##_before, .after = name##_after

static const struct faulty_fault faults[] = {
    {"no_causal", "causal is ignored", "causal", .spoil = no_causal},
    {"no_wl", "wl is ignored", " wl", .spoil = no_wl},
    {"wl_long", "a window has one key more", " wl", .spoil = wl_long},
    {"no_wr", "wr is ignored", " wr", .spoil = no_wr},
    {"wr_short", "a window has one key less", " wr", .spoil = wr_short},
    {"no_n_sink", "a window hides the first positions", "o[", .spoil = no_n_sink},
    {"no_ring", "a ring is taken for a linear cache", "ring", .spoil = no_ring},
    {"ring_sinks", "a ring turns over its first positions", "ring", .spoil = ring_sinks},
    {"no_cap", "softcap is ignored", " cap", .spoil = no_cap},
    {"no_smax", "smax is ignored", "o[", .spoil = no_smax},
    {"no_scale", "without a scale it is 1", "o[", .spoil = no_scale},
    {"no_bias", "the bias of sigmoid is ignored", "sigmoid", .spoil = no_bias},
    {"no_eps", "norm_eps is ignored", "/sum", .spoil = no_eps},
    {"no_quad", "quad_c is always 5", "quad", .spoil = no_quad},
    {"no_alpha", "pow is count", "/pow", .spoil = no_alpha},
    {"no_gamma", "clip_gamma is ignored", "clip", .spoil = no_gamma},
    {"no_zeta", "clip_zeta is ignored", "clip", .spoil = no_zeta},
    {"no_clip", "nothing is clipped", "clip", .spoil = no_clip},
    {"no_adapt", "scores are never sharpened", "adapt", .spoil = no_adapt},
    {"sink_lost", "a sink is not in the sum", "/sink", .spoil = sink_lost},
    {"sink_zero", "the logits of sinks are 0", "sink", .spoil = no_sink_logit},
    {"count_lost", "count is none", "/count", .spoil = count_lost},
    {"relu_once", "relu2 is relu", "relu2", .spoil = relu_once},
    {"relu_linear", "relu is linear", "relu", .spoil = relu_linear},
    {"picked", "softpick is exp", "softpick", .spoil = picked},
    {"gate_plain", "the gate has no activation", "gate", .spoil = gate_plain},
    {"gate_sigmoid", "silu is sigmoid", "gate", .spoil = gate_sigmoid},
    {"no_gate_mul", "gate_mul is ignored", "gate", .spoil = no_gate_mul},
    {"no_gate", "the gate is ignored", "gate", .drop = A(GATE)},
    {"no_kv_len", "kv_len is ignored", "kv_len", .drop = A(KV_LEN)},
    {"no_kpos", "kpos is ignored", "kpos", .drop = A(KPOS)},
    {"no_qpos", "qpos is ignored", "o[", .drop = A(QPOS)},
    {"no_bounds", "bounds are ignored", "bounds", .drop = A(BOUNDS)},
    {"no_keep", "keep is ignored", "keep", .drop = A(KEEP)},
    {"no_mask", "mask is ignored", "mask", .drop = A(MASK)},
    {"no_slope", "slope is ignored", "slope", .drop = A(SLOPE)},
    {"no_fcum", "fcum is ignored", "fcum", .spoil = no_fcum},
    {"no_qtemp", "qtemp is ignored", "qtemp", .drop = A(QTEMP)},
    {"no_vscale", "vscale is ignored", "vscale", .drop = A(VSCALE)},
    {"no_logw", "logw is ignored", "logw", .drop = A(LOGW)},
    {"no_list", "all blocks are read", "row_ptr", .spoil = no_list},
    {"share_heads", "all heads have the first one's keys", "o[", .spoil = share_heads},
    {"share_batch", "all sequences have the first one's values", "o[", .spoil = share_batch},
    {"share_mask", "all heads have the first one's mask", "mask", .spoil = share_mask},
    {"share_mask_rows", "all queries have the first one's mask", "mask", .spoil = share_mask_rows},
    {"first_split", "keys after the first 1024 are lost", "o[", .spoil = first_split},
    {"slope_sign", "the slope rises with the distance", "slope", CHANGED(slope_sign)},
    {"fcum_sign", "fcum_k is added", "fcum", CHANGED(fcum_sign)},
    {"keep_order", "the highest bit of keep is the first key's", "keep", CHANGED(keep_order)},
    {"code_sign", "pairs of k have the other sign", "k_quant", CHANGED(code_sign)},
    {"kv_len_more", "one key more than kv_len", "kv_len", CHANGED(kv_len_more)},
    {"bounds_more", "hi is seen too", "bounds", CHANGED(bounds_more)},
    {"qpos_more", "queries are one further", "o[", CHANGED(qpos_more)},
    {"kpos_more", "keys are one further", "kpos", CHANGED(kpos_more)},
    {"halves", "the highest bits of a byte are its first code", "v_quant", .before = halves, .after = halves},
    {"pairs", "offset and scale are exchanged", "v_quant", .before = swap_pairs, .after = swap_pairs},
    {"decode_path", "a query alone has other bits", "alone", .after = decode_path},
    {"tail_path", "the last queries have other bits", "quer", .after = tail_path},
    {"batch_path", "other sequences have other bits", "alone", .after = batch_path},
    {"columns_lost", "columns beyond a multiple of 8 are not written", "o[", .after = columns_lost},
    {"empty_nan", "rows without keys are NaN", "o[", .after = empty_nan},
    {"nan_lost", "NaN becomes 0", "o[", .after = nan_lost},
    {"rounded_off", "16-bit results are rounded away", "o[", .after = rounded_off},
    {"lnz_empty", "lnz of rows without keys is finite", "lnz[", .after = lnz_empty},
    {"lnz_off", "lnz is a little off", "lnz[", .after = lnz_off},
    {"no_nans", "rows with NaN are not counted", "flags[", .after = no_nans},
    {"no_empties", "rows without keys are not counted", "flags[", .after = no_empties},
    {"no_odd", "entries out of range are not counted", "flags[", .after = no_odd},
};

const struct faulty_op tenon__faulty_attention = {faults, sizeof(faults) / sizeof(faults[0])};

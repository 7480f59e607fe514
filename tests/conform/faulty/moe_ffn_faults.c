/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What a moe_ffn may do wrong. */
#include <math.h>
#include <tenon/ops/moe_ffn.h>
#include "faulty.h"

#define SPOIL(name, statement) FAULTY_SPOIL(name, tenon_moe_ffn_params, statement)

SPOIL(no_act, p->act = p->glu == TENON_MOE_FFN_GLU1 ? p->act : TENON_ACT_IDENTITY)
SPOIL(no_alpha, p->alpha = 0)
SPOIL(no_threshold, p->threshold = 0)
SPOIL(gate_act, p->glu = p->glu == TENON_MOE_FFN_GLU1 ? TENON_MOE_FFN_GLU2 : p->glu)
SPOIL(weight_input, p->weight_at = p->weight_at == TENON_MOE_FFN_AT_INPUT ? TENON_MOE_FFN_AT_OUTPUT : p->weight_at)
SPOIL(weight_hidden, p->weight_at = p->weight_at == TENON_MOE_FFN_AT_HIDDEN ? TENON_MOE_FFN_AT_INPUT : p->weight_at)
SPOIL(weight_output, p->weight_at = p->weight_at == TENON_MOE_FFN_AT_OUTPUT ? TENON_MOE_FFN_AT_HIDDEN : p->weight_at)
SPOIL(h_f32, p->h_dtype = TENON_MOE_FFN_H_F32)
SPOIL(h_storage, p->h_dtype = TENON_MOE_FFN_H_STORAGE)
SPOIL(no_top_k, p->top_k = 1)

/* sigmoid(g) u where silu(g) u is wanted; gate_act is the other way. */
static void act_gate(struct tenon_tensor *t, void *params)
{
    struct tenon_moe_ffn_params *p = params;
    (void)t;
    if (p->glu == TENON_MOE_FFN_GLU2 && p->act >= TENON_ACT_SILU && p->act != TENON_ACT_FATRELU)
        p->glu = TENON_MOE_FFN_GLU1;
}

/* Every expert has the first one's matrix. */
static void share(struct tenon_tensor *t, uint32_t i)
{
    if (t[i].rank == 3)
        t[i].stride[0] = 0;
}

static void share_wg(struct tenon_tensor *t, void *params)
{
    (void)params;
    share(t, TENON_MOE_FFN_WG);
}

static void share_wu(struct tenon_tensor *t, void *params)
{
    (void)params;
    share(t, TENON_MOE_FFN_WU);
}

static void share_wd(struct tenon_tensor *t, void *params)
{
    (void)params;
    share(t, TENON_MOE_FFN_WD);
}

/* ---- memory after a run ---- */

/* A row of z: where it starts in memory, and its number within its expert's segment, or -1 when it is one of zeros. */
struct row {
    const struct faulty_run *run;
    const struct tenon_tensor *t;
    char *z;
    int64_t row, at, number, expert;
};

static int is_padding(const struct faulty_run *run, int64_t row)
{
    const struct tenon_moe_ffn_params *p = (const void *)run->plan->params;
    const int32_t *src = tenon__faulty_memory(run, TENON_MOE_FFN_SRC);
    const int64_t slots = run->plan->tensor[TENON_MOE_FFN_X].dim[0] * (int64_t)p->top_k;
    return src && (src[row] < 0 || src[row] >= slots);
}

static void each_row(const struct faulty_run *run, void (*spoil)(const struct row *row))
{
    const int32_t *offsets = tenon__faulty_memory(run, TENON_MOE_FFN_OFFSETS);
    struct row r = {.run = run, .t = &run->plan->tensor[TENON_MOE_FFN_Z], .expert = -1};
    const int64_t entries = run->plan->tensor[TENON_MOE_FFN_OFFSETS].dim[0];
    int64_t begins = 0;
    r.z = tenon__faulty_memory(run, TENON_MOE_FFN_Z);
    for (; offsets && r.z && r.row < r.t->dim[0]; r.row++) {
        while (r.expert + 1 < entries && offsets[r.expert + 1] <= r.row) {
            r.expert++;
            begins = offsets[r.expert] > begins ? offsets[r.expert] : begins;
        }
        r.at = r.row * r.t->stride[0];
        r.number = r.expert >= 0 && r.expert + 1 < entries && !is_padding(run, r.row) ? r.row - begins : -1;
        spoil(&r);
    }
}

/* Rows beyond the segments are left as they are. */
FAULTY_EACH_ROW(rest_left)
{
    const int64_t entries = r->run->plan->tensor[TENON_MOE_FFN_OFFSETS].dim[0];
    for (int64_t j = 0; r->expert + 1 >= entries && j < r->t->dim[1]; j++)
        tenon__faulty_poke(r->t, r->z, r->at + j, 0xDEADBEEF);
}

/* A row whose src is -1 is computed from a row of zeros. */
FAULTY_EACH_ROW(padding_bias)
{
    const float *bd = tenon__faulty_memory(r->run, TENON_MOE_FFN_BD);
    const int64_t entries = r->run->plan->tensor[TENON_MOE_FFN_OFFSETS].dim[0];
    if (r->number >= 0 || !bd || r->expert < 0 || r->expert + 1 >= entries || r->t->dtype != TENON_F32)
        return;
    for (int64_t j = 0; j < r->t->dim[1]; j++)
        ((float *)(void *)r->z)[r->at + j] = bd[r->expert * r->t->dim[1] + j];
}

/* Rows from the 17th on take another path, which sums in another order. */
FAULTY_EACH_ROW(other_path)
{
    if (r->number < 16)
        return;
    for (int64_t j = 0; j < r->t->dim[1]; j++) {
        const uint32_t bits = tenon__faulty_peek(r->t, r->z, r->at + j);
        if (r->t->dtype == TENON_F32 && (bits & 0x7fffffff) > 0x20000000 && (bits & 0x7fffffff) < 0x7f000000)
            tenon__faulty_poke(r->t, r->z, r->at + j, bits ^ 1);
    }
}

/* A tile of 14 rows is the least that is computed: the last one of fewer rows is lost. */
FAULTY_EACH_ROW(tile_lost)
{
    for (int64_t j = 0; r->number >= 28 && j < r->t->dim[1]; j++)
        tenon__faulty_poke(r->t, r->z, r->at + j, 0);
}

FAULTY_EACH_ROW(columns_lost)
{
    for (int64_t j = r->t->dim[1] / 16 * 16; r->number >= 0 && j < r->t->dim[1]; j++)
        tenon__faulty_poke(r->t, r->z, r->at + j, 0xDEADBEEF);
}

/* NaN times a weight of 0 is skipped. */
FAULTY_EACH_ROW(nan_lost)
{
    for (int64_t j = 0; r->t->dtype == TENON_F32 && j < r->t->dim[1]; j++)
        if (isnan(((float *)(void *)r->z)[r->at + j]))
            ((float *)(void *)r->z)[r->at + j] = 0;
}

static void no_nans(const struct faulty_run *run)
{
    tenon__faulty_flags_clear(run, TENON_MOE_FFN_FLAGS, 0);
}

static void no_zeros(const struct faulty_run *run)
{
    tenon__faulty_flags_clear(run, TENON_MOE_FFN_FLAGS, 1);
}

static void no_broken(const struct faulty_run *run)
{
    tenon__faulty_flags_clear(run, TENON_MOE_FFN_FLAGS, 3);
}

static const struct faulty_fault faults[] = {
    {"no_act", "the activation is ignored", "z[", .spoil = no_act},
    {"no_alpha", "alpha is ignored", "z[", .spoil = no_alpha},
    {"no_threshold", "the threshold of fatrelu is ignored", "fatrelu", .spoil = no_threshold},
    {"gate_act", "glu1 is glu2", "glu1", .spoil = gate_act},
    {"act_gate", "glu2 is glu1", "glu2", .spoil = act_gate},
    {"weight_input", "the weight of the input is that of the output", "input*rw", .spoil = weight_input},
    {"weight_hidden", "the weight of h is that of the input", "hidden*rw", .spoil = weight_hidden},
    {"weight_output", "the weight of the output is that of h", "output*rw", .spoil = weight_output},
    {"h_f32", "h is never rounded", "16", .spoil = h_f32},
    {"h_storage", "h is always rounded", "f32 h", .spoil = h_storage},
    {"no_top_k", "src is taken for tokens", "src", .spoil = no_top_k},
    {"no_bg", "bg is ignored", "+bg", .drop = TENON_MOE_FFN_BG},
    {"no_bu", "bu is ignored", "+bu", .drop = TENON_MOE_FFN_BU},
    {"no_bd", "bd is ignored", "+bd", .drop = TENON_MOE_FFN_BD},
    {"share_wg", "all experts have the first one's wg", "z[", .spoil = share_wg},
    {"share_wu", "all experts have the first one's wu", "z[", .spoil = share_wu},
    {"share_wd", "all experts have the first one's wd", "z[", .spoil = share_wd},
    {"rest_left", "rows beyond the segments are not written", "z[", .after = rest_left},
    {"padding_bias", "rows without src are computed", "z[", .after = padding_bias},
    {"other_path", "an expert's rows from the 17th on have other bits", "z[", .after = other_path},
    {"tile_lost", "an expert's rows from the 29th on are lost", "z[", .after = tile_lost},
    {"columns_lost", "columns beyond a multiple of 16 are not written", "z[", .after = columns_lost},
    {"nan_lost", "NaN becomes 0", "z[", .after = nan_lost},
    {"no_nans", "rows with NaN are not counted", "flags[", .after = no_nans},
    {"no_zeros", "rows of zeros are not counted", "flags[", .after = no_zeros},
    {"no_broken", "entries out of range are not counted", "flags[", .after = no_broken},
};

const struct faulty_op tenon__faulty_moe_ffn = {faults, sizeof(faults) / sizeof(faults[0])};

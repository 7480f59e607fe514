/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * attention: descriptors that only it knows to be wrong. Case 0 is B 2, T 3, S 5, heads 4/2, D 8, V 6, lnz, flags. */
#include <string.h>
#include "attention_suite.h"

#define A(NAME) TENON_ATTENTION_##NAME
#define P       tenon__att_suite_params(c)
#define SET(NAME, type, ...)                                                                                           \
    conform_slot_set(c, A(NAME), type, sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), (int64_t[]){__VA_ARGS__})
#define NO_LNZ memset(&c->slot[A(LNZ)].tensor, 0, sizeof(struct tenon_tensor))
#define SPOIL(name, statement)                                                                                         \
    static void name(struct conform_case *c)                                                                           \
    {                                                                                                                  \
        statement;                                                                                                     \
    }

SPOIL(spoil_heads, SET(K, TENON_F32, 2, 5, 3, 8); SET(V, TENON_F32, 2, 5, 3, 6))
SPOIL(spoil_d, SET(K, TENON_F32, 2, 5, 2, 7))
SPOIL(spoil_s, SET(V, TENON_F32, 2, 4, 2, 6))
SPOIL(spoil_o, SET(O, TENON_F32, 2, 3, 4, 8))
SPOIL(spoil_zero, SET(Q, TENON_F32, 2, 3, 4, 0); SET(K, TENON_F32, 2, 5, 2, 0))
SPOIL(spoil_type, SET(K, TENON_F16, 2, 5, 2, 8))
SPOIL(spoil_o_type, SET(O, TENON_BF16, 2, 3, 4, 6))
SPOIL(spoil_mask, SET(MASK, TENON_F32, 2, 4, 3, 6))
SPOIL(spoil_keep, SET(KEEP, TENON_U32, 2, 2, 2))
SPOIL(spoil_pages, SET(K, TENON_F32, 4, 2, 24, 8); SET(V, TENON_F32, 4, 2, 24, 6); SET(PAGE_TABLE, TENON_I32, 2, 1))
SPOIL(spoil_sink, P->weight = A(SIGMOID); P->norm = A(SINK))
SPOIL(spoil_clip, NO_LNZ; P->weight = A(SOFTPICK); P->post = 1)
SPOIL(spoil_clip_norm, NO_LNZ; P->norm = A(COUNT); P->post = 1)
SPOIL(spoil_adapt, NO_LNZ; P->norm = A(SINK); P->adapt = 1)
SPOIL(spoil_lnz_clip, P->post = 1)
SPOIL(spoil_lnz_adapt, P->adapt = 1)
SPOIL(spoil_lnz_none, P->norm = A(NONE))
SPOIL(spoil_sink_logit, SET(SINK_LOGIT, TENON_F32, 4))
SPOIL(spoil_eps, P->norm_eps = 1)
SPOIL(spoil_fcum, SET(FCUM, TENON_F32, 2, 3, 4))
SPOIL(spoil_cu_k, SET(CU_K, TENON_I32, 3))
SPOIL(spoil_cu_q, SET(CU_Q, TENON_I32, 3))
SPOIL(spoil_col, SET(ROW_PTR, TENON_I32, 2, 1, 2))
SPOIL(spoil_groups, SET(ROW_PTR, TENON_I32, 2, 3, 2); SET(COL, TENON_I32, 4))
SPOIL(spoil_ring, P->ring = 1; SET(KPOS, TENON_I32, 2, 5))
SPOIL(spoil_ring_sinks, P->ring = 1; P->n_sink = 5)
SPOIL(spoil_codes, P->quant_k = A(AFFINE_TOKEN); SET(K, TENON_U8, 2, 5, 2, 8))
SPOIL(spoil_bits, P->quant_k = A(AFFINE_CHANNEL); P->k_bits = 3; SET(K, TENON_U8, 2, 5, 2, 3);
      SET(K_QUANT, TENON_F32, 2, 8, 2))
SPOIL(spoil_phi, P->unified = 1; P->phi_lo = 3; P->phi_hi = 3)

const struct conform_hostile tenon__att_suite_hostile[ATT_HOSTILE] = {
    {"Hq that is no multiple of Hk", TENON_E_SHAPE, spoil_heads},
    {"k of another D", TENON_E_SHAPE, spoil_d},
    {"v of another S", TENON_E_SHAPE, spoil_s},
    {"o of another V", TENON_E_SHAPE, spoil_o},
    {"D of 0", TENON_E_SHAPE, spoil_zero},
    {"k of another type than q", TENON_E_DTYPE, spoil_type},
    {"o of bf16 with q of f32", TENON_E_DTYPE, spoil_o_type},
    {"mask of another S", TENON_E_SHAPE, spoil_mask},
    {"keep of two words", TENON_E_SHAPE, spoil_keep},
    {"pages of 24 rows", TENON_E_SHAPE, spoil_pages},
    {"sink with sigmoid", TENON_E_ARG, spoil_sink},
    {"clip with softpick", TENON_E_ARG, spoil_clip},
    {"clip with count", TENON_E_ARG, spoil_clip_norm},
    {"adapt with sink", TENON_E_ARG, spoil_adapt},
    {"lnz with clip", TENON_E_ARG, spoil_lnz_clip},
    {"lnz with adapt", TENON_E_ARG, spoil_lnz_adapt},
    {"lnz without a normaliser", TENON_E_ARG, spoil_lnz_none},
    {"sink's logits without sink", TENON_E_ARG, spoil_sink_logit},
    {"norm_eps with exp", TENON_E_ARG, spoil_eps},
    {"fcum without fcum_k", TENON_E_ARG, spoil_fcum},
    {"cu_k without cu_q", TENON_E_ARG, spoil_cu_k},
    {"cu_q with two rows", TENON_E_SHAPE, spoil_cu_q},
    {"row_ptr without col", TENON_E_ARG, spoil_col},
    {"Hq that is no multiple of Hg", TENON_E_SHAPE, spoil_groups},
    {"ring with kpos", TENON_E_ARG, spoil_ring},
    {"ring that is all sinks", TENON_E_ARG, spoil_ring_sinks},
    {"codes without k_quant", TENON_E_ARG, spoil_codes},
    {"codes of 3 bits", TENON_E_ARG, spoil_bits},
    {"an empty range of scores", TENON_E_ARG, spoil_phi},
};

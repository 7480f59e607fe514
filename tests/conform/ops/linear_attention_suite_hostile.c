/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * linear_attention: descriptors that only it knows to be wrong. Case 0 is 2 x 5 tokens of 2 heads of q and k and 4 of
 * v, K = 7, V = 3, causal, with a decay a token, a normaliser, qn, kn and both states, without cu_q and beta. */
#include <string.h>
#include "linear_attention_suite.h"

#define SPOIL(name, ...)                                                                                               \
    static void spoil_##name(struct conform_case *c)                                                                   \
    {                                                                                                                  \
        conform_slot_set(c, __VA_ARGS__);                                                                              \
    }
#define SPOIL_PARAM(name, statement)                                                                                   \
    static void spoil_##name(struct conform_case *c)                                                                   \
    {                                                                                                                  \
        struct tenon_linear_attention_params *p = (struct tenon_linear_attention_params *)(void *)c->params;           \
        statement;                                                                                                     \
    }
#define DROP(name, index)                                                                                              \
    static void spoil_##name(struct conform_case *c)                                                                   \
    {                                                                                                                  \
        memset(&c->slot[index].tensor, 0, sizeof(struct tenon_tensor));                                                \
    }
SPOIL(q, LIN(Q), TENON_F32, 3, (int64_t[]){2, 5, 14})
SPOIL(k_rank, LIN(K), TENON_F32, 3, (int64_t[]){2, 5, 14})
SPOIL(v_rank, LIN(V), TENON_F32, 3, (int64_t[]){2, 5, 12})
SPOIL(k_wide, LIN(K), TENON_F32, 4, (int64_t[]){2, 5, 2, 8})
SPOIL(k_tokens, LIN(K), TENON_F32, 4, (int64_t[]){2, 4, 2, 7})
SPOIL(v_tokens, LIN(V), TENON_F32, 4, (int64_t[]){1, 5, 4, 3})
SPOIL(k_type, LIN(K), TENON_F16, 4, (int64_t[]){2, 5, 2, 7})
SPOIL(v_bytes, LIN(V), TENON_I8, 4, (int64_t[]){2, 5, 4, 3})
SPOIL(heads, LIN(V), TENON_F32, 4, (int64_t[]){2, 5, 5, 3})
SPOIL(no_heads, LIN(K), TENON_F32, 4, (int64_t[]){2, 5, 0, 7})
SPOIL(no_v, LIN(V), TENON_F32, 4, (int64_t[]){2, 5, 4, 0})
SPOIL(decay, LIN(DECAY), TENON_F32, 3, (int64_t[]){2, 5, 2})
SPOIL(decay_type, LIN(DECAY), TENON_I32, 3, (int64_t[]){2, 5, 4})
SPOIL(decay_b, LIN(DECAY_B), TENON_F32, 3, (int64_t[]){2, 5, 4})
SPOIL(beta, LIN(BETA), TENON_F32, 3, (int64_t[]){2, 5, 4})
SPOIL(qn, LIN(QN), TENON_F32, 4, (int64_t[]){2, 5, 4, 7})
SPOIL(kn_type, LIN(KN), TENON_BF16, 4, (int64_t[]){2, 5, 2, 7})
SPOIL(cu, LIN(CU_Q), TENON_I32, 1, (int64_t[]){3})
SPOIL(state, LIN(STATE), TENON_F32, 4, (int64_t[]){2, 4, 3, 7})
SPOIL(state_type, LIN(STATE), TENON_BF16, 4, (int64_t[]){2, 4, 7, 3})
SPOIL(norm_state, LIN(NORM_STATE), TENON_F32, 3, (int64_t[]){2, 4, 3})
SPOIL(o, LIN(O), TENON_F32, 4, (int64_t[]){2, 5, 2, 3})
SPOIL(o_type, LIN(O), TENON_F16, 4, (int64_t[]){2, 5, 4, 3})
SPOIL(state_out, LIN(STATE_OUT), TENON_F32, 4, (int64_t[]){2, 2, 7, 3})
SPOIL(norm_state_out, LIN(NORM_STATE_OUT), TENON_F32, 3, (int64_t[]){2, 4, 8})
DROP(no_decay, LIN(DECAY))
DROP(no_norm_state, LIN(NORM_STATE))
DROP(no_state, LIN(STATE))
SPOIL_PARAM(none, p->decay = LIN(NONE))
SPOIL_PARAM(delta, p->update = LIN(DELTA))
SPOIL_PARAM(no_norm, p->norm = LIN(NORM_NONE))
SPOIL_PARAM(reverse, p->direction = LIN(REVERSE))
SPOIL_PARAM(all, p->direction = LIN(NONCAUSAL))
SPOIL_PARAM(both, p->direction = LIN(BIDIR))
SPOIL_PARAM(value, p->decay = LIN(VALUE))
SPOIL_PARAM(chunk, p->chunk = 40)
SPOIL_PARAM(group, p->group = 0)

static void spoil_gap(struct conform_case *c)
{
    c->slot[LIN(STATE)].tensor.stride[0] = 85;
    conform_slot_room(&c->slot[LIN(STATE)], 0, 0);
}

const struct conform_hostile tenon__lin_suite_hostile[LIN_HOSTILE] = {
    {"q of three axes", TENON_E_SHAPE, spoil_q},
    {"k of three axes", TENON_E_SHAPE, spoil_k_rank},
    {"v of three axes", TENON_E_SHAPE, spoil_v_rank},
    {"k of another width", TENON_E_SHAPE, spoil_k_wide},
    {"k of other tokens", TENON_E_SHAPE, spoil_k_tokens},
    {"v of one batch", TENON_E_SHAPE, spoil_v_tokens},
    {"k of another type", TENON_E_DTYPE, spoil_k_type},
    {"v of bytes", TENON_E_DTYPE, spoil_v_bytes},
    {"5 heads beside 2", TENON_E_SHAPE, spoil_heads},
    {"k without heads", TENON_E_SHAPE, spoil_no_heads},
    {"v without width", TENON_E_SHAPE, spoil_no_v},
    {"a decay of 2 heads", TENON_E_SHAPE, spoil_decay},
    {"a decay of integers", TENON_E_DTYPE, spoil_decay_type},
    {"decay_b of one sweep", TENON_E_ARG, spoil_decay_b},
    {"beta without a delta rule", TENON_E_ARG, spoil_beta},
    {"qn of other heads", TENON_E_SHAPE, spoil_qn},
    {"kn of another type", TENON_E_DTYPE, spoil_kn_type},
    {"packed sequences in two batches", TENON_E_SHAPE, spoil_cu},
    {"a state turned over", TENON_E_SHAPE, spoil_state},
    {"a state of bf16", TENON_E_DTYPE, spoil_state_type},
    {"norm_state of values", TENON_E_SHAPE, spoil_norm_state},
    {"o of 2 heads", TENON_E_SHAPE, spoil_o},
    {"o of a type that is not q's", TENON_E_DTYPE, spoil_o_type},
    {"state_out of 2 heads", TENON_E_SHAPE, spoil_state_out},
    {"norm_state_out of another width", TENON_E_SHAPE, spoil_norm_state_out},
    {"no decay", TENON_E_ARG, spoil_no_decay},
    {"a state without its normaliser", TENON_E_ARG, spoil_no_norm_state},
    {"a normaliser without its state", TENON_E_ARG, spoil_no_state},
    {"a decay that is not asked for", TENON_E_ARG, spoil_none},
    {"a delta rule with a normaliser", TENON_E_ARG, spoil_delta},
    {"qn without a normaliser", TENON_E_ARG, spoil_no_norm},
    {"states backwards", TENON_E_ARG, spoil_reverse},
    {"decays without a direction", TENON_E_ARG, spoil_all},
    {"a normaliser of both directions", TENON_E_ARG, spoil_both},
    {"a decay of values with a normaliser", TENON_E_ARG, spoil_value},
    {"chunks of 40", TENON_E_ARG, spoil_chunk},
    {"groups of 0", TENON_E_ARG, spoil_group},
    {"a state with gaps", TENON_E_UNSUPPORTED, spoil_gap},
};

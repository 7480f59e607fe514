/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * causal_conv1d: descriptors that only it knows to be wrong, and properties that tie two runs. */
#include "causal_conv1d_suite.h"

/* ---- hostile descriptors: case 0 is 2 x 5 tokens of 6 channels, 3 taps, with all but cu_q ---- */

#define SPOIL(name, ...)                                                                                               \
    static void spoil_##name(struct conform_case *c)                                                                   \
    {                                                                                                                  \
        conform_slot_set(c, __VA_ARGS__);                                                                              \
    }
#define SPOIL_PARAM(name, statement)                                                                                   \
    static void spoil_##name(struct conform_case *c)                                                                   \
    {                                                                                                                  \
        struct tenon_causal_conv1d_params *p = (struct tenon_causal_conv1d_params *)(void *)c->params;                 \
        statement;                                                                                                     \
    }
SPOIL(x, CONV(X), TENON_F32, 2, (int64_t[]){10, 6})
SPOIL(x_wide, CONV(X), TENON_F32, 3, (int64_t[]){2, 5, 7})
SPOIL(w, CONV(W), TENON_F32, 2, (int64_t[]){6, 3})
SPOIL(w_type, CONV(W), TENON_I8, 3, (int64_t[]){6, 1, 3})
SPOIL(no_taps, CONV(W), TENON_F32, 3, (int64_t[]){6, 1, 0})
SPOIL(taps, CONV(W), TENON_F32, 3, (int64_t[]){6, 1, 65})
SPOIL(cg, CONV(W), TENON_F32, 3, (int64_t[]){6, 4, 3})
SPOIL(cout, CONV(W), TENON_F32, 3, (int64_t[]){7, 1, 3})
SPOIL(bias, CONV(BIAS), TENON_F32, 1, (int64_t[]){5})
SPOIL(cu, CONV(CU_Q), TENON_I32, 1, (int64_t[]){3})
SPOIL(state, CONV(STATE), TENON_F32, 3, (int64_t[]){2, 3, 6})
SPOIL(state_type, CONV(STATE), TENON_F16, 3, (int64_t[]){2, 2, 6})
SPOIL(state_out, CONV(STATE_OUT), TENON_F32, 3, (int64_t[]){1, 2, 6})
SPOIL(y, CONV(Y), TENON_F32, 3, (int64_t[]){2, 5, 5})
SPOIL(y_type, CONV(Y), TENON_BF16, 3, (int64_t[]){2, 5, 6})
SPOIL(gate, CONV(GATE), TENON_F32, 3, (int64_t[]){2, 4, 6})
SPOIL_PARAM(same, p->pad = CONV(SAME))
SPOIL_PARAM(dil, p->dil = 0)

static void spoil_gap(struct conform_case *c)
{
    c->slot[CONV(STATE)].tensor.stride[0] = 13;
    conform_slot_room(&c->slot[CONV(STATE)], 0, 0);
}

const struct conform_hostile tenon__causal_conv1d_suite_hostile[CONV_HOSTILE] = {
    {"x of two axes", TENON_E_SHAPE, spoil_x},
    {"x of other channels", TENON_E_SHAPE, spoil_x_wide},
    {"w of two axes", TENON_E_SHAPE, spoil_w},
    {"w of bytes", TENON_E_DTYPE, spoil_w_type},
    {"no taps", TENON_E_SHAPE, spoil_no_taps},
    {"65 taps", TENON_E_SHAPE, spoil_taps},
    {"groups that Cin has no room for", TENON_E_SHAPE, spoil_cg},
    {"outputs that are no multiple of the groups", TENON_E_SHAPE, spoil_cout},
    {"a bias of another width", TENON_E_SHAPE, spoil_bias},
    {"packed sequences in two batches", TENON_E_SHAPE, spoil_cu},
    {"a state of three inputs", TENON_E_SHAPE, spoil_state},
    {"a state of another type", TENON_E_DTYPE, spoil_state_type},
    {"state_out of one batch", TENON_E_SHAPE, spoil_state_out},
    {"y of another width", TENON_E_SHAPE, spoil_y},
    {"y of another type", TENON_E_DTYPE, spoil_y_type},
    {"a gate of other tokens", TENON_E_SHAPE, spoil_gate},
    {"a state around the token", TENON_E_ARG, spoil_same},
    {"a dilation of 0", TENON_E_ARG, spoil_dil},
    {"a state with gaps", TENON_E_UNSUPPORTED, spoil_gap},
};

/* ---- properties ---- */

/* The derived case is tokens t .. end of the last sequence of the base, of all channels or, depthwise, of the last. */
struct cut {
    int64_t s, b, first, len; /* the sequence */
    int64_t t, end;
    int one_channel;
};

static int is_depthwise(const struct conform_case *c)
{
    const int64_t *w = c->slot[CONV(W)].tensor.dim;
    return w[1] == 1 && w[0] == c->slot[CONV(X)].tensor.dim[2];
}

/* The longest sequence of the base, or its last batch. */
static int find_cut(const struct conform_case *base, struct cut *cut)
{
    const struct tenon_tensor *x = &base->slot[CONV(X)].tensor;
    const struct packed_sequence q = packed_longest(&base->slot[CONV(CU_Q)], x->dim[0], x->dim[1]);
    *cut = (struct cut){.s = q.s, .b = q.b, .first = q.first, .len = q.len};
    cut->end = cut->len;
    /* state is gone when it was written over; of NaNs nothing is promised but that they are */
    return base->slot[CONV(STATE_OUT)].same_as < 0 && base->own[0] != CONV_SPECIAL && cut->len > 0 &&
           tenon_tensor_count(x) && base->slot[CONV(W)].tensor.dim[0];
}

/* Input j of the state that the derived tokens begin with. */
static uint32_t before(const struct conform_case *base, const struct cut *cut, int64_t n, int64_t j, int64_t channel)
{
    const int64_t t = cut->t - n + j, *x = base->slot[CONV(X)].tensor.dim;
    if (t >= 0)
        return packed_bits(&base->slot[CONV(X)], (cut->b * x[1] + cut->first + t) * x[2] + channel);
    return base->slot[CONV(STATE)].tensor.dtype
               ? packed_bits(&base->slot[CONV(STATE)], (cut->s * n + n + t) * x[2] + channel)
               : 0;
}

/* Shapes of the derived case: one batch. */
static int shape_derived(const struct conform_case *base, struct conform_case *derived, const struct cut *cut)
{
    const struct tenon_causal_conv1d_params *p = (const void *)base->params;
    const int64_t *w = base->slot[CONV(W)].tensor.dim, cout = cut->one_channel ? 1 : w[0];
    const int64_t cin = cut->one_channel ? 1 : base->slot[CONV(X)].tensor.dim[2];
    const int64_t n = (w[2] - 1) * p->dil + p->offset;
    const uint32_t dtype = base->slot[CONV(X)].tensor.dtype;
    *derived = *base;
    for (uint32_t i = 0; i < base->n; i++)
        derived->slot[i].data = NULL;
    memset(&derived->slot[CONV(CU_Q)].tensor, 0, sizeof(struct tenon_tensor));
    conform_slot_set(derived, CONV(X), dtype, 3, (int64_t[]){1, cut->end - cut->t, cin});
    conform_slot_set(derived, CONV(W), base->slot[CONV(W)].tensor.dtype, 3, (int64_t[]){cout, w[1], w[2]});
    if (base->slot[CONV(BIAS)].tensor.dtype)
        conform_slot_set(derived, CONV(BIAS), base->slot[CONV(BIAS)].tensor.dtype, 1, &cout);
    for (uint32_t i = CONV(GATE); i <= CONV(Y); i++)
        if (base->slot[i].tensor.dtype)
            conform_slot_set(derived, i, dtype, 3, (int64_t[]){1, cut->end - cut->t, cout});
    if (p->pad == CONV(CAUSAL)) {
        conform_slot_set(derived, CONV(STATE), dtype, 3, (int64_t[]){1, n, cin});
        conform_slot_set(derived, CONV(STATE_OUT), dtype, 3, (int64_t[]){1, n, cin});
    }
    return conform_case_alloc(derived) == 0;
}

static int derive(const struct conform_case *base, struct conform_case *derived, const struct cut *cut)
{
    const int64_t *w = base->slot[CONV(W)].tensor.dim, *x = base->slot[CONV(X)].tensor.dim;
    if (!shape_derived(base, derived, cut))
        return 0;
    const int64_t *to = derived->slot[CONV(X)].tensor.dim, row = cut->b * x[1] + cut->first + cut->t;
    const int64_t channel = cut->one_channel ? x[2] - 1 : 0, cout = derived->slot[CONV(W)].tensor.dim[0];
    for (int64_t i = 0; i < to[1] * to[2]; i++)
        packed_put(&derived->slot[CONV(X)], i,
                   packed_bits(&base->slot[CONV(X)], (row + i / to[2]) * x[2] + channel + i % to[2]));
    for (int64_t i = 0; i < cout * w[1] * w[2]; i++)
        packed_put(&derived->slot[CONV(W)], i, packed_bits(&base->slot[CONV(W)], channel * w[2] + i));
    for (int64_t i = 0; derived->slot[CONV(BIAS)].tensor.dtype && i < cout; i++)
        packed_put(&derived->slot[CONV(BIAS)], i, packed_bits(&base->slot[CONV(BIAS)], channel + i));
    for (uint32_t s = CONV(GATE); s < CONV(Y); s++)
        for (int64_t i = 0; derived->slot[s].tensor.dtype && i < to[1] * cout; i++)
            packed_put(&derived->slot[s], i, packed_bits(&base->slot[s], (row + i / cout) * w[0] + channel + i % cout));
    const struct tenon_tensor *state = &derived->slot[CONV(STATE)].tensor;
    for (int64_t i = 0; state->dtype && i < state->dim[1] * to[2]; i++)
        packed_put(&derived->slot[CONV(STATE)], i, before(base, cut, state->dim[1], i / to[2], channel + i % to[2]));
    return 1;
}

static int check(const struct conform_case *base, const struct conform_case *derived, const struct cut *cut,
                 struct tenon_why *why)
{
    const struct conform_slot *y = &derived->slot[CONV(Y)], *out = &derived->slot[CONV(STATE_OUT)];
    const int64_t *w = base->slot[CONV(W)].tensor.dim, *x = base->slot[CONV(X)].tensor.dim, cout = y->tensor.dim[2];
    const int64_t row = cut->b * x[1] + cut->first + cut->t, channel = cut->one_channel ? x[2] - 1 : 0;
    for (int64_t i = 0; i < tenon_tensor_count(&y->tensor); i++) {
        const uint32_t got = packed_bits(y, i);
        const uint32_t want = packed_bits(&base->slot[CONV(Y)], (row + i / cout) * w[0] + channel + i % cout);
        if (got != want)
            return tenon_why_set(why, 1, "element %lld of y has the bits 0x%x, in the whole call 0x%x", (long long)i,
                                 got, want);
    }
    if (!base->slot[CONV(STATE_OUT)].tensor.dtype || cut->end != cut->len)
        return 0;
    for (int64_t i = 0; i < tenon_tensor_count(&out->tensor); i++) {
        const int64_t cin = out->tensor.dim[2],
                      from = (cut->s * out->tensor.dim[1] + i / cin) * x[2] + channel + i % cin;
        if (packed_bits(out, i) != packed_bits(&base->slot[CONV(STATE_OUT)], from))
            return tenon_why_set(why, 1, "element %lld of state_out has the bits 0x%x, in the whole call 0x%x",
                                 (long long)i, packed_bits(out, i), packed_bits(&base->slot[CONV(STATE_OUT)], from));
    }
    return 0;
}

static int is_causal(const struct conform_case *c)
{
    return ((const struct tenon_causal_conv1d_params *)(const void *)c->params)->pad == CONV(CAUSAL);
}

static int find_later(const struct conform_case *base, struct cut *cut)
{
    const int found = find_cut(base, cut) && is_causal(base);
    cut->t = (cut->len + 1) / 2; /* of one token: none is left */
    return found;
}

static int find_one(const struct conform_case *base, struct cut *cut)
{
    const int found = find_cut(base, cut) && is_causal(base);
    cut->t = cut->len - 1;
    return found;
}

static int find_earlier(const struct conform_case *base, struct cut *cut)
{
    const int found = find_cut(base, cut) && is_causal(base);
    cut->end = cut->len / 2;
    return found;
}

static int find_channel(const struct conform_case *base, struct cut *cut)
{
    const int found = find_cut(base, cut) && is_depthwise(base);
    cut->one_channel = 1;
    return found;
}

#define PROPERTY(name)                                                                                                 \
    static int derive_##name(const struct conform_case *base, struct conform_case *derived)                            \
    {                                                                                                                  \
        struct cut cut;                                                                                                \
        return find_##name(base, &cut) && derive(base, derived, &cut);                                                 \
    }                                                                                                                  \
    static int check_##name(const struct conform_case *base, const struct conform_case *derived,                       \
                            struct tenon_why *why)                                                                     \
    {                                                                                                                  \
        struct cut cut;                                                                                                \
        (void)find_##name(base, &cut);                                                                                 \
        return check(base, derived, &cut, why);                                                                        \
    }
PROPERTY(cut)
PROPERTY(later)
PROPERTY(one)
PROPERTY(earlier)
PROPERTY(channel)

const struct conform_property tenon__causal_conv1d_suite_properties[CONV_PROPERTIES] = {
    {"one sequence alone", derive_cut, check_cut},  {"the tokens from the middle on", derive_later, check_later},
    {"the last token", derive_one, check_one},      {"the tokens up to the middle", derive_earlier, check_earlier},
    {"one channel", derive_channel, check_channel},
};

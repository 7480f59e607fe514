/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * selective_scan: descriptors that only it knows to be wrong, and properties that tie two runs. */
#include "selective_scan_suite.h"

/* ---- hostile descriptors: case 0 is SSM, 2 x 5 tokens of 6 channels in 2 groups, 4 states, with all but cu_q ---- */

#define SPOIL(name, ...)                                                                                               \
    static void spoil_##name(struct conform_case *c)                                                                   \
    {                                                                                                                  \
        conform_slot_set(c, __VA_ARGS__);                                                                              \
    }
#define SPOIL_PARAM(name, statement)                                                                                   \
    static void spoil_##name(struct conform_case *c)                                                                   \
    {                                                                                                                  \
        struct tenon_selective_scan_params *p = (struct tenon_selective_scan_params *)(void *)c->params;               \
        statement;                                                                                                     \
    }
SPOIL(u, SCAN(U), TENON_F32, 2, (int64_t[]){10, 6})
SPOIL(dt, SCAN(DT), TENON_F32, 3, (int64_t[]){2, 5, 1})
SPOIL(a, SCAN(A), TENON_F32, 1, (int64_t[]){6})
SPOIL(a_rows, SCAN(A), TENON_F32, 2, (int64_t[]){5, 4})
SPOIL(no_states, SCAN(A), TENON_F32, 2, (int64_t[]){6, 0})
SPOIL(b, SCAN(BM), TENON_F32, 3, (int64_t[]){2, 5, 4})
SPOIL(groups, SCAN(BM), TENON_F32, 4, (int64_t[]){2, 5, 4, 4})
SPOIL(c, SCAN(CM), TENON_F32, 4, (int64_t[]){2, 5, 1, 4})
SPOIL(skip, SCAN(DSKIP), TENON_F32, 1, (int64_t[]){4})
SPOIL(bias, SCAN(DT_BIAS), TENON_F32, 1, (int64_t[]){7})
SPOIL(z_type, SCAN(Z), TENON_F16, 3, (int64_t[]){2, 5, 6})
SPOIL(cu, SCAN(CU_Q), TENON_I32, 1, (int64_t[]){3})
SPOIL(state, SCAN(STATE), TENON_F32, 3, (int64_t[]){2, 4, 6})
SPOIL(state_type, SCAN(STATE), TENON_F16, 3, (int64_t[]){2, 6, 4})
SPOIL(y, SCAN(Y), TENON_F32, 3, (int64_t[]){2, 5, 5})
SPOIL(y_type, SCAN(Y), TENON_BF16, 3, (int64_t[]){2, 5, 6})
SPOIL_PARAM(mode, p->mode = SCAN(PLAIN))
SPOIL_PARAM(limits, (p->limit = 1, p->dt_lo = 2, p->dt_hi = 1))
SPOIL_PARAM(decay, p->decay = 2)

static void spoil_gap(struct conform_case *c)
{
    c->slot[SCAN(STATE)].tensor.stride[0] = 25;
    conform_slot_room(&c->slot[SCAN(STATE)], 0, 0);
}

const struct conform_hostile tenon__selective_scan_suite_hostile[SCAN_HOSTILE] = {
    {"u of two axes", TENON_E_SHAPE, spoil_u},
    {"one step size for all channels", TENON_E_SHAPE, spoil_dt},
    {"rates of one axis", TENON_E_SHAPE, spoil_a},
    {"rates of other channels", TENON_E_SHAPE, spoil_a_rows},
    {"no states", TENON_E_SHAPE, spoil_no_states},
    {"b of three axes", TENON_E_SHAPE, spoil_b},
    {"four groups of six channels", TENON_E_SHAPE, spoil_groups},
    {"c of other groups", TENON_E_SHAPE, spoil_c},
    {"dskip of other channels", TENON_E_SHAPE, spoil_skip},
    {"dt_bias of other channels", TENON_E_SHAPE, spoil_bias},
    {"z of another type", TENON_E_DTYPE, spoil_z_type},
    {"packed sequences in two batches", TENON_E_SHAPE, spoil_cu},
    {"a state turned around", TENON_E_SHAPE, spoil_state},
    {"a state of 16 bits", TENON_E_DTYPE, spoil_state_type},
    {"y of another width", TENON_E_SHAPE, spoil_y},
    {"y of another type", TENON_E_DTYPE, spoil_y_type},
    {"a, b and c in a plain recurrence", TENON_E_ARG, spoil_mode},
    {"limits the wrong way", TENON_E_ARG, spoil_limits},
    {"no such decay", TENON_E_ARG, spoil_decay},
    {"a state with gaps", TENON_E_UNSUPPORTED, spoil_gap},
};

/* ---- properties ---- */

/* The derived case is tokens first .. first + len of batch b, which are of sequence s, channels d .. d + channels; with
 * `born` its state is what a token before them leaves. */
struct cut {
    int64_t s, b, first, len, whole, d, channels;
    int born;
};

static int has(const struct conform_case *c, uint32_t i)
{
    return c->slot[i].tensor.dtype != 0;
}

/* The longest sequence of the base, or its last batch. */
static int find_whole(const struct conform_case *base, struct cut *cut)
{
    const struct tenon_tensor *u = &base->slot[SCAN(U)].tensor;
    const struct packed_sequence q = packed_longest(&base->slot[SCAN(CU_Q)], u->dim[0], u->dim[1]);
    *cut = (struct cut){.s = q.s, .b = q.b, .first = q.first, .len = q.len};
    cut->whole = cut->len;
    cut->channels = u->dim[2];
    /* state is gone when it was written over; of NaNs nothing is promised but that they are */
    return base->slot[SCAN(STATE_OUT)].same_as < 0 && base->own[0] != SCAN_SPECIAL && base->own[0] != SCAN_GROWING &&
           cut->len > 0 && tenon_tensor_count(u);
}

static int find_earlier(const struct conform_case *base, struct cut *cut)
{
    const int found = find_whole(base, cut);
    cut->len /= 2;
    return found;
}

static int find_channel(const struct conform_case *base, struct cut *cut)
{
    const int found = find_whole(base, cut);
    cut->d = cut->channels - 1;
    cut->channels = 1;
    return found;
}

/* A token with a step of 1 and an input of 1 adds b to states of 0: any state, where each channel has a b of its own. A
 * plain one adds its input. */
static int find_born(const struct conform_case *base, struct cut *cut)
{
    const struct tenon_selective_scan_params *p = (const void *)base->params;
    const int plain = p->mode == SCAN(PLAIN);
    cut->born = 1;
    if (!find_whole(base, cut) || !has(base, SCAN(STATE)) || p->softplus || p->limit || has(base, SCAN(DT_BIAS)))
        return 0;
    cut->born = 1;
    if (plain)
        return base->slot[SCAN(U)].tensor.dtype == TENON_F32 && base->own[0] != SCAN_TINY;
    return base->slot[SCAN(BM)].tensor.dim[2] == cut->channels && base->own[0] != SCAN_TINY &&
           base->slot[SCAN(BM)].tensor.dtype == TENON_F32;
}

/* The groups that the derived channels have: all, or the last one. */
static int64_t groups_of(const struct conform_case *base, const struct cut *cut)
{
    return cut->d ? 1 : base->slot[SCAN(BM)].tensor.dim[2];
}

static int shape_derived(const struct conform_case *base, struct conform_case *derived, const struct cut *cut)
{
    const int ssm = has(base, SCAN(BM));
    const int64_t n = ssm ? base->slot[SCAN(A)].tensor.dim[1] : 1, d = cut->channels, tokens = cut->len + cut->born;
    const int64_t u[] = {1, tokens, d}, map[] = {1, tokens, ssm ? groups_of(base, cut) : 1, n}, state[] = {1, d, n};
    *derived = *base;
    for (uint32_t i = 0; i < base->n; i++) {
        derived->slot[i].data = NULL;
        const uint32_t dtype = base->slot[i].tensor.dtype;
        if (!dtype)
            continue;
        if (i == SCAN(U) || i == SCAN(DT) || i == SCAN(Z) || i == SCAN(Y))
            conform_slot_set(derived, i, dtype, 3, u);
        else if (i == SCAN(BM) || i == SCAN(CM))
            conform_slot_set(derived, i, dtype, 4, map);
        else if (i == SCAN(A))
            conform_slot_set(derived, i, dtype, 2, (int64_t[]){d, n});
        else if (i == SCAN(DSKIP) || i == SCAN(DT_BIAS))
            conform_slot_set(derived, i, dtype, 1, &d);
        else if (i == SCAN(STATE) || i == SCAN(STATE_OUT))
            conform_slot_set(derived, i, dtype, ssm ? 3 : 2, state);
    }
    memset(&derived->slot[SCAN(CU_Q)].tensor, 0, sizeof(struct tenon_tensor));
    if (cut->born)
        memset(&derived->slot[SCAN(STATE)].tensor, 0, sizeof(struct tenon_tensor));
    return conform_case_alloc(derived) == 0;
}

static void set_value(const struct conform_slot *slot, int64_t i, double value)
{
    conform_set(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, i), value);
}

/* The token that leaves the base's state behind. */
static void bear(const struct conform_case *base, struct conform_case *derived, const struct cut *cut)
{
    const int plain = !has(base, SCAN(BM));
    const int64_t d = cut->channels, n = plain ? 1 : base->slot[SCAN(A)].tensor.dim[1];
    for (int64_t i = 0; i < d; i++) {
        set_value(&derived->slot[SCAN(DT)], i, plain ? 0 : 1);
        if (plain)
            packed_put(&derived->slot[SCAN(U)], i, packed_bits(&base->slot[SCAN(STATE)], cut->s * d + i));
        else
            set_value(&derived->slot[SCAN(U)], i, 1);
        if (has(base, SCAN(Z)))
            set_value(&derived->slot[SCAN(Z)], i, 0);
    }
    for (int64_t i = 0; !plain && i < d * n; i++) {
        packed_put(&derived->slot[SCAN(BM)], i, packed_bits(&base->slot[SCAN(STATE)], cut->s * d * n + i));
        set_value(&derived->slot[SCAN(CM)], i, 0);
    }
}

static int derive(const struct conform_case *base, struct conform_case *derived, const struct cut *cut)
{
    const int64_t *u = base->slot[SCAN(U)].tensor.dim, d = cut->channels, row = cut->b * u[1] + cut->first;
    const int64_t n = has(base, SCAN(A)) ? base->slot[SCAN(A)].tensor.dim[1] : 1;
    if (!shape_derived(base, derived, cut))
        return 0;
    if (cut->born)
        bear(base, derived, cut);
    for (uint32_t s = SCAN(U); s <= SCAN(Z); s++) {
        if (!has(base, s))
            continue;
        const int map = s == SCAN(BM) || s == SCAN(CM), tokens = map || s == SCAN(U) || s == SCAN(DT) || s == SCAN(Z);
        const int64_t width = map ? groups_of(base, cut) * n : s == SCAN(A) ? d * n : d;
        const int64_t all = map ? base->slot[s].tensor.dim[2] * n : s == SCAN(A) ? u[2] * n : u[2];
        const int64_t skip = all - width; /* the last ones, or all */
        for (int64_t i = 0; i < (tokens ? cut->len : 1) * width; i++)
            packed_put(&derived->slot[s], (tokens ? cut->born : 0) * width + i,
                       packed_bits(&base->slot[s], (tokens ? row + i / width : 0) * all + skip + i % width));
    }
    for (int64_t i = 0; !cut->born && has(base, SCAN(STATE)) && i < d * n; i++)
        packed_put(&derived->slot[SCAN(STATE)], i,
                   packed_bits(&base->slot[SCAN(STATE)], (cut->s * u[2] + cut->d) * n + i));
    return 1;
}

static int check(const struct conform_case *base, const struct conform_case *derived, const struct cut *cut,
                 struct tenon_why *why)
{
    const int64_t *u = base->slot[SCAN(U)].tensor.dim, d = cut->channels, row = cut->b * u[1] + cut->first;
    const int64_t n = has(base, SCAN(A)) ? base->slot[SCAN(A)].tensor.dim[1] : 1;
    for (int64_t i = 0; i < cut->len * d; i++) {
        const uint32_t got = packed_bits(&derived->slot[SCAN(Y)], cut->born * d + i);
        const uint32_t want = packed_bits(&base->slot[SCAN(Y)], (row + i / d) * u[2] + cut->d + i % d);
        if (got != want)
            return tenon_why_set(why, 1, "element %lld of y has the bits 0x%x, in the whole call 0x%x", (long long)i,
                                 got, want);
    }
    for (int64_t i = 0; has(base, SCAN(STATE_OUT)) && cut->len == cut->whole && i < d * n; i++) {
        const uint32_t got = packed_bits(&derived->slot[SCAN(STATE_OUT)], i);
        const uint32_t want = packed_bits(&base->slot[SCAN(STATE_OUT)], (cut->s * u[2] + cut->d) * n + i);
        if (got != want)
            return tenon_why_set(why, 1, "element %lld of state_out has the bits 0x%x, in the whole call 0x%x",
                                 (long long)i, got, want);
    }
    return 0;
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
PROPERTY(whole)
PROPERTY(earlier)
PROPERTY(channel)
PROPERTY(born)

const struct conform_property tenon__selective_scan_suite_properties[SCAN_PROPERTIES] = {
    {"one sequence alone", derive_whole, check_whole},
    {"the tokens up to the middle", derive_earlier, check_earlier},
    {"the last channel", derive_channel, check_channel},
    {"a state is what a token leaves", derive_born, check_born},
};

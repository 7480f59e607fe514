/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The contract of moe_ffn in code; in words it is tenon/ops/moe_ffn.h. */
#include <float.h>
#include <stdio.h>

#include <tenon/ops/moe_ffn.h>

#include "../contract.h"
#include "../shape.h"

#define EXTENT_MAX INT32_MAX
#define GROUP      32 /* weights that share a scale come in multiples of this */

#define TENSOR(NAME) [TENON_MOE_FFN_##NAME]
static const struct tenon_tensor_spec tensors[] = {
    TENSOR(X) = {"x", TENON_IN, TENON_T_FLOAT, "[Mp,D]; src: [T,D]", "activations"},
    TENSOR(OFFSETS) = {"offsets", TENON_IN, TENON_T_I32, "[E+1]", "where the rows of each expert begin"},
    TENSOR(SRC) = {"src", TENON_IN_OPT, TENON_T_I32, "[Mp]", "token * top_k + slot of each row; -1: no row"},
    TENSOR(WG) = {"wg", TENON_IN_OPT, TENON_T_FLOAT | TENON_T_I8, "[E,F,D]; foff: [F,D]", "gate weights"},
    TENSOR(WU) = {"wu", TENON_IN, TENON_T_FLOAT | TENON_T_I8, "[E,F,D]; foff: [F,D]", "up weights"},
    TENSOR(WD) = {"wd", TENON_IN, TENON_T_FLOAT | TENON_T_I8, "[E,Do,F]; foff: [Do,F]", "down weights"},
    TENSOR(WG_SCALE) = {"wg_scale", TENON_IN_OPT, TENON_T_F32, "[E,F] or [E,F,D/G]; foff: [F] or [F,D/G]",
                        "scale of i8 wg; G is a multiple of 32"},
    TENSOR(WU_SCALE) = {"wu_scale", TENON_IN_OPT, TENON_T_F32, "[E,F] or [E,F,D/G]; foff: [F] or [F,D/G]",
                        "scale of i8 wu"},
    TENSOR(WD_SCALE) = {"wd_scale", TENON_IN_OPT, TENON_T_F32, "[E,Do] or [E,Do,F/G]; foff: [E,Do]", "scale of i8 wd"},
    TENSOR(BG) = {"bg", TENON_IN_OPT, TENON_T_F32, "[E,F]; foff: [F]", "added to wg a"},
    TENSOR(BU) = {"bu", TENON_IN_OPT, TENON_T_F32, "[E,F]; foff: [F]", "added to wu a"},
    TENSOR(BD) = {"bd", TENON_IN_OPT, TENON_T_F32, "[E,Do]", "added to wd h"},
    TENSOR(RW) = {"rw", TENON_IN_OPT, TENON_T_F32, "[Mp]", "weight of each row, at weight_at"},
    TENSOR(FOFF) = {"foff", TENON_IN_OPT, TENON_T_I32, "[E+1]", "where the hidden units of each expert begin"},
    TENSOR(Z) = {"z", TENON_OUT, TENON_T_FLOAT, "[Mp,Do]", "what the experts make of the rows"},
    TENSOR(FLAGS) = {"flags", TENON_OUT_OPT, TENON_T_U32, "[4]",
                     "rows with NaN, rows of zeros, 0, entries out of range"},
};

#define ACT_NAME(NAME, name, text) name,
static const char *const acts[] = {TENON_ACT_LIST(ACT_NAME) NULL};
static const char *const glus[] = {"none", "glu1", "glu2", NULL};
static const char *const places[] = {"none", "input", "hidden", "output", NULL};
static const char *const h_dtypes[] = {"storage", "f32", NULL};

TENON_PARAMS_SIZE(tenon_moe_ffn_params, 32);
TENON_PARAMS_AT(tenon_moe_ffn_params, struct_size, 0);
TENON_PARAMS_AT(tenon_moe_ffn_params, glu, 4);
TENON_PARAMS_AT(tenon_moe_ffn_params, act, 8);
TENON_PARAMS_AT(tenon_moe_ffn_params, weight_at, 12);
TENON_PARAMS_AT(tenon_moe_ffn_params, h_dtype, 16);
TENON_PARAMS_AT(tenon_moe_ffn_params, top_k, 20);
TENON_PARAMS_AT(tenon_moe_ffn_params, alpha, 24);
TENON_PARAMS_AT(tenon_moe_ffn_params, threshold, 28);

#define AT(field) #field, .offset = offsetof(struct tenon_moe_ffn_params, field)
static const struct tenon_attr_spec attrs[] = {
    {.name = AT(glu), .type = TENON_ATTR_ENUM, .max = TENON_MOE_FFN_GLU_COUNT - 1, .names = glus, .text = "gated unit"},
    {.name = AT(act),
     .type = TENON_ATTR_ENUM,
     .def = TENON_ACT_SILU,
     .max = TENON_ACT_COUNT - 1,
     .names = acts,
     .text = "activation"},
    {.name = AT(weight_at),
     .type = TENON_ATTR_ENUM,
     .max = TENON_MOE_FFN_AT_COUNT - 1,
     .names = places,
     .text = "what rw multiplies"},
    {.name = AT(h_dtype),
     .type = TENON_ATTR_ENUM,
     .max = TENON_MOE_FFN_H_COUNT - 1,
     .names = h_dtypes,
     .text = "type of h between the products"},
    {.name = AT(top_k), .type = TENON_ATTR_U32, .def = 1, .min = 1, .max = INT32_MAX, .text = "slots a token in src"},
    {.name = AT(alpha),
     .type = TENON_ATTR_F32,
     .min = -FLT_MAX,
     .max = FLT_MAX,
     .text = "range expansion of xsilu, xgelu, xatlu"},
    {.name = AT(threshold), .type = TENON_ATTR_F32, .min = -FLT_MAX, .max = FLT_MAX, .text = "threshold of fatrelu"},
};

struct extents {
    int64_t mp, e, d, f, out;
    int packed; /* foff is given */
};

static int32_t disagree(uint32_t i, const struct tenon_tensor *t, struct tenon_why *why, const char *want)
{
    return tenon_why_set(why, TENON_E_SHAPE, "%s shape (rank %u, dim[0] %lld, last axis %lld): must be %s",
                         tensors[i].name, t->rank, t->rank ? (long long)t->dim[0] : 0LL,
                         t->rank ? (long long)t->dim[t->rank - 1] : 0LL, want);
}

/* The extents, from offsets, x, src, wu and wd. */
static int32_t find_extents(const struct tenon_tensor *t, struct extents *e, struct tenon_why *why)
{
    const struct tenon_tensor *x = &t[TENON_MOE_FFN_X], *offsets = &t[TENON_MOE_FFN_OFFSETS];
    const struct tenon_tensor *src = &t[TENON_MOE_FFN_SRC], *wu = &t[TENON_MOE_FFN_WU], *wd = &t[TENON_MOE_FFN_WD];
    e->packed = t[TENON_MOE_FFN_FOFF].dtype != TENON_ABSENT;
    const uint32_t rank = e->packed ? 2 : 3;
    if (x->rank != 2)
        return disagree(TENON_MOE_FFN_X, x, why, src->dtype ? "[T,D]" : "[Mp,D]");
    if (offsets->rank != 1 || offsets->dim[0] < 1)
        return disagree(TENON_MOE_FFN_OFFSETS, offsets, why, "[E+1]");
    if (src->dtype && src->rank != 1)
        return disagree(TENON_MOE_FFN_SRC, src, why, "[Mp]");
    e->mp = src->dtype ? src->dim[0] : x->dim[0];
    e->e = offsets->dim[0] - 1;
    e->d = x->dim[1];
    if (wu->rank != rank || wu->dim[rank - 1] != e->d || (!e->packed && wu->dim[0] != e->e))
        return disagree(TENON_MOE_FFN_WU, wu, why,
                        e->packed ? "[F,D] with D of x, as foff is given" : "[E,F,D] with E of offsets and D of x");
    e->f = wu->dim[rank - 2];
    if (wd->rank != rank || wd->dim[rank - 1] != e->f || (!e->packed && wd->dim[0] != e->e))
        return disagree(TENON_MOE_FFN_WD, wd, why,
                        e->packed ? "[Do,F] with F of wu, as foff is given" : "[E,Do,F] with E and F of wu");
    e->out = wd->dim[rank - 2];
    if (e->mp > EXTENT_MAX || e->e > EXTENT_MAX || e->d > EXTENT_MAX || e->f > EXTENT_MAX || e->out > EXTENT_MAX)
        return tenon_why_set(why, TENON_E_SHAPE, "Mp, E, D, F, Do = %lld, %lld, %lld, %lld, %lld: must be below 2^31",
                             (long long)e->mp, (long long)e->e, (long long)e->d, (long long)e->f, (long long)e->out);
    return TENON_OK;
}

/* An optional tensor of 32-bit elements without gaps, [rows] or [experts, rows]. */
static int32_t check_side(const struct tenon_tensor *t, uint32_t i, int64_t experts, int64_t rows,
                          struct tenon_why *why)
{
    const struct tenon_tensor *side = &t[i];
    const uint32_t rank = experts < 0 ? 1 : 2;
    char want[64];
    if (!side->dtype)
        return TENON_OK;
    if (side->rank != rank || side->dim[rank - 1] != rows || (rank == 2 && side->dim[0] != experts)) {
        snprintf(want, sizeof want, experts < 0 ? "[%lld]" : "[%lld,%lld]", (long long)(experts < 0 ? rows : experts),
                 (long long)rows);
        return disagree(i, side, why, want);
    }
    if (!tenon_tensor_is_contiguous(side))
        return tenon_why_set(why, TENON_E_UNSUPPORTED, "%s strides: must be contiguous", tensors[i].name);
    return TENON_OK;
}

/* The scale of matrix w: a value a row of it, or one for each of the groups of a row. experts < 0: there is no axis of
 * experts. */
static int32_t check_scale(const struct tenon_tensor *t, uint32_t w, uint32_t i, int64_t experts, int64_t rows,
                           int64_t depth, int grouped, struct tenon_why *why)
{
    const struct tenon_tensor *scale = &t[i];
    const uint32_t lead = experts < 0 ? 1 : 2;
    if (t[w].dtype != TENON_I8)
        return !scale->dtype ? TENON_OK
                             : tenon_why_set(why, TENON_E_DTYPE, "%s is given with %s of type %s: only i8 has it",
                                             tensors[i].name, tensors[w].name, tenon_dtype_name(t[w].dtype));
    if (!scale->dtype)
        return tenon_why_set(why, TENON_E_DTYPE, "%s of type i8 needs %s", tensors[w].name, tensors[i].name);
    if (!grouped || scale->rank == lead)
        return check_side(t, i, experts, rows, why);
    if (scale->rank != lead + 1 || scale->dim[lead - 1] != rows || (lead == 2 && scale->dim[0] != experts))
        return disagree(i, scale, why, "a value for each row of the matrix, or for each group of a row");
    const int64_t groups = scale->dim[lead];
    if (depth == 0 ? groups != 0 : groups == 0 || depth % groups != 0 || depth / groups % GROUP != 0)
        return tenon_why_set(why, TENON_E_SHAPE, "%s has %lld groups: must be K/G of K = %lld, G a multiple of %d",
                             tensors[i].name, (long long)groups, (long long)depth, GROUP);
    if (!tenon_tensor_is_contiguous(scale))
        return tenon_why_set(why, TENON_E_UNSUPPORTED, "%s strides: must be contiguous", tensors[i].name);
    return TENON_OK;
}

static int32_t check_attrs(const struct tenon_moe_ffn_params *p, const struct tenon_tensor *t, struct tenon_why *why)
{
    const int gated = p->glu != TENON_MOE_FFN_GLU_NONE, has_wg = t[TENON_MOE_FFN_WG].dtype != TENON_ABSENT;
    const int has_rw = t[TENON_MOE_FFN_RW].dtype != TENON_ABSENT;
    if (gated != has_wg)
        return tenon_why_set(why, TENON_E_ARG, "glu = %s %s wg: a gated unit has it, none has not", glus[p->glu],
                             has_wg ? "with" : "without");
    if (t[TENON_MOE_FFN_BG].dtype && !has_wg)
        return tenon_why_set(why, TENON_E_ARG, "bg is given without wg");
    if (p->glu == TENON_MOE_FFN_GLU1 && (p->act == TENON_ACT_IDENTITY || p->act == TENON_ACT_RELU ||
                                         p->act == TENON_ACT_RELU2 || p->act == TENON_ACT_FATRELU))
        return tenon_why_set(why, TENON_E_ARG, "act = %s with glu1: must be one that has a gate, silu to xatlu",
                             acts[p->act]);
    if ((p->weight_at != TENON_MOE_FFN_AT_NONE) != has_rw)
        return tenon_why_set(why, TENON_E_ARG, "weight_at = %s %s rw: must go together", places[p->weight_at],
                             has_rw ? "with" : "without");
    return TENON_OK;
}

static int32_t check_types(const struct tenon_tensor *t, struct tenon_why *why)
{
    const struct tenon_tensor *x = &t[TENON_MOE_FFN_X], *z = &t[TENON_MOE_FFN_Z], *wu = &t[TENON_MOE_FFN_WU];
    static const uint32_t others[] = {TENON_MOE_FFN_WG, TENON_MOE_FFN_WD};
    for (uint32_t i = 0; i < 2; i++)
        if (t[others[i]].dtype && t[others[i]].dtype != wu->dtype)
            return tenon_why_set(why, TENON_E_DTYPE, "%s type %s: must be that of wu, %s", tensors[others[i]].name,
                                 tenon_dtype_name(t[others[i]].dtype), tenon_dtype_name(wu->dtype));
    if (z->dtype != x->dtype && z->dtype != TENON_F32)
        return tenon_why_set(why, TENON_E_DTYPE, "z type %s: must be %s or f32", tenon_dtype_name(z->dtype),
                             tenon_dtype_name(x->dtype));
    return TENON_OK;
}

static int32_t check_scales(const struct tenon_tensor *t, const struct extents *e, struct tenon_why *why)
{
    const int64_t experts = e->packed ? -1 : e->e;
    int32_t status = TENON_OK;
    if (t[TENON_MOE_FFN_WG].dtype)
        status = check_scale(t, TENON_MOE_FFN_WG, TENON_MOE_FFN_WG_SCALE, experts, e->f, e->d, 1, why);
    else if (t[TENON_MOE_FFN_WG_SCALE].dtype)
        status = tenon_why_set(why, TENON_E_DTYPE, "wg_scale is given without wg");
    if (!status)
        status = check_scale(t, TENON_MOE_FFN_WU, TENON_MOE_FFN_WU_SCALE, experts, e->f, e->d, 1, why);
    if (!status)
        status = check_scale(t, TENON_MOE_FFN_WD, TENON_MOE_FFN_WD_SCALE, e->e, e->out, e->f, !e->packed, why);
    return status;
}

static int32_t validate(const void *params, const struct tenon_tensor *t, struct tenon_why *why)
{
    const struct tenon_moe_ffn_params *p = params;
    const struct tenon_tensor *wg = &t[TENON_MOE_FFN_WG], *z = &t[TENON_MOE_FFN_Z];
    struct extents e;
    int32_t status = find_extents(t, &e, why);
    if (!status)
        status = check_attrs(p, t, why);
    if (!status)
        status = check_types(t, why);
    if (status)
        return status;
    if (wg->dtype && !tenon__shape_same(wg, &t[TENON_MOE_FFN_WU]))
        return disagree(TENON_MOE_FFN_WG, wg, why, "that of wu");
    if (z->rank != 2 || z->dim[0] != e.mp || z->dim[1] != e.out)
        return disagree(TENON_MOE_FFN_Z, z, why, "[Mp,Do]");
    if (t[TENON_MOE_FFN_SRC].dtype && t[TENON_MOE_FFN_X].dim[0] > INT32_MAX / (int64_t)p->top_k)
        return tenon_why_set(why, TENON_E_SHAPE, "T * top_k = %lld * %u: must be below 2^31",
                             (long long)t[TENON_MOE_FFN_X].dim[0], p->top_k);
    const int64_t experts = e.packed ? -1 : e.e;
    const struct {
        uint32_t i;
        int64_t experts, rows;
    } sides[] = {
        {TENON_MOE_FFN_OFFSETS, -1, e.e + 1}, {TENON_MOE_FFN_FOFF, -1, e.e + 1}, {TENON_MOE_FFN_SRC, -1, e.mp},
        {TENON_MOE_FFN_RW, -1, e.mp},         {TENON_MOE_FFN_BG, experts, e.f},  {TENON_MOE_FFN_BU, experts, e.f},
        {TENON_MOE_FFN_BD, e.e, e.out},       {TENON_MOE_FFN_FLAGS, -1, 4},
    };
    for (uint32_t i = 0; !status && i < sizeof sides / sizeof sides[0]; i++)
        status = check_side(t, sides[i].i, sides[i].experts, sides[i].rows, why);
    return status ? status : check_scales(t, &e, why);
}

static int32_t output(const void *params, const struct tenon_tensor *t, uint32_t index, struct tenon_tensor *out,
                      struct tenon_why *why)
{
    struct extents e;
    (void)params;
    if (index < TENON_MOE_FFN_Z || index >= TENON_MOE_FFN_N_TENSORS)
        return tenon_why_set(why, TENON_E_INVALID, "tensor %u of moe_ffn is not an output", index);
    if (index == TENON_MOE_FFN_FLAGS) {
        *out = tenon_tensor_make(TENON_U32, 1, (int64_t[]){4});
        return TENON_OK;
    }
    if (!t[TENON_MOE_FFN_X].dtype || !t[TENON_MOE_FFN_WU].dtype || !t[TENON_MOE_FFN_WD].dtype ||
        !t[TENON_MOE_FFN_OFFSETS].dtype)
        return tenon_why_set(why, TENON_E_SHAPE, "z has no shape without x, offsets, wu and wd");
    int32_t status = find_extents(t, &e, why);
    if (status)
        return status;
    *out = tenon_tensor_make(t[index].dtype ? t[index].dtype : t[TENON_MOE_FFN_X].dtype, 2, (int64_t[]){e.mp, e.out});
    return TENON_OK;
}

const struct tenon_op_contract tenon__moe_ffn_contract = {
    .op = TENON_OPNUM_moe_ffn,
    .name = "moe_ffn",
    .text = "grouped expert feed-forward networks over contiguous segments of rows",
    .source = "Shazeer 2020; Switch Transformer, Mixtral, DeepSeekMoE, BlockFFN, MegaBlocks; Huang 2024",
    .n_tensors = TENON_MOE_FFN_N_TENSORS,
    .tensors = tensors,
    .n_attrs = sizeof attrs / sizeof attrs[0],
    .attrs = attrs,
    .params_size = sizeof(struct tenon_moe_ffn_params),
    .params_first = offsetof(struct tenon_moe_ffn_params, threshold) + sizeof(float),
    .n_tensors_first = TENON_MOE_FFN_FLAGS + 1,
    .validate = validate,
    .output = output,
};

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The contract of sparse_ffn in code; in words it is tenon/ops/sparse_ffn.h. */
#include <float.h>
#include <string.h>

#include "../contract.h"
#include "../shape.h"
#include "sparse_ffn_op.h"

#define GROUP 32 /* weights that share a scale come in multiples of this */

#define WEIGHTS (TENON_T_FLOAT | TENON_T_I8)
#define T_SITE(name, NAME)                                                                                             \
    [TENON_SPARSE_FFN_T_##NAME] = {"t_" #name, TENON_IN_OPT, TENON_T_F32, "[width]", "thresholds of site " #name},
#define WGT_SITE(name, NAME)                                                                                           \
    [TENON_SPARSE_FFN_WGT_##                                                                                           \
        NAME] = {"wgt_" #name, TENON_IN_OPT, TENON_T_F32, "[width]", "weights of the scores of site " #name},
#define FACTOR(NAME, name, rows)                                                                                       \
    [TENON_SPARSE_FFN_##NAME] = {name, TENON_IN_OPT, TENON_T_FLOAT, rows, "low-rank factor"}
static const struct tenon_tensor_spec tensors[] = {
    [TENON_SPARSE_FFN_X] = {"x", TENON_IN, TENON_T_FLOAT, "[...,D]", "tokens"},
    [TENON_SPARSE_FFN_WG] = {"wg", TENON_IN_OPT, WEIGHTS, "[F,Dg]; trans_g: [Dg,F]", "weights of the gate"},
    [TENON_SPARSE_FFN_WU] = {"wu", TENON_IN, WEIGHTS, "[F,Du]; trans_u: [Du,F]", "weights upwards"},
    [TENON_SPARSE_FFN_WD] = {"wd", TENON_IN, WEIGHTS, "[O,F]; trans_d: [F,O]", "weights downwards"},
    [TENON_SPARSE_FFN_WG_SCALE] = {"wg_scale", TENON_IN_OPT, TENON_T_F32, "[F] or [F,Dg/G]", "scale of i8 wg"},
    [TENON_SPARSE_FFN_WU_SCALE] = {"wu_scale", TENON_IN_OPT, TENON_T_F32, "[F] or [F,Du/G]", "scale of i8 wu"},
    [TENON_SPARSE_FFN_WD_SCALE] = {"wd_scale", TENON_IN_OPT, TENON_T_F32, "[O] or [O,F/G]", "scale of i8 wd"},
    [TENON_SPARSE_FFN_EXT] = {"ext", TENON_IN_OPT, TENON_T_F32, "[...,F]", "factors of neurons; 0 skips one"},
    TENON_SPARSE_FFN_SITE_LIST(T_SITE) TENON_SPARSE_FFN_SITE_LIST(WGT_SITE) FACTOR(CU_G, "cu_g", "[F,r]"),
    FACTOR(CV_G, "cv_g", "[Dg,r]"),
    FACTOR(CU_U, "cu_u", "[F,r]"),
    FACTOR(CV_U, "cv_u", "[Du,r]"),
    FACTOR(CU_D, "cu_d", "[O,r]"),
    FACTOR(CV_D, "cv_d", "[F,r]"),
    [TENON_SPARSE_FFN_Y] = {"y", TENON_OUT, TENON_T_FLOAT, "[...,O]", "wd h"},
};

#define NAME(NAME_, name)           name,
#define ACT_NAME(NAME_, name, text) name,
static const char *const kinds[] = {TENON_SPARSE_FFN_KIND_LIST(NAME) NULL};
static const char *const acts[] = {TENON_ACT_LIST(ACT_NAME) NULL};
static const char *const bys[] = {"value", "abs", NULL};
static const char *const keeps[] = {"shrink", "keep", NULL};

TENON_PARAMS_SIZE(tenon_sparse_ffn_site, 32);
TENON_PARAMS_SIZE(tenon_sparse_ffn_params, 192);
TENON_PARAMS_AT(tenon_sparse_ffn_params, struct_size, 0);
TENON_PARAMS_AT(tenon_sparse_ffn_params, act, 4);
TENON_PARAMS_AT(tenon_sparse_ffn_params, trans_g, 8);
TENON_PARAMS_AT(tenon_sparse_ffn_params, trans_u, 12);
TENON_PARAMS_AT(tenon_sparse_ffn_params, trans_d, 16);
TENON_PARAMS_AT(tenon_sparse_ffn_params, split, 20);
TENON_PARAMS_AT(tenon_sparse_ffn_params, alpha, 24);
TENON_PARAMS_AT(tenon_sparse_ffn_params, threshold, 28);
TENON_PARAMS_AT(tenon_sparse_ffn_params, xg, 32);
TENON_PARAMS_AT(tenon_sparse_ffn_params, xu, 64);
TENON_PARAMS_AT(tenon_sparse_ffn_params, p, 96);
TENON_PARAMS_AT(tenon_sparse_ffn_params, g, 128);
TENON_PARAMS_AT(tenon_sparse_ffn_params, h, 160);

#define AT(field)         #field, .offset = offsetof(struct tenon_sparse_ffn_params, field)
#define OF_SITE(s, field) #s "_" #field, .offset = offsetof(struct tenon_sparse_ffn_params, s.field)
#define SITE(s, S)                                                                                                     \
    {.name = OF_SITE(s, kind),                                                                                         \
     .type = TENON_ATTR_ENUM,                                                                                          \
     .max = TENON_SPARSE_FFN_KINDS - 1,                                                                                \
     .names = kinds,                                                                                                   \
     .text = "rule of site " #s},                                                                                      \
        {.name = OF_SITE(s, by), .type = TENON_ATTR_ENUM, .max = 1, .names = bys, .text = "topk: best by"},            \
        {.name = OF_SITE(s, keep), .type = TENON_ATTR_ENUM, .max = 1, .names = keeps, .text = "stat_topk: kept as"},   \
        {.name = OF_SITE(s, ddof), .type = TENON_ATTR_U32, .max = 1, .text = "stat_topk: std is over width - ddof"},   \
        {.name = OF_SITE(s, k),                                                                                        \
         .type = TENON_ATTR_I32,                                                                                       \
         .min = INT32_MIN,                                                                                             \
         .max = INT32_MAX,                                                                                             \
         .text = "topk, stat_topk: how many of a row"},                                                                \
        {.name = OF_SITE(s, t),                                                                                        \
         .type = TENON_ATTR_F32,                                                                                       \
         .min = -FLT_MAX,                                                                                              \
         .max = FLT_MAX,                                                                                               \
         .text = "abs_gt, abs_ge, gt, ge: threshold"},                                                                 \
        {.name = OF_SITE(s, tau), .type = TENON_ATTR_F32, .max = FLT_MAX, .text = "shift_relu, soft: threshold"},      \
        {.name = OF_SITE(s, cap),                                                                                      \
         .type = TENON_ATTR_F32,                                                                                       \
         .def = FLT_MAX,                                                                                               \
         .min = 0x1p-149,                                                                                              \
         .max = FLT_MAX,                                                                                               \
         .text = "shift_relu, soft: the largest magnitude"},
static const struct tenon_attr_spec attrs[] = {
    {.name = AT(act), .type = TENON_ATTR_ENUM, .max = TENON_ACT_COUNT - 1, .names = acts, .text = "activation"},
    {.name = AT(trans_g), .type = TENON_ATTR_U32, .max = 1, .text = "wg is [Dg,F]"},
    {.name = AT(trans_u), .type = TENON_ATTR_U32, .max = 1, .text = "wu is [Du,F]"},
    {.name = AT(trans_d), .type = TENON_ATTR_U32, .max = 1, .text = "wd is [F,O]"},
    {.name = AT(split),
     .type = TENON_ATTR_I32,
     .min = INT32_MIN, /* one that does not fit x is SHAPE, and so is a negative one */
     .max = INT32_MAX,
     .text = "wg sees x[0:split], wu the rest; 0: both see all"},
    {.name = AT(alpha),
     .type = TENON_ATTR_F32,
     .min = -FLT_MAX,
     .max = FLT_MAX,
     .text = "range expansion of xsilu, xgelu, xatlu"},
    {.name = AT(threshold), .type = TENON_ATTR_F32, .min = -FLT_MAX, .max = FLT_MAX, .text = "threshold of fatrelu"},
    TENON_SPARSE_FFN_SITE_LIST(SITE)};

struct extents {
    int64_t tokens, d, f, o, width[3]; /* widths of wg, wu, wd */
};

static int32_t check_matrix(const struct tenon_tensor *t, uint32_t i, uint32_t trans, int64_t *rows, int64_t *width,
                            struct tenon_why *why)
{
    if (t[i].rank != 2)
        return tenon_why_set(why, TENON_E_SHAPE, "%s rank %u: must be 2", tensors[i].name, t[i].rank);
    int32_t status = tenon__shape_matrix(&tensors[i], &t[i], trans ? width : rows, trans ? rows : width, why);
    if (!status && (*rows > INT32_MAX || *width > INT32_MAX))
        return tenon_why_set(why, TENON_E_SHAPE, "%s has %lld rows of %lld: must be below 2^31", tensors[i].name,
                             (long long)*rows, (long long)*width);
    return status;
}

static int32_t check_extent(const char *name, const char *what, int64_t got, int64_t want, struct tenon_why *why)
{
    return got == want ? TENON_OK
                       : tenon_why_set(why, TENON_E_SHAPE, "%s has %s = %lld: must be %lld", name, what, (long long)got,
                                       (long long)want);
}

static int32_t find_extents(const struct tenon_sparse_ffn_params *p, const struct tenon_tensor *t, struct extents *e,
                            struct tenon_why *why)
{
    int64_t f, width;
    int32_t status = tenon__shape_matrix(&tensors[TENON_SPARSE_FFN_X], &t[TENON_SPARSE_FFN_X], &e->tokens, &e->d, why);
    if (status)
        return status;
    if (e->tokens > INT32_MAX || e->d > INT32_MAX)
        return tenon_why_set(why, TENON_E_SHAPE, "T, D = %lld, %lld: must be below 2^31", (long long)e->tokens,
                             (long long)e->d);
    if (p->split != 0 && (p->split < 1 || p->split > e->d - 1))
        return tenon_why_set(why, TENON_E_SHAPE, "split = %d: must be 0 or within [1, %lld]", p->split,
                             (long long)e->d - 1);
    e->width[0] = p->split ? p->split : e->d;
    e->width[1] = p->split ? e->d - p->split : e->d;
    status = check_matrix(t, TENON_SPARSE_FFN_WU, p->trans_u, &e->f, &width, why);
    if (!status)
        status = check_extent("wu", "width", width, e->width[1], why);
    if (!status && t[TENON_SPARSE_FFN_WG].dtype) {
        status = check_matrix(t, TENON_SPARSE_FFN_WG, p->trans_g, &f, &width, why);
        if (!status)
            status = check_extent("wg", "F", f, e->f, why);
        if (!status)
            status = check_extent("wg", "width", width, e->width[0], why);
    }
    if (status)
        return status;
    e->width[2] = e->f;
    status = check_matrix(t, TENON_SPARSE_FFN_WD, p->trans_d, &e->o, &width, why);
    return status ? status : check_extent("wd", "width", width, e->f, why);
}

/* wg, wu, wd: i = 0, 1, 2. */
static int32_t check_scale(const struct tenon_tensor *t, uint32_t i, int64_t rows, int64_t width, struct tenon_why *why)
{
    const struct tenon_tensor *w = &t[TENON_SPARSE_FFN_WG + i], *scale = &t[TENON_SPARSE_FFN_WG_SCALE + i];
    const char *name = tensors[TENON_SPARSE_FFN_WG_SCALE + i].name, *of = tensors[TENON_SPARSE_FFN_WG + i].name;
    if (w->dtype != TENON_I8)
        return !scale->dtype ? TENON_OK
                             : tenon_why_set(why, TENON_E_DTYPE, "%s is given with %s of type %s: only i8 has it", name,
                                             of, tenon_dtype_name(w->dtype));
    if (!scale->dtype)
        return tenon_why_set(why, TENON_E_DTYPE, "%s of type i8 needs %s", of, name);
    if (scale->rank < 1 || scale->rank > 2 || scale->dim[0] != rows)
        return tenon_why_set(why, TENON_E_SHAPE, "%s shape (rank %u, dim[0] %lld): must be [%lld] or [%lld,width/G]",
                             name, scale->rank, scale->rank ? (long long)scale->dim[0] : 0LL, (long long)rows,
                             (long long)rows);
    if (scale->rank == 1)
        return TENON_OK;
    const int64_t groups = scale->dim[1];
    if (width == 0 ? groups != 0 : groups == 0 || width % groups != 0 || width / groups % GROUP != 0)
        return tenon_why_set(why, TENON_E_SHAPE, "%s dim[1] = %lld: must be width/G of %lld, G a multiple of %d", name,
                             (long long)groups, (long long)width, GROUP);
    return TENON_OK;
}

static int32_t check_complement(const struct tenon_tensor *t, uint32_t i, int64_t rows, int64_t width,
                                struct tenon_why *why)
{
    const uint32_t u = TENON_SPARSE_FFN_CU_G + 2 * i, v = u + 1;
    if (!t[u].dtype && !t[v].dtype)
        return TENON_OK;
    if (!t[u].dtype || !t[v].dtype)
        return tenon_why_set(why, TENON_E_ARG, "%s is given without %s", tensors[t[u].dtype ? u : v].name,
                             tensors[t[u].dtype ? v : u].name);
    for (uint32_t k = u; k <= v; k++) {
        const int64_t want = k == u ? rows : width;
        if (t[k].rank != 2 || t[k].dim[0] != want || t[k].dim[1] != t[u].dim[1] || t[k].dim[1] > INT32_MAX)
            return tenon_why_set(why, TENON_E_SHAPE,
                                 "%s shape (rank %u, %lld elements): must be [%lld,r], r that of %s", tensors[k].name,
                                 t[k].rank, (long long)tenon_tensor_count(&t[k]), (long long)want, tensors[u].name);
    }
    return TENON_OK;
}

/* A site is a sparsifier of rows of that width. */
static int32_t check_site(const struct tenon_sparse_ffn_params *p, const struct tenon_tensor *t, uint32_t i,
                          int64_t width, struct tenon_why *why)
{
    static const char *const names[] = {"xg", "xu", "p", "g", "h"};
    const struct tenon_sparse_ffn_site *site = tenon_sparse_ffn_site_at(p, i);
    const uint32_t own[2] = {TENON_SPARSE_FFN_T_XG + i, TENON_SPARSE_FFN_WGT_XG + i};
    const char *given[2] = {NULL, NULL};
    struct tenon_why reason;
    for (int k = 0; k < 2; k++)
        if (t[own[k]].dtype)
            given[k] = tensors[own[k]].name;
    if (i == TENON_SPARSE_FFN_SITE_XG && !t[TENON_SPARSE_FFN_WG].dtype && (site->kind || given[0] || given[1]))
        return tenon_why_set(why, TENON_E_ARG, "site xg is set without wg");
    if (!site->kind)
        return !given[0] && !given[1] ? TENON_OK
                                      : tenon_why_set(why, TENON_E_ARG, "%s is given: site %s is none",
                                                      given[given[0] ? 0 : 1], names[i]);
    const struct sparsifier_rule rule = tenon__sparse_ffn_rule(site);
    int32_t status = tenon__sparsifier_check(&rule, given[0], given[1], width, &reason);
    if (status)
        return tenon_why_set(why, status, "site %s: %s", names[i], reason.text);
    for (int k = 0; !status && k < 2; k++)
        if (given[k])
            status = tenon__shape_list(&tensors[own[k]], &t[own[k]], width, why);
    return status;
}

static int32_t check_like_x(const struct tenon_tensor *t, uint32_t i, int64_t width, struct tenon_why *why)
{
    const struct tenon_tensor *x = &t[TENON_SPARSE_FFN_X], *y = &t[i];
    int64_t rows, cols;
    if (y->rank != x->rank || y->dim[y->rank - 1] != width ||
        memcmp(y->dim, x->dim, (x->rank - 1) * sizeof x->dim[0]) != 0)
        return tenon_why_set(
            why, TENON_E_SHAPE, "%s shape (rank %u, last axis %lld): must be the leading axes of x, then %lld",
            tensors[i].name, y->rank, y->rank ? (long long)y->dim[y->rank - 1] : 0LL, (long long)width);
    return tenon__shape_matrix(&tensors[i], y, &rows, &cols, why);
}

static int32_t validate(const void *params, const struct tenon_tensor *t, struct tenon_why *why)
{
    const struct tenon_sparse_ffn_params *p = params;
    const struct tenon_tensor *y = &t[TENON_SPARSE_FFN_Y];
    struct extents e;
    int32_t status = find_extents(p, t, &e, why);
    const int has_gate = t[TENON_SPARSE_FFN_WG].dtype != 0;
    if (!status && !has_gate &&
        (t[TENON_SPARSE_FFN_WG_SCALE].dtype || t[TENON_SPARSE_FFN_CU_G].dtype || t[TENON_SPARSE_FFN_CV_G].dtype))
        return tenon_why_set(why, TENON_E_ARG, "wg_scale, cu_g and cv_g need wg");
    for (uint32_t i = has_gate ? 0 : 1; !status && i < 3; i++) {
        status = check_scale(t, i, i == 2 ? e.o : e.f, e.width[i], why);
        if (!status)
            status = check_complement(t, i, i == 2 ? e.o : e.f, e.width[i], why);
    }
    for (uint32_t i = 0; !status && i < TENON_SPARSE_FFN_SITES; i++)
        status = check_site(p, t, i, i < 2 ? e.width[i] : e.f, why);
    if (!status && t[TENON_SPARSE_FFN_EXT].dtype)
        status = check_like_x(t, TENON_SPARSE_FFN_EXT, e.f, why);
    if (status)
        return status;
    if (y->dtype != t[TENON_SPARSE_FFN_X].dtype && y->dtype != TENON_F32)
        return tenon_why_set(why, TENON_E_DTYPE, "y type %s: must be %s or f32", tenon_dtype_name(y->dtype),
                             tenon_dtype_name(t[TENON_SPARSE_FFN_X].dtype));
    return check_like_x(t, TENON_SPARSE_FFN_Y, e.o, why);
}

static int32_t output(const void *params, const struct tenon_tensor *t, uint32_t index, struct tenon_tensor *out,
                      struct tenon_why *why)
{
    const struct tenon_sparse_ffn_params *p = params;
    const struct tenon_tensor *x = &t[TENON_SPARSE_FFN_X], *wd = &t[TENON_SPARSE_FFN_WD];
    int64_t dim[TENON_MAX_RANK];
    if (index != TENON_SPARSE_FFN_Y)
        return tenon_why_set(why, TENON_E_INVALID, "tensor %u of sparse_ffn is not an output", index);
    if (!x->dtype || x->rank == 0 || x->rank > TENON_MAX_RANK || !wd->dtype || wd->rank != 2)
        return tenon_why_set(why, TENON_E_SHAPE, "y has no shape without x and wd");
    memcpy(dim, x->dim, sizeof dim);
    dim[x->rank - 1] = wd->dim[p->trans_d ? 1 : 0];
    *out = tenon_tensor_make(t[index].dtype ? t[index].dtype : x->dtype, x->rank, dim);
    return TENON_OK;
}

const struct tenon_op_contract tenon__sparse_ffn_contract = {
    .op = TENON_OPNUM_sparse_ffn,
    .name = "sparse_ffn",
    .text = "a feed-forward layer that skips what its activations make zero",
    .source = "ReLU-fication; ProSparse; Lazy neuron; CATS; CHESS; TEAL; WINA; R-Sparse; Spark Transformer; SMoRA",
    .n_tensors = TENON_SPARSE_FFN_N_TENSORS,
    .tensors = tensors,
    .n_attrs = sizeof attrs / sizeof attrs[0],
    .attrs = attrs,
    .params_size = sizeof(struct tenon_sparse_ffn_params),
    .params_first = offsetof(struct tenon_sparse_ffn_params, h) + sizeof(struct tenon_sparse_ffn_site),
    .n_tensors_first = TENON_SPARSE_FFN_Y + 1,
    .validate = validate,
    .output = output,
};

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The contract of attn_merge in code; in words it is tenon/ops/attn_merge.h. */
#include <string.h>

#include <tenon/ops/attn_merge.h>

#include "../contract.h"
#include "../shape.h"

#define PARTS_MAX 4096

static const struct tenon_tensor_spec tensors[] = {
    [TENON_ATTN_MERGE_O_PARTS] = {"o_parts", TENON_IN, TENON_T_FLOAT, "[P,...rows,V]", "partial results"},
    [TENON_ATTN_MERGE_LNZ_PARTS] = {"lnz_parts", TENON_IN_OPT, TENON_T_F32, "[P,...rows]",
                                    "logarithms of their normalisers"},
    [TENON_ATTN_MERGE_COUNTS] = {"counts", TENON_IN_OPT, TENON_T_I32, "[P,...rows]", "keys that they saw"},
    [TENON_ATTN_MERGE_SINK] = {"sink", TENON_IN_OPT, TENON_T_F32, "[Hq]", "score without a value, of each head"},
    [TENON_ATTN_MERGE_O] = {"o", TENON_OUT, TENON_T_FLOAT, "[...rows,V]", "the result"},
    [TENON_ATTN_MERGE_LNZ] = {"lnz", TENON_OUT_OPT, TENON_T_F32, "[...rows]",
                              "logarithm of its normaliser, without the sink"},
};

TENON_PARAMS_SIZE(tenon_attn_merge_params, 8);
TENON_PARAMS_AT(tenon_attn_merge_params, struct_size, 0);
TENON_PARAMS_AT(tenon_attn_merge_params, kind, 4);

static const char *const kinds[] = {"lnz", "sum", "count", NULL};
static const struct tenon_attr_spec attrs[] = {
    {.name = "kind",
     .offset = offsetof(struct tenon_attn_merge_params, kind),
     .type = TENON_ATTR_ENUM,
     .max = TENON_ATTN_MERGE_BY_COUNT,
     .names = kinds,
     .text = "what the parts are weighted by"},
};

/* What a kind is made of, and what it can have. */
static int32_t check_present(uint32_t kind, const struct tenon_tensor *t, struct tenon_why *why)
{
    static const uint32_t kind_of[TENON_ATTN_MERGE_N_TENSORS] = {[TENON_ATTN_MERGE_COUNTS] = TENON_ATTN_MERGE_BY_COUNT};
    for (uint32_t i = TENON_ATTN_MERGE_LNZ_PARTS; i < TENON_ATTN_MERGE_N_TENSORS; i++) {
        const int must = i == TENON_ATTN_MERGE_LNZ_PARTS || i == TENON_ATTN_MERGE_COUNTS;
        if (i == TENON_ATTN_MERGE_O)
            continue;
        if (t[i].dtype && kind != kind_of[i])
            return tenon_why_set(why, TENON_E_ARG, "%s is given and kind is %s: only %s has it", tensors[i].name,
                                 kinds[kind], kinds[kind_of[i]]);
        if (must && !t[i].dtype && kind == kind_of[i])
            return tenon_why_set(why, TENON_E_ARG, "%s is not given: kind %s needs it", tensors[i].name, kinds[kind]);
    }
    return TENON_OK;
}

/* `t` must have the axes of o_parts from `from` on, without the last; contiguous. */
static int32_t check_list(uint32_t i, const struct tenon_tensor *t, uint32_t from, struct tenon_why *why)
{
    const struct tenon_tensor *o = &t[TENON_ATTN_MERGE_O_PARTS];
    const uint32_t rank = o->rank - 1 - from;
    if (!t[i].dtype)
        return TENON_OK;
    if (t[i].rank != rank || memcmp(t[i].dim, o->dim + from, rank * sizeof o->dim[0]) != 0)
        return tenon_why_set(why, TENON_E_SHAPE,
                             "%s shape (rank %u, %lld elements): must be that of o_parts without its %s", tensors[i].name,
                             t[i].rank, (long long)tenon_tensor_count(&t[i]), from ? "first and last axis" : "last axis");
    if (!tenon_tensor_is_contiguous(&t[i]))
        return tenon_why_set(why, TENON_E_UNSUPPORTED, "%s strides: must be contiguous", tensors[i].name);
    return TENON_OK;
}

static int32_t check_sink(const struct tenon_tensor *t, struct tenon_why *why)
{
    const struct tenon_tensor *o = &t[TENON_ATTN_MERGE_O_PARTS], *sink = &t[TENON_ATTN_MERGE_SINK];
    if (!sink->dtype)
        return TENON_OK;
    if (o->rank < 3)
        return tenon_why_set(why, TENON_E_SHAPE, "o_parts rank %u: must be at least 3 where sink is given", o->rank);
    return tenon__shape_list(&tensors[TENON_ATTN_MERGE_SINK], sink, o->dim[o->rank - 2], why);
}

static int32_t validate(const void *params, const struct tenon_tensor *t, struct tenon_why *why)
{
    const struct tenon_attn_merge_params *p = params;
    const struct tenon_tensor *o = &t[TENON_ATTN_MERGE_O_PARTS], *y = &t[TENON_ATTN_MERGE_O];
    int64_t rows, cols;
    int32_t status = check_present(p->kind, t, why);
    if (status)
        return status;
    if (o->rank < 2)
        return tenon_why_set(why, TENON_E_SHAPE, "o_parts rank %u: must be within [2, %d]", o->rank, TENON_MAX_RANK);
    if (o->dim[0] > PARTS_MAX)
        return tenon_why_set(why, TENON_E_SHAPE, "o_parts has %lld parts: must be within [0, %d]",
                             (long long)o->dim[0], PARTS_MAX);
    status = tenon__shape_matrix(&tensors[TENON_ATTN_MERGE_O_PARTS], o, &rows, &cols, why);
    if (status)
        return status;
    rows = 1;
    for (uint32_t i = 1; i + 1 < o->rank; i++)
        rows *= o->dim[i];
    if (rows > UINT32_MAX || cols > INT32_MAX)
        return tenon_why_set(why, TENON_E_SHAPE, "o_parts has %lld rows and V = %lld: must be below 2^32 and 2^31",
                             (long long)rows, (long long)cols);
    if (y->rank != o->rank - 1 || memcmp(y->dim, o->dim + 1, y->rank * sizeof y->dim[0]) != 0)
        return tenon_why_set(why, TENON_E_SHAPE,
                             "o shape (rank %u, %lld elements): must be that of o_parts without its first axis",
                             y->rank, (long long)tenon_tensor_count(y));
    status = tenon__shape_matrix(&tensors[TENON_ATTN_MERGE_O], y, &rows, &cols, why);
    if (!status)
        status = check_list(TENON_ATTN_MERGE_LNZ_PARTS, t, 0, why);
    if (!status)
        status = check_list(TENON_ATTN_MERGE_COUNTS, t, 0, why);
    if (!status)
        status = check_list(TENON_ATTN_MERGE_LNZ, t, 1, why);
    return status ? status : check_sink(t, why);
}

static int32_t output(const void *params, const struct tenon_tensor *t, uint32_t index, struct tenon_tensor *out,
                      struct tenon_why *why)
{
    const struct tenon_tensor *o = &t[TENON_ATTN_MERGE_O_PARTS];
    (void)params;
    if (index != TENON_ATTN_MERGE_O && index != TENON_ATTN_MERGE_LNZ)
        return tenon_why_set(why, TENON_E_INVALID, "tensor %u of attn_merge is not an output", index);
    if (!o->dtype || o->rank < 2 || o->rank > TENON_MAX_RANK)
        return tenon_why_set(why, TENON_E_SHAPE, "o_parts rank %u: must be within [2, %d]", o->rank, TENON_MAX_RANK);
    if (index == TENON_ATTN_MERGE_LNZ)
        *out = tenon_tensor_make(TENON_F32, o->rank - 2, o->dim + 1);
    else
        *out = tenon_tensor_make(t[index].dtype ? t[index].dtype : o->dtype, o->rank - 1, o->dim + 1);
    return TENON_OK;
}

const struct tenon_op_contract tenon__attn_merge_contract = {
    .op = TENON_OPNUM_attn_merge,
    .name = "attn_merge",
    .text = "merges the partial results of attention over disjoint sets of keys",
    .source = "Dao et al. 2023; Ye et al. 2024; Agarwal et al. 2025",
    .n_tensors = TENON_ATTN_MERGE_N_TENSORS,
    .tensors = tensors,
    .n_attrs = sizeof attrs / sizeof attrs[0],
    .attrs = attrs,
    .params_size = sizeof(struct tenon_attn_merge_params),
    .params_first = offsetof(struct tenon_attn_merge_params, kind) + sizeof(uint32_t),
    .n_tensors_first = TENON_ATTN_MERGE_LNZ + 1,
    .validate = validate,
    .output = output,
};

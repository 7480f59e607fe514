/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The contract of softmax_merge in code; in words it is tenon/ops/softmax_merge.h. */
#include <float.h>
#include <string.h>

#include <tenon/ops/softmax_merge.h>

#include "../contract.h"
#include "../shape.h"

static const struct tenon_tensor_spec tensors[] = {
    [TENON_SOFTMAX_MERGE_M] = {"m", TENON_IN, TENON_T_F32, "[P,...rows]", "what the sums of a part are relative to"},
    [TENON_SOFTMAX_MERGE_S] = {"s", TENON_IN, TENON_T_F32, "as m", "sum of exponentials of a part"},
    [TENON_SOFTMAX_MERGE_A] = {"a", TENON_IN_OPT, TENON_T_F32, "as m", "sum of e^d times d, for the entropy"},
    [TENON_SOFTMAX_MERGE_Q] = {"q", TENON_IN_OPT, TENON_T_F32, "as m", "sum of the squares of exponentials"},
    [TENON_SOFTMAX_MERGE_O] = {"o", TENON_IN_OPT, TENON_T_FLOAT, "[P,...rows,dv]", "weighted values of a part"},
    [TENON_SOFTMAX_MERGE_OUT_M] = {"out_m", TENON_OUT_OPT, TENON_T_F32, "[...rows]", "largest m"},
    [TENON_SOFTMAX_MERGE_OUT_S] = {"out_s", TENON_OUT_OPT, TENON_T_F32, "[...rows]", "s of the whole row"},
    [TENON_SOFTMAX_MERGE_OUT_A] = {"out_a", TENON_OUT_OPT, TENON_T_F32, "[...rows]", "a of the whole row"},
    [TENON_SOFTMAX_MERGE_OUT_Q] = {"out_q", TENON_OUT_OPT, TENON_T_F32, "[...rows]", "q of the whole row"},
    [TENON_SOFTMAX_MERGE_LSE] = {"lse", TENON_OUT_OPT, TENON_T_F32, "[...rows]",
                                 "logarithm of the sum of exponentials"},
    [TENON_SOFTMAX_MERGE_OUT_O] = {"out_o", TENON_OUT_OPT, TENON_T_FLOAT, "[...rows,dv]", "o of the whole row over s"},
};

TENON_PARAMS_SIZE(tenon_softmax_merge_params, 12);
TENON_PARAMS_AT(tenon_softmax_merge_params, struct_size, 0);
TENON_PARAMS_AT(tenon_softmax_merge_params, o_normalised, 4);
TENON_PARAMS_AT(tenon_softmax_merge_params, inv_temp, 8);

#define AT(field) #field, .offset = offsetof(struct tenon_softmax_merge_params, field)
static const struct tenon_attr_spec attrs[] = {
    {.name = AT(o_normalised), .type = TENON_ATTR_U32, .max = 1, .text = "o is already divided by s"},
    {.name = AT(inv_temp),
     .type = TENON_ATTR_F32,
     .def = 1,
     .max = FLT_MAX,
     .text = "inverse temperature that the parts were made with"},
};

/* `t` must have the axes of `of` from `from` to `to`, and then dv where has_dv. */
static int32_t check_axes(uint32_t i, const struct tenon_tensor *t, const struct tenon_tensor *of, uint32_t from,
                          int has_dv, struct tenon_why *why)
{
    const uint32_t n = of->rank - from, rank = n + (has_dv != 0);
    if (t->rank == rank && memcmp(t->dim, of->dim + from, n * sizeof t->dim[0]) == 0)
        return TENON_OK;
    return tenon_why_set(why, TENON_E_SHAPE, "%s shape (rank %u, %lld elements): must be %s%s", tensors[i].name,
                         t->rank, (long long)tenon_tensor_count(t),
                         from ? "that of m without its first axis" : "that of m",
                         has_dv ? ", and one axis more" : "");
}

static int32_t check_fold(uint32_t i, const struct tenon_tensor *t, int64_t dv, struct tenon_why *why)
{
    int64_t rows, cols;
    if (t->dim[t->rank - 1] != dv)
        return tenon_why_set(why, TENON_E_SHAPE, "%s last axis %lld: must be that of o, %lld", tensors[i].name,
                             (long long)t->dim[t->rank - 1], (long long)dv);
    return tenon__shape_matrix(&tensors[i], t, &rows, &cols, why);
}

static int32_t check_present(const struct tenon_tensor *t, struct tenon_why *why)
{
    static const uint32_t needs[][2] = {{TENON_SOFTMAX_MERGE_OUT_A, TENON_SOFTMAX_MERGE_A},
                                        {TENON_SOFTMAX_MERGE_OUT_Q, TENON_SOFTMAX_MERGE_Q},
                                        {TENON_SOFTMAX_MERGE_OUT_O, TENON_SOFTMAX_MERGE_O}};
    for (uint32_t i = 0; i < sizeof needs / sizeof needs[0]; i++)
        if (t[needs[i][0]].dtype && !t[needs[i][1]].dtype)
            return tenon_why_set(why, TENON_E_ARG, "%s is asked for and %s is not given: it needs it",
                                 tensors[needs[i][0]].name, tensors[needs[i][1]].name);
    return TENON_OK;
}

static int32_t validate(const void *params, const struct tenon_tensor *t, struct tenon_why *why)
{
    const struct tenon_tensor *m = &t[TENON_SOFTMAX_MERGE_M], *o = &t[TENON_SOFTMAX_MERGE_O];
    const struct tenon_tensor *y = &t[TENON_SOFTMAX_MERGE_OUT_O];
    (void)params;
    int32_t status = check_present(t, why);
    if (status)
        return status;
    if (m->rank < 1 || m->rank >= TENON_MAX_RANK)
        return tenon_why_set(why, TENON_E_SHAPE, "m rank %u: must be within [1, %d]", m->rank, TENON_MAX_RANK - 1);
    int64_t rows = 1;
    for (uint32_t i = 1; i < m->rank; i++)
        rows *= m->dim[i];
    if (m->dim[0] > INT32_MAX || rows > UINT32_MAX)
        return tenon_why_set(why, TENON_E_SHAPE, "m has %lld parts of %lld rows: must be below 2^31 and 2^32",
                             (long long)m->dim[0], (long long)rows);
    for (uint32_t i = 0; !status && i < TENON_SOFTMAX_MERGE_N_TENSORS; i++) {
        const int wide = i == TENON_SOFTMAX_MERGE_O || i == TENON_SOFTMAX_MERGE_OUT_O;
        if (!t[i].dtype)
            continue;
        status = check_axes(i, &t[i], m, i >= TENON_SOFTMAX_MERGE_OUT_M, wide, why);
        if (!status && wide)
            status = check_fold(i, &t[i], o->dim[o->rank - 1], why);
        else if (!status && !tenon_tensor_is_contiguous(&t[i]))
            status = tenon_why_set(why, TENON_E_UNSUPPORTED, "%s strides: must be contiguous", tensors[i].name);
    }
    if (status)
        return status;
    if (o->dtype && o->dim[o->rank - 1] > INT32_MAX)
        return tenon_why_set(why, TENON_E_SHAPE, "o last axis %lld: must be below 2^31",
                             (long long)o->dim[o->rank - 1]);
    if (y->dtype && y->dtype != o->dtype && y->dtype != TENON_F32)
        return tenon_why_set(why, TENON_E_DTYPE, "out_o type %s: must be %s or f32", tenon_dtype_name(y->dtype),
                             tenon_dtype_name(o->dtype));
    return TENON_OK;
}

static int32_t output(const void *params, const struct tenon_tensor *t, uint32_t index, struct tenon_tensor *out,
                      struct tenon_why *why)
{
    const struct tenon_tensor *m = &t[TENON_SOFTMAX_MERGE_M], *o = &t[TENON_SOFTMAX_MERGE_O];
    static const uint32_t source[] = {TENON_SOFTMAX_MERGE_M, TENON_SOFTMAX_MERGE_M, TENON_SOFTMAX_MERGE_A,
                                      TENON_SOFTMAX_MERGE_Q, TENON_SOFTMAX_MERGE_M, TENON_SOFTMAX_MERGE_O};
    (void)params;
    if (index < TENON_SOFTMAX_MERGE_OUT_M || index >= TENON_SOFTMAX_MERGE_N_TENSORS)
        return tenon_why_set(why, TENON_E_INVALID, "tensor %u of softmax_merge is not an output", index);
    const uint32_t from = source[index - TENON_SOFTMAX_MERGE_OUT_M];
    if (!t[from].dtype)
        return tenon_why_set(why, TENON_E_UNSUPPORTED, "%s: needs %s, which is not given", tensors[index].name,
                             tensors[from].name);
    const struct tenon_tensor *of = index == TENON_SOFTMAX_MERGE_OUT_O ? o : m;
    if (of->rank < 1 || of->rank > TENON_MAX_RANK)
        return tenon_why_set(why, TENON_E_SHAPE, "%s rank %u: must be within [1, %d]", of == o ? "o" : "m", of->rank,
                             TENON_MAX_RANK);
    const uint32_t wish = t[index].dtype;
    *out = tenon_tensor_make(wish ? wish : of->dtype, of->rank - 1, of->dim + 1);
    return TENON_OK;
}

const struct tenon_op_contract tenon__softmax_merge_contract = {
    .op = TENON_OPNUM_softmax_merge,
    .name = "softmax_merge",
    .text = "merges the softmax states and outputs of the parts of split rows",
    .source = "Milakov and Gimelshein 2018; Dao et al. 2023; Hong et al. 2023",
    .n_tensors = TENON_SOFTMAX_MERGE_N_TENSORS,
    .tensors = tensors,
    .n_attrs = sizeof attrs / sizeof attrs[0],
    .attrs = attrs,
    .params_size = sizeof(struct tenon_softmax_merge_params),
    .params_first = offsetof(struct tenon_softmax_merge_params, inv_temp) + sizeof(float),
    .n_tensors_first = TENON_SOFTMAX_MERGE_OUT_O + 1,
    .validate = validate,
    .output = output,
};

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The contract of gather_rows in code; in words it is tenon/ops/gather_rows.h. */
#include <string.h>

#include <tenon/ops/gather_rows.h>

#include "../contract.h"
#include "../shape.h"

#define TYPES (TENON_T_FLOAT | TENON_T_I8 | TENON_T_U8 | TENON_T_I32 | TENON_T_U32)

static const struct tenon_tensor_spec tensors[] = {
    [TENON_GATHER_ROWS_TABLE] = {"table", TENON_IN, TYPES, "[...R,D]", "what rows are taken from"},
    [TENON_GATHER_ROWS_IDX] = {"idx", TENON_IN, TENON_T_I32, "[...n]", "numbers of rows; -1 is none"},
    [TENON_GATHER_ROWS_Y] = {"y", TENON_OUT, TYPES, "[...n,D]", "the rows, zeros for none"},
    [TENON_GATHER_ROWS_FLAGS] = {"flags", TENON_OUT_OPT, TENON_T_U32, "[4]", "0, 0, 0, numbers out of range"},
};

TENON_PARAMS_SIZE(tenon_gather_rows_params, 8);
TENON_PARAMS_AT(tenon_gather_rows_params, struct_size, 0);
TENON_PARAMS_AT(tenon_gather_rows_params, divisor, 4);

static const struct tenon_attr_spec attrs[] = {
    {.name = "divisor",
     .offset = offsetof(struct tenon_gather_rows_params, divisor),
     .type = TENON_ATTR_I32,
     .def = 1,
     .min = 1,
     .max = INT32_MAX,
     .text = "numbers are divided by it first"},
};

static int32_t validate(const void *params, const struct tenon_tensor *t, struct tenon_why *why)
{
    const struct tenon_tensor *table = &t[TENON_GATHER_ROWS_TABLE], *idx = &t[TENON_GATHER_ROWS_IDX];
    const struct tenon_tensor *y = &t[TENON_GATHER_ROWS_Y], *flags = &t[TENON_GATHER_ROWS_FLAGS];
    int64_t rows, cols, n, width;
    (void)params;
    int32_t status = tenon__shape_x(&tensors[TENON_GATHER_ROWS_TABLE], table, &rows, &cols, why);
    if (status)
        return status;
    if (rows > INT32_MAX)
        return tenon_why_set(why, TENON_E_SHAPE, "table has %lld rows: must be below 2^31", (long long)rows);
    if (idx->rank < 1 || idx->rank >= TENON_MAX_RANK)
        return tenon_why_set(why, TENON_E_SHAPE, "idx rank %u: must be within [1, %d]", idx->rank, TENON_MAX_RANK - 1);
    if (tenon_tensor_count(idx) > UINT32_MAX)
        return tenon_why_set(why, TENON_E_SHAPE, "idx has %lld elements: must be below 2^32",
                             (long long)tenon_tensor_count(idx));
    if (!tenon_tensor_is_contiguous(idx))
        return tenon_why_set(why, TENON_E_UNSUPPORTED, "idx strides: must be contiguous");
    if (y->rank != idx->rank + 1 || memcmp(y->dim, idx->dim, idx->rank * sizeof idx->dim[0]) != 0 ||
        y->dim[idx->rank] != cols)
        return tenon_why_set(why, TENON_E_SHAPE,
                             "y shape (rank %u, %lld elements): must be that of idx and then the last axis of table, "
                             "%lld",
                             y->rank, (long long)tenon_tensor_count(y), (long long)cols);
    if (y->dtype != table->dtype)
        return tenon_why_set(why, TENON_E_DTYPE, "y type %s: must be %s", tenon_dtype_name(y->dtype),
                             tenon_dtype_name(table->dtype));
    status = tenon__shape_matrix(&tensors[TENON_GATHER_ROWS_Y], y, &n, &width, why);
    return !status && flags->dtype ? tenon__shape_list(&tensors[TENON_GATHER_ROWS_FLAGS], flags, 4, why) : status;
}

static int32_t output(const void *params, const struct tenon_tensor *t, uint32_t index, struct tenon_tensor *out,
                      struct tenon_why *why)
{
    const struct tenon_tensor *table = &t[TENON_GATHER_ROWS_TABLE], *idx = &t[TENON_GATHER_ROWS_IDX];
    int64_t dim[TENON_MAX_RANK];
    (void)params;
    if (index != TENON_GATHER_ROWS_Y && index != TENON_GATHER_ROWS_FLAGS)
        return tenon_why_set(why, TENON_E_INVALID, "tensor %u of gather_rows is not an output", index);
    if (index == TENON_GATHER_ROWS_FLAGS) {
        *out = tenon_tensor_make(TENON_U32, 1, (int64_t[]){4});
        return TENON_OK;
    }
    if (table->rank < 1 || table->rank > TENON_MAX_RANK)
        return tenon_why_set(why, TENON_E_SHAPE, "table rank %u: must be within [1, %d]", table->rank, TENON_MAX_RANK);
    if (idx->rank < 1 || idx->rank >= TENON_MAX_RANK)
        return tenon_why_set(why, TENON_E_SHAPE, "idx rank %u: must be within [1, %d]", idx->rank, TENON_MAX_RANK - 1);
    memcpy(dim, idx->dim, sizeof dim);
    dim[idx->rank] = table->dim[table->rank - 1];
    *out = tenon_tensor_make(t[index].dtype ? t[index].dtype : table->dtype, idx->rank + 1, dim);
    return TENON_OK;
}

const struct tenon_op_contract tenon__gather_rows_contract = {
    .op = TENON_OPNUM_gather_rows,
    .name = "gather_rows",
    .text = "rows of a table by their numbers",
    .source = "a copy",
    .n_tensors = TENON_GATHER_ROWS_N_TENSORS,
    .tensors = tensors,
    .n_attrs = sizeof attrs / sizeof attrs[0],
    .attrs = attrs,
    .params_size = sizeof(struct tenon_gather_rows_params),
    .params_first = sizeof(struct tenon_gather_rows_params),
    .n_tensors_first = TENON_GATHER_ROWS_FLAGS + 1,
    .validate = validate,
    .output = output,
};

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Types and tensors. */
#include <string.h>

#include <tenon/ops.h>

static const struct {
    uint32_t dtype, bit;
    const char *name;
} dtypes[] = {
    {TENON_F32, TENON_T_F32, "f32"}, {TENON_F16, TENON_T_F16, "f16"}, {TENON_BF16, TENON_T_BF16, "bf16"},
    {TENON_I8, TENON_T_I8, "i8"},    {TENON_U8, TENON_T_U8, "u8"},    {TENON_I32, TENON_T_I32, "i32"},
    {TENON_U32, TENON_T_U32, "u32"}, {TENON_I64, 0, "i64"},
};
#define N_DTYPES (sizeof dtypes / sizeof dtypes[0])

const char *tenon_dtype_name(uint32_t dtype)
{
    for (size_t i = 0; i < N_DTYPES; i++)
        if (dtypes[i].dtype == dtype)
            return dtypes[i].name;
    return "?";
}

uint32_t tenon_dtype_by_name(const char *name)
{
    for (size_t i = 0; name && i < N_DTYPES; i++)
        if (strcmp(dtypes[i].name, name) == 0)
            return dtypes[i].dtype;
    return 0;
}

uint32_t tenon_dtype_bit(uint32_t dtype)
{
    for (size_t i = 0; i < N_DTYPES; i++)
        if (dtypes[i].dtype == dtype)
            return dtypes[i].bit;
    return 0;
}

int64_t tenon_tensor_count(const struct tenon_tensor *tensor)
{
    int64_t n = 1;
    if (tensor->dtype == TENON_ABSENT)
        return 0;
    for (uint32_t i = 0; i < tensor->rank; i++)
        n *= tensor->dim[i];
    return n;
}

uint64_t tenon_tensor_bytes(const struct tenon_tensor *tensor)
{
    uint64_t last = 0;
    if (tensor->dtype == TENON_ABSENT)
        return 0;
    for (uint32_t i = 0; i < tensor->rank; i++) {
        if (tensor->dim[i] == 0)
            return 0;
        last += (uint64_t)(tensor->dim[i] - 1) * (uint64_t)tensor->stride[i];
    }
    return (last + 1) * TENON_DTYPE_SIZE(tensor->dtype);
}

struct tenon_tensor tenon_tensor_make(uint32_t dtype, uint32_t rank, const int64_t *dim)
{
    struct tenon_tensor tensor;
    memset(&tensor, 0, sizeof tensor);
    tensor.dtype = dtype;
    tensor.rank = rank;
    if (rank > TENON_MAX_RANK)
        return tensor;   /* tenon_op_check names the rank */
    uint64_t stride = 1; /* unsigned: absurd dimensions wrap here and are refused by tenon_op_check */
    for (uint32_t i = rank; i-- > 0;) {
        tensor.dim[i] = dim[i];
        tensor.stride[i] = (int64_t)(stride & INT64_MAX);
        stride *= dim[i] > 0 ? (uint64_t)dim[i] : 1;
    }
    return tensor;
}

int tenon_tensor_is_contiguous(const struct tenon_tensor *tensor)
{
    int64_t expect = 1;
    if (tenon_tensor_count(tensor) == 0)
        return 1;
    for (uint32_t i = tensor->rank; i-- > 0;) {
        if (tensor->dim[i] == 1)
            continue;
        if (tensor->stride[i] != expect)
            return 0;
        expect *= tensor->dim[i];
    }
    return 1;
}

int32_t tenon_tensor_rows(const struct tenon_tensor *tensor, int64_t *rows, int64_t *row_stride, int64_t *cols)
{
    if (tensor->rank == 0)
        return TENON_E_SHAPE;
    uint32_t last = tensor->rank - 1;
    int64_t n = 1, stride = 0;
    for (uint32_t i = 0; i < last; i++)
        if (tensor->dim[i] == 0)
            n = 0;
    /* From the innermost leading axis outwards: n rows of `stride` so far. Without rows nothing is ever addressed, so
     * any strides do. */
    for (uint32_t i = last; n != 0 && i-- > 0;) {
        if (tensor->dim[i] == 1)
            continue;
        if (n == 1)
            stride = tensor->stride[i];
        else if (tensor->stride[i] % n || tensor->stride[i] / n != stride) /* a product may overflow without columns */
            return TENON_E_UNSUPPORTED;
        if (n > INT64_MAX / tensor->dim[i])
            return TENON_E_UNSUPPORTED;
        n *= tensor->dim[i];
    }
    *rows = n;
    *row_stride = n > 1 ? stride : tensor->dim[last];
    *cols = tensor->dim[last];
    return TENON_OK;
}

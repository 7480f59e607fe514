/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include <stdio.h>
#include <string.h>

#include "shape.h"

int32_t tenon__shape_matrix(const struct tenon_tensor_spec *spec, const struct tenon_tensor *t, int64_t *rows,
                            int64_t *cols, struct tenon_why *why)
{
    int64_t row_stride;
    int32_t status = tenon_tensor_rows(t, rows, &row_stride, cols);
    if (status == TENON_E_SHAPE)
        return tenon_why_set(why, status, "%s rank 0: must be within [1, %d]", spec->name, TENON_MAX_RANK);
    if (status)
        return tenon_why_set(why, status, "%s strides: the leading axes must fold into rows with one stride",
                             spec->name);
    return TENON_OK;
}

int32_t tenon__shape_x(const struct tenon_tensor_spec *spec, const struct tenon_tensor *x, int64_t *rows, int64_t *cols,
                       struct tenon_why *why)
{
    int32_t status = tenon__shape_matrix(spec, x, rows, cols, why);
    if (!status && (*cols > INT32_MAX || *rows > UINT32_MAX))
        return tenon_why_set(why, TENON_E_SHAPE, "%s has %lld rows and %lld cols: must be below 2^32 and 2^31",
                             spec->name, (long long)*rows, (long long)*cols);
    return status;
}

int tenon__shape_same(const struct tenon_tensor *a, const struct tenon_tensor *b)
{
    return a->rank == b->rank && memcmp(a->dim, b->dim, a->rank * sizeof a->dim[0]) == 0;
}

int32_t tenon__shape_as_x(const struct tenon_tensor_spec *spec, const struct tenon_tensor *t,
                          const struct tenon_tensor *x, int or_cols, struct tenon_why *why)
{
    if (tenon__shape_same(x, t) || (or_cols && t->rank == 1 && t->dim[0] == x->dim[x->rank - 1]))
        return TENON_OK;
    return tenon_why_set(why, TENON_E_SHAPE, "%s shape (rank %u, last axis %lld): must be that of x%s", spec->name,
                         t->rank, t->rank ? (long long)t->dim[t->rank - 1] : 0LL, or_cols ? ", or [cols]" : "");
}

int32_t tenon__shape_per_row(const struct tenon_tensor_spec *spec, const struct tenon_tensor *t,
                             const struct tenon_tensor *x, int64_t rows, int or_one, struct tenon_why *why)
{
    int fits = t->rank == 1 && (t->dim[0] == rows || (or_one && t->dim[0] == 1));
    if (t->rank == x->rank - 1)
        fits |= memcmp(t->dim, x->dim, t->rank * sizeof t->dim[0]) == 0;
    if (!fits)
        return tenon_why_set(
            why, TENON_E_SHAPE, "%s shape (rank %u, %lld elements): must be [%lld], or the leading axes of x%s",
            spec->name, t->rank, (long long)tenon_tensor_count(t), (long long)rows, or_one ? ", or [1]" : "");
    if (!tenon_tensor_is_contiguous(t))
        return tenon_why_set(why, TENON_E_UNSUPPORTED, "%s strides: must be contiguous", spec->name);
    return TENON_OK;
}

int32_t tenon__shape_list(const struct tenon_tensor_spec *spec, const struct tenon_tensor *t, int64_t n,
                          struct tenon_why *why)
{
    if (t->rank == 1 && t->dim[0] == n)
        return TENON_OK;
    return tenon_why_set(why, TENON_E_SHAPE, "%s shape (rank %u, %lld elements): must be [%lld]", spec->name, t->rank,
                         (long long)tenon_tensor_count(t), (long long)n);
}

int32_t tenon__shape_dims(const struct tenon_tensor_spec *spec, const struct tenon_tensor *t, uint32_t rank,
                          const int64_t *dim, int contiguous, struct tenon_why *why)
{
    char text[96] = "";
    if (!t->dtype)
        return TENON_OK;
    if (t->rank != rank || memcmp(t->dim, dim, rank * sizeof dim[0]) != 0) {
        for (uint32_t i = 0, used = 0; i < rank && used < sizeof text; i++)
            used += (uint32_t)snprintf(text + used, sizeof text - used, "%s%lld", i ? "," : "", (long long)dim[i]);
        return tenon_why_set(why, TENON_E_SHAPE, "%s shape (rank %u, %lld elements): must be [%s]", spec->name, t->rank,
                             (long long)tenon_tensor_count(t), text);
    }
    if (contiguous && !tenon_tensor_is_contiguous(t))
        return tenon_why_set(why, TENON_E_UNSUPPORTED, "%s strides: must be contiguous", spec->name);
    return TENON_OK;
}

int32_t tenon__shape_sequences(const struct tenon_tensor_spec *spec, const struct tenon_tensor *cu, int64_t b,
                               int64_t *seqs, struct tenon_why *why)
{
    *seqs = b;
    if (!cu->dtype)
        return TENON_OK;
    if (cu->rank != 1 || cu->dim[0] < 1 || cu->dim[0] > INT32_MAX)
        return tenon_why_set(why, TENON_E_SHAPE, "%s shape (rank %u, %lld elements): must be %s", spec->name, cu->rank,
                             (long long)tenon_tensor_count(cu), spec->shape);
    if (b != 1)
        return tenon_why_set(why, TENON_E_SHAPE, "B = %lld with %s: must be 1", (long long)b, spec->name);
    *seqs = cu->dim[0] - 1;
    return TENON_OK;
}

/* "[2,3]" of a shape; " or 1" after the axes that `ones` marks. */
static const char *axes_text(uint32_t rank, const int64_t *dim, uint32_t ones, char *text, size_t room)
{
    size_t used = (size_t)snprintf(text, room, "[");
    for (uint32_t a = 0; a < rank && used < room; a++)
        used += (size_t)snprintf(text + used, room - used, "%s%lld%s", a ? "," : "", (long long)dim[a],
                                 ones >> a & 1 && dim[a] != 1 ? " or 1" : "");
    if (used < room)
        snprintf(text + used, room - used, "]");
    return text;
}

int32_t tenon__shape_refuse(const struct tenon_tensor_spec *spec, const struct tenon_tensor *t, const char *want,
                            struct tenon_why *why)
{
    char has[80];
    return tenon_why_set(why, TENON_E_SHAPE, "%s shape %s: must be %s", spec->name,
                         axes_text(t->rank, t->dim, 0, has, sizeof has), want);
}

int32_t tenon__shape_axes(const struct tenon_tensor_spec *spec, const struct tenon_tensor *t, uint32_t rank,
                          const int64_t *dim, uint32_t ones, struct tenon_why *why)
{
    char want[80];
    int fits = t->rank == rank;
    for (uint32_t a = 0; fits && a < rank; a++)
        fits = t->dim[a] == dim[a] || (ones >> a & 1 && t->dim[a] == 1);
    return fits ? TENON_OK : tenon__shape_refuse(spec, t, axes_text(rank, dim, ones, want, sizeof want), why);
}

int32_t tenon__shape_side(const struct tenon_tensor_spec *spec, const struct tenon_tensor *t, uint32_t rank,
                          const int64_t *dim, uint32_t ones, struct tenon_why *why)
{
    if (t->dtype == TENON_ABSENT)
        return TENON_OK;
    int32_t status = tenon__shape_axes(spec, t, rank, dim, ones, why);
    if (!status && !tenon_tensor_is_contiguous(t))
        status = tenon_why_set(why, TENON_E_UNSUPPORTED, "%s strides: must be contiguous", spec->name);
    return status;
}

int32_t tenon__output_check(const struct tenon_op_contract *contract, uint32_t index, uint32_t first,
                            const struct tenon_tensor *x, struct tenon_why *why)
{
    if (index < first || index >= contract->n_tensors)
        return tenon_why_set(why, TENON_E_INVALID, "tensor %u of %s is not an output", index, contract->name);
    if (!x->dtype || x->rank < 1 || x->rank > TENON_MAX_RANK)
        return tenon_why_set(why, TENON_E_SHAPE, "x rank %u: must be within [1, %d]", x->rank, TENON_MAX_RANK);
    return TENON_OK;
}

struct tenon_tensor tenon__output_per_row(uint32_t dtype, const struct tenon_tensor *x)
{
    static const int64_t one[] = {1};
    return x->rank > 1 ? tenon_tensor_make(dtype, x->rank - 1, x->dim) : tenon_tensor_make(dtype, 1, one);
}

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Tensors of an ordinary size for an operator, from the shapes that its contract states: "[...,K]" and "[N,K]" give
 * 64x256 and 256x256. */
#include "cli.h"

#include <string.h>

#define AXIS    256
#define LEADING 64

/* "[...,K]" into sizes: any name is AXIS long, a number is itself, "..." is one axis. 0, or -1 for another notation. */
static int parse_shape(const char *text, struct tenon_tensor *tensor, uint32_t dtype)
{
    int64_t dim[TENON_MAX_RANK];
    uint32_t rank = 0;
    if (*text++ != '[')
        return -1;
    while (*text && *text != ']') {
        size_t n = strcspn(text, ",]");
        if (!n || rank == TENON_MAX_RANK)
            return -1;
        if (!strncmp(text, "...", n))
            dim[rank] = LEADING;
        else if (*text >= '0' && *text <= '9')
            dim[rank] = *text - '0';
        else
            dim[rank] = AXIS;
        rank++;
        text += n + (text[n] == ',');
    }
    if (*text != ']')
        return -1;
    *tensor = tenon_tensor_make(dtype, rank, dim);
    return 0;
}

static uint32_t pick(uint32_t allowed, uint32_t wished)
{
    static const uint32_t all[] = {TENON_F32, TENON_F16, TENON_BF16, TENON_I8, TENON_U8, TENON_I32, TENON_U32};
    if (allowed & tenon_dtype_bit(wished))
        return wished;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (allowed & tenon_dtype_bit(all[i]))
            return all[i];
    return 0;
}

int cli_example(const struct tenon_op_contract *op, const void *params, uint32_t dtype, struct tenon_tensor *tensors)
{
    struct tenon_why why;
    memset(tensors, 0, TENON_MAX_TENSORS * sizeof *tensors);
    for (uint32_t i = 0; i < op->n_tensors; i++)
        if (op->tensors[i].role == TENON_IN &&
            parse_shape(op->tensors[i].shape, &tensors[i], pick(op->tensors[i].dtypes, dtype)))
            return -1;
    uint32_t n = 0;
    for (uint32_t i = 0; i < op->n_tensors; i++) {
        struct tenon_tensor out = {0};
        if (op->tensors[i].role != TENON_OUT && (op->tensors[i].role != TENON_OUT_OPT || n))
            continue;
        if (op->output(params, tensors, i, &out, &why))
            continue;
        tensors[i] = out;
        n++;
    }
    return n ? 0 : -1;
}

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#ifndef TENON_TENSOR_H
#define TENON_TENSOR_H

#include <stdint.h>

#define TENON_MAX_RANK 8

/* DLPack's four bytes {code, bits, lanes(2)} as one little-endian word, so that a DLDataType converts by memcpy.
 * 0 means "absent": an optional tensor that is not given. Codes from 0x80 are registered block-quantised formats. */
#define TENON_DTYPE(code, bits) ((uint32_t)(code) | (uint32_t)(bits) << 8 | 1u << 16)
#define TENON_ABSENT 0u
#define TENON_I8 TENON_DTYPE(0, 8)
#define TENON_I32 TENON_DTYPE(0, 32)
#define TENON_I64 TENON_DTYPE(0, 64)
#define TENON_U8 TENON_DTYPE(1, 8)
#define TENON_U32 TENON_DTYPE(1, 32)
#define TENON_F16 TENON_DTYPE(2, 16)
#define TENON_F32 TENON_DTYPE(2, 32)
#define TENON_BF16 TENON_DTYPE(4, 16)

/* Bytes of one element. */
#define TENON_DTYPE_SIZE(dtype) ((((dtype) >> 8) & 0xffu) / 8u)

/* Frozen for ABI major 1. Strides are in elements; dim and stride beyond rank are zero. */
struct tenon_tensor {
    uint32_t dtype, rank;
    int64_t dim[TENON_MAX_RANK], stride[TENON_MAX_RANK];
};

#endif

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * y = act(x w^T + bias) + residual as launches of product.k, for every recipe that has such a product. */
#ifndef TENON_GPU_PRODUCT_H
#define TENON_GPU_PRODUCT_H

#include "recipe.h"

#define GPU_PRODUCT_COLUMNS 64u /* TILE_N of product.k */

struct gpu_product {
    const char *names[3]; /* of x, w and y, for messages */
    const struct gpu_limits *limits;
    struct gpu_recipe *recipe;
    struct gpu_rows x, w, scale, bias, residual, y; /* x [M,K], w [N,K]; trans_x, trans_w: the other way */
    uint64_t m, n, k, group;                        /* group: weights that share a scale */
    int trans_x, trans_w;
    int distance; /* y = act(bias - |x - w|_2) + residual */
    uint32_t act; /* ACT_ of lib/act.h */
    float alpha, threshold;
    uint64_t sums; /* byte offset in the scratch, where sums that several launches make may begin */
};
/* Adds the launches, and their scratch. */
int32_t tenon__gpu_product(struct gpu_product *job);
/* Rows of y that a work-group computes. */
uint32_t tenon__gpu_product_height(const struct gpu_product *job);

#endif

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Inside the contract library: what the validate() and output() of several operators ask of shapes. Each gives
 * TENON_OK, or a status with the sentence in why; `spec` names the tensor. */
#ifndef TENON_SHAPE_H
#define TENON_SHAPE_H

#include <tenon/ops.h>

/* The leading axes fold into rows with one stride. */
int32_t tenon__shape_matrix(const struct tenon_tensor_spec *spec, const struct tenon_tensor *t, int64_t *rows,
                            int64_t *cols, struct tenon_why *why);
/* The same of x, which has fewer than 2^32 rows and 2^31 columns. */
int32_t tenon__shape_x(const struct tenon_tensor_spec *spec, const struct tenon_tensor *x, int64_t *rows, int64_t *cols,
                       struct tenon_why *why);
int tenon__shape_same(const struct tenon_tensor *a, const struct tenon_tensor *b);
/* The shape of x, or [cols] where or_cols; any leading strides, 0 included: a backend that wants one row stride asks
 * tenon_tensor_rows. */
int32_t tenon__shape_as_x(const struct tenon_tensor_spec *spec, const struct tenon_tensor *t,
                          const struct tenon_tensor *x, int or_cols, struct tenon_why *why);
/* One value a row of x: [rows] or x's leading axes, or [1] where or_one; contiguous. */
int32_t tenon__shape_per_row(const struct tenon_tensor_spec *spec, const struct tenon_tensor *t,
                             const struct tenon_tensor *x, int64_t rows, int or_one, struct tenon_why *why);
/* [n]. */
int32_t tenon__shape_list(const struct tenon_tensor_spec *spec, const struct tenon_tensor *t, int64_t n,
                          struct tenon_why *why);

/* Exactly these axes, at most 4; absent: OK. */
int32_t tenon__shape_dims(const struct tenon_tensor_spec *spec, const struct tenon_tensor *t, uint32_t rank,
                          const int64_t *dim, int contiguous, struct tenon_why *why);
/* How many sequences there are: b, or, with where they begin in one batch, one less than those entries. */
int32_t tenon__shape_sequences(const struct tenon_tensor_spec *spec, const struct tenon_tensor *cu, int64_t b,
                               int64_t *seqs, struct tenon_why *why);

/* Axes of these lengths; `ones` marks those that may be 1 instead. */
int32_t tenon__shape_axes(const struct tenon_tensor_spec *spec, const struct tenon_tensor *t, uint32_t rank,
                          const int64_t *dim, uint32_t ones, struct tenon_why *why);
/* The same, and without gaps; or absent. */
int32_t tenon__shape_side(const struct tenon_tensor_spec *spec, const struct tenon_tensor *t, uint32_t rank,
                          const int64_t *dim, uint32_t ones, struct tenon_why *why);
/* SHAPE: "k shape [2,3]: must be " and what it must be. */
int32_t tenon__shape_refuse(const struct tenon_tensor_spec *spec, const struct tenon_tensor *t, const char *want,
                            struct tenon_why *why);

/* output(): x must have a shape, and tensor `index` be an output (one from `first` on). */
int32_t tenon__output_check(const struct tenon_op_contract *contract, uint32_t index, uint32_t first,
                            const struct tenon_tensor *x, struct tenon_why *why);
/* One value a row of x. */
struct tenon_tensor tenon__output_per_row(uint32_t dtype, const struct tenon_tensor *x);

#endif

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * References that are wrong: the sources of the references, compiled again with functions that can be made wrong in one
 * way. They test the check of the references in 256 bits. */
#ifndef CONFORM_WRONG_H
#define CONFORM_WRONG_H

#include <math.h>
#include "../conform.h"

/* WRONG(name, text): what a function of a reference can do wrong. */
#define WRONG_LIST(WRONG)                                                                                              \
    WRONG(exp_f32, "exp in f32")                                                                                       \
    WRONG(exp_argument, "the argument of exp is 2^-46 off")                                                            \
    WRONG(exp_off, "exp is 2^-40 off")                                                                                 \
    WRONG(log_off, "log is 2^-44 off")                                                                                 \
    WRONG(sqrt_off, "sqrt is 2^-44 off")                                                                               \
    WRONG(erfc_off, "erfc is 2^-40 off")                                                                               \
    WRONG(atan_off, "atan2 is 2^-44 off")                                                                              \
    WRONG(sin_off, "sin is 2^-44 off")                                                                                 \
    WRONG(fma_twice, "scale and bias round twice")                                                                     \
    WRONG(get_off, "elements are read 2^-44 off")                                                                      \
    WRONG(offset_off, "elements are read one before their place")
#define WRONG_CONSTANT(name, text) WRONG_##name,
enum { WRONG_NOTHING, WRONG_LIST(WRONG_CONSTANT) WRONG_COUNT };
#undef WRONG_CONSTANT

/* A reference that is wrong, and the ways in which it must be found wrong, up to WRONG_NOTHING. Each operator gives one
 * in <op>_wrong.c, found through ops.def. */
struct wrong_op {
    void (*expect)(const struct conform_case *c, struct conform_want *want);
    int ways[WRONG_COUNT];
};
#define TENON_OP(number, name) extern const struct wrong_op wrong_##name;
#include <tenon/ops.def>
#undef TENON_OP

extern int wrong; /* which way */
double wrong_exp(double x);
double wrong_log(double x);
double wrong_sqrt(double x);
double wrong_erfc(double x);
double wrong_atan2(double y, double x);
double wrong_sin(double x);
float wrong_fmaf(float x, float y, float z);
double wrong_get(const void *first, uint32_t dtype, int64_t element);
int64_t wrong_offset(const struct tenon_tensor *tensor, int64_t index);

/* For the references that are included after this. */
#define exp            wrong_exp
#define log            wrong_log
#define sqrt           wrong_sqrt
#define erfc           wrong_erfc
#define atan2          wrong_atan2
#define sin            wrong_sin
#define fmaf           wrong_fmaf
#define conform_get    wrong_get
#define conform_offset wrong_offset

#endif

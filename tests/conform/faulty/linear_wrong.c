/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#define tenon__conform_linear_expect wrong_linear_expect
#define tenon__conform_linear_check  wrong_linear_check
#include "wrong.h"
#include "../ops/linear_ref.c"

const struct wrong_op wrong_linear = {
    wrong_linear_expect,
    {WRONG_get_off, WRONG_exp_off, WRONG_erfc_off, WRONG_atan_off},
};

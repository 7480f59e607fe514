/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#define tenon__conform_softmax_expect wrong_softmax_expect
#define tenon__conform_softmax_check  wrong_softmax_check
#include "wrong.h"
#include "../ops/softmax_ref.c"

const struct wrong_op wrong_softmax = {
    wrong_softmax_expect,
    {WRONG_exp_f32, WRONG_exp_argument, WRONG_log_off, WRONG_fma_twice},
};

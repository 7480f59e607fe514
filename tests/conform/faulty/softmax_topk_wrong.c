/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#define tenon__conform_softmax_topk_expect wrong_softmax_topk_expect
#include "wrong.h"
#include "../ops/softmax_topk_ref.c"

const struct wrong_op wrong_softmax_topk = {
    wrong_softmax_topk_expect,
    {WRONG_exp_f32, WRONG_exp_argument, WRONG_log_off, WRONG_fma_twice},
};

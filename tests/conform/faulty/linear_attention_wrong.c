/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#define tenon__conform_linear_attention_expect wrong_linear_attention_expect
#define tenon__conform_linear_attention_check  wrong_linear_attention_check
#include "wrong.h"
#include "../ops/linear_attention_ref.c"

const struct wrong_op wrong_linear_attention = {
    wrong_linear_attention_expect,
    {WRONG_exp_f32, WRONG_exp_off, WRONG_sqrt_off, WRONG_get_off, WRONG_offset_off},
};

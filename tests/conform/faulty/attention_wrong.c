/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#define tenon__conform_attention_expect wrong_attention_expect
#define tenon__conform_attention_check  wrong_attention_check
#include "wrong.h"
#include "../ops/attention_ref.c"

const struct wrong_op wrong_attention = {
    wrong_attention_expect,
    {WRONG_exp_f32, WRONG_exp_argument, WRONG_exp_off, WRONG_log_off, WRONG_sqrt_off, WRONG_get_off},
};

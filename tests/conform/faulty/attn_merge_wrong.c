/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#define tenon__conform_attn_merge_expect wrong_attn_merge_expect
#include "wrong.h"
#include "../ops/attn_merge_ref.c"

const struct wrong_op wrong_attn_merge = {
    wrong_attn_merge_expect,
    {WRONG_exp_f32, WRONG_exp_argument, WRONG_log_off, WRONG_get_off},
};

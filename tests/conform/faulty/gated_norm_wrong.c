/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#define tenon__conform_gated_norm_expect wrong_gated_norm_expect
#include "wrong.h"
#include "../ops/gated_norm_ref.c"

const struct wrong_op wrong_gated_norm = {
    wrong_gated_norm_expect,
    {WRONG_exp_f32, WRONG_exp_off, WRONG_sqrt_off, WRONG_get_off, WRONG_offset_off},
};

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#define tenon__conform_feature_map_expect wrong_feature_map_expect
#include "wrong.h"
#include "../ops/feature_map_ref.c"

const struct wrong_op wrong_feature_map = {
    wrong_feature_map_expect,
    {WRONG_exp_f32, WRONG_exp_off, WRONG_sqrt_off, WRONG_get_off, WRONG_offset_off},
};

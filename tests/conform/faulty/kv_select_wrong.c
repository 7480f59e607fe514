/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#define tenon__conform_kv_select_expect wrong_kv_select_expect
#include "wrong.h"
#define tenon__select_suite_sizes wrong_select_sizes
#include "../ops/kv_select_ref.c"

const struct wrong_op wrong_kv_select = {
    wrong_kv_select_expect,
    {WRONG_exp_f32, WRONG_exp_off, WRONG_get_off, WRONG_offset_off},
};

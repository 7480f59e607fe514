/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#define tenon__conform_moe_combine_expect wrong_moe_combine_expect
#include "wrong.h"
#include "../ops/moe_combine_ref.c"

const struct wrong_op wrong_moe_combine = {
    wrong_moe_combine_expect,
    {WRONG_get_off, WRONG_offset_off},
};

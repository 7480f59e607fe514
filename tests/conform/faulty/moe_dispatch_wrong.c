/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#define tenon__conform_moe_dispatch_expect wrong_moe_dispatch_expect
#include "wrong.h"
#include "../ops/moe_dispatch_ref.c"

const struct wrong_op wrong_moe_dispatch = {
    wrong_moe_dispatch_expect,
    {WRONG_get_off, WRONG_offset_off},
};

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#define tenon__conform_moe_route_expect wrong_moe_route_expect
#define tenon__conform_moe_route_check  wrong_moe_route_check
#include "wrong.h"
#include "../ops/moe_route_ref.c"

const struct wrong_op wrong_moe_route = {
    wrong_moe_route_expect,
    {WRONG_exp_f32, WRONG_exp_argument, WRONG_exp_off, WRONG_log_off, WRONG_sqrt_off},
};

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#define tenon__conform_moe_ffn_expect wrong_moe_ffn_expect
#define tenon__conform_moe_ffn_check  wrong_moe_ffn_check
#include "wrong.h"
#include "../ops/moe_ffn_ref.c"

const struct wrong_op wrong_moe_ffn = {
    wrong_moe_ffn_expect,
    {WRONG_get_off, WRONG_exp_off, WRONG_erfc_off, WRONG_atan_off},
};

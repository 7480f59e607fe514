/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#define tenon__conform_moe_logits_expect wrong_moe_logits_expect
#define tenon__conform_moe_logits_check  wrong_moe_logits_check
#include "wrong.h"
#include "../ops/moe_logits_ref.c"

const struct wrong_op wrong_moe_logits = {
    wrong_moe_logits_expect,
    {WRONG_get_off, WRONG_exp_off, WRONG_erfc_off, WRONG_sqrt_off},
};

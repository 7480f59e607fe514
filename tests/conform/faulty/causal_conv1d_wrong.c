/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#define tenon__conform_causal_conv1d_expect wrong_causal_conv1d_expect
#include "wrong.h"
#include "../ops/causal_conv1d_ref.c"

const struct wrong_op wrong_causal_conv1d = {
    wrong_causal_conv1d_expect,
    {WRONG_exp_off, WRONG_get_off, WRONG_offset_off},
};

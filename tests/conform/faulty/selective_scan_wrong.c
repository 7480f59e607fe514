/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#define tenon__conform_selective_scan_expect wrong_selective_scan_expect
#include "wrong.h"
#include "../ops/selective_scan_ref.c"

const struct wrong_op wrong_selective_scan = {
    wrong_selective_scan_expect,
    {WRONG_exp_off, WRONG_get_off, WRONG_offset_off},
};

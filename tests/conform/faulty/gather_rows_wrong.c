/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#define tenon__conform_gather_rows_expect wrong_gather_rows_expect
#define tenon__conform_gather_rows_check  wrong_gather_rows_check
#include "wrong.h"
int wrong_gather_rows_check(const struct conform_case *c, const struct conform_want *want, struct tenon_why *why);
#include "../ops/gather_rows_ref.c"

const struct wrong_op wrong_gather_rows = {
    wrong_gather_rows_expect,
    {WRONG_get_off, WRONG_offset_off},
};

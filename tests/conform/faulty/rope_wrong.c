/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#define tenon__conform_rope_expect wrong_rope_expect
#include "wrong.h"
#include "../ops/rope_ref.c"

const struct wrong_op wrong_rope = {
    wrong_rope_expect,
    {WRONG_sin_off, WRONG_get_off, WRONG_offset_off},
};

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#define tenon__conform_kv_append_expect wrong_kv_append_expect
#include "wrong.h"
#include "../ops/kv_append_ref.c"

const struct wrong_op wrong_kv_append = {
    wrong_kv_append_expect,
    {WRONG_get_off, WRONG_offset_off},
};

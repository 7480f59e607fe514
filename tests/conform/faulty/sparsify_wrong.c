/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#define tenon__conform_sparsify_expect wrong_sparsify_expect
#define tenon__conform_sparsify_check  wrong_sparsify_check
#include "wrong.h"
#include "../ops/sparsify_ref.c"

const struct wrong_op wrong_sparsify = {
    wrong_sparsify_expect,
    {WRONG_get_off, WRONG_sqrt_off, WRONG_erfc_off},
};

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#define tenon__conform_sparse_ffn_expect wrong_sparse_ffn_expect
#define tenon__conform_sparse_ffn_check  wrong_sparse_ffn_check
#include "wrong.h"
#include "../ops/sparse_ffn_ref.c"

const struct wrong_op wrong_sparse_ffn = {
    wrong_sparse_ffn_expect,
    {WRONG_get_off, WRONG_exp_off, WRONG_erfc_off},
};

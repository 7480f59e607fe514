/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#define tenon__conform_kv_evict_expect wrong_kv_evict_expect
#define tenon__conform_kv_evict_check  wrong_kv_evict_check
#define tenon__evict_suite_sizes       wrong_evict_suite_sizes
#define tenon__evict_suite_length      wrong_evict_suite_length
#include "wrong.h"
int wrong_kv_evict_check(const struct conform_case *c, const struct conform_want *want, struct tenon_why *why);
#include "../ops/kv_evict_ref.c"

const struct wrong_op wrong_kv_evict = {
    wrong_kv_evict_expect,
    {WRONG_exp_f32, WRONG_exp_argument, WRONG_sqrt_off, WRONG_get_off, WRONG_offset_off},
};

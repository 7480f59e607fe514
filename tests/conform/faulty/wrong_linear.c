/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#define tenon__conform_linear_expect wrong_linear_expect
#define tenon__conform_linear_check  wrong_linear_check
#include "wrong.h"
#include "../ops/linear_ref.c"

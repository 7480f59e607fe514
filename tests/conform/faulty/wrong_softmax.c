/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#define tenon__conform_softmax_expect wrong_softmax_expect
#define tenon__conform_softmax_check  wrong_softmax_check
#include "wrong.h"
#include "../ops/softmax_ref.c"

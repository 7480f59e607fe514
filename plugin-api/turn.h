/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#ifndef TENON_TURN_H
#define TENON_TURN_H

#include <stdint.h>

/* What rope's frequencies are made of, as fractions in 96 bits, the lowest 32 first: root = base^(-2/n) (1 as
 * 1 - 2^-96) and unit = 1/(2 pi scaling), for base >= 1, even n > 0 and scaling > 1/(2 pi). Both within 2^-90. In the
 * contract library, so that all backends have the same bits. [thread-safe] */
struct tenon__turn {
    uint32_t root[3], unit[3];
};
void tenon__turn_make(float base, int32_t n, float scaling, struct tenon__turn *turn);

#endif

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the files of selective_scan's suite share. */
#ifndef CONFORM_SELECTIVE_SCAN_SUITE_H
#define CONFORM_SELECTIVE_SCAN_SUITE_H

#include <tenon/ops/selective_scan.h>
#include "../packed.h"

#define SCAN(NAME) TENON_SELECTIVE_SCAN_##NAME

/* What floats hold (own[0]); own[1]: what cu_q holds. STRONG: decays of up to e^-60 a token; ENDS: of exactly 0 and 1;
 * GROWING: positive rates. */
enum { SCAN_NORMAL, SCAN_EXACT, SCAN_SPECIAL, SCAN_STRONG, SCAN_ENDS, SCAN_GROWING, SCAN_TINY, SCAN_FILLS };

#define SCAN_HOSTILE    20
#define SCAN_PROPERTIES 4
extern const struct conform_hostile tenon__selective_scan_suite_hostile[SCAN_HOSTILE];
extern const struct conform_property tenon__selective_scan_suite_properties[SCAN_PROPERTIES];

#endif

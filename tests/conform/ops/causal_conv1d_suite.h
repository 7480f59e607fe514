/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the files of causal_conv1d's suite share. */
#ifndef CONFORM_CAUSAL_CONV1D_SUITE_H
#define CONFORM_CAUSAL_CONV1D_SUITE_H

#include <tenon/ops/causal_conv1d.h>
#include "../packed.h"

#define CONV(NAME) TENON_CAUSAL_CONV1D_##NAME

/* What floats hold (own[0]); own[1]: what cu_q holds. */
enum { CONV_NORMAL, CONV_EXACT, CONV_SPECIAL, CONV_WIDE, CONV_TINY, CONV_FILLS };

#define CONV_HOSTILE    19
#define CONV_PROPERTIES 5
extern const struct conform_hostile tenon__causal_conv1d_suite_hostile[CONV_HOSTILE];
extern const struct conform_property tenon__causal_conv1d_suite_properties[CONV_PROPERTIES];

#endif

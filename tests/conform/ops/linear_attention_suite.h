/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the files of linear_attention's suite share. */
#ifndef CONFORM_LINEAR_ATTENTION_SUITE_H
#define CONFORM_LINEAR_ATTENTION_SUITE_H

#include <tenon/ops/linear_attention.h>

#include "../conform.h"
#include "linear_attention_suite_bench.h"

#define LIN(NAME) TENON_LINEAR_ATTENTION_##NAME

/* What floats hold (own[0]), or LIN_FILL_BENCH. */
enum { LIN_NORMAL, LIN_EXACT, LIN_SPECIAL, LIN_WIDE, LIN_TINY, LIN_FILLS };
/* What cu_q holds (own[1]): lengths alike; also none at the ends, and empty ones; entries that are out of range. */
enum { LIN_PARTS, LIN_SHORT, LIN_WILD, LIN_SEQUENCES };
/* own[2]: mean |g| or so: .01, .1, 1, 5, 20; a = 1. */
#define LIN_STRENGTHS 6
/* Which decays are 0 (own[3]): none, a few numbers, runs of tokens, the first and the last token, all. */
enum { LIN_ALIVE, LIN_FEW, LIN_RUNS, LIN_ENDS, LIN_DEAD, LIN_ZEROS };
/* DELTA's keys, of about unit length (own[4]): any; each second one that of the token before; nearly equal; each third
 * one 0; so long that errors grow. */
enum { LIN_KEYS, LIN_TWICE, LIN_NEAR, LIN_NOTHING, LIN_LONG, LIN_KEY_KINDS };

void tenon__lin_suite_fill(const struct conform_case *c, uint32_t tensor);

#define LIN_HOSTILE    38
#define LIN_PROPERTIES 5
extern const struct conform_hostile tenon__lin_suite_hostile[LIN_HOSTILE];
extern const struct conform_property tenon__lin_suite_properties[LIN_PROPERTIES];

#endif

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the kernels of linear_attention and their recipe call things. */
#ifndef TN_LIB_LINEAR_ATTENTION_WORDS_H
#define TN_LIB_LINEAR_ATTENTION_WORDS_H

/* Types, three bits each: of q, of decay, of beta and of o. */
#define LIN_TYPE_DECAY 3u
#define LIN_TYPE_BETA 6u
#define LIN_TYPE_O 9u
#define LIN_DECAY 12u /* three bits, the enum's */
#define LIN_LOG 0x8000u
#define LIN_DELTA 0x10000u
#define LIN_READ 17u /* two bits, the enum's */
#define LIN_REVERSE 0x80000u
#define LIN_NORM 20u /* two bits, the enum's */
#define LIN_WRITES 0x400000u
#define LIN_READS 0x800000u
#define LIN_PACKED 0x1000000u
#define LIN_START 0x2000000u /* the state begins here */
#define LIN_GIVEN 0x4000000u /* with what is in `from` */
#define LIN_KEEP 0x8000000u  /* the first of two sweeps: sums stay in side */
#define LIN_JOIN 0x10000000u /* the second */
#define LIN_BAD 0x20000000u  /* rows that are not finite are marked */

/* Words of side. */
#define LIN_T 0u
#define LIN_HS 1u
#define LIN_HQ 2u
#define LIN_HK 3u
#define LIN_HV 4u
#define LIN_K 5u
#define LIN_V 6u
#define LIN_SEQS 7u
#define LIN_SCALE 8u
#define LIN_W_BI 9u
#define LIN_EPS 10u
#define LIN_GROUP 11u
/* Words where these begin. */
#define LIN_CU 12u
#define LIN_DEN 13u
#define LIN_BOTH 14u
#define LIN_BADS 15u
/* Strides of batch, token and head, in elements. */
#define LIN_AT_Q 16u
#define LIN_AT_K 19u
#define LIN_AT_V 22u
#define LIN_AT_O 25u
#define LIN_AT_A 28u
#define LIN_AT_B 31u
#define LIN_AT_QN 34u
#define LIN_AT_KN 37u
#define LIN_WORDS 40u

/* The enums' values. */
#define LIN_BY_HEAD 1u
#define LIN_BY_TOKEN 2u
#define LIN_BY_KEY 3u
#define LIN_BY_VALUE 4u
#define LIN_INCLUSIVE 0u
#define LIN_EXCLUSIVE 1u
#define LIN_GROUPED 2u
#define LIN_MAX1 2u

#endif

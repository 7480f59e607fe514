/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * exp and log of every float there is: what `make check-exp` asks of one block of results, whoever computed them, and
 * threads to go through the blocks. The reference is the f64 function of libm, which is off by less than 2^-28 units
 * of the last f32 place; results closer to the bound than that are decided in 256 bits. */
#ifndef TENON_TEST_EVERY_H
#define TENON_TEST_EVERY_H

#include <stdint.h>

#define EVERY_BLOCK  (UINT32_C(1) << 20)
#define EVERY_BLOCKS 4096u

/* EXP: vf_exp, judged where its contract is: NaN, and up to 87.6. PARTS: exp_parts, |x| <= 2^20. LOG: vf_log of normal
 * positive numbers. */
enum every_function { EVERY_EXP, EVERY_PARTS, EVERY_LOG, EVERY_FUNCTIONS };

/* What is known of a function's results so far. Zeroed, it knows nothing; every number of it can be added up. */
struct every_tally {
    double worst; /* in units of the last place of the true value */
    uint32_t worst_at;
    uint64_t judged;
    uint64_t wrong, falls; /* beyond the bound or special values, and steps against the order of the arguments */
    uint32_t wrong_at, fall_at;
    int64_t fall;  /* the largest, in floats between the two results */
    uint64_t hash; /* of the judged bits of all blocks but NaN */
};

extern const char *const every_name[EVERY_FUNCTIONS];
extern const double every_bound[EVERY_FUNCTIONS];
/* The hash of all results: one number for every processor whose arithmetic is IEEE's. */
extern const uint64_t every_hash[EVERY_FUNCTIONS];

/* Whether the function of these bits is judged, but for NaN. */
int every_judged(enum every_function f, uint32_t bits);
/* Whether anything of the block of inputs block * EVERY_BLOCK... is judged. */
int every_in_domain(enum every_function f, uint32_t block);
/* The results of a block's inputs, in order, against a bound in units of the last place. n: of PARTS, the other part.
 * nan: whether NaN must give NaN (else it is passed over). Called by every_block's `fn`, which sees to the steps between
 * blocks. */
void every_judge(enum every_function f, double bound, uint32_t block, const uint32_t *got, const uint32_t *n, int nan,
                 struct every_tally *tally);
void every_add(struct every_tally *to, const struct every_tally *part);

/* Calls `fn` with every block of the function's domain, on so many threads, and sums up. Tells a terminal how far it
 * is. `fn` gives the place of the thread in `threads`. */
void every_block(enum every_function f, unsigned threads, const char *who,
                 void (*fn)(void *user, unsigned thread, uint32_t block, struct every_tally *tally), void *user,
                 struct every_tally *sum);
/* The processors of this process. */
unsigned every_threads(void);

/* The checks that all runs share, named after `who`. */
void every_report(enum every_function f, double bound, const char *who, const struct every_tally *tally);

static inline float every_float(uint32_t bits)
{
    union {
        uint32_t u;
        float f;
    } pun = {bits};
    return pun.f;
}

#endif

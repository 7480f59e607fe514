/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What `make check-exp` asks can fail: results that are right, and then with one mistake each. A few blocks only. */
#include "every.h"

#include <math.h>
#include <string.h>

#include "../../tap.h"

#define BLOCKS 2

/* Two blocks, side by side unless they are told, and what is wrong in them. */
static struct plant {
    const char *what;
    enum every_function f;
    uint32_t bits;           /* of the argument whose result is wrong; in the first block or the second */
    int ulps;                /* the result is so many floats further up */
    float m_times, n_more;   /* PARTS */
    int nan;                 /* the result is NaN */
    uint32_t block[BLOCKS];
    int wrong, falls;        /* that there must be, at the least */
} plants[] = {
    {"results that are right", EVERY_EXP, 0, 0, 1, 0, 0, {0x3f8, 0x3f9}, 0, 0},
    {"results that are right", EVERY_EXP, 0, 0, 1, 0, 0, {0xbf8, 0xbf9}, 0, 0},
    {"results that are right", EVERY_EXP, 0, 0, 1, 0, 0, {0, 0x800}, 0, 0},
    {"results that are right", EVERY_EXP, 0, 0, 1, 0, 0, {0xc34, 0xff8}, 0, 0}, /* they are 0, and NaN */
    {"results that are right", EVERY_PARTS, 0, 0, 1, 0, 0, {0x3f8, 0x3f9}, 0, 0},
    {"results that are right", EVERY_LOG, 0, 0, 1, 0, 0, {0x3f8, 0x3f9}, 0, 0},
    {"a result that is too large", EVERY_EXP, 0x3f812345, 4, 1, 0, 0, {0x3f8, 0x3f9}, 1, 1},
    {"a result that is too small", EVERY_LOG, 0x40112345, -4, 1, 0, 0, {0x400, 0x401}, 1, 1},
    {"a step back that is within the bound", EVERY_EXP, 0x33012345, 1, 1, 0, 0, {0x330, 0x331}, 0, 1},
    {"a step back over a border", EVERY_EXP, 0x330fffff, 1, 1, 0, 0, {0x330, 0x331}, 0, 1},
    {"a step back over a border of negative numbers", EVERY_EXP, 0xb30fffff, -1, 1, 0, 0, {0xb30, 0xb31}, 0, 1},
    {"a step back from -0 to 0", EVERY_EXP, 0x80000000, 1, 1, 0, 0, {0, 0x800}, 0, 1},
    {"what is not 0 below the least", EVERY_EXP, 0xc3480000, 1, 1, 0, 0, {0xc34, 0xc35}, 1, 0},
    {"NaN of a number", EVERY_EXP, 0x3f900000, 0, 1, 0, 1, {0x3f8, 0x3f9}, 1, 0},
    {"a number of NaN", EVERY_EXP, 0xff812345, 1, 1, 0, 0, {0xff8, 0xff9}, 1, 0},
    {"an exponent that steps back over a border", EVERY_PARTS, 0x3f900000, 0, 2, -1, 0, {0x3f8, 0x3f9}, 1, 1},
    {"an exponent that is no whole number", EVERY_PARTS, 0x3f912345, 0, 0.7071068f, 0.5f, 0, {0x3f8, 0x3f9}, 1, 0},
    {"a mantissa out of its range", EVERY_PARTS, 0x3f912345, 0, 0.5f, 1, 0, {0x3f8, 0x3f9}, 1, 0},
    {"an exponent that is one off", EVERY_PARTS, 0x3f912345, 0, 1, 1, 0, {0x3f8, 0x3f9}, 1, 1},
};

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* As right as they get; the results of PARTS are (m, n). */
static float right(enum every_function f, float x, float *n)
{
    *n = 0;
    if (f == EVERY_LOG)
        return (float)log((double)x);
    if (f == EVERY_EXP)
        return x < -87.0f ? 0.0f : (float)exp((double)x);
    *n = (float)rint((double)x * 1.4426950408889634);
    return (float)(exp((double)x) / exp2((double)*n));
}

static void one_block(void *user, unsigned thread, uint32_t block, struct every_tally *tally)
{
    static uint32_t m[EVERY_BLOCK], n[EVERY_BLOCK];
    const struct plant *p = user;
    (void)thread;
    if (block != p->block[0] && block != p->block[1])
        return;
    for (uint32_t i = 0; i < EVERY_BLOCK; i++) {
        const uint32_t bits = block * EVERY_BLOCK + i;
        float exponent, result = right(p->f, every_float(bits), &exponent);
        if (bits == p->bits) {
            result = isnan(result) ? 1.0f : result * p->m_times;
            exponent += p->n_more;
            for (int step = p->ulps; step; step += step < 0 ? 1 : -1)
                result = nextafterf(result, step < 0 ? -INFINITY : INFINITY);
            result = p->nan ? NAN : result;
        }
        m[i] = bits_of(result);
        n[i] = bits_of(exponent);
    }
    every_judge(p->f, every_bound[p->f], block, m, p->f == EVERY_PARTS ? n : NULL, 1, tally);
}

int main(void)
{
    for (size_t i = 0; i < sizeof plants / sizeof plants[0]; i++) {
        struct every_tally tally;
        struct plant *p = &plants[i];
        every_block(p->f, 1, "judge", one_block, p, &tally);
        ok(tally.judged > 1000, "%s of %s: %llu are judged", p->what, every_name[p->f],
           (unsigned long long)tally.judged);
        ok(p->wrong ? tally.wrong >= 1 : p->falls || tally.wrong == 0, "%s of %s: %llu wrong, as it should be", p->what,
           every_name[p->f], (unsigned long long)tally.wrong);
        ok(p->falls ? tally.falls >= 1 && tally.fall >= 1 : tally.falls == 0 || tally.wrong,
           "%s of %s: %llu falls, as it should be", p->what, every_name[p->f], (unsigned long long)tally.falls);
    }
    return tap_done();
}

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* sched_getaffinity */
#endif
#include "config.h"

#include "every.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#ifdef TENON_HAVE_MPFR
#include <mpfr.h>
#endif

#include "../../tap.h"

const char *const every_name[EVERY_FUNCTIONS] = {"exp", "exp_parts", "log"};
const double every_bound[EVERY_FUNCTIONS] = {0.9865, 1.0141, 0.8317};
const uint64_t every_hash[EVERY_FUNCTIONS] = {UINT64_C(0x0fd559844d36b793), UINT64_C(0xbf83398770bf5337),
                                             UINT64_C(0x2af1dce092da80c1)};

#define HAIR       0x1p-26 /* units of the last place: far more than libm is off by */
#define EXP_MOST   87.6f
#define EXP_LEAST  -87.33654f
#define PARTS_MOST 0x1p+20f

/* ---- one result ---- */

static double bits_double(uint64_t bits)
{
    union {
        uint64_t u;
        double f;
    } pun = {bits};
    return pun.f;
}

/* |error| in units of the last f32 place of `want`, which is normal. */
static double units(double error, double want)
{
    union {
        double f;
        uint64_t u;
    } pun = {want};
    const uint64_t exponent = pun.u >> 52 & 0x7ff;
    return fabs(error) * bits_double((uint64_t)(2 * 1023 + 23 - exponent) << 52);
}

/* x - n*ln2: the first part of ln2 has 32 bits, so that product and difference are exact. */
static double rest(double x, double n)
{
    return fma(n, -0x1.473de6af278edp-34, x - n * 0x1.62e42fefp-1);
}

static double reference(enum every_function f, double x, double n)
{
    return f == EVERY_LOG ? log(x) : exp(f == EVERY_PARTS ? rest(x, n) : x);
}

/* The error again, in 256 bits; the bound is passed when there is no libmpfr to say otherwise. */
static double precise(enum every_function f, double x, double n, double got)
{
#ifdef TENON_HAVE_MPFR
    mpfr_t a, b;
    mpfr_init2(a, 256);
    mpfr_init2(b, 256);
    mpfr_set_d(a, x, MPFR_RNDN);
    mpfr_const_log2(b, MPFR_RNDN);
    mpfr_mul_d(b, b, n, MPFR_RNDN);
    mpfr_sub(a, a, b, MPFR_RNDN);
    (f == EVERY_LOG ? mpfr_log : mpfr_exp)(a, a, MPFR_RNDN);
    const double want = mpfr_get_d(a, MPFR_RNDN);
    mpfr_sub_d(a, a, got, MPFR_RNDN);
    const double error = units(mpfr_get_d(a, MPFR_RNDN), want);
    mpfr_clear(a);
    mpfr_clear(b);
    mpfr_free_cache();
    return error;
#else
    return units(got - reference(f, x, n), reference(f, x, n)) + HAIR;
#endif
}

/* ---- a block ---- */

/* The function's arguments that are judged, as two ranges of bits: positive and negative. */
static const struct {
    uint32_t first, last;
} domain[EVERY_FUNCTIONS][2] = {
    {{0, 0x7fffffff}, {0x80000000, 0xffffffff}}, /* NaN, Inf and what is over the bound are told apart below */
    {{0, 0x49800000}, {0x80000000, 0xc9800000}},
    {{0x00800000, 0x7f7fffff}, {1, 0}},
};

static int inside(enum every_function f, uint32_t bits)
{
    const int sign = bits >> 31;
    return bits >= domain[f][sign].first && bits <= domain[f][sign].last;
}

int every_judged(enum every_function f, uint32_t bits)
{
    return inside(f, bits) && (f != EVERY_EXP || every_float(bits) <= EXP_MOST);
}

int every_in_domain(enum every_function f, uint32_t block)
{
    const uint32_t first = block * EVERY_BLOCK;
    return inside(f, first) || inside(f, first + EVERY_BLOCK - 1);
}

static void wrong(struct every_tally *tally, uint32_t bits)
{
    tally->wrong++;
    tally->wrong_at = bits;
}

static void judge_number(enum every_function f, double bound, uint32_t bits, float got, float n,
                         struct every_tally *tally)
{
    const double x = (double)every_float(bits), want = reference(f, x, (double)n);
    double error = want == 0 ? (got != 0) * 1e9 : units((double)got - want, want);
    if (!(error < bound - HAIR) && error <= bound + HAIR)
        error = precise(f, x, (double)n, (double)got);
    if (error > tally->worst) {
        tally->worst = error;
        tally->worst_at = bits;
    }
    if (!(error <= bound))
        wrong(tally, bits);
}

/* Where a float stands among all of them. */
static int64_t place(float x)
{
    union {
        float f;
        uint32_t u;
    } pun = {x};
    const int64_t most = pun.u & 0x7fffffff;
    return pun.u >> 31 ? -most : most;
}

/* How many places the result of the larger argument is below that of the smaller. */
static void judge_order(float low, float high, uint32_t bits, struct every_tally *tally)
{
    const int64_t fall = place(low) - place(high);
    if (fall <= 0)
        return;
    tally->falls++;
    if (fall > tally->fall) {
        tally->fall = fall;
        tally->fall_at = bits;
    }
}

/* A result; n only of PARTS, else 0. */
struct result {
    float m, n;
};

/* The results of a block's ends, for the step into the next one; known: of a number that is judged. */
static struct edge {
    struct result result[2];
    int known[2];
} edges[EVERY_BLOCKS];

/* PARTS: of m * 2^n, and n alone must not step back either. */
static void judge_step(struct result low, struct result high, uint32_t bits, struct every_tally *tally)
{
    if (high.n < low.n)
        judge_order(low.n, high.n, bits, tally);
    else
        judge_order(low.m, high.n == low.n ? high.m : high.m * exp2f(high.n - low.n), bits, tally);
}

/* The steps between blocks, and from -0 to 0. */
static void judge_edges(struct every_tally *tally)
{
    const struct edge *zero = &edges[0], *minus_zero = &edges[EVERY_BLOCKS / 2];
    for (uint32_t k = 1; k < EVERY_BLOCKS; k++) {
        const struct edge *here = &edges[k], *last = &edges[k - 1];
        if (k == EVERY_BLOCKS / 2 || !last->known[1] || !here->known[0])
            continue;
        if (k > EVERY_BLOCKS / 2)
            judge_step(here->result[0], last->result[1], k * EVERY_BLOCK, tally);
        else
            judge_step(last->result[1], here->result[0], k * EVERY_BLOCK, tally);
    }
    if (zero->known[0] && minus_zero->known[0])
        judge_step(minus_zero->result[0], zero->result[0], 0, tally);
}

/* Whether a device is held to what fma of one rounding gives. */
static int is_fused(enum every_function f, double bound)
{
    return bound <= every_bound[f];
}

void every_judge(enum every_function f, double bound, uint32_t block, const uint32_t *got, const uint32_t *n, int nan,
                 struct every_tally *tally)
{
    const uint32_t first = block * EVERY_BLOCK;
    /* Without fma, x*log2(e) has rounded before it is rounded to n. */
    const int fused = is_fused(f, bound);
    const float least = fused ? 0.6972f : 0.6677f, most = fused ? 1.4342f : 1.4976f;
    const int down = first >> 31; /* larger bits are smaller numbers */
    struct result then = {0, 0};
    uint64_t hash = 0;
    int before = 0;
    for (uint32_t i = 0; i < EVERY_BLOCK; i++) {
        const uint32_t bits = first + i;
        const float x = every_float(bits), y = every_float(got[i]), k = n ? every_float(n[i]) : 0.0f;
        if (!inside(f, bits) || (f == EVERY_EXP && x > EXP_MOST))
            continue;
        if (isnan(x)) {
            if (nan && !isnan(y))
                wrong(tally, bits);
            tally->judged += nan != 0;
            continue;
        }
        tally->judged++;
        hash = (hash + got[i] + ((uint64_t)(n ? n[i] : 0) << 32)) * UINT64_C(0x9e3779b97f4a7c15);
        if (f == EVERY_EXP && x < EXP_LEAST) {
            if (got[i] != 0)
                wrong(tally, bits);
        } else {
            judge_number(f, bound, bits, y, k, tally);
        }
        if (f == EVERY_PARTS && (k != rintf(k) || !(y >= least && y <= most)))
            wrong(tally, bits);
        const struct result now = {y, k};
        if (before)
            judge_step(down ? now : then, down ? then : now, bits, tally);
        if (i == 0 || i == EVERY_BLOCK - 1) {
            edges[block].result[i != 0] = now;
            edges[block].known[i != 0] = 1;
        }
        then = now;
        before = 1;
    }
    tally->hash += (hash + 1) * (2 * (uint64_t)block + 1) * UINT64_C(0xbf58476d1ce4e5b9);
}

void every_add(struct every_tally *to, const struct every_tally *part)
{
    if (part->worst > to->worst) {
        to->worst = part->worst;
        to->worst_at = part->worst_at;
    }
    if (part->wrong)
        to->wrong_at = part->wrong_at;
    if (part->fall > to->fall) {
        to->fall = part->fall;
        to->fall_at = part->fall_at;
    }
    to->judged += part->judged;
    to->wrong += part->wrong;
    to->falls += part->falls;
    to->hash += part->hash;
}

/* ---- all blocks ---- */

struct work {
    enum every_function f;
    const char *who;
    void (*fn)(void *user, unsigned thread, uint32_t block, struct every_tally *tally);
    void *user;
    struct every_tally *sum;
    double start;
    int terminal;
    atomic_uint next, done;
    pthread_mutex_t lock;
};

struct worker {
    struct work *work;
    unsigned thread;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *go(void *pointer)
{
    const struct worker *worker = pointer;
    struct work *work = worker->work;
    for (uint32_t block; (block = work->next++) < EVERY_BLOCKS;) {
        struct every_tally tally = {0};
        if (every_in_domain(work->f, block))
            work->fn(work->user, worker->thread, block, &tally);
        pthread_mutex_lock(&work->lock);
        every_add(work->sum, &tally);
        if (work->terminal && ++work->done % 16 == 0)
            fprintf(stderr, "\r\033[K%s: %s, %u of %u blocks, %.0f s", work->who, every_name[work->f], work->done,
                    EVERY_BLOCKS, now() - work->start);
        pthread_mutex_unlock(&work->lock);
    }
    return NULL;
}

unsigned every_threads(void)
{
    cpu_set_t set;
    const int n = sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
    return n < 1 ? 1 : n > 64 ? 64 : (unsigned)n;
}

void every_block(enum every_function f, unsigned threads, const char *who,
                 void (*fn)(void *user, unsigned thread, uint32_t block, struct every_tally *tally), void *user,
                 struct every_tally *sum)
{
    struct work work = {.f = f, .who = who, .fn = fn, .user = user, .sum = sum, .start = now(),
                        .terminal = isatty(STDERR_FILENO), .lock = PTHREAD_MUTEX_INITIALIZER};
    struct worker worker[64];
    pthread_t id[64];
    memset(sum, 0, sizeof *sum);
    memset(edges, 0, sizeof edges);
    for (unsigned i = 0; i < threads; i++) {
        worker[i] = (struct worker){&work, i};
        if (pthread_create(&id[i], NULL, go, &worker[i]))
            bail("no thread");
    }
    for (unsigned i = 0; i < threads; i++)
        pthread_join(id[i], NULL);
    judge_edges(sum);
    if (work.terminal)
        fputs("\r\033[K", stderr);
    tap_note("%s: %s in %.1f s on %u threads", who, every_name[f], now() - work.start, threads);
}

void every_report(enum every_function f, double bound, const char *who, const struct every_tally *tally)
{
    ok(tally->wrong == 0, "%s: %s of %llu numbers within %.4f units of the last place: %.6f at %a", who, every_name[f],
       (unsigned long long)tally->judged, bound, tally->worst, (double)every_float(tally->worst_at));
    if (tally->wrong)
        tap_note("%llu are wrong, one of them at %a (%08x)", (unsigned long long)tally->wrong,
                 (double)every_float(tally->wrong_at), tally->wrong_at);
    const int64_t most = is_fused(f, bound) ? 0 : 1; /* places; see unfused_bound in gpu_test.c */
    ok(tally->fall <= most, "%s: %s falls nowhere%s: %llu times, by %lld at the most, e.g. at %a (%08x)", who,
       every_name[f], most ? " by more than a place" : "", (unsigned long long)tally->falls, (long long)tally->fall,
       (double)every_float(tally->fall_at), tally->fall_at);
}

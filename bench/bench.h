/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Inside `tenon bench`. bench.c: options, devices and peers; choose.c: what is measured; measure.c: a row; cost.c:
 * what a call costs; report.c: how rows look; roof*.c: the machine's limits. The rows themselves are in
 * tests/conform/ops/<op>_suite.c, beside the cases of the suite. */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stddef.h>
#include <stdint.h>
#include <tenon/tenon.h>

#include "conform/conform.h"
#include "roof.h"

#define BENCH_MAX_SIDES 16
#define BENCH_MAX_ROUNDS 1000
#define BENCH_MAX_SHAPES 64
#define BENCH_MAX_ATTRS 16
#define BENCH_MAX_VARIANTS 16
#define BENCH_MAX_ROWS 256 /* of an operator */
#define BENCH_CALL_COST "call-cost" /* a row of this name measures a call, not a kernel */

/* What is measured side by side: a device of ours, or a peer, i.e. somebody else's library behind the same ABI. */
struct bench_side {
    const char *peer; /* NULL: ours */
    struct tenon_context *context;
    char device[64];
};

struct bench_shape {
    char name[40];
    uint32_t rank;
    int64_t dim[3];
};

struct bench_options {
    const char *op, *rows; /* globs of names, NULL: all */
    uint32_t level;      /* CONFORM_QUICK or CONFORM_FULL */
    uint32_t threads, rounds;
    int json, progress;
    uint32_t n_sides;
    struct bench_side side[BENCH_MAX_SIDES];
    uint32_t n_shapes, n_attrs;
    struct bench_shape shape[BENCH_MAX_SHAPES]; /* instead of the rows' own */
    const char *attr[BENCH_MAX_ATTRS];          /* NAME=VALUE */
    uint32_t n_variants;                        /* 0: none; else every side is measured with each of them, in turns */
    char variant[BENCH_MAX_VARIANTS][64];       /* NAME=VALUE */
};

struct bench_row {
    const char *op, *name, *dtype;
    const struct bench_side *side;
    const char *variant; /* "" when there are none */
    uint32_t threads;
    double median_s, min_s;         /* of one run */
    double bytes, flops;            /* of one run, as the case's source counts them */
    int passes;                     /* whether the next three are known */
    uint32_t reads, writes;         /* how often the algorithm that ran goes over its inputs and outputs */
    double moved;                   /* bytes that makes */
    double roof_bytes_s, roof_flops_s; /* 0: not known for this device */
    const char *roof_memory, *roof_isa;  /* which copy or "read", which instructions */
    int call_cost;
    double times; /* two operators one after the other: how many times as long as the one that fuses them; else 0 */
    char impl[64];
    char refused[240]; /* why there is no measurement, or empty */
};

/* Options of choose.c. 0, or -1 with a sentence in `why`. */
int tenon__bench_shape(struct bench_options *options, const char *text, struct tenon_why *why);
int tenon__bench_attr(struct bench_options *options, const char *text, struct tenon_why *why);
/* The attributes of a variant into the params of c. */
int tenon__bench_params(const struct bench_options *options, uint32_t variant, struct conform_case *c,
                        struct tenon_why *why);
/* The rows of an operator that are wanted; those in a shape of the command line have bytes 0. */
uint32_t tenon__bench_rows(const struct bench_options *options, const struct conform_op *op,
                           struct conform_bench *rows);

/* Measures one row on all sides, in turns, and reports each. Returns 0; 1 when two sides disagree about the result; -1
 * after a message when the row could not be measured at all. */
int tenon__bench_measure(const struct bench_options *options, const struct conform_op *op,
                         const struct conform_bench *bench, struct roof *roof);

/* Seconds that one enqueue of a prepared plan takes, waiting for the result included: the least of a few thousand
 * calls' means in *min and the median in *median. A status of libtenon otherwise, with its sentence in `why`. */
int32_t tenon__bench_call_cost(struct tenon_context *context, const struct conform_case *c, uint32_t rounds,
                               double *median, double *min, struct tenon_why *why);

void tenon__bench_head(const struct bench_options *options, struct roof *roof);
void tenon__bench_report(const struct bench_options *options, const struct bench_row *row);
/* The least time that the roofs allow, in percent of the median; 0 when no roof is known. */
double tenon__bench_share(const struct bench_row *row);

/* A line on a terminal that the next one overwrites; nothing in a pipe. */
void tenon__bench_progress(const struct bench_options *options, const char *format, ...) TENON_PRINTF(2, 3);

/* Sorts, and gives the median of n values. */
double tenon__bench_median(double *values, uint32_t n);

int tenon__bench_main(int argc, char **argv);

#endif

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The runner: options, results, comparisons, reports. */
#ifndef CONFORM_SUITE_H
#define CONFORM_SUITE_H

#include <stdio.h>
#include "device.h"

enum { RESULT_OK, RESULT_FAIL, RESULT_SKIP, RESULT_KINDS };
enum { REFERENCE_NONE, REFERENCE_TAKEN, REFERENCE_CHECKED }; /* of a result: taken as it is, or checked with MPFR */
enum { FORMAT_TAP, FORMAT_JSON, FORMAT_JUNIT, FORMAT_HTML, FORMAT_COUNT };
#define CARD_OPS        32
#define MAX_JOBS        64
#define MAX_WORKERS     8
#define DEFAULT_TIMEOUT 60
#define CARD_IMPLS      48

struct options {
    const char *device, *plugin, *isa, *op, *report;
    const struct profile *profile;
    int level, format, matrix, have_seed, stop;
    uint64_t seed, every, most;
    int64_t only; /* --case, else -1 */
    uint32_t jobs, n_threads;
    int threads[MAX_WORKERS];
    double timeout;
};

/* What a device must support to pass. A device that answers UNSUPPORTED to a case that its profile demands fails it. */
struct profile {
    const char *name, *text;
    int (*demands)(const struct conform_case *c);
};
const struct profile *profile_by_name(const char *name);
extern const char *const profile_names[];

struct result {
    int outcome;
    const char *group; /* "memory", "softmax", ... */
    char name[200], why[640], repro[1024], impl[64];
    char tensor[32], index[64], got[48], want[48], bound[48];
    uint32_t at_tensor; /* the element at fault; at_element -1: none */
    int64_t at_element;
    double budget; /* worst share of the bound that was used; negative: none */
    int reference; /* REFERENCE_... */
    int64_t
        precise; /* elements of the reference that were checked in 256 bits, and the worst share of what f64 may lose */
    double precise_worst;
    uint64_t hash; /* of all outputs */
    double ms;
};

/* What the card says of one operator. */
struct card_op {
    const char *group;
    uint64_t count[RESULT_KINDS];
    double budget;
    char worst[200];
    uint64_t hash;
    uint32_t n_impls;
    char impls[CARD_IMPLS][64];
};

struct report {
    const struct options *options;
    const struct report_format *format;
    FILE *out, *jsonl;
    uint64_t total, number, count[RESULT_KINDS];
    uint64_t referenced, checked; /* cases with a reference, and those whose reference was checked in 256 bits */
    int64_t precise;
    double precise_worst;
    uint64_t turn; /* tests counted so far; with --jobs a runner does those with turn % jobs == job */
    uint32_t jobs, job;
    int to, broken; /* pipe to the reporter, when this is a runner; not every test was run */
    double started;
    int progress;
    struct card_op ops[CARD_OPS];
    uint32_t n_ops;
};
struct report_format {
    const char *name;
    void (*begin)(struct report *report, const struct device *device);
    void (*result)(struct report *report, const struct result *result);
    void (*end)(struct report *report);
};
extern const struct report_format report_formats[FORMAT_COUNT];

int report_begin(struct report *report, const struct options *options, const struct device *device, uint64_t total);
void report_add(struct report *report, const struct result *result);
/* Counts one more test; whether this process does it. */
int report_turn(struct report *report);
void report_send(struct report *report, const struct result *result);
/* Runs `run` with n runners. It reports what report_turn() gives it and starts its devices itself. */
void jobs_run(struct report *report, uint32_t n, void (*run)(void *), void *context);
/* Whether --stop was given and something failed. */
int report_stopped(const struct report *report);
/* Writes the card and the last line. The exit status. */
int report_end(struct report *report, const struct device *device);
/* One sentence on how far the references were themselves checked; empty when there were none. */
const char *report_reference(const struct report *report, char *text, size_t size);
int card_write(const struct report *report, const struct device *device);
double suite_now(void);

/* ---- comparisons: 0 when right; else the result says what is wrong ---- */

struct conform_want *want_create(const struct conform_case *c);
void want_destroy(const struct conform_case *c, struct conform_want *want);
/* got: the case after a run; c: before it. Outputs against the reference, gaps and inputs against what they were. */
int compare_reference(const struct conform_case *c, const struct conform_case *got, const struct conform_want *want,
                      struct result *result);
int compare_untouched(const struct conform_case *c, const struct conform_case *got, int outputs_too,
                      struct result *result);
/* Every element of every output has the same bits, or is NaN in both. exact_only: of outputs that want marks exact. */
int compare_bits(const struct conform_case *a, const struct conform_case *b, const struct conform_want *exact_only,
                 struct result *result);
/* Elements differ by at most the sum of their bounds. */
int compare_bounds(const struct conform_case *a, const struct conform_case *b, const struct conform_want *want,
                   struct result *result);
uint64_t hash_outputs(const struct conform_case *c);

/* ---- parts of the suite ---- */

struct suite {
    const struct options *options;
    struct report report;
    struct device device;
    struct device worker[MAX_WORKERS]; /* the same device with other thread counts */
    uint32_t n_workers;
    double deadline;
};

uint64_t suite_seed(const struct options *options);
int suite_selected(const struct options *options, const char *name);
/* From one case of the operator that --every and --most choose to the next, and how many of n in a row they choose. */
uint64_t suite_stride(const struct options *options, const struct conform_op *op);
uint64_t suite_share(const struct options *options, const struct conform_op *op, uint64_t n);
/* One run of a case on a device: status, and `got` filled. why is set when the device failed. */
int suite_attempt(struct device *device, const struct conform_case *c, struct conform_case *got, uint32_t place,
                  struct device_answer *answer, struct result *result);
/* Whether libmpfr was there at configure. */
int precise_built(void);
/* Checks the reference itself in 256 bits: of one case in twenty, of every case that failed, of one that is replayed.
 * When it is wrong the result fails and says so. */
void suite_reference(const struct options *options, const struct conform_case *c, const struct conform_want *want,
                     struct result *result);
void suite_case(struct suite *suite, const struct conform_op *op, uint64_t number);
#define SUITE_MEMORY_TESTS (DEVICE_MEMORY_TESTS + 2)
void suite_memory(struct suite *suite);
uint64_t suite_hostile_count(const struct conform_op *op);
void suite_hostile(struct suite *suite, const struct conform_op *op, uint64_t first);
/* Second runs that must agree with the first: 0, or the result says which did not. */
int suite_properties(struct suite *suite, const struct conform_case *c, const struct conform_case *got,
                     const struct conform_want *want, struct result *result);
int suite_matrix(const struct options *options);
/* The line that repeats test `number` of result->group. device NULL: the options name it; seed NULL: it has none. */
void suite_repro(const struct options *o, const struct device *device, const uint64_t *seed, uint64_t number,
                 struct result *result);

#endif

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * One case: inputs, reference, a run on the device, the comparison, and second runs that must agree with the first. */
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include "suite.h"

static const char *const places[PLACE_COUNT] = {"host memory before a guard page", "host memory after a guard page",
                                                "device memory", "buffers of the table"};

uint64_t suite_seed(const struct options *options)
{
    return options->have_seed ? options->seed : UINT64_C(0x7e4e0a);
}

int suite_selected(const struct options *options, const char *name)
{
    return !options->op || fnmatch(options->op, name, 0) == 0;
}

uint64_t suite_stride(const struct options *options, const struct conform_op *op)
{
    uint64_t n = op->cases[options->level], most = options->most < n ? options->most : n;
    uint64_t stride = most ? (n + most - 1) / most : 1;
    return stride > options->every ? stride : options->every;
}

uint64_t suite_share(const struct options *options, const struct conform_op *op, uint64_t n)
{
    uint64_t stride = suite_stride(options, op);
    return n / stride + (n % stride != 0);
}

/* ---- profiles ---- */

static int demands_nothing(const struct conform_case *c)
{
    (void)c;
    return 0;
}

static int demands_all(const struct conform_case *c)
{
    (void)c;
    return 1;
}

static int demands_f32(const struct conform_case *c)
{
    for (uint32_t i = 0; i < c->n; i++)
        if (c->slot[i].tensor.dtype == TENON_F16 || c->slot[i].tensor.dtype == TENON_BF16 ||
            c->slot[i].tensor.dtype == TENON_I8)
            return 0;
    return 1;
}

static const struct profile profiles[] = {
    {"core", "every operator in every type", demands_all},
    {"core-f32", "every operator in f32; 16-bit and i8 may be refused", demands_f32},
    {"null", "memory and the contract; every operator may be refused", demands_nothing},
};
const char *const profile_names[] = {"core", "core-f32", "null", NULL};

const struct profile *profile_by_name(const char *name)
{
    for (size_t i = 0; i < sizeof(profiles) / sizeof(profiles[0]); i++)
        if (strcmp(profiles[i].name, name) == 0)
            return &profiles[i];
    return NULL;
}

/* ---- one run ---- */

int suite_attempt(struct device *device, const struct conform_case *c, struct conform_case *got, uint32_t place,
                  struct device_answer *answer, struct result *result)
{
    struct device_ask ask;
    if (conform_case_clone(c, got)) {
        snprintf(result->why, sizeof(result->why), "the suite is out of memory");
        return -1;
    }
    if (!device->pid && device_start(device)) {
        snprintf(result->why, sizeof(result->why), "%.400s", device->opened.text);
        return -1;
    }
    if (device_put(device, c, place, &ask)) {
        snprintf(result->why, sizeof(result->why), "the case does not fit the suite's memory");
        return -1;
    }
    ask.poison = c->number & 1 ? 0xffffffff : 0x7f7fffff;
    if (device_ask(device, &ask, answer)) {
        snprintf(result->why, sizeof(result->why), "%s (in %s)", answer->text, places[place]);
        return -1;
    }
    device_get(device, &ask, got);
    if (answer->status || answer->broken) {
        snprintf(result->why, sizeof(result->why), "%s%s%.400s (in %s)",
                 answer->status ? tenon_status_name(answer->status) : "", answer->status ? ": " : "", answer->text,
                 places[place]);
        return -1;
    }
    return 0;
}

static void result_begin(const struct suite *suite, struct result *result, const struct conform_case *c)
{
    const struct tenon_op_contract *contract = tenon_op_contract_by_number(c->op->op);
    memset(result, 0, sizeof(*result));
    result->group = contract->name;
    result->budget = -1;
    result->at_element = -1;
    snprintf(result->name, sizeof(result->name), "%s case %llu: %s", contract->name, (unsigned long long)c->number,
             c->name);
    suite_repro(suite->options, &suite->device, &c->seed, c->number, result);
}

static void judge(struct suite *suite, const struct conform_case *c, const struct conform_want *want,
                  struct result *result)
{
    struct conform_case got;
    struct device_answer answer = {0};
    uint32_t place = (uint32_t)(c->number % PLACE_COUNT);
    double t0 = suite_now();
    result->outcome = RESULT_FAIL;
    if (suite_attempt(&suite->device, c, &got, place, &answer, result)) {
        if (answer.status == TENON_E_UNSUPPORTED && !suite->options->profile->demands(c) &&
            compare_untouched(c, &got, 1, result) == 0)
            result->outcome = RESULT_SKIP;
    } else {
        result->budget = 0;
        result->hash = hash_outputs(&got);
        memcpy(result->impl, answer.impl, sizeof(result->impl));
        if (compare_reference(c, &got, want, result) == 0 && suite_properties(suite, c, &got, want, result) == 0)
            result->outcome = RESULT_OK;
    }
    if (result->outcome != RESULT_SKIP)
        suite_reference(suite->options, c, want, result);
    result->ms = (suite_now() - t0) * 1000;
    conform_case_free(&got);
}

void suite_case(struct suite *suite, const struct conform_op *op, uint64_t number)
{
    struct conform_case c;
    struct conform_want *want = NULL;
    struct result result;
    conform_case_make(op, suite_seed(suite->options), number, &c);
    result_begin(suite, &result, &c);
    result.outcome = RESULT_FAIL;
    snprintf(result.why, sizeof(result.why), "the suite is out of memory");
    if (conform_case_alloc(&c) == 0)
        want = want_create(&c);
    if (want) {
        result.why[0] = 0;
        conform_case_fill(&c);
        op->expect(&c, want);
        judge(suite, &c, want, &result);
    }
    report_add(&suite->report, &result);
    want_destroy(&c, want);
    conform_case_free(&c);
}

/* ---- second runs ---- */

static int again_elsewhere(struct suite *suite, const struct conform_case *c, const struct conform_case *got,
                           struct result *result)
{
    uint32_t first = (uint32_t)(c->number % PLACE_COUNT),
             place = (first + 1 + (uint32_t)(c->number / PLACE_COUNT % 3)) % PLACE_COUNT;
    struct conform_case other;
    struct device_answer answer;
    char why[640];
    int bad = suite_attempt(&suite->device, c, &other, place, &answer, result);
    if (!bad && (bad = compare_bits(got, &other, NULL, result)) != 0) {
        memcpy(why, result->why, sizeof(why));
        snprintf(result->why, sizeof(result->why), "run again in %s the bits differ: %.500s", places[place], why);
    }
    if (!bad)
        bad = compare_untouched(c, &other, 0, result);
    conform_case_free(&other);
    return bad;
}

static int again_threads(struct suite *suite, const struct conform_case *c, const struct conform_case *got,
                         struct result *result)
{
    for (uint32_t i = 0; i < suite->n_workers; i++) {
        struct conform_case other;
        struct device_answer answer;
        char why[640];
        int bad = suite_attempt(&suite->worker[i], c, &other, PLACE_HOST_END, &answer, result);
        if (!bad)
            bad = compare_bits(got, &other, NULL, result);
        conform_case_free(&other);
        if (!bad)
            continue;
        memcpy(why, result->why, sizeof(why));
        snprintf(result->why, sizeof(result->why), "with %d threads: %.550s", suite->worker[i].threads, why);
        return bad;
    }
    return 0;
}

/* Runs a derived case, checks it by the reference and by `check`. */
static int run_derived(struct suite *suite, const struct conform_case *c, const struct conform_case *got,
                       struct conform_case *derived, const struct conform_property *property, struct result *result)
{
    struct conform_want *want = want_create(derived);
    struct conform_case other;
    struct device_answer answer;
    struct tenon_why why = {""};
    char text[640];
    double budget = result->budget;
    int bad = !want ||
              suite_attempt(&suite->device, derived, &other, (uint32_t)(c->number / 7 % PLACE_COUNT), &answer, result);
    if (!bad) {
        c->op->expect(derived, want);
        bad = compare_reference(derived, &other, want, result);
        if (bad) {
            result->outcome = RESULT_FAIL;
            suite_reference(suite->options, derived, want, result);
        }
        if (!bad && property->check && (bad = property->check(got, &other, &why)) != 0)
            snprintf(result->why, sizeof(result->why), "%.200s", why.text);
    }
    if (budget > result->budget)
        result->budget = budget;
    if (bad) {
        memcpy(text, result->why, sizeof(text));
        snprintf(result->why, sizeof(result->why), "property \"%s\": %.550s", property->name, text);
    }
    if (want)
        conform_case_free(&other);
    want_destroy(derived, want);
    return bad;
}

/* The same values without gaps, margins and broadcasts. */
static int derive_contiguous(const struct conform_case *base, struct conform_case *derived)
{
    *derived = *base;
    for (uint32_t i = 0; i < base->n; i++) {
        const struct tenon_tensor *t = &base->slot[i].tensor;
        derived->slot[i].data = NULL;
        if (!t->dtype)
            continue;
        derived->slot[i].same_as = -1;
        conform_slot_set(derived, i, t->dtype, t->rank, t->dim);
    }
    if (conform_case_alloc(derived))
        return 0;
    for (uint32_t i = 0; i < base->n; i++) {
        const struct conform_slot *from = &base->slot[i];
        int64_t count = from->tensor.dtype ? tenon_tensor_count(&from->tensor) : 0; /* outputs: what may stay there */
        int64_t size = TENON_DTYPE_SIZE(from->tensor.dtype);
        for (int64_t e = 0; e < count; e++)
            memcpy((char *)conform_first(&derived->slot[i]) + e * size,
                   (char *)conform_first(from) + conform_offset(&from->tensor, e) * size, (size_t)size);
    }
    return 1;
}

static int same_layout(const struct tenon_tensor *a, const struct tenon_tensor *b)
{
    return a->dtype == b->dtype && a->rank == b->rank && memcmp(a->dim, b->dim, sizeof(a->dim)) == 0 &&
           memcmp(a->stride, b->stride, sizeof(a->stride)) == 0;
}

/* The first output that may take an input's place, in that input's place. */
static int derive_in_place(const struct conform_case *base, struct conform_case *derived)
{
    const struct tenon_op_contract *contract = tenon_op_contract_by_number(base->op->op);
    if (!contract->in_place || !derive_contiguous(base, derived))
        return 0;
    for (uint32_t o = 0; o < base->n; o++)
        for (uint32_t i = 0; i < base->n; i++) {
            struct conform_slot *out = &derived->slot[o], *in = &derived->slot[i];
            if (!out->is_output || !out->tensor.dtype || in->is_output || !same_layout(&in->tensor, &out->tensor) ||
                !contract->in_place(base->params, i, o))
                continue;
            free(out->data);
            *out = *in;
            out->same_as = (int32_t)i;
            out->is_output = 1;
            return 1;
        }
    conform_case_free(derived);
    return 0;
}

static int check_same_bits(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    struct result result = {0};
    if (compare_bits(base, derived, NULL, &result) == 0)
        return 0;
    return tenon_why_set(why, 1, "bits differ: %.200s", result.why);
}

int suite_properties(struct suite *suite, const struct conform_case *c, const struct conform_case *got,
                     const struct conform_want *want, struct result *result)
{
    static const struct conform_property common[] = {
        {"contiguous", derive_contiguous, check_same_bits},
        {"in place", derive_in_place, check_same_bits},
    };
    uint32_t n = c->op->n_properties + 2, pick = (uint32_t)(c->number / PLACE_COUNT % n);
    (void)want;
    if (again_elsewhere(suite, c, got, result))
        return -1;
    if (c->number % 2 == 0 && again_threads(suite, c, got, result))
        return -1;
    /* The one whose turn it is, or the next that applies. */
    for (uint32_t i = 0; i < n; i++) {
        uint32_t which = (pick + i) % n;
        const struct conform_property *property = which < 2 ? &common[which] : &c->op->properties[which - 2];
        struct conform_case derived;
        if (!property->derive(c, &derived))
            continue;
        int bad = run_derived(suite, c, got, &derived, property, result);
        conform_case_free(&derived);
        return bad;
    }
    return 0;
}

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * `tenon conform`: options, and the order of the suite: memory first, then what must be refused, then the cases. */
#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <tenon/tenon.h>
#include "main.h"
#include "suite.h"

#define HOSTILE_FIRST UINT64_C(1000000000) /* --case of the first hostile descriptor of an operator */

static const char *const level_names[] = {"quick", "full", "soak", NULL};
static const char *const format_names[] = {"tap", "json", "junit", "html", NULL};

static const char usage[] =
    "Usage: tenon conform [OPTION]...\n"
    "Proves a device against the operators' contracts. The device runs in a process of its own: a crash is a failed "
    "test.\n"
    "\n"
    "  --device SPEC    the device (default: TENON_DEVICE, else auto)\n"
    "  --plugin FILE    load this backend first, and test its device unless --device says otherwise\n"
    "  --isa NAME       for the cpu backend: scalar, sse4, avx2, avx512, neon\n"
    "  --level LEVEL    quick (default), full or soak\n"
    "  --op GLOB        only these operators (or \"memory\")\n"
    "  --profile NAME   what must be supported: core (default), core-f32, null\n"
    "  --seed N         seed of the inputs\n"
    "  --case N         one case, as a failure's repro line says\n"
    "  --every N        each N-th case of an operator (1), for slow machines\n"
    "  --most N         N cases of an operator at most, from its whole range\n"
    "  --matrix         every device against every other: exact cases bit for bit, the rest within bounds\n"
    "  --format FORMAT  tap (default), json, junit or html\n"
    "  --report DIR     also write report.jsonl, card.json and card.txt there\n"
    "  --stop           end at the first failure\n"
    "  --threads LIST   counts of threads whose bits must agree, on devices that use the host's (1,2,3,7)\n"
    "  --jobs N         that many processes side by side, each with the device (1)\n"
    "  --timeout S      seconds until a case counts as hung (60)\n"
    "  --help           this text\n"
    "\n"
    "Exit status: 0 all passed, 1 a case failed or none was run, 2 usage, 3 no such device.\n";

static int bad_choice(const char *option, const char *word, const char *const *names)
{
    uint32_t n = 0;
    fprintf(stderr, "tenon conform: %s \"%s\": must be one of", option, word);
    for (; names[n]; n++)
        fprintf(stderr, " %s", names[n]);
    const char *close = tenon_closest(word, names, n);
    fprintf(stderr, close ? "; did you mean %s?\n" : "\n", close);
    return -1;
}

static int choose(const char *option, const char *word, const char *const *names)
{
    for (int i = 0; names[i]; i++)
        if (strcmp(word, names[i]) == 0)
            return i;
    return bad_choice(option, word, names);
}

static int number(const char *option, const char *word, uint64_t *value)
{
    char *end;
    errno = 0;
    *value = strtoull(word, &end, 0);
    if (!errno && end != word && !*end && word[0] != '-')
        return 0;
    fprintf(stderr, "tenon conform: %s \"%s\": must be a number\n", option, word);
    return -1;
}

static int take_threads(struct options *o, const char *list)
{
    const char *at = list;
    o->n_threads = 0;
    for (;;) {
        char *end;
        long n = strtol(at, &end, 10);
        if (end == at || n < 1 || n > 1024 || (*end && *end != ',') || o->n_threads == MAX_WORKERS) {
            fprintf(stderr, "tenon conform: --threads \"%s\": must be at most %d numbers from 1 to 1024 with commas\n",
                    list, MAX_WORKERS);
            return -1;
        }
        o->threads[o->n_threads++] = (int)n;
        if (!*end)
            return 0;
        at = end + 1;
    }
}

enum {
    OPT_DEVICE = 256,
    OPT_THREADS,
    OPT_PLUGIN,
    OPT_ISA,
    OPT_LEVEL,
    OPT_OP,
    OPT_PROFILE,
    OPT_SEED,
    OPT_CASE,
    OPT_MATRIX,
    OPT_FORMAT,
    OPT_REPORT,
    OPT_TIMEOUT,
    OPT_STOP,
    OPT_JOBS,
    OPT_EVERY,
    OPT_MOST,
    OPT_HELP
};

static int at_least_one(const char *option, const char *word, uint64_t *value)
{
    if (number(option, word, value))
        return -1;
    if (*value == 0)
        fprintf(stderr, "tenon conform: %s \"%s\": must be at least 1\n", option, word);
    return *value ? 0 : -1;
}

static int take_option(struct options *o, int option, const char *word)
{
    uint64_t value = 0;
    switch (option) {
    case OPT_DEVICE:
        o->device = word;
        return 0;
    case OPT_PLUGIN:
        o->plugin = word;
        return 0;
    case OPT_ISA:
        o->isa = word;
        return 0;
    case OPT_OP:
        o->op = word;
        return 0;
    case OPT_REPORT:
        o->report = word;
        return 0;
    case OPT_STOP:
        o->stop = 1;
        return 0;
    case OPT_MATRIX:
        o->matrix = 1;
        return 0;
    case OPT_LEVEL:
        return (o->level = choose("--level", word, level_names)) < 0;
    case OPT_FORMAT:
        return (o->format = choose("--format", word, format_names)) < 0;
    case OPT_PROFILE:
        o->profile = profile_by_name(word);
        return o->profile ? 0 : bad_choice("--profile", word, profile_names);
    case OPT_SEED:
        o->have_seed = 1;
        return number("--seed", word, &o->seed);
    case OPT_CASE:
        if (number("--case", word, &value) || value > INT64_MAX)
            return -1;
        o->only = (int64_t)value;
        return 0;
    case OPT_EVERY:
        return at_least_one("--every", word, &o->every);
    case OPT_MOST:
        return at_least_one("--most", word, &o->most);
    case OPT_JOBS:
        if (number("--jobs", word, &value))
            return -1;
        if (value == 0 || value > MAX_JOBS) {
            fprintf(stderr, "tenon conform: --jobs \"%s\": must be from 1 to %d\n", word, MAX_JOBS);
            return -1;
        }
        o->jobs = (uint32_t)value;
        return 0;
    case OPT_THREADS:
        return take_threads(o, word);
    case OPT_TIMEOUT:
        if (number("--timeout", word, &value) || value == 0 || value > 86400)
            return -1;
        o->timeout = (double)value;
        return 0;
    default:
        return -1;
    }
}

/* 0 go on, 1 done, -1 wrong. */
static int parse(struct options *o, int argc, char **argv)
{
    static const struct option table[] = {
        {"device", 1, NULL, OPT_DEVICE},
        {"plugin", 1, NULL, OPT_PLUGIN},
        {"isa", 1, NULL, OPT_ISA},
        {"level", 1, NULL, OPT_LEVEL},
        {"op", 1, NULL, OPT_OP},
        {"profile", 1, NULL, OPT_PROFILE},
        {"seed", 1, NULL, OPT_SEED},
        {"case", 1, NULL, OPT_CASE},
        {"matrix", 0, NULL, OPT_MATRIX},
        {"format", 1, NULL, OPT_FORMAT},
        {"report", 1, NULL, OPT_REPORT},
        {"timeout", 1, NULL, OPT_TIMEOUT},
        {"stop", 0, NULL, OPT_STOP},
        {"jobs", 1, NULL, OPT_JOBS},
        {"every", 1, NULL, OPT_EVERY},
        {"most", 1, NULL, OPT_MOST},
        {"threads", 1, NULL, OPT_THREADS},
        {"help", 0, NULL, OPT_HELP},
        {NULL, 0, NULL, 0},
    };
    int option;
    optind = 0; /* the command has parsed its own words with the same function */
    while ((option = getopt_long(argc, argv, "", table, NULL)) != -1) {
        if (option == OPT_HELP) {
            fputs(usage, stdout);
            return 1;
        }
        if (option == '?' || take_option(o, option, optarg))
            return -1;
    }
    if (optind < argc) {
        fprintf(stderr, "tenon conform: unexpected \"%s\"\n", argv[optind]);
        return -1;
    }
    if (o->matrix && (o->plugin || o->isa)) {
        fprintf(stderr, "tenon conform: --matrix runs every device and every ISA: no --plugin, no --isa\n");
        return -1;
    }
    if (o->only >= 0 && !o->op) {
        fprintf(stderr, "tenon conform: --case needs --op\n");
        return -1;
    }
    return 0;
}

/* Cases of the operator that the options choose. */
static void case_range(const struct options *o, const struct conform_op *op, uint64_t *begin, uint64_t *end)
{
    *begin = 0;
    *end = op->cases[o->level];
    if (o->only < 0)
        return;
    *begin = (uint64_t)o->only;
    *end = *begin < op->cases[CONFORM_SOAK] ? *begin + 1 : *begin;
}

static uint64_t count_all(const struct options *o)
{
    const struct conform_op *op;
    uint64_t n = suite_selected(o, "memory") ? SUITE_MEMORY_TESTS : 0, begin, end;
    for (uint32_t i = 0; (op = conform_op_at(i)) != NULL; i++) {
        if (!suite_selected(o, tenon_op_contract_by_number(op->op)->name))
            continue;
        case_range(o, op, &begin, &end);
        n += suite_share(o, op, end - begin) + suite_hostile_count(op);
    }
    return o->only >= 0 ? 1 : n;
}

static void run_all(void *context)
{
    struct suite *suite = context;
    const struct options *o = suite->options;
    const struct conform_op *op;
    uint64_t begin, end;
    if (suite_selected(o, "memory"))
        suite_memory(suite);
    for (uint32_t i = 0; (op = conform_op_at(i)) != NULL; i++) {
        if (!suite_selected(o, tenon_op_contract_by_number(op->op)->name))
            continue;
        if (o->only < 0 || (uint64_t)o->only >= HOSTILE_FIRST)
            suite_hostile(suite, op, HOSTILE_FIRST);
        case_range(o, op, &begin, &end);
        for (uint64_t n = begin; n < end && !report_stopped(&suite->report); n += suite_stride(o, op))
            if (report_turn(&suite->report))
                suite_case(suite, op, n);
    }
    /* How the processes end after all that counts as well: what a sanitizer found in them is said by their status. */
    for (uint32_t i = 0; i < suite->n_workers; i++)
        suite->report.broken |= device_stop(&suite->worker[i]);
    suite->report.broken |= device_stop(&suite->device);
}

/* The same device with other counts of threads, where the host's threads matter. */
static void start_workers(struct suite *suite)
{
    const struct options *o = suite->options;
    if (suite->device.opened.info.type != TENON_TYPE_CPU || suite->device.opened.info.caps & TENON_CAP_SOFTWARE)
        return;
    for (uint32_t i = 0; i < o->n_threads; i++)
        suite->worker[suite->n_workers++] = (struct device){.selector = suite->device.selector,
                                                            .plugin = suite->device.plugin,
                                                            .isa = suite->device.isa,
                                                            .timeout = suite->device.timeout,
                                                            .threads = o->threads[i]};
}

int tenon__conform_main(int argc, char **argv)
{
    struct options options = {.only = -1,
                              .timeout = DEFAULT_TIMEOUT,
                              .jobs = 1,
                              .every = 1,
                              .most = UINT64_MAX,
                              .threads = {1, 2, 3, 7},
                              .n_threads = 4,
                              .profile = profile_by_name("core")};
    struct suite suite = {.options = &options};
    int parsed = parse(&options, argc, argv), status;
    if (parsed)
        return parsed > 0 ? 0 : 2;
#ifdef M_TRIM_THRESHOLD /* a case's storage is taken and given back a dozen times: keep its pages */
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
#endif
    if (options.matrix)
        return suite_matrix(&options);
    suite.device = (struct device){
        .selector = options.device, .plugin = options.plugin, .isa = options.isa, .timeout = options.timeout};
    if (device_start(&suite.device)) {
        fprintf(stderr, "tenon conform: %s\n", suite.device.opened.text);
        status = suite.device.opened.status == TENON_E_INVALID ? 2 : 3;
        device_stop(&suite.device);
        return status;
    }
    start_workers(&suite);
    status = 2;
    if (report_begin(&suite.report, &options, &suite.device, count_all(&options)) == 0) {
        if (options.jobs > 1)
            suite.report.broken |= device_stop(&suite.device); /* each runner has its own */
        jobs_run(&suite.report, options.jobs, run_all, &suite);
        status = report_end(&suite.report, &suite.device);
    }
    device_stop(&suite.device);
    return status;
}

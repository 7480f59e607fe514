/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * `tenon bench`: options, devices and peers. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* dladdr, sched_getaffinity */
#endif
#include "bench.h"

#include <dlfcn.h>
#include <errno.h>
#include <fnmatch.h>
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_DIFFER = 1, EXIT_USAGE = 2, EXIT_DEVICE = 3 };
#define MAX_THREADS 1024

static const char help[] =
    "usage: tenon bench [--device SPEC]... [--op GLOB] [--case GLOB] [--shape AxB[xC]]...\n"
    "                   [--attr NAME=VALUE[/VALUE]...]... [--size quick|full] [--threads N] [--peer NAME]...\n"
    "                   [--rounds N] [--json]\n"
    "\n"
    "Measures operators against the machine's own limits, found in the same process; an operator that fuses others\n"
    "also against these one after the other.\n"
    "  --device SPEC   a device, as in TENON_DEVICE; several are side by side (default: TENON_DEVICE, else auto)\n"
    "  --op GLOB       operators by name\n"
    "  --case GLOB     rows by name (4096x1024)\n"
    "  --shape AxB[xC] this shape instead of the rows' own, one of each kind and type; may be repeated\n"
    "  --attr NAME=VALUE[/VALUE]...  an attribute; several values of one are measured side by side\n"
    "  --size SIZE     quick (default), or full: every element type as well\n"
    "  --threads N     threads of the CPU backend, the roofs and the peers (default: the processors of this process)\n"
    "  --peer NAME     another library behind the same ABI: onednn, xnnpack, or a plugin file's path\n"
    "  --rounds N      measurements a row; the median counts (default 9)\n"
    "  --json          one JSON object a row\n";

static int usage(const char *format, const char *what, const char *near)
{
    fputs("tenon: ", stderr);
    fprintf(stderr, format, what);
    if (near)
        fprintf(stderr, "; did you mean '%s'?", near);
    fputs("\n", stderr);
    return EXIT_USAGE;
}

/* 1..max, or 0. */
static uint32_t number(const char *text, uint32_t max)
{
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    return errno || end == text || *end || text[0] == '-' || value > max ? 0 : (uint32_t)value;
}

static uint32_t processors(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set))
        return 1;
    return (uint32_t)CPU_COUNT(&set);
}

/* ---- devices and peers ---- */

static int open_device(struct bench_options *options, const char *spec)
{
    struct bench_side *side = &options->side[options->n_sides];
    int32_t status = tenon_context_open(spec, &side->context);
    if (status) {
        fprintf(stderr, "tenon: %s\n", tenon_error());
        return status == TENON_E_INVALID ? EXIT_USAGE : EXIT_DEVICE;
    }
    snprintf(side->device, sizeof side->device, "%s", tenon_context_spec(side->context));
    options->n_sides++;
    return 0;
}

/* Peers live in a folder of their own beside the plugins, where no search for devices looks. */
static int find_peer(const char *name, char *path, size_t room)
{
    char *real;
    Dl_info info;
    void *symbol = dlsym(RTLD_DEFAULT, "tenon_version");
    if (strchr(name, '/')) {
        real = realpath(name, NULL);
    } else {
        char tried[4096] = "";
        if (symbol && dladdr(symbol, &info) && info.dli_fname) {
            const char *slash = strrchr(info.dli_fname, '/');
            snprintf(tried, sizeof tried, "%.*s/tenon/peers/libtenon-%s.so", slash ? (int)(slash - info.dli_fname) : 1,
                     slash ? info.dli_fname : ".", name);
        }
        real = realpath(tried, NULL);
#ifdef TENON_PKGLIBDIR
        if (!real) {
            snprintf(tried, sizeof tried, TENON_PKGLIBDIR "/peers/libtenon-%s.so", name);
            real = realpath(tried, NULL);
        }
#endif
    }
    if (!real)
        return -1;
    int n = snprintf(path, room, "%s", real);
    free(real);
    return n > 0 && (size_t)n < room ? 0 : -1;
}

static int open_peer(struct bench_options *options, const char *name)
{
    char path[4096], spec[80];
    const char *id;
    if (find_peer(name, path, sizeof path))
        return usage("no peer '%s': it was not built (its library was not found), or it is not installed", name, NULL);
    int32_t status = tenon_plugin_load(path, &id);
    if (status) {
        fprintf(stderr, "tenon: peer %s: %s\n", name, tenon_error());
        return EXIT_DEVICE;
    }
    snprintf(spec, sizeof spec, "%s:0", id);
    int code = open_device(options, spec);
    if (!code)
        options->side[options->n_sides - 1].peer = id;
    return code;
}

/* ---- the run ---- */

static int chosen(const struct bench_options *options, const struct conform_op *op)
{
    return !options->op || !fnmatch(options->op, tenon_op_contract_by_number(op->op)->name, 0);
}

/* Says what fits nothing. */
static int no_row(const struct bench_options *options)
{
    const char *names[64];
    uint32_t n = 0;
    const struct tenon_op_contract *contract;
    const struct conform_op *op;
    const char *glob = options->op ? options->op : "*";
    for (uint32_t i = 0; (op = conform_op_at(i)); i++)
        if (chosen(options, op) && options->n_shapes)
            return usage("no row of operator '%s' has the element type or the number of sizes for this --shape", glob,
                         NULL);
        else if (chosen(options, op) && options->rows)
            return usage("no row matches --case '%s'", options->rows, NULL);
    while (n < 64 && (contract = tenon_op_contract_at(n)))
        names[n++] = contract->name;
    return usage("no operator matches '%s'", glob, tenon_closest(glob, names, n));
}

/* Whether there is a row to measure, and every operator takes the attributes. */
static int check(const struct bench_options *options, struct conform_bench *rows)
{
    const struct conform_op *op;
    struct conform_case c;
    uint32_t n = 0;
    for (uint32_t i = 0; (op = conform_op_at(i)); i++) {
        struct tenon_why why = {{0}};
        if (!chosen(options, op) || !tenon__bench_rows(options, op, rows))
            continue;
        n++;
        memset(&c, 0, sizeof c);
        conform_case_bench(op, rows, &c);
        for (uint32_t v = 0; v == 0 || v < options->n_variants; v++)
            if (tenon__bench_params(options, v, &c, &why))
                return usage("--attr: %s", why.text, NULL);
    }
    return n ? 0 : no_row(options);
}

static int run(const struct bench_options *options, struct conform_bench *rows)
{
    const struct conform_op *op;
    struct roof *roof = tenon__roof_create(options->threads);
    int code = 0;

    if (!roof) {
        fprintf(stderr, "tenon: no memory for %u threads\n", options->threads);
        return EXIT_DIFFER;
    }
    tenon__bench_progress(options, "measuring the machine");
    tenon__bench_head(options, roof);
    for (uint32_t i = 0; (op = conform_op_at(i)); i++)
        for (uint32_t k = 0, n = chosen(options, op) ? tenon__bench_rows(options, op, rows) : 0; k < n; k++)
            if (tenon__bench_measure(options, op, &rows[k], roof))
                code = EXIT_DIFFER;
    tenon__bench_progress(options, "%s", "");
    tenon__roof_destroy(roof);
    return code;
}

enum { OPT_DEVICE = 256, OPT_OP, OPT_CASE, OPT_SHAPE, OPT_ATTR, OPT_SIZE, OPT_THREADS, OPT_PEER, OPT_ROUNDS, OPT_JSON };
static const struct option longs[] = {{"device", required_argument, NULL, OPT_DEVICE},
                                      {"op", required_argument, NULL, OPT_OP},
                                      {"case", required_argument, NULL, OPT_CASE},
                                      {"shape", required_argument, NULL, OPT_SHAPE},
                                      {"attr", required_argument, NULL, OPT_ATTR},
                                      {"size", required_argument, NULL, OPT_SIZE},
                                      {"threads", required_argument, NULL, OPT_THREADS},
                                      {"peer", required_argument, NULL, OPT_PEER},
                                      {"rounds", required_argument, NULL, OPT_ROUNDS},
                                      {"json", no_argument, NULL, OPT_JSON},
                                      {"help", no_argument, NULL, 'h'},
                                      {NULL, 0, NULL, 0}};

static int unknown_option(char *word)
{
    const char *names[sizeof longs / sizeof longs[0]];
    uint32_t n = 0;
    for (; longs[n].name; n++)
        names[n] = longs[n].name;
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(word + strspn(word, "-"), "="), word + strspn(word, "-"));
    for (uint32_t i = 0; i < n; i++)
        if (!strcmp(names[i], name))
            return usage("option %s is given wrongly: see `tenon bench --help`", word, NULL);
    return usage("no option '%s'", word, tenon_closest(name, names, n));
}

struct words {
    uint32_t n_devices, n_peers;
    const char *device[BENCH_MAX_SIDES], *peer[BENCH_MAX_SIDES];
};

/* 0, an exit code, or -1 when help was printed. */
static int parse(int argc, char **argv, struct bench_options *options, struct words *words)
{
    struct tenon_why why = {{0}};
    int option;
    opterr = 0;
    optind = 0; /* of glibc: start afresh */
    while ((option = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
        switch (option) {
        case OPT_DEVICE:
        case OPT_PEER:
            if (words->n_devices + words->n_peers == BENCH_MAX_SIDES)
                return usage("%s: more than 16 devices and peers", optarg, NULL);
            if (option == OPT_DEVICE)
                words->device[words->n_devices++] = optarg;
            else
                words->peer[words->n_peers++] = optarg;
            break;
        case OPT_OP:
            options->op = optarg;
            break;
        case OPT_CASE:
            options->rows = optarg;
            break;
        case OPT_SHAPE:
        case OPT_ATTR:
            if (option == OPT_SHAPE ? tenon__bench_shape(options, optarg, &why)
                                    : tenon__bench_attr(options, optarg, &why))
                return usage("%s", why.text, NULL);
            break;
        case OPT_SIZE:
            if (strcmp(optarg, "quick") && strcmp(optarg, "full"))
                return usage("--size %s: quick or full", optarg, NULL);
            options->level = strcmp(optarg, "full") ? CONFORM_QUICK : CONFORM_FULL;
            break;
        case OPT_THREADS:
            if (!(options->threads = number(optarg, MAX_THREADS)))
                return usage("--threads %s: a number from 1 to 1024", optarg, NULL);
            break;
        case OPT_ROUNDS:
            if (!(options->rounds = number(optarg, BENCH_MAX_ROUNDS)))
                return usage("--rounds %s: a number from 1 to 1000", optarg, NULL);
            break;
        case OPT_JSON:
            options->json = 1;
            break;
        case 'h':
            fputs(help, stdout);
            return -1;
        default:
            return unknown_option(argv[optind > 1 ? optind - 1 : 1]);
        }
    }
    return optind < argc ? usage("'%s' is not an option: see `tenon bench --help`", argv[optind], NULL) : 0;
}

int tenon__bench_main(int argc, char **argv)
{
    static struct bench_options options;
    static struct conform_bench rows[BENCH_MAX_ROWS];
    struct words words = {0};
    char text[16];

    options = (struct bench_options){.level = CONFORM_QUICK, .threads = processors(), .rounds = 9};

    int code = parse(argc, argv, &options, &words);
    if (code)
        return code < 0 ? 0 : code;
    code = check(&options, rows);
    if (code)
        return code;
    options.progress = !options.json && isatty(STDERR_FILENO);
    /* Before libtenon, a software driver and a peer's runtime read them. OpenMP must not spin while another side is
     * measured. */
    static const char *const variables[] = {"TENON_THREADS", "OMP_NUM_THREADS", "POCL_MAX_PTHREAD_COUNT",
                                            "LP_NUM_THREADS"};
    snprintf(text, sizeof text, "%u", options.threads);
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++)
        setenv(variables[i], text, 1);
    setenv("OMP_WAIT_POLICY", "passive", 0);

    if (!words.n_devices)
        words.device[words.n_devices++] = NULL;
    for (uint32_t i = 0; i < words.n_devices && !code; i++)
        code = open_device(&options, words.device[i]);
    for (uint32_t i = 0; i < words.n_peers && !code; i++)
        code = open_peer(&options, words.peer[i]);
    if (!code)
        code = run(&options, rows);
    for (uint32_t i = 0; i < options.n_sides; i++)
        tenon_context_close(options.side[i].context);
    return code;
}

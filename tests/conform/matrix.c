/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Every executor against every other: the CPU backend with each ISA that this machine has, and every device of the
 * other backends. Two independent mistakes must not cancel, so each pair is compared besides each executor with the
 * reference. */
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <tenon/tenon.h>
#include "suite.h"

#define EXECUTORS 16

struct matrix {
    const struct options *options;
    struct report report;
    struct device device[EXECUTORS];
    uint32_t n;
    char specs[EXECUTORS][64];
};

/* The specs of all usable devices, one a line, found in a child: the runner itself opens no driver. */
static int list_devices(FILE *to, const char *selector)
{
    struct tenon_report *report;
    if (tenon_report_create(selector, &report))
        return 1;
    for (uint32_t i = 0; i < report->n; i++) {
        const struct tenon_report_entry *e = report->entries[i];
        if (!e->reason && e->index != UINT32_MAX)
            fprintf(to, "%s:%u\n", e->backend, e->index);
    }
    tenon_report_destroy(report);
    return fflush(to) != 0;
}

static uint32_t find_specs(const struct options *options, char specs[][64])
{
    FILE *list = tmpfile();
    uint32_t n = 0;
    int status = 1;
    pid_t pid = list ? fork() : -1;
    if (pid == 0)
        _exit(list_devices(list, options->device));
    if (pid > 0)
        waitpid(pid, &status, 0);
    if (list) {
        rewind(list);
        while (n < EXECUTORS && fgets(specs[n], 64, list)) {
            specs[n][strcspn(specs[n], "\n")] = 0;
            n++;
        }
        fclose(list);
    }
    return n;
}

static void add_executor(struct matrix *m, const char *spec, const char *isa)
{
    struct device *device = &m->device[m->n];
    if (m->n == EXECUTORS)
        return;
    *device = (struct device){.selector = spec, .isa = isa, .timeout = m->options->timeout};
    if (device_start(device) == 0)
        m->n++;
    else
        device_stop(device);
}

static void find_executors(struct matrix *m)
{
    static const char *const isas[] = {"scalar", "sse4", "avx2", "avx512", "neon"};
    uint32_t n = find_specs(m->options, m->specs);
    for (uint32_t i = 0; i < n; i++) {
        if (strncmp(m->specs[i], "cpu:", 4))
            add_executor(m, m->specs[i], NULL);
        else
            for (size_t isa = 0; isa < sizeof(isas) / sizeof(isas[0]); isa++)
                add_executor(m, m->specs[i], isas[isa]);
    }
}

struct outcome {
    struct conform_case got;
    int there;
};

static int compare_pair(const struct matrix *m, const struct conform_want *want, const struct outcome *all, uint32_t a,
                        uint32_t b, struct result *result)
{
    char why[640];
    if (compare_bits(&all[a].got, &all[b].got, want, result) == 0 &&
        compare_bounds(&all[a].got, &all[b].got, want, result) == 0)
        return 0;
    memcpy(why, result->why, sizeof(why));
    snprintf(result->why, sizeof(result->why), "%s against %s: %.450s", m->device[b].name, m->device[a].name, why);
    return -1;
}

static int run_everywhere(struct matrix *m, const struct conform_case *c, const struct conform_want *want,
                          struct outcome *all, struct result *result, uint32_t *there)
{
    char why[640];
    for (uint32_t i = 0; i < m->n; i++) {
        struct device_answer answer = {0};
        int bad = suite_attempt(&m->device[i], c, &all[i].got, PLACE_HOST_END, &answer, result);
        if (bad && answer.status == TENON_E_UNSUPPORTED && !m->options->profile->demands(c)) {
            conform_case_free(&all[i].got);
            continue;
        }
        all[i].there = 1;
        *there += 1;
        if (bad || compare_reference(c, &all[i].got, want, result)) {
            memcpy(why, result->why, sizeof(why));
            snprintf(result->why, sizeof(result->why), "%s: %.500s", m->device[i].name, why);
            return -1;
        }
    }
    return 0;
}

static void matrix_case(struct matrix *m, const struct conform_op *op, uint64_t number)
{
    const char *name = tenon_op_contract_by_number(op->op)->name;
    struct outcome *all = calloc(EXECUTORS, sizeof(*all));
    struct conform_want *want = NULL;
    struct conform_case c;
    struct result result = {
        .group = name, .outcome = RESULT_FAIL, .why = "the suite is out of memory", .budget = -1, .at_element = -1};
    uint32_t there = 0;
    conform_case_make(op, suite_seed(m->options), number, &c);
    if (all && conform_case_alloc(&c) == 0)
        want = want_create(&c);
    if (want) {
        conform_case_fill(&c);
        op->expect(&c, want);
        result.budget = 0;
        result.why[0] = 0;
        int bad = run_everywhere(m, &c, want, all, &result, &there);
        for (uint32_t a = 0; !bad && a < m->n; a++)
            for (uint32_t b = a + 1; !bad && b < m->n; b++)
                bad = all[a].there && all[b].there && compare_pair(m, want, all, a, b, &result);
        result.outcome = bad ? RESULT_FAIL : there < 2 ? RESULT_SKIP : RESULT_OK;
        if (there)
            suite_reference(m->options, &c, want, &result);
        for (uint32_t i = 0; i < m->n; i++)
            if (all[i].there)
                conform_case_free(&all[i].got);
    }
    snprintf(result.name, sizeof(result.name), "%s case %llu: %s: %u executors, %u pairs", name,
             (unsigned long long)number, c.name, there, there * (there - (there > 0)) / 2);
    suite_repro(m->options, NULL, &c.seed, number, &result);
    if (result.outcome == RESULT_SKIP)
        snprintf(result.why, sizeof(result.why), "fewer than two executors support it");
    report_add(&m->report, &result);
    want_destroy(&c, want);
    conform_case_free(&c);
    free(all);
}

static void matrix_run(void *context)
{
    struct matrix *m = context;
    const struct options *o = m->options;
    const struct conform_op *op;
    for (uint32_t i = 0; (op = conform_op_at(i)) != NULL; i++) {
        if (!suite_selected(o, tenon_op_contract_by_number(op->op)->name))
            continue;
        uint64_t begin = o->only < 0 ? 0 : (uint64_t)o->only, end = o->only < 0 ? op->cases[o->level] : begin + 1;
        for (uint64_t n = begin; n < end && n < op->cases[CONFORM_SOAK] && !report_stopped(&m->report);
             n += suite_stride(o, op))
            if (report_turn(&m->report))
                matrix_case(m, op, n);
    }
}

int suite_matrix(const struct options *options)
{
    struct matrix *m = calloc(1, sizeof(*m));
    const struct conform_op *op;
    uint64_t total = 0;
    int status = 2;
    if (!m)
        return 2;
    m->options = options;
    find_executors(m);
    if (m->n < 2) {
        fprintf(stderr, "tenon conform: --matrix needs two executors, found %u\n", m->n);
        status = 3;
    } else {
        for (uint32_t i = 0; (op = conform_op_at(i)) != NULL; i++)
            if (suite_selected(options, tenon_op_contract_by_number(op->op)->name))
                total += suite_share(options, op, op->cases[options->level]);
        if (report_begin(&m->report, options, NULL, options->only < 0 ? total : 1) == 0) {
            for (uint32_t i = 0; i < m->n && options->format == FORMAT_TAP; i++)
                printf("# executor %s: %s\n", m->device[i].name, m->device[i].opened.info.name);
            for (uint32_t i = 0; i < m->n && options->jobs > 1; i++)
                device_stop(&m->device[i]); /* each runner has its own */
            jobs_run(&m->report, options->jobs, matrix_run, m);
            status = report_end(&m->report, NULL);
        }
    }
    for (uint32_t i = 0; i < m->n; i++)
        if (device_stop(&m->device[i]) && !status)
            status = 1;
    free(m);
    return status;
}

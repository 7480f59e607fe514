/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Results as TAP, JSON lines, JUnit XML or HTML, the progress line, and what the card collects. */
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <json-c/json.h>
#include <tenon/tenon.h>
#include "suite.h"

static const char *const outcomes[RESULT_KINDS] = {"ok", "not ok", "skip"};

double suite_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- TAP ---- */

static void tap_begin(struct report *report, const struct device *device)
{
    fprintf(report->out, "TAP version 14\n");
    if (device)
        fprintf(report->out, "# %s: %s, driver %s%s\n", device->name, device->opened.info.name,
                device->opened.info.driver, device->opened.info.caps & TENON_CAP_SOFTWARE ? " (software device)" : "");
}

static void tap_field(FILE *out, const char *key, const char *value)
{
    if (value[0])
        fprintf(out, "  %s: '%s'\n", key, value);
}

static void tap_result(struct report *report, const struct result *r)
{
    char why[sizeof(r->why)];
    size_t n = 0;
    for (const char *at = r->why; *at && n + 1 < sizeof(why); at++)
        why[n++] = *at == '\n' || *at == '\'' ? ' ' : *at == '#' ? '.' : *at;
    why[n] = 0;
    int ended = strncmp(why, "CRASH", 5) == 0 || strncmp(why, "TIMEOUT", 7) == 0 || strncmp(why, "EXIT", 4) == 0;
    fprintf(report->out, "%s %" PRIu64 " - %s", r->outcome == RESULT_FAIL ? "not ok" : "ok", report->number, r->name);
    if (r->outcome == RESULT_SKIP)
        fprintf(report->out, " # SKIP %s", why);
    else if (r->outcome == RESULT_FAIL && ended)
        fprintf(report->out, " # %s", why);
    else if (r->outcome == RESULT_OK && r->budget >= 0)
        fprintf(report->out, " (%.0f %% of the bound)%s", 100 * r->budget, r->budget > 0.5 ? " QUALITY" : "");
    fprintf(report->out, "\n");
    if (r->outcome != RESULT_FAIL)
        return;
    fprintf(report->out, "  ---\n");
    tap_field(report->out, "message", why);
    tap_field(report->out, "repro", r->repro);
    tap_field(report->out, "impl", r->impl);
    tap_field(report->out, "tensor", r->tensor);
    tap_field(report->out, "index", r->index);
    tap_field(report->out, "got", r->got);
    tap_field(report->out, "want", r->want);
    tap_field(report->out, "bound", r->bound);
    if (r->reference == REFERENCE_CHECKED && r->precise_worst <= 1)
        fprintf(report->out, "  reference: '%" PRId64 " elements are right in 256 bits'\n", r->precise);
    fprintf(report->out, "  ...\n");
}

static void tap_end(struct report *report)
{
    fprintf(report->out, "1..%" PRIu64 "\n", report->number);
}

/* ---- JSON lines ---- */

static void json_put(struct json_object *to, const char *key, const char *value)
{
    if (value[0])
        json_object_object_add(to, key, json_object_new_string(value));
}

static void json_write(FILE *out, const struct result *r)
{
    struct json_object *o = json_object_new_object();
    char hash[24];
    json_put(o, "group", r->group);
    json_put(o, "name", r->name);
    json_put(o, "outcome", outcomes[r->outcome]);
    json_put(o, "message", r->why);
    json_put(o, "repro", r->outcome == RESULT_FAIL ? r->repro : "");
    json_put(o, "impl", r->impl);
    json_put(o, "tensor", r->outcome == RESULT_FAIL ? r->tensor : "");
    json_put(o, "index", r->index);
    json_put(o, "got", r->got);
    json_put(o, "want", r->want);
    json_put(o, "bound", r->bound);
    if (r->reference == REFERENCE_CHECKED)
        json_object_object_add(o, "reference_checked", json_object_new_int64(r->precise));
    if (r->budget >= 0 && r->budget < 1e30)
        json_object_object_add(o, "budget_pct", json_object_new_double((double)(int64_t)(r->budget * 1e4 + 0.5) / 100));
    if (r->hash) {
        snprintf(hash, sizeof(hash), "%016" PRIx64, r->hash);
        json_put(o, "hash", hash);
    }
    fprintf(out, "%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
    json_object_put(o);
}

static void json_result(struct report *report, const struct result *r)
{
    json_write(report->out, r);
}

/* ---- JUnit and HTML ---- */

static void escape(FILE *out, const char *text)
{
    for (; *text; text++) {
        const char *entity = *text == '<'   ? "&lt;"
                             : *text == '>' ? "&gt;"
                             : *text == '&' ? "&amp;"
                             : *text == '"' ? "&quot;"
                                            : NULL;
        if (entity)
            fputs(entity, out);
        else
            fputc((unsigned char)*text < 0x20 ? ' ' : *text, out);
    }
}

static void junit_begin(struct report *report, const struct device *device)
{
    fprintf(report->out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"tenon conform ");
    escape(report->out, device ? device->name : "matrix");
    fprintf(report->out, "\">\n");
}

static void junit_result(struct report *report, const struct result *r)
{
    fprintf(report->out, "<testcase classname=\"%s\" time=\"%.3f\" name=\"", r->group, r->ms / 1000);
    escape(report->out, r->name);
    if (r->outcome == RESULT_OK) {
        fprintf(report->out, "\"/>\n");
        return;
    }
    fprintf(report->out, "\"><%s message=\"", r->outcome == RESULT_SKIP ? "skipped" : "failure");
    escape(report->out, r->why);
    fprintf(report->out, "\">");
    escape(report->out, r->outcome == RESULT_FAIL ? r->repro : "");
    fprintf(report->out, "</%s></testcase>\n", r->outcome == RESULT_SKIP ? "skipped" : "failure");
}

static void junit_end(struct report *report)
{
    fprintf(report->out, "</testsuite>\n");
}

static void html_begin(struct report *report, const struct device *device)
{
    fprintf(report->out,
            "<!doctype html><meta charset=\"utf-8\"><title>tenon conform</title>"
            "<style>body{font:14px sans-serif}td{padding:2px 8px}.not{background:#fcc}.skip{color:#777}</style><h1>");
    escape(report->out, device ? device->name : "matrix");
    fprintf(report->out, "</h1><p>");
    escape(report->out, device ? device->opened.info.name : "");
    fprintf(report->out, "</p><table>\n");
}

static void html_result(struct report *report, const struct result *r)
{
    fprintf(report->out, "<tr class=\"%s\"><td>%s<td>", outcomes[r->outcome], outcomes[r->outcome]);
    escape(report->out, r->name);
    fprintf(report->out, "<td>");
    if (r->budget >= 0)
        fprintf(report->out, "%.0f %%", 100 * r->budget);
    fprintf(report->out, "<td>");
    escape(report->out, r->why);
    if (r->outcome == RESULT_FAIL) {
        fprintf(report->out, "<br><code>");
        escape(report->out, r->repro);
        fprintf(report->out, "</code>");
    }
    fprintf(report->out, "\n");
}

static void html_end(struct report *report)
{
    fprintf(report->out, "</table><p>%" PRIu64 " passed, %" PRIu64 " failed, %" PRIu64 " skipped</p>\n",
            report->count[RESULT_OK], report->count[RESULT_FAIL], report->count[RESULT_SKIP]);
}

static void nothing_begin(struct report *report, const struct device *device)
{
    (void)report;
    (void)device;
}

static void nothing_end(struct report *report)
{
    (void)report;
}

const struct report_format report_formats[FORMAT_COUNT] = {
    [FORMAT_TAP] = {"tap", tap_begin, tap_result, tap_end},
    [FORMAT_JSON] = {"json", nothing_begin, json_result, nothing_end},
    [FORMAT_JUNIT] = {"junit", junit_begin, junit_result, junit_end},
    [FORMAT_HTML] = {"html", html_begin, html_result, html_end},
};

/* ---- all of them ---- */

int report_begin(struct report *report, const struct options *options, const struct device *device, uint64_t total)
{
    char path[4096];
    memset(report, 0, sizeof(*report));
    report->options = options;
    report->format = &report_formats[options->format];
    report->out = stdout;
    report->total = total;
    report->jobs = 1;
    report->started = suite_now();
    /* Lines that arrive one by one are progress enough. */
    report->progress = isatty(STDERR_FILENO) && !(options->format == FORMAT_TAP && isatty(STDOUT_FILENO));
    if (options->report) {
        if (mkdir(options->report, 0777) && access(options->report, W_OK)) {
            fprintf(stderr, "tenon conform: cannot write to --report %s\n", options->report);
            return -1;
        }
        snprintf(path, sizeof(path), "%s/report.jsonl", options->report);
        report->jsonl = fopen(path, "w");
        if (!report->jsonl) {
            fprintf(stderr, "tenon conform: cannot write %s\n", path);
            return -1;
        }
    }
    report->format->begin(report, device);
    return 0;
}

static struct card_op *card_of(struct report *report, const char *group)
{
    for (uint32_t i = 0; i < report->n_ops; i++)
        if (strcmp(report->ops[i].group, group) == 0)
            return &report->ops[i];
    if (report->n_ops == CARD_OPS)
        return &report->ops[CARD_OPS - 1];
    report->ops[report->n_ops].group = group;
    return &report->ops[report->n_ops++];
}

static void card_add(struct report *report, const struct result *r)
{
    struct card_op *op = card_of(report, r->group);
    op->count[r->outcome]++;
    op->hash = conform_random(op->hash, r->hash);
    if (r->budget > op->budget) {
        op->budget = r->budget;
        memcpy(op->worst, r->name, sizeof(op->worst));
    }
    for (uint32_t i = 0; i < op->n_impls; i++)
        if (strcmp(op->impls[i], r->impl) == 0)
            return;
    if (r->impl[0] && op->n_impls < CARD_IMPLS)
        memcpy(op->impls[op->n_impls++], r->impl, sizeof(r->impl));
}

static void reference_add(struct report *report, const struct result *r)
{
    report->referenced += r->reference != REFERENCE_NONE;
    report->checked += r->reference == REFERENCE_CHECKED;
    report->precise += r->precise;
    if (r->precise_worst > report->precise_worst)
        report->precise_worst = r->precise_worst;
}

const char *report_reference(const struct report *report, char *text, size_t size)
{
    text[0] = 0;
    if (report->referenced && !precise_built())
        snprintf(text, size, "reference: not checked in 256 bits: built without libmpfr");
    else if (report->referenced)
        snprintf(text, size,
                 "reference: %" PRIu64 " of %" PRIu64 " cases checked in 256 bits (MPFR), %" PRId64
                 " elements, at most %.3g %% of what f64 may lose",
                 report->checked, report->referenced, report->precise, 100 * report->precise_worst);
    return text;
}

void report_add(struct report *report, const struct result *r)
{
    if (report->to) {
        report_send(report, r);
        report->count[r->outcome]++;
        return;
    }
    report->number++;
    report->count[r->outcome]++;
    card_add(report, r);
    reference_add(report, r);
    report->format->result(report, r);
    fflush(report->out);
    if (report->jsonl)
        json_write(report->jsonl, r);
    if (report->progress)
        fprintf(stderr, "\r%" PRIu64 "/%" PRIu64 " %s, %" PRIu64 " failed \033[K", report->number, report->total,
                r->group, report->count[RESULT_FAIL]);
}

int report_stopped(const struct report *report)
{
    return report->options->stop && report->count[RESULT_FAIL] > 0;
}

static void say_worst(const struct report *report)
{
    for (uint32_t i = 0; i < report->n_ops; i++)
        if (report->ops[i].worst[0])
            fprintf(report->out, "# %s: at most %.0f %% of a bound (%s), outputs %016" PRIx64 "\n",
                    report->ops[i].group, 100 * report->ops[i].budget, report->ops[i].worst, report->ops[i].hash);
}

int report_end(struct report *report, const struct device *device)
{
    int failed = report->count[RESULT_FAIL] > 0 || report->number == 0 || report->broken;
    double seconds = suite_now() - report->started;
    FILE *last = report->options->format == FORMAT_TAP ? report->out : stderr;
    char text[200];
    if (report->progress)
        fprintf(stderr, "\r\033[K");
    report->format->end(report);
    if (report->options->format == FORMAT_TAP) {
        say_worst(report);
        fprintf(report->out, "# %.1f s, %.0f cases/s\n", seconds,
                (double)report->number / (seconds > 1e-3 ? seconds : 1e-3));
    }
    if (report->options->report && device && card_write(report, device))
        failed = 1;
    if (report->jsonl && fclose(report->jsonl))
        failed = 1;
    if (report->number == 0)
        fprintf(stderr, "tenon conform: nothing was run\n");
    fflush(report->out);
    if (report_reference(report, text, sizeof(text))[0])
        fprintf(last, "# %s\n", text);
    fprintf(last, "%" PRIu64 " passed, %" PRIu64 " failed, %" PRIu64 " skipped\n", report->count[RESULT_OK],
            report->count[RESULT_FAIL], report->count[RESULT_SKIP]);
    return failed;
}

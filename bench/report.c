/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include "bench.h"

#include <json-c/json.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

double tenon__bench_median(double *values, uint32_t n)
{
    qsort(values, n, sizeof values[0], by_value);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

double tenon__bench_share(const struct bench_row *row)
{
    double least = 0;
    if (row->roof_bytes_s > 0)
        least = row->bytes / row->roof_bytes_s;
    if (row->roof_flops_s > 0 && row->flops / row->roof_flops_s > least)
        least = row->flops / row->roof_flops_s;
    return row->median_s > 0 ? 100 * least / row->median_s : 0;
}

void tenon__bench_progress(const struct bench_options *options, const char *format, ...)
{
    if (!options->progress)
        return;
    va_list list;
    va_start(list, format);
    fputs("\r\033[K", stderr);
    vfprintf(stderr, format, list);
    va_end(list);
    fflush(stderr);
}

void tenon__bench_head(const struct bench_options *options, struct roof *roof)
{
    double flops = 0;
    for (int i = 0; i < 10; i++)
        flops = fmax(flops, tenon__roof_flops(roof));
    if (options->json)
        return;
    printf(
        "multiply-add peak %.1f GFLOP/s (f32, %s, %u threads); memory roofs are measured with each case's own bytes\n\n",
        flops / 1e9, tenon__roof_isa(roof), options->threads);
    printf("%-16s %-24s %-5s %-14s %10s %10s %8s %9s %9s %9s %7s %10s  %s\n", "op", "case", "dtype", "device",
           "median ms", "min ms", "GB/s", "GFLOP/s", "roof GB/s", "% of roof", "passes", "moved GB/s", "kernel");
}

/* Three significant digits more than anyone needs, and no tail of binary rounding. */
static void add_number(struct json_object *object, const char *key, double value)
{
    char text[40];
    snprintf(text, sizeof text, "%.7g", value);
    json_object_object_add(object, key, isfinite(value) ? json_object_new_double_s(value, text) : NULL);
}

static void add_text(struct json_object *object, const char *key, const char *text)
{
    json_object_object_add(object, key, text ? json_object_new_string(text) : NULL);
}

/* "2R+1W", or "-" when nobody knows. */
static const char *passes_of(const struct bench_row *row, char *text, size_t room)
{
    snprintf(text, room, "-");
    if (row->passes)
        snprintf(text, room, "%uR+%uW", row->reads, row->writes);
    return text;
}

static void report_json(const struct bench_row *row)
{
    struct json_object *object = json_object_new_object();
    add_text(object, "op", row->op);
    add_text(object, "case", row->name);
    add_text(object, "dtype", row->dtype);
    add_text(object, "device", row->side->device);
    json_object_object_add(object, "threads", json_object_new_int64(row->threads));
    add_text(object, "peer", row->side->peer);
    add_text(object, "attr", row->variant[0] ? row->variant : NULL);
    if (row->refused[0]) {
        add_text(object, "refused", row->refused);
    } else {
        double none = NAN;
        char passes[32];
        add_number(object, "median_ms", row->median_s * 1e3);
        add_number(object, "min_ms", row->min_s * 1e3);
        json_object_object_add(object, "bytes", json_object_new_int64((int64_t)row->bytes));
        json_object_object_add(object, "flops", json_object_new_int64((int64_t)row->flops));
        add_number(object, "gbps", row->bytes / row->median_s / 1e9);
        add_number(object, "gflops", row->flops / row->median_s / 1e9);
        add_number(object, "roof_gbps", row->roof_bytes_s > 0 ? row->roof_bytes_s / 1e9 : none);
        add_number(object, "roof_gflops", row->roof_flops_s > 0 ? row->roof_flops_s / 1e9 : none);
        add_number(object, "pct_roof", tenon__bench_share(row) > 0 ? tenon__bench_share(row) : none);
        add_text(object, "passes", row->passes ? passes_of(row, passes, sizeof passes) : NULL);
        add_number(object, "moved_gbps", row->passes ? row->moved / row->median_s / 1e9 : none);
        if (row->times > 0)
            add_number(object, "times_fused", row->times);
        add_text(object, "impl", row->impl);
        add_text(object, "roof_memory", row->roof_memory);
        add_text(object, "roof_isa", row->roof_isa);
    }
    puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
    fflush(stdout);
    json_object_put(object);
}

void tenon__bench_report(const struct bench_options *options, const struct bench_row *row)
{
    tenon__bench_progress(options, "%s", "");
    if (options->json) {
        report_json(row);
        return;
    }
    printf("%-16s %-24s %-5s %-14s ", row->op, row->name, row->dtype, row->side->device);
    if (row->refused[0])
        printf("%s%snot measured: %s\n", row->variant, row->variant[0] ? " " : "", row->refused);
    else if (row->call_cost)
        printf("%.0f ns a run through plan and queue (least %.0f ns)  %s\n", row->median_s * 1e9, row->min_s * 1e9,
               row->impl);
    else {
        char times[32] = "";
        if (row->times > 0)
            snprintf(times, sizeof times, ": %.2f times as long", row->times);
        char roof[16] = "-", share[16] = "-", moved[16] = "-", passes[32];
        if (row->roof_bytes_s > 0)
            snprintf(roof, sizeof roof, "%.1f", row->roof_bytes_s / 1e9);
        if (tenon__bench_share(row) > 0)
            snprintf(share, sizeof share, "%.0f", tenon__bench_share(row));
        if (row->passes)
            snprintf(moved, sizeof moved, "%.1f", row->moved / row->median_s / 1e9);
        printf("%10.4f %10.4f %8.1f %9.1f %9s %9s %7s %10s  %s%s%s%s\n", row->median_s * 1e3, row->min_s * 1e3,
               row->bytes / row->median_s / 1e9, row->flops / row->median_s / 1e9, roof, share,
               passes_of(row, passes, sizeof passes), moved, row->impl, row->variant[0] ? "  " : "", row->variant,
               times);
    }
    fflush(stdout);
}

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#define _POSIX_C_SOURCE 200809L
#include "moe.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct options {
    const char *device, *save;
    struct moe_shape shape;
    int64_t rounds, check, seed;
    int json;
};

static const char usage[] =
    "Usage: moe [OPTION]...\n"
    "Runs one layer of a sparse mixture of experts (SwiGLU experts, softmax over the chosen k),\n"
    "compares it with the dense sum over all experts in double precision, and times it.\n"
    "No tensor leaves the device between the operators.\n\n"
    "  -d, --device SPEC   the device, as in TENON_DEVICE (default: TENON_DEVICE, else auto)\n"
    "  -t, --tokens N      (default 64)\n"
    "  -e, --experts N     (default 16)\n"
    "  -k, --top-k N       experts a token, at most --experts (default 4)\n"
    "  -w, --width N       of a token (default 256)\n"
    "  -f, --hidden N      inner width of an expert (default 128)\n"
    "  -y, --type TYPE     f32, bf16 or i8 (weights of 8 bits with scales; default f32)\n"
    "      --skew          half of the tokens go to expert 0\n"
    "      --batches N     sets of tokens that timed runs take in turns (default 1); with many, no\n"
    "                      run finds its weights in the cache\n"
    "  -r, --rounds N      timed runs (default 0: none)\n"
    "  -c, --check N       tokens to compare, 0: none (default 4)\n"
    "      --seed N        of the random weights (default 1)\n"
    "      --save DIR      writes x, the weights and y there, as raw numbers\n"
    "      --json          one line of JSON\n"
    "  -h, --help          this text\n\n"
    "Exit status: 0 done, 1 a run failed or a result is wrong, 2 bad usage, 3 no such device.\n";

static int parse_number(const char *name, const char *text, int64_t low, int64_t high, int64_t *value)
{
    char *end;
    const long long v = strtoll(text, &end, 10);
    if (*end || end == text || v < low || v > high) {
        fprintf(stderr, "moe: --%s %s: a whole number from %lld to %lld\n", name, text, (long long)low,
                (long long)high);
        return -1;
    }
    *value = v;
    return 0;
}

static int parse_type(const char *text, uint32_t *type)
{
    static const struct {
        const char *name;
        uint32_t type;
    } types[] = {{"f32", TENON_F32}, {"bf16", TENON_BF16}, {"i8", TENON_I8}};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (strcmp(text, types[i].name) == 0) {
            *type = types[i].type;
            return 0;
        }
    fprintf(stderr, "moe: --type %s: f32, bf16 or i8\n", text);
    return -1;
}

enum { SKEW = 256, SEED, SAVE, JSON, BATCHES };

static const struct option longs[] = {
    {"device", 1, 0, 'd'}, {"tokens", 1, 0, 't'}, {"experts", 1, 0, 'e'},     {"top-k", 1, 0, 'k'},
    {"width", 1, 0, 'w'},  {"hidden", 1, 0, 'f'}, {"type", 1, 0, 'y'},        {"skew", 0, 0, SKEW},
    {"rounds", 1, 0, 'r'}, {"check", 1, 0, 'c'},  {"batches", 1, 0, BATCHES}, {"seed", 1, 0, SEED},
    {"save", 1, 0, SAVE},  {"json", 0, 0, JSON},  {"help", 0, 0, 'h'},        {0}};

/* 0 go on, 1 stop with success, 2 stop with bad usage */
static int parse(int argc, char **argv, struct options *o)
{
    struct {
        int letter;
        const char *name;
        int64_t low, high, *value;
    } number[] = {{'t', "tokens", 1, 1 << 20, &o->shape.tokens},   {'e', "experts", 1, 65536, &o->shape.experts},
                  {'k', "top-k", 1, 65536, &o->shape.top_k},       {'w', "width", 1, 1 << 16, &o->shape.width},
                  {'f', "hidden", 1, 1 << 16, &o->shape.hidden},   {'r', "rounds", 0, 100000, &o->rounds},
                  {'c', "check", 0, 1 << 20, &o->check},           {SEED, "seed", 0, INT32_MAX, &o->seed},
                  {BATCHES, "batches", 1, 4096, &o->shape.batches}};
    int c;
    while ((c = getopt_long(argc, argv, "d:t:e:k:w:f:y:r:c:h", longs, NULL)) != -1) {
        size_t i = 0;
        while (i < sizeof number / sizeof number[0] && number[i].letter != c)
            i++;
        if (i < sizeof number / sizeof number[0]) {
            if (parse_number(number[i].name, optarg, number[i].low, number[i].high, number[i].value))
                return 2;
            continue;
        }
        switch (c) {
        case 'd':
            o->device = optarg;
            break;
        case 'y':
            if (parse_type(optarg, &o->shape.type))
                return 2;
            break;
        case SKEW:
            o->shape.skew = 1;
            break;
        case SAVE:
            o->save = optarg;
            break;
        case JSON:
            o->json = 1;
            break;
        case 'h':
            fputs(usage, stdout);
            return 1;
        default:
            fputs("Try 'moe --help'.\n", stderr);
            return 2;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "moe: %s: no such argument\n", argv[optind]);
        return 2;
    }
    if (o->shape.top_k > o->shape.experts) {
        fprintf(stderr, "moe: --top-k %lld: at most the %lld experts\n", (long long)o->shape.top_k,
                (long long)o->shape.experts);
        return 2;
    }
    return 0;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median seconds of a run from its submission to its end. */
static int32_t measure(struct tenon_context *context, struct moe_layer *layer, const struct options *o, double *median)
{
    const int64_t rounds = o->rounds;
    double *times = malloc((size_t)rounds * sizeof *times + 1);
    int32_t status = times ? TENON_OK : TENON_E_NOMEM;
    for (int64_t i = -1; i < rounds && !status; i++) {
        const double begin = now();
        status = moe_layer_forward(layer, (i + 1) % o->shape.batches);
        if (!status)
            status = tenon_finish(context);
        if (i >= 0)
            times[i] = now() - begin;
    }
    if (!status) {
        qsort(times, (size_t)rounds, sizeof *times, by_value);
        *median = times[rounds / 2];
    }
    free(times);
    return status;
}

struct outcome {
    double seconds, worst;
    int same;
    int64_t active; /* experts that got a token */
};

static void print(const struct options *o, const char *device, const struct outcome *r)
{
    const struct moe_shape *s = &o->shape;
    const double pairs = (double)s->tokens * (double)s->top_k, expert = 3.0 * (double)s->width * (double)s->hidden,
                 router = (double)s->experts * (double)s->width;
    const double flops = 2 * (pairs * expert + (double)s->tokens * router);
    /* Weights of int8 with a scale of four bytes for each group of them. */
    const double size = s->type == TENON_I8 ? 1 + 4.0 / (double)moe_group(s->width) : (double)moe_type_size(s->type);
    const double bytes = (double)r->active * expert * size + router * (double)moe_type_size(moe_x_type(s));
    if (o->json) {
        printf("{\"device\":\"%s\",\"tokens\":%lld,\"experts\":%lld,\"top_k\":%lld,\"width\":%lld,\"hidden\":%lld,"
               "\"active\":%lld,\"median_ms\":%.6f,\"gflops\":%.3f,\"gbps\":%.3f,\"worst\":%.3g,\"same\":%s}\n",
               device, (long long)s->tokens, (long long)s->experts, (long long)s->top_k, (long long)s->width,
               (long long)s->hidden, (long long)r->active, r->seconds * 1e3,
               r->seconds > 0 ? flops / r->seconds / 1e9 : 0, r->seconds > 0 ? bytes / r->seconds / 1e9 : 0, r->worst,
               r->same ? "true" : "false");
        return;
    }
    printf("%s: %lld tokens, %lld of %lld experts active\n", device, (long long)s->tokens, (long long)r->active,
           (long long)s->experts);
    if (o->check)
        printf("relative error against the dense sum in f64: %.2g; tokens in another order: %s\n", r->worst,
               r->same ? "the same bits" : "OTHER BITS");
    if (o->rounds)
        printf("median of %lld runs: %.3f ms, %.1f GFLOP/s, %.1f GB/s of weights\n", (long long)o->rounds,
               r->seconds * 1e3, flops / r->seconds / 1e9, bytes / r->seconds / 1e9);
}

static int save_result(const struct options *o, const struct moe_data *data, const void *y)
{
    char path[4096];
    const uint64_t size = (uint64_t)(o->shape.tokens * o->shape.width) * moe_type_size(moe_x_type(&o->shape));
    if (moe_data_save(data, o->save) || snprintf(path, sizeof path, "%s/y", o->save) >= (int)sizeof path)
        return -1;
    FILE *file = fopen(path, "wb");
    if (!file)
        return -1;
    const int short_write = fwrite(y, 1, size, file) != size;
    return fclose(file) || short_write ? -1 : 0;
}

/* The runs and the checks. y, idx, counts: room for the results. */
static int work(const struct options *o, struct tenon_context *context, struct moe_layer *layer,
                const struct moe_data *data, void *y, int32_t *idx, int32_t *counts)
{
    struct outcome r = {.same = 1};
    const int64_t n = o->check < o->shape.tokens ? o->check : o->shape.tokens;
    const uint64_t size = (uint64_t)(o->shape.tokens * o->shape.width) * moe_type_size(moe_x_type(&o->shape));
    int32_t status = TENON_OK;
    for (int64_t b = 0; b < o->shape.batches && !status; b++)
        status = moe_layer_load(layer, b, (const unsigned char *)data->x + (uint64_t)b * size);
    if (!status)
        status = moe_layer_forward(layer, 0);
    if (!status)
        status = moe_layer_read(layer, y, idx, counts);
    if (!status && o->rounds)
        status = measure(context, layer, o, &r.seconds);
    if (!status && n)
        status = moe_check_order(layer, data, y, &r.same);
    if (status) {
        fprintf(stderr, "moe: %s\n", tenon_error());
        return 1;
    }
    for (int64_t e = 0; e < o->shape.experts; e++)
        r.active += counts[e] > 0;
    const int wrong = n && moe_check_dense(data, y, idx, n, &r.worst);
    print(o, tenon_context_spec(context), &r);
    if (wrong)
        fprintf(stderr, "moe: the result is not that of the dense sum, relative error %.3g\n", r.worst);
    if (!r.same)
        fprintf(stderr, "moe: a token's result depends on the order of the tokens\n");
    if (o->save && save_result(o, data, y)) {
        fprintf(stderr, "moe: --save %s: cannot write there\n", o->save);
        return 1;
    }
    return wrong || !r.same;
}

int main(int argc, char **argv)
{
    struct options o = {.shape = {64, 16, 4, 256, 128, 1, TENON_F32, 0}, .check = 4, .seed = 1};
    const int stop = parse(argc, argv, &o);
    struct tenon_context *context;
    struct moe_layer *layer = NULL;
    if (stop)
        return stop == 1 ? 0 : 2;
    if (tenon_context_open(o.device, &context)) {
        fprintf(stderr, "moe: %s\n", tenon_error());
        return 3;
    }
    const struct moe_shape *s = &o.shape;
    struct moe_data *data = moe_data_create(s, (uint64_t)o.seed);
    void *y = malloc((size_t)(s->tokens * s->width) * moe_type_size(moe_x_type(s)) + 1);
    int32_t *idx = malloc((size_t)(s->tokens * s->top_k) * sizeof *idx + 1);
    int32_t *counts = malloc((size_t)s->experts * sizeof *counts + 1);
    int code = 1;
    if (!data || !y || !idx || !counts)
        fprintf(stderr, "moe: not enough memory for a layer of this size\n");
    else if (moe_layer_create(context, data, &layer))
        fprintf(stderr, "moe: %s\n", tenon_error());
    else
        code = work(&o, context, layer, data, y, idx, counts);
    moe_layer_destroy(layer);
    free(y);
    free(idx);
    free(counts);
    moe_data_destroy(data);
    tenon_context_close(context);
    return code;
}

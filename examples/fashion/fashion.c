/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#define _POSIX_C_SOURCE 200809L
#include "fashion.h"

#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct options {
    const char *device, *data, *out;
    uint32_t epochs, batch;
    double rate;
};

static const char usage[] =
    "Usage: fashion [OPTION]...\n"
    "Trains and tests a softmax classifier on Fashion-MNIST (60,000 + 10,000 images of clothes)\n"
    "with the operators linear and softmax; the tensors stay on the device.\n\n"
    "  -d, --device SPEC   the device, as in TENON_DEVICE (default: TENON_DEVICE, else auto)\n"
    "  -e, --epochs N      passes over the training images, 1 to 1000 (default 20)\n"
    "  -b, --batch N       images a step, a multiple of 4 up to 60000 (default 100)\n"
    "  -r, --rate R        learning rate of a batch, above 0 (default 0.1)\n"
    "      --data DIR      where the four .gz files are (default /usr/share/datasets/fashion-mnist)\n"
    "  -o, --out FILE      picture of the templates and the confusion matrix (default fashion.png)\n"
    "  -h, --help          this text\n\n"
    "Exit status: 0 done, 1 a run failed, 2 bad usage or no data, 3 no such device.\n";

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void show_progress(uint32_t done, uint32_t all)
{
    fprintf(stderr, "\r  batch %u of %u\033[K", done, all);
}

static int parse_u32(const char *name, const char *text, uint32_t low, uint32_t high, uint32_t *value)
{
    char *end;
    const long v = strtol(text, &end, 10);
    if (*end || end == text || v < (long)low || v > (long)high) {
        fprintf(stderr, "fashion: --%s %s: a whole number from %u to %u\n", name, text, low, high);
        return -1;
    }
    *value = (uint32_t)v;
    return 0;
}

/* 0 go on, 1 stop with success, 2 stop with bad usage */
static int parse(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {{"device", 1, 0, 'd'}, {"epochs", 1, 0, 'e'}, {"batch", 1, 0, 'b'},
                                          {"rate", 1, 0, 'r'},   {"data", 1, 0, 'D'},   {"out", 1, 0, 'o'},
                                          {"help", 0, 0, 'h'},   {0}};
    char *end;
    int c;
    while ((c = getopt_long(argc, argv, "d:e:b:r:o:h", longs, NULL)) != -1) {
        switch (c) {
        case 'd': o->device = optarg; break;
        case 'D': o->data = optarg; break;
        case 'o': o->out = optarg; break;
        case 'e':
            if (parse_u32("epochs", optarg, 1, 1000, &o->epochs))
                return 2;
            break;
        case 'b':
            if (parse_u32("batch", optarg, 4, 60000, &o->batch))
                return 2;
            if (o->batch % 4) {
                fprintf(stderr, "fashion: --batch %u: a multiple of 4\n", o->batch);
                return 2;
            }
            break;
        case 'r':
            o->rate = strtod(optarg, &end);
            if (*end || end == optarg || !(o->rate > 0) || !isfinite(o->rate)) {
                fprintf(stderr, "fashion: --rate %s: a number above 0\n", optarg);
                return 2;
            }
            break;
        case 'h': fputs(usage, stdout); return 1;
        default: fputs("Try 'fashion --help'.\n", stderr); return 2;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "fashion: %s: no such argument\n", argv[optind]);
        return 2;
    }
    return 0;
}

static double accuracy(const struct fashion_result *result, const struct fashion_set *test)
{
    uint32_t right = 0;
    for (uint32_t i = 0; i < result->n; i++)
        right += result->label[i] == test->labels[i];
    return 100.0 * right / result->n;
}

struct scored {
    float doubt;
    uint8_t right;
};

static int by_doubt(const void *a, const void *b)
{
    const float x = ((const struct scored *)a)->doubt, y = ((const struct scored *)b)->doubt;
    return (x > y) - (x < y);
}

/* When the program may refuse the images it doubts most: what share is kept, and how good it is on those. */
static int print_refusal(const struct fashion_result *result, const struct fashion_set *test)
{
    static const double kept[] = {1.0, 0.95, 0.9, 0.8, 0.7, 0.5};
    struct scored *list = malloc(result->n * sizeof *list);
    if (!list)
        return -1;
    printf("\nMay refuse by    kept   accuracy   rule\n");
    for (int rule = 0; rule < 2; rule++) {
        for (uint32_t i = 0; i < result->n; i++)
            list[i] = (struct scored){rule ? result->entropy[i] : -result->pmax[i],
                                      result->label[i] == test->labels[i]};
        qsort(list, result->n, sizeof *list, by_doubt);
        for (size_t k = 0; k < sizeof kept / sizeof *kept; k++) {
            const uint32_t n = (uint32_t)(kept[k] * result->n);
            uint32_t right = 0;
            for (uint32_t i = 0; i < n; i++)
                right += list[i].right;
            printf("%-14s %5.1f %%   %6.2f %%   keep if %s %s %.4f\n", rule ? "entropy" : "pmax", 100.0 * n / result->n,
                   100.0 * right / n, rule ? "entropy" : "pmax", rule ? "<=" : ">=",
                   (double)(rule ? list[n - 1].doubt : -list[n - 1].doubt));
        }
    }
    free(list);
    return 0;
}

static int32_t train(struct fashion_model *model, const struct options *o, const struct fashion_set *test,
                     struct fashion_result *result)
{
    const int terminal = isatty(STDERR_FILENO);
    double spent = 0;
    for (uint32_t epoch = 1; epoch <= o->epochs; epoch++) {
        const double start = now();
        int32_t status = fashion_model_epoch(model, epoch, o->batch, terminal ? show_progress : NULL);
        const double seconds = now() - start;
        if (terminal)
            fputs("\r\033[K", stderr);
        fashion_result_free(result);
        if (!status)
            status = fashion_model_test(model, result);
        if (status)
            return status;
        spent += seconds;
        printf("epoch %2u of %u: %.3f s, test accuracy %.2f %%\n", epoch, o->epochs, seconds, accuracy(result, test));
        fflush(stdout);
    }
    printf("\ntest accuracy %.2f %%, %.3f s an epoch (mean of %u)\n", accuracy(result, test), spent / o->epochs,
           o->epochs);
    return TENON_OK;
}

static int report(struct fashion_model *model, const struct options *o, const struct fashion_set *test,
                  const struct fashion_result *result)
{
    uint32_t confusion[FASHION_CLASSES][FASHION_CLASSES] = {{0}};
    for (uint32_t i = 0; i < result->n; i++)
        confusion[test->labels[i]][result->label[i]]++;
    if (print_refusal(result, test))
        return -1;
    printf("\ntrue class, and what it was taken for most often\n");
    for (int t = 0; t < FASHION_CLASSES; t++) {
        int worst = t ? 0 : 1;
        for (int p = 0; p < FASHION_CLASSES; p++)
            worst = p != t && confusion[t][p] > confusion[t][worst] ? p : worst;
        printf("%-9s right %4u, %s %u\n", fashion_class_name[t], confusion[t][t], fashion_class_name[worst],
               confusion[t][worst]);
    }
    static float weights[FASHION_CLASSES * FASHION_INPUTS];
    if (fashion_model_weights(model, weights)) {
        fprintf(stderr, "fashion: %s\n", tenon_error());
        return -1;
    }
    if (fashion_picture_write(o->out, weights, confusion))
        return -1;
    printf("\nwrote %s\n", o->out);
    return 0;
}

int main(int argc, char **argv)
{
    struct options o = {.data = "/usr/share/datasets/fashion-mnist", .out = "fashion.png", .epochs = 20, .batch = 100,
                        .rate = 0.1};
    const int stop = parse(argc, argv, &o);
    if (stop)
        return stop == 1 ? 0 : 2;
    int code = 2;
    struct fashion_set train_set = {0}, test_set = {0};
    struct tenon_context *context = NULL;
    struct fashion_model *model = NULL;
    struct fashion_result result = {0};
    if (fashion_set_load(o.data, "train", &train_set) || fashion_set_load(o.data, "t10k", &test_set))
        goto free_sets;
    if (o.batch > train_set.n) {
        fprintf(stderr, "fashion: --batch %u: there are %u images\n", o.batch, train_set.n);
        goto free_sets;
    }
    int32_t status = tenon_context_open(o.device, &context);
    if (status) {
        fprintf(stderr, "fashion: %s\n", tenon_error());
        code = status == TENON_E_NODEVICE ? 3 : status == TENON_E_INVALID ? 2 : 1;
        goto free_sets;
    }
    printf("device %s: %s\n%u training and %u test images\n", tenon_context_spec(context),
           tenon_context_info(context)->name, train_set.n, test_set.n);
    code = 1;
    status = fashion_model_create(context, &train_set, &test_set, (float)(o.rate / o.batch), &model);
    if (!status)
        status = train(model, &o, &test_set, &result);
    if (status)
        fprintf(stderr, "fashion: %s: %s\n", tenon_status_name(status), tenon_error());
    else
        code = report(model, &o, &test_set, &result) ? 1 : 0;
    fashion_result_free(&result);
    fashion_model_destroy(model);
    tenon_context_close(context);
free_sets:
    fashion_set_free(&train_set);
    fashion_set_free(&test_set);
    return code;
}

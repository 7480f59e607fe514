/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What is measured: which rows of an operator, in which shapes, with which attributes. */
#include "bench.h"

#include <errno.h>
#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


int tenon__bench_shape(struct bench_options *options, const char *text, struct tenon_why *why)
{
    const char *at = text;
    if (options->n_shapes == BENCH_MAX_SHAPES) {
        tenon_why_set(why, TENON_E_ARG, "--shape %s: more than %d shapes", text, BENCH_MAX_SHAPES);
        return -1;
    }
    struct bench_shape *shape = &options->shape[options->n_shapes];
    for (shape->rank = 0; shape->rank < 3; shape->rank++) {
        char *end;
        errno = 0;
        const long long dim = strtoll(at, &end, 10);
        if (errno || end == at || dim < 1 || dim > INT32_MAX)
            break;
        shape->dim[shape->rank] = dim;
        at = end;
        if (*at != 'x') {
            shape->rank++;
            break;
        }
        at++;
    }
    if (*at || !shape->rank || at[-1] == 'x' || strlen(text) >= sizeof shape->name) {
        tenon_why_set(why, TENON_E_ARG, "--shape %s: one to three numbers like 1x65536", text);
        return -1;
    }
    snprintf(shape->name, sizeof shape->name, "%s", text);
    options->n_shapes++;
    return 0;
}

int tenon__bench_attr(struct bench_options *options, const char *text, struct tenon_why *why)
{
    const char *value = strchr(text, '=');
    if (!value || !strchr(value, '/')) {
        if (options->n_attrs == BENCH_MAX_ATTRS) {
            tenon_why_set(why, TENON_E_ARG, "--attr %s: more than %d attributes", text, BENCH_MAX_ATTRS);
            return -1;
        }
        options->attr[options->n_attrs++] = text;
        return 0;
    }
    if (options->n_variants) {
        tenon_why_set(why, TENON_E_ARG, "--attr %s: only one attribute can have several values", text);
        return -1;
    }
    const int name = (int)(value - text);
    for (const char *at = value + 1;; at++) {
        const int length = (int)strcspn(at, "/");
        char *variant = options->variant[options->n_variants];
        const int n = snprintf(variant, sizeof options->variant[0], "%.*s=%.*s", name, text, length, at);
        if (n < 0 || (size_t)n >= sizeof options->variant[0] || ++options->n_variants == BENCH_MAX_VARIANTS) {
            tenon_why_set(why, TENON_E_ARG, "--attr %s: fewer than %d values, %d characters each", text,
                          BENCH_MAX_VARIANTS, (int)sizeof options->variant[0] - 1);
            return -1;
        }
        at += length;
        if (!*at)
            return 0;
    }
}

int tenon__bench_params(const struct bench_options *options, uint32_t variant, struct conform_case *c,
                        struct tenon_why *why)
{
    const struct tenon_op_contract *contract = tenon_op_contract_by_number(c->op->op);
    for (uint32_t i = 0; i < options->n_attrs; i++)
        if (tenon_op_attr_set(contract, c->params, options->attr[i], why))
            return -1;
    return options->n_variants ? tenon_op_attr_set(contract, c->params, options->variant[variant], why) : 0;
}

static int fits(const struct bench_options *options, const struct conform_bench *bench)
{
    return bench->level <= options->level && (!options->rows || !fnmatch(options->rows, bench->name, 0));
}

static uint32_t rank_of(const struct conform_bench *bench)
{
    return bench->dim[2] ? 3 : bench->dim[1] ? 2 : 1;
}

/* What comes before the sizes in a row's name, with the space; 0 when nothing does. */
static size_t prefix(const char *name)
{
    const char *space = strrchr(name, ' ');
    return space ? (size_t)(space + 1 - name) : 0;
}

/* Whether the k-th of an operator's rows gives a shape all else: the first of each element type and prefix does. */
static int is_model(const struct bench_options *options, const struct conform_op *op, uint32_t k,
                    const struct bench_shape *shape)
{
    const struct conform_bench *bench = &op->bench[k];
    if (!fits(options, bench) || !strcmp(bench->name, BENCH_CALL_COST) || rank_of(bench) != shape->rank)
        return 0;
    for (uint32_t i = 0; i < k; i++)
        if (op->bench[i].dtype == bench->dtype && prefix(op->bench[i].name) == prefix(bench->name) &&
            !strncmp(op->bench[i].name, bench->name, prefix(bench->name)) && is_model(options, op, i, shape))
            return 0;
    return 1;
}

static double product(const int64_t *dim, uint32_t n)
{
    double result = 1;
    for (uint32_t i = 0; i < n; i++)
        result *= (double)dim[i];
    return result;
}

/* The operator's own rows tell which sizes its flops go with: with the product of all (linear), or of the first ones (a
 * k that comes last costs nothing). 0: with none of these. */
static double flops_of(const struct conform_op *op, const struct conform_bench *model, const struct bench_shape *shape)
{
    for (uint32_t n = shape->rank; n > 0; n--) {
        const double each = model->flops / product(model->dim, n);
        int same = 1;
        for (uint32_t k = 0; k < op->n_bench; k++)
            if (rank_of(&op->bench[k]) == shape->rank)
                same &= fabs(op->bench[k].flops / product(op->bench[k].dim, n) - each) <= 1e-9 * each;
        if (same)
            return each * product(shape->dim, n);
    }
    return 0;
}

/* A row in another shape. Its bytes are those of its tensors. */
static struct conform_bench reshaped(const struct conform_op *op, const struct conform_bench *model,
                                     const struct bench_shape *shape, char *name, size_t room)
{
    struct conform_bench bench = *model;
    snprintf(name, room, "%.*s%s", (int)prefix(model->name), model->name, shape->name);
    bench.name = name;
    bench.bytes = 0;
    bench.flops = flops_of(op, model, shape);
    memcpy(bench.dim, shape->dim, sizeof bench.dim);
    return bench;
}

uint32_t tenon__bench_rows(const struct bench_options *options, const struct conform_op *op, struct conform_bench *rows)
{
    static char names[BENCH_MAX_ROWS][96]; /* until the next operator */
    uint32_t n = 0;
    for (uint32_t s = 0; s < options->n_shapes; s++)
        for (uint32_t k = 0; k < op->n_bench; k++)
            if (n < BENCH_MAX_ROWS && is_model(options, op, k, &options->shape[s])) {
                rows[n] = reshaped(op, &op->bench[k], &options->shape[s], names[n], sizeof names[0]);
                n++;
            }
    for (uint32_t k = 0; !options->n_shapes && k < op->n_bench; k++)
        if (n < BENCH_MAX_ROWS && fits(options, &op->bench[k]))
            rows[n++] = op->bench[k];
    return n;
}

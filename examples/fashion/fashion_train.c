/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Softmax regression by stochastic gradient descent with two operators and no tensor leaving the device.
 *
 * For a batch X with one-hot labels Y and learning rate r a image, the update is W -= r (P - Y)^T X with
 * P = softmax(X W^T). With U = W / r and N = -X that is U += P^T N + (-Y)^T N, and P = softmax(-r * (N U^T)): two
 * products whose residual is U itself, one product for the logits, and a softmax that scales. */
#include "fashion.h"

#include <stdlib.h>
#include <string.h>

struct fashion_model {
    struct tenon_context *context;
    float rate;
    uint32_t n_train, n_test;
    /* neg: minus the inputs [n][800]; label: minus the one-hot labels [n][16] */
    struct tenon_memory *train_neg, *train_label, *test_neg, *weights, *logits, *prob, *argmax, *pmax, *entropy;
};

static uint64_t round_up(uint64_t value, uint64_t to)
{
    return (value + to - 1) / to * to;
}

/* rows of a padded matrix, from row `first` */
static struct tenon_value rows_of(struct tenon_memory *memory, uint32_t first, uint32_t rows, uint32_t cols,
                                  uint32_t stride)
{
    struct tenon_value v = tenon_value_memory(memory, (uint64_t)first * stride * sizeof(float), TENON_F32, 2,
                                              (int64_t[]){rows, cols});
    v.tensor.stride[0] = stride;
    return v;
}

static struct tenon_value inputs_of(struct tenon_memory *memory, uint32_t first, uint32_t rows)
{
    return rows_of(memory, first, rows, FASHION_INPUTS, FASHION_X_STRIDE);
}

static struct tenon_value classes_of(struct tenon_memory *memory, uint32_t first, uint32_t rows)
{
    return rows_of(memory, first, rows, FASHION_CLASSES, FASHION_P_STRIDE);
}

/* Uploads in slices, so that the host never holds the whole set as floats. */
static int32_t upload_inputs(struct tenon_memory *memory, const struct fashion_set *set)
{
    enum { SLICE = 1000 };
    float *slice = malloc(sizeof(float) * SLICE * FASHION_X_STRIDE);
    if (!slice)
        return TENON_E_NOMEM;
    int32_t status = TENON_OK;
    for (uint32_t first = 0; first < set->n && !status; first += SLICE) {
        const uint32_t n = set->n - first < SLICE ? set->n - first : SLICE;
        memset(slice, 0, sizeof(float) * SLICE * FASHION_X_STRIDE);
        for (uint32_t i = 0; i < n; i++) {
            const uint8_t *pixel = set->pixels + (size_t)(first + i) * FASHION_PIXELS;
            float *row = slice + (size_t)i * FASHION_X_STRIDE;
            for (uint32_t j = 0; j < FASHION_PIXELS; j++)
                row[j] = -(float)pixel[j] / 255.0f;
            row[FASHION_PIXELS] = -1.0f;
        }
        status = tenon_memory_write(memory, (uint64_t)first * FASHION_X_STRIDE * sizeof(float), slice,
                                    (uint64_t)n * FASHION_X_STRIDE * sizeof(float));
    }
    free(slice);
    return status;
}

static int32_t upload_labels(struct tenon_memory *memory, const struct fashion_set *set)
{
    const uint64_t size = (uint64_t)set->n * FASHION_P_STRIDE * sizeof(float);
    float *label = calloc(1, size);
    if (!label)
        return TENON_E_NOMEM;
    for (uint32_t i = 0; i < set->n; i++)
        label[(size_t)i * FASHION_P_STRIDE + set->labels[i]] = -1.0f;
    const int32_t status = tenon_memory_write(memory, 0, label, size);
    free(label);
    return status;
}

int32_t fashion_model_create(struct tenon_context *context, const struct fashion_set *train,
                             const struct fashion_set *test, float rate, struct fashion_model **out)
{
    struct fashion_model *m = calloc(1, sizeof *m);
    if (!m)
        return TENON_E_NOMEM;
    *m = (struct fashion_model){.context = context, .rate = rate, .n_train = train->n, .n_test = test->n};
    const uint64_t x = FASHION_X_STRIDE * sizeof(float), p = FASHION_P_STRIDE * sizeof(float);
    const uint64_t most = train->n > test->n ? train->n : test->n, stat = round_up(most * sizeof(float), 256);
    const struct {
        struct tenon_memory **memory;
        uint64_t size;
    } part[] = {{&m->train_neg, train->n * x}, {&m->train_label, train->n * p}, {&m->test_neg, test->n * x},
                {&m->weights, FASHION_CLASSES * x}, {&m->logits, most * p}, {&m->prob, most * p},
                {&m->argmax, stat}, {&m->pmax, stat}, {&m->entropy, stat}};
    int32_t status = TENON_OK;
    for (size_t i = 0; i < sizeof part / sizeof *part && !status; i++)
        status = tenon_memory_create(context, part[i].size, part[i].memory);
    if (!status)
        status = tenon_memory_fill(m->weights, 0, 0, FASHION_CLASSES * x);
    if (!status)
        status = upload_inputs(m->train_neg, train);
    if (!status)
        status = upload_inputs(m->test_neg, test);
    if (!status)
        status = upload_labels(m->train_label, train);
    if (status) {
        fashion_model_destroy(m);
        return status;
    }
    *out = m;
    return TENON_OK;
}

void fashion_model_destroy(struct fashion_model *m)
{
    if (!m)
        return;
    struct tenon_memory *all[] = {m->train_neg, m->train_label, m->test_neg, m->weights, m->logits,
                                  m->prob,      m->argmax,      m->pmax,     m->entropy};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        tenon_memory_destroy(all[i]);
    free(m);
}

/* logits[0..n) = neg[first..first+n) U^T */
static int32_t run_logits(struct fashion_model *m, struct tenon_memory *neg, uint32_t first, uint32_t n)
{
    struct tenon_value v[TENON_LINEAR_N_TENSORS] = {0};
    v[TENON_LINEAR_X] = inputs_of(neg, first, n);
    v[TENON_LINEAR_W] = inputs_of(m->weights, 0, FASHION_CLASSES);
    v[TENON_LINEAR_Y] = classes_of(m->logits, 0, n);
    return tenon_run(m->context, TENON_OPNUM_linear, NULL, v, TENON_LINEAR_N_TENSORS);
}

static void softmax_params(const struct fashion_model *m, struct tenon_softmax_params *params)
{
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_softmax), params);
    params->scale = -m->rate;
}

static int32_t run_probabilities(struct fashion_model *m, uint32_t n)
{
    struct tenon_softmax_params params;
    softmax_params(m, &params);
    struct tenon_value v[TENON_SOFTMAX_N_TENSORS] = {0};
    v[TENON_SOFTMAX_X] = classes_of(m->logits, 0, n);
    v[TENON_SOFTMAX_Y] = classes_of(m->prob, 0, n);
    return tenon_run(m->context, TENON_OPNUM_softmax, &params, v, TENON_SOFTMAX_N_TENSORS);
}

/* U += left[left_first..+n)^T neg[first..+n) */
static int32_t run_update(struct fashion_model *m, struct tenon_memory *left, uint32_t left_first, uint32_t first,
                          uint32_t n)
{
    struct tenon_linear_params params;
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_linear), &params);
    params.trans_x = params.trans_w = 1;
    struct tenon_value v[TENON_LINEAR_N_TENSORS] = {0};
    v[TENON_LINEAR_X] = classes_of(left, left_first, n);
    v[TENON_LINEAR_W] = inputs_of(m->train_neg, first, n);
    v[TENON_LINEAR_RESIDUAL] = inputs_of(m->weights, 0, FASHION_CLASSES);
    v[TENON_LINEAR_Y] = v[TENON_LINEAR_RESIDUAL];
    return tenon_run(m->context, TENON_OPNUM_linear, &params, v, TENON_LINEAR_N_TENSORS);
}

int32_t fashion_model_epoch(struct fashion_model *m, uint32_t epoch, uint32_t batch,
                            void (*progress)(uint32_t done, uint32_t all))
{
    const uint32_t batches = m->n_train / batch;
    /* A stride coprime to the number of batches visits each once, in another order every epoch. */
    uint32_t stride = 2 * (epoch * 7919u % batches) + 1, a, b;
    do {
        stride++;
        for (a = batches, b = stride; b; ) {
            const uint32_t r = a % b;
            a = b;
            b = r;
        }
    } while (a != 1);
    for (uint32_t i = 0; i < batches; i++) {
        const uint32_t first = (uint32_t)((uint64_t)i * stride % batches) * batch;
        int32_t status = run_logits(m, m->train_neg, first, batch);
        if (!status)
            status = run_probabilities(m, batch);
        if (!status)
            status = run_update(m, m->prob, 0, first, batch);
        if (!status)
            status = run_update(m, m->train_label, first, first, batch);
        if (status)
            return status;
        if (progress && i % 16 == 15)
            progress(i + 1, batches);
    }
    return tenon_finish(m->context);
}

int32_t fashion_model_test(struct fashion_model *m, struct fashion_result *result)
{
    const uint32_t n = m->n_test;
    int32_t status = run_logits(m, m->test_neg, 0, n);
    if (status)
        return status;
    struct tenon_softmax_params params;
    softmax_params(m, &params);
    const int64_t rows = n;
    struct tenon_value v[TENON_SOFTMAX_N_TENSORS] = {0};
    v[TENON_SOFTMAX_X] = classes_of(m->logits, 0, n);
    v[TENON_SOFTMAX_ARGMAX] = tenon_value_memory(m->argmax, 0, TENON_I32, 1, &rows);
    v[TENON_SOFTMAX_PMAX] = tenon_value_memory(m->pmax, 0, TENON_F32, 1, &rows);
    v[TENON_SOFTMAX_ENTROPY] = tenon_value_memory(m->entropy, 0, TENON_F32, 1, &rows);
    status = tenon_run(m->context, TENON_OPNUM_softmax, &params, v, TENON_SOFTMAX_N_TENSORS);
    if (status)
        return status;
    *result = (struct fashion_result){.n = n, .label = malloc(n * sizeof(int32_t)), .pmax = malloc(n * sizeof(float)),
                                      .entropy = malloc(n * sizeof(float))};
    status = result->label && result->pmax && result->entropy ? TENON_OK : TENON_E_NOMEM;
    if (!status)
        status = tenon_memory_read(m->argmax, 0, result->label, n * sizeof(int32_t));
    if (!status)
        status = tenon_memory_read(m->pmax, 0, result->pmax, n * sizeof(float));
    if (!status)
        status = tenon_memory_read(m->entropy, 0, result->entropy, n * sizeof(float));
    if (status)
        fashion_result_free(result);
    return status;
}

void fashion_result_free(struct fashion_result *result)
{
    free(result->label);
    free(result->pmax);
    free(result->entropy);
    *result = (struct fashion_result){0};
}

int32_t fashion_model_weights(struct fashion_model *m, float *weights)
{
    for (uint32_t i = 0; i < FASHION_CLASSES; i++) {
        float *row = weights + (size_t)i * FASHION_INPUTS;
        const int32_t status = tenon_memory_read(m->weights, (uint64_t)i * FASHION_X_STRIDE * sizeof(float), row,
                                                 FASHION_INPUTS * sizeof(float));
        if (status)
            return status;
        for (uint32_t j = 0; j < FASHION_INPUTS; j++)
            row[j] *= m->rate;
    }
    return TENON_OK;
}

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Runs through every way of memory: aliased, mapped, staged in one submission, staged in pieces, resident on the
 * device. The toy backend reports as an error line whatever the host does too early. */
#include "../../../host/host.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <tenon/ops/softmax.h>

#include "../../tap.h"
#include "toys.h"

static int errors_logged;
static int checked; /* the layer "check" stands in front of the toy */

static void count_errors(void *user, int32_t level, const char *message)
{
    (void)user;
    if (level == TENON_LOG_ERROR) {
        errors_logged++;
        tap_note("%s", message);
    }
}

static float input(int64_t i)
{
    return (float)((i * 7919) % 31) / 8 - 2;
}

static int right(const float *y, const float *x, int64_t cols)
{
    double sum = 0;
    for (int64_t c = 0; c < cols; c++)
        sum += exp((double)x[c]);
    for (int64_t c = 0; c < cols; c++)
        if (fabs((double)y[c] - exp((double)x[c]) / sum) > 1e-6)
            return 0;
    return 1;
}

static int32_t run(struct tenon_context *context, struct tenon_value x, struct tenon_value y)
{
    struct tenon_value v[TENON_SOFTMAX_N_TENSORS] = {0};
    v[TENON_SOFTMAX_X] = x;
    v[TENON_SOFTMAX_Y] = y;
    return tenon_run(context, TENON_OPNUM_softmax, NULL, v, TENON_SOFTMAX_N_TENSORS);
}

static struct tenon_value host(const float *data, int64_t rows, int64_t cols)
{
    return tenon_value_host(data, TENON_F32, 2, (int64_t[]){rows, cols});
}

static struct tenon_value device(struct tenon_memory *memory, uint64_t offset, int64_t rows, int64_t cols)
{
    return tenon_value_memory(memory, offset, TENON_F32, 2, (int64_t[]){rows, cols});
}

static void test_host(struct tenon_context *c, const char *spec)
{
    enum { ROWS = 5, COLS = 17 };
    static float x[ROWS * COLS + 1], y[ROWS * COLS + 1], wide[ROWS * 40];
    for (int i = 0; i < ROWS * COLS + 1; i++)
        x[i] = input(i);
    is_int(run(c, host(x, ROWS, COLS), host(y, ROWS, COLS)), TENON_OK, "%s: host values", spec);
    int good = 1;
    for (int r = 0; r < ROWS; r++)
        good &= right(y + r * COLS, x + r * COLS, COLS);
    ok(good, "%s: and they are right", spec);

    memcpy(y, x, sizeof x);
    is_int(run(c, host(y, ROWS, COLS), host(y, ROWS, COLS)), TENON_OK, "%s: in place", spec);
    ok(right(y + COLS, x + COLS, COLS), "%s: is right", spec);
    is_int(run(c, host(y, ROWS, COLS), host(y + 1, ROWS, COLS)), TENON_E_ALIAS, "%s: overlapping is refused", spec);
    has_str(tenon_error(), "softmax: y overlaps x", "%s: with the names", spec);

    struct tenon_value strided = host(wide, ROWS, COLS);
    strided.tensor.stride[0] = 40;
    memset(wide, 0x55, sizeof wide);
    is_int(run(c, host(x, ROWS, COLS), strided), TENON_OK, "%s: a strided result", spec);
    unsigned char gap[23 * 4];
    memset(gap, 0x55, sizeof gap);
    good = right(wide + 40 * 4, x + COLS * 4, COLS);
    for (int r = 0; r < ROWS - 1; r++)
        good &= !memcmp(wide + r * 40 + COLS, gap, sizeof gap);
    ok(good, "%s: writes the elements alone", spec);
}

static void test_memory(struct tenon_context *c, const char *spec)
{
    enum { N = 96 };
    float x[N], y[N];
    struct tenon_memory *a = NULL, *b = NULL;
    for (int i = 0; i < N; i++)
        x[i] = input(i);
    ok(!tenon_memory_create(c, 1024, &a) && !tenon_memory_create(c, 1024, &b), "%s: memory", spec);
    ok(!tenon_memory_write(a, 64, x, sizeof x), "%s: write", spec);
    is_int(run(c, device(a, 64, 1, N), device(b, 128, 1, N)), TENON_OK, "%s: run from memory to memory", spec);
    is_int(run(c, device(b, 128, 1, N), host(y, 1, N)), TENON_OK, "%s: and from there to the host", spec);
    float once[N];
    ok(!tenon_memory_read(b, 128, once, sizeof once) && right(once, x, N) && right(y, once, N), "%s: both are right",
       spec);
    ok(!tenon_memory_copy(a, 512, b, 128, sizeof x) && !tenon_memory_read(a, 512, y, sizeof y) &&
           !memcmp(y, once, sizeof y),
       "%s: copy", spec);
    ok(!tenon_memory_copy(a, 4, b, 129, 33) && !tenon_memory_read(a, 5, y, 32) &&
           !memcmp(y, (const char *)once + 2, 32),
       "%s: copy with odd offsets", spec);
    uint32_t words[8] = {0};
    ok(!tenon_memory_fill(b, 256, 0xabcd1234u, 32) && !tenon_memory_read(b, 256, words, 32) &&
           words[0] == 0xabcd1234u && words[7] == 0xabcd1234u,
       "%s: fill", spec);
    ok(!tenon_memory_fill(b, 12, 7, 8) && !tenon_memory_read(b, 12, words, 8) && words[0] == 7 && words[1] == 7,
       "%s: fill at an odd place", spec);
    is_int(run(c, device(a, 4, 1, N), device(b, 0, 1, N)), TENON_E_INVALID, "%s: an offset that bind_align forbids",
           spec);
    is_int(run(c, device(a, 960, 1, N), device(b, 0, 1, N)), TENON_E_INVALID, "%s: past the end of the memory", spec);
    is_int(run(c, device(a, 0, 1, N), device(a, 64, 1, N)), TENON_E_ALIAS, "%s: overlap inside a memory", spec);
    is_int(tenon_memory_read(a, 1000, y, 32), TENON_E_INVALID, "%s: read past the end", spec);
    is_int(tenon_memory_write(a, UINT64_MAX, y, 2), TENON_E_INVALID, "%s: offset + size overflows", spec);
    is_int(tenon_memory_copy(a, 0, a, 64, 128), TENON_E_ALIAS, "%s: copy onto itself", spec);
    is_int(tenon_memory_fill(a, 2, 0, 4), TENON_E_INVALID, "%s: fill at byte 2", spec);
    is_int(tenon_finish(c), TENON_OK, "%s: finish", spec);
    tenon_memory_destroy(a);
    tenon_memory_destroy(b);
}

static struct tenon_softmax_params softmax_params(void)
{
    struct tenon_softmax_params params;
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_softmax), &params);
    return params;
}

static void test_wrong(struct tenon_context *c, struct tenon_context *other, const char *spec)
{
    float x[16] = {0}, y[16];
    struct tenon_value v[TENON_SOFTMAX_N_TENSORS] = {0}, both = host(x, 1, 16);
    struct tenon_memory *theirs = NULL;
    ok(!tenon_memory_create(other, 64, &theirs), "%s: memory elsewhere", spec);
    is_int(run(c, host(x, 1, 16), device(theirs, 0, 1, 16)), TENON_E_INVALID, "%s: memory of another context", spec);
    both.memory = theirs;
    is_int(run(c, both, host(y, 1, 16)), TENON_E_INVALID, "%s: host and device memory at once", spec);
    is_int(run(c, host(NULL, 1, 16), host(y, 1, 16)), TENON_E_INVALID, "%s: no memory at all", spec);
    is_int(run(c, host(x, 0, 16), host(NULL, 0, 16)), TENON_OK, "%s: nothing to do is done", spec);
    is_int(run(c, host(x, 1, 16), host(y, 2, 8)), TENON_E_SHAPE, "%s: shapes that do not fit", spec);
    has_str(tenon_error(), "softmax: ", "%s: the operator's name is said", spec);
    is_int(tenon_run(c, 999, NULL, v, 2), TENON_E_UNSUPPORTED, "%s: an operator that does not exist", spec);
    is_int(tenon_run(c, 1, NULL, v, 0), TENON_E_INVALID, "%s: no tensors", spec);
    is_int(tenon_run(c, 1, NULL, v, 33), TENON_E_INVALID, "%s: too many tensors", spec);
    is_int(tenon_run(c, 1, NULL, NULL, 2), TENON_E_INVALID, "%s: values NULL", spec);
    is_int(tenon_run(NULL, 1, NULL, v, 2), TENON_E_INVALID, "%s: context NULL", spec);
    struct tenon_softmax_params p = {.struct_size = 3};
    v[TENON_SOFTMAX_X] = host(x, 1, 16);
    v[TENON_SOFTMAX_Y] = host(y, 1, 16);
    is_int(tenon_run(c, 1, &p, v, TENON_SOFTMAX_N_TENSORS), TENON_E_INVALID, "%s: params too small", spec);
    p.struct_size = 100000;
    is_int(tenon_run(c, 1, &p, v, TENON_SOFTMAX_N_TENSORS), TENON_E_INVALID, "%s: params too large", spec);
    p = softmax_params();
    p.kind = TENON_SOFTMAX_LOG_EXP;
    is_int(tenon_run(c, 1, &p, v, TENON_SOFTMAX_N_TENSORS), TENON_E_UNSUPPORTED, "%s: what the device cannot", spec);
    has_str(tenon_error(), spec, "%s: says which device", spec);
    tenon_memory_destroy(theirs);
}

/* More than the pinned buffer: pieces. Rows of 1 MiB. */
static void test_large(struct tenon_context *c, const char *spec)
{
    const int64_t rows = 36, cols = 1 << 18;
    float *x = malloc((size_t)(rows * cols) * 4), *y = calloc((size_t)(rows * cols), 4);
    if (!x || !y)
        bail("out of memory");
    for (int64_t i = 0; i < rows * cols; i++)
        x[i] = input(i);
    is_int(run(c, host(x, rows, cols), host(y, rows, cols)), TENON_OK, "%s: 72 MiB", spec);
    ok(right(y + 35 * cols, x + 35 * cols, cols) && right(y, x, cols), "%s: are right", spec);
    free(x);
    free(y);
}

static void test_cache(struct tenon_context *c, const char *spec)
{
    float x[600], y[600];
    for (int i = 0; i < 600; i++)
        x[i] = input(i);
    int good = 1;
    for (int round = 0; round < 2; round++) /* more shapes than plans are kept */
        for (int n = 1; n <= 400; n++)
            good &= !run(c, host(x, 1, n), host(y, 1, n)) && right(y, x, n);
    ok(good, "%s: 800 runs of 400 shapes", spec);
    ok(c->n_plans == TENON__PLANS_MAX, "%s: %d plans are kept", spec, TENON__PLANS_MAX);
    struct tenon__plan *first = NULL, *again = NULL;
    struct tenon_tensor t[TENON_SOFTMAX_N_TENSORS] = {0};
    t[TENON_SOFTMAX_X] = t[TENON_SOFTMAX_Y] = host(x, 3, 7).tensor;
    ok(!tenon__plan_get(c, 1, NULL, t, sizeof *t, TENON_SOFTMAX_N_TENSORS, &first) &&
           !tenon__plan_get(c, 1, NULL, t, sizeof *t, TENON_SOFTMAX_N_TENSORS, &again) && first == again,
       "%s: the same descriptor has the same plan", spec);
    t[TENON_SOFTMAX_Y].stride[0] = 8;
    ok(!tenon__plan_get(c, 1, NULL, t, sizeof *t, TENON_SOFTMAX_N_TENSORS, &again) && first != again,
       "%s: another stride has another", spec);
    const struct tenon_softmax_params params = softmax_params();
    ok(!tenon__plan_get(c, 1, &params, t, sizeof *t, TENON_SOFTMAX_N_TENSORS, &first) && first != again,
       "%s: params given have another than defaults", spec);
    t[TENON_SOFTMAX_X].dim[5] = 1;
    is_int(tenon_supports(c, 1, NULL, t, TENON_SOFTMAX_N_TENSORS), TENON_E_INVALID, "%s: dirt beyond the rank", spec);
    t[TENON_SOFTMAX_X].dim[5] = 0;
    is_int(tenon_supports(c, 1, NULL, t, TENON_SOFTMAX_N_TENSORS), TENON_OK, "%s: supports", spec);
    char impl[64];
    is_int(tenon_impl(c, 1, NULL, t, TENON_SOFTMAX_N_TENSORS, impl, sizeof impl), TENON_OK, "%s: impl", spec);
    is_str(impl, "toy_softmax", "%s: is named", spec);
}

/* plan_record is missing in the toy's table: the host's list stands in. */
static void test_record(struct tenon_context *c, const char *spec)
{
    const struct tenon_backend *b = tenon_context_backend(c);
    struct tenon_device *d = tenon_context_device(c);
    const struct tenon_buffer_desc size = {.struct_size = sizeof size, .size = 512};
    struct tenon_buffer *buffer[3];
    struct tenon_tensor t[TENON_SOFTMAX_N_TENSORS] = {0};
    struct tenon_plan *plan = NULL, *recording = NULL, *nested = NULL;
    const struct tenon_softmax_params params = softmax_params();
    struct tenon_queue *queue = NULL;
    t[TENON_SOFTMAX_X] = t[TENON_SOFTMAX_Y] = tenon_tensor_make(TENON_F32, 1, (int64_t[]){8});
    const struct tenon_op_desc desc = {
        .struct_size = sizeof desc,
        .op = 1,
        .n_tensors = TENON_SOFTMAX_N_TENSORS,
        .tensors = t,
        .params = &params};
    int good = 1;
    for (int i = 0; i < 3; i++)
        good &= !b->buffer_create(d, &size, &buffer[i]);
    good &= !b->plan_create(d, &desc, &plan) && !b->queue_create(d, 0, &queue);
    if (!good)
        bail("%s", tenon_error());
    struct tenon_bind args[TENON_SOFTMAX_N_TENSORS] = {{0}}, fill[1] = {{buffer[0], 0}};
    args[TENON_SOFTMAX_X] = (struct tenon_bind){buffer[0], 0};
    args[TENON_SOFTMAX_Y] = (struct tenon_bind){buffer[1], 64};
    const struct tenon_cmd run_cmd = {.struct_size = sizeof run_cmd,
                                      .kind = TENON_CMD_RUN,
                                      .plan = plan,
                                      .n_args = TENON_SOFTMAX_N_TENSORS,
                                      .args = args,
                                      .workspace = {buffer[2], 0}};
    const struct tenon_cmd fill_cmd = {.struct_size = sizeof fill_cmd,
                                       .kind = TENON_CMD_FILL,
                                       .n_args = 1,
                                       .args = fill,
                                       .size = 32,
                                       .value = 0x40000000};
    const struct tenon_cmd *const both[] = {&fill_cmd, &run_cmd};
    is_int(b->plan_record(d, both, 2, &recording), TENON_OK, "%s: record", spec);
    const struct tenon_cmd play = {.struct_size = sizeof play, .kind = TENON_CMD_RUN, .plan = recording};
    const struct tenon_cmd *const once[] = {&play}, *const mixed[] = {&fill_cmd, &play};
    is_int(b->plan_record(d, mixed, 2, &nested), TENON_OK, "%s: a recording of a recording", spec);
    struct tenon_plan_info info = {.struct_size = sizeof info};
    ok(!b->plan_info(recording, &info) && !strcmp(info.impl, "replayed list") && info.workspace == 0, "%s: its info",
       spec);
    memset(args, 0, sizeof args); /* the recording has copies */
    uint64_t seq = 0;
    ok(!b->enqueue(queue, once, 1, &seq) && seq == 1 && !b->queue_wait(queue, seq, UINT64_MAX), "%s: played", spec);
    float *y = NULL;
    ok(!b->buffer_map(buffer[1], 64, 32, TENON_MAP_READ, (void **)&y) && fabsf(y[0] - 0.125f) < 1e-6f &&
           fabsf(y[7] - 0.125f) < 1e-6f && !b->buffer_unmap(buffer[1]),
       "%s: gives the right result", spec);
    b->plan_destroy(recording);
    const struct tenon_cmd play2 = {.struct_size = sizeof play2, .kind = TENON_CMD_RUN, .plan = nested};
    const struct tenon_cmd *const twice[] = {&play2, &play2};
    ok(!b->enqueue(queue, twice, 2, &seq) && seq == 2 && !b->queue_wait(queue, seq, UINT64_MAX),
       "%s: the nested one outlives what it was made of", spec);
    struct tenon_plan *none = NULL;
    is_int(b->plan_record(d, checked ? both : NULL, checked ? 0 : 2, &none), TENON_E_INVALID, "%s: record nothing",
           spec);
    b->plan_destroy(plan);
    if (checked) { /* R40: a created plan is not copied into a recording, not even through another one */
        is_int(b->enqueue(queue, twice, 2, &seq), TENON_E_INVALID, "%s: a recording whose plan is gone", spec);
        has_str(tenon_error(), "R40", "%s: says by which rule", spec);
        errors_logged -= 2;
    }
    b->plan_destroy(nested);
    b->queue_destroy(queue);
    for (int i = 0; i < 3; i++)
        b->buffer_destroy(buffer[i]);
}

static void test_orphan(const char *spec)
{
    struct tenon_context *c;
    struct tenon_memory *m = NULL;
    float x[16] = {0};
    ok(!tenon_context_open(spec, &c) && !tenon_memory_create(c, 64, &m), "%s: memory", spec);
    is_int(run(c, device(m, 0, 1, 16), device(m, 0, 1, 16)), TENON_OK, "%s: submitted, not waited for", spec);
    tenon_context_close(c);
    is_int(tenon_memory_read(m, 0, x, 64), TENON_E_INVALID, "%s: memory of a closed context", spec);
    tenon_memory_destroy(m);
    tenon_memory_destroy(NULL);
    tenon_context_close(NULL);
}

int main(void)
{
    static const char *const specs[] = {"toy:0", "toy:2", "toy:3", "toy:4", "toy:5"};
    toys_path();
    unsetenv("TENON_LAYERS");
    const char *layers = getenv("TENON_TEST_LAYERS"); /* of run-checked.t; make check unsets the other name */
    checked = layers && !setenv("TENON_LAYERS", layers, 1);
    unsetenv("TENON_DEVICE");
    tenon_log_set(count_errors, NULL);
    int64_t live = 0;
    for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++) {
        struct tenon_context *c, *other;
        if (tenon_context_open(specs[i], &c) || tenon_context_open("toy:4", &other))
            bail("%s", tenon_error());
        if (!i)
            live = tenon__alloc_live();
        test_host(c, specs[i]);
        test_memory(c, specs[i]);
        test_wrong(c, other, specs[i]);
        test_large(c, specs[i]);
        test_cache(c, specs[i]);
        test_record(c, specs[i]);
        tenon_context_close(c);
        tenon_context_close(other);
        test_orphan(specs[i]);
    }
    struct tenon_context *c, *other;
    if (tenon_context_open("toy:0", &c) || tenon_context_open("toy:4", &other))
        bail("%s", tenon_error());
    is_int(tenon__alloc_live(), live, "nothing leaked");
    tenon_context_close(c);
    tenon_context_close(other);
    is_int(errors_logged, 0, "the backend saw no misuse");
    return tap_done();
}

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The references themselves: golden vectors, a naive C version that must meet every bound, wrong versions that must
 * not, and the cases: the same on every machine, with every combination that the suite promises. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <tenon/ops/linear.h>
#include <tenon/ops/softmax.h>
#include "../tap.h"
#include "suite.h"

static void test_numbers(void)
{
    int wrong = 0;
    for (uint32_t h = 0; h < 65536; h++) {
        float f = conform_half_to_float((uint16_t)h);
        wrong += !isnan(f) && conform_float_to_half(f) != h;
        float b = conform_bits_float(h << 16);
        wrong += !isnan(b) && conform_float_to_bfloat(b) != h;
    }
    is_int(wrong, 0, "every f16 and bf16 survives the way to f32 and back");
    is_int(conform_float_to_half(65519.0f), 0x7bff, "f16: below half a step above the largest");
    is_int(conform_float_to_half(65520.0f), 0x7c00, "f16: the tie above the largest is infinite");
    is_int(conform_float_to_half(0x1p-25f), 0, "f16: the tie below the least is zero");
    is_int(conform_float_to_half(0x1.8p-25f), 1, "f16: above that tie it is the least subnormal");
    is_int(conform_float_to_half(1 + 0x1p-11f), 0x3c00, "f16: a tie goes to the even neighbour");
    is_int(conform_float_to_half(1 + 0x3p-11f), 0x3c02, "f16: the other tie too");
    is_int(conform_float_to_bfloat(1 + 0x1p-8f), 0x3f80, "bf16: a tie goes to the even neighbour");
    is_int(conform_float_to_half(NAN) & 0x7e00, 0x7e00, "f16: NaN stays quiet");
    ok(conform_ulp(TENON_F32, 1) == 0x1p-23 && conform_ulp(TENON_F16, 0) == 0x1p-24 &&
           conform_ulp(TENON_BF16, 3) == 0x1p-6,
       "spacing");
    is_int(conform_random(0, 0) >> 32, 0xe220a839, "splitmix64's first number");
}

static const struct conform_op *op_of(uint32_t number)
{
    const struct conform_op *op = NULL;
    for (uint32_t i = 0; (op = conform_op_at(i)) != NULL && op->op != number; i++)
        ;
    return op;
}

/* One row of four with all outputs; sink NULL: none. */
static void golden(uint32_t kind, const float *sink, struct conform_want **want, struct conform_case *c)
{
    const struct conform_op *op = op_of(TENON_OPNUM_softmax);
    struct tenon_softmax_params *p = (void *)c->params;
    conform_case_make(op, 0, 1, c);
    p->kind = kind;
    for (uint32_t i = TENON_SOFTMAX_MAX; i <= TENON_SOFTMAX_ENERGY; i++)
        conform_slot_set(c, i, i == TENON_SOFTMAX_ARGMAX ? TENON_I32 : TENON_F32, 1, (int64_t[]){1});
    conform_slot_set(c, TENON_SOFTMAX_Y, TENON_F32, 2, (int64_t[]){1, 4});
    if (sink)
        conform_slot_set(c, TENON_SOFTMAX_SINK, TENON_F32, 1, (int64_t[]){1});
    c->slot[TENON_SOFTMAX_Y].same_as = -1;
    if (conform_case_alloc(c) || (*want = want_create(c)) == NULL)
        bail("out of memory");
    conform_case_fill(c);
    if (sink)
        memcpy(conform_first(&c->slot[TENON_SOFTMAX_SINK]), sink, sizeof(*sink));
    op->expect(c, *want);
}

static void near(double got, double want, const char *what)
{
    if (!ok(fabs(got - want) <= 5.1e-9 * fmax(1, fabs(want)), "%s is %.9g", what, want))
        tap_note("got %.12g", got);
}

static void test_golden(void)
{
    static const double exps[4] = {0.224207818, 0.609460038, 0.0303432286, 0.135988916};
    static const double logs[4] = {-1.4951819, -0.495181898, -3.4951819, -1.9951819};
    static const double sinks[4] = {0.207123936, 0.563021232, 0.0280311766, 0.125627018};
    struct conform_want *want;
    struct conform_case c;
    golden(TENON_SOFTMAX_EXP, NULL, &want, &c);
    for (int i = 0; i < 4; i++)
        near(want[TENON_SOFTMAX_Y].want[i], exps[i], "softmax golden y");
    near(want[TENON_SOFTMAX_LSE].want[0], 2.4951819, "lse");
    near(want[TENON_SOFTMAX_ENTROPY].want[0], 1.01440278, "entropy");
    near(want[TENON_SOFTMAX_MARGIN].want[0], 0.38525222, "margin");
    near(want[TENON_SOFTMAX_ENERGY].want[0], -2.4951819, "energy");
    near(want[TENON_SOFTMAX_PMAX].want[0], exps[1], "pmax");
    is_int(want[TENON_SOFTMAX_ARGMAX].want[0], 1, "argmax");
    want_destroy(&c, want);
    conform_case_free(&c);
    golden(TENON_SOFTMAX_LOG_EXP, NULL, &want, &c);
    for (int i = 0; i < 4; i++)
        near(want[TENON_SOFTMAX_Y].want[i], logs[i], "log_exp golden y");
    want_destroy(&c, want);
    conform_case_free(&c);
    golden(TENON_SOFTMAX_EXP, &(float){0}, &want, &c);
    for (int i = 0; i < 4; i++)
        near(want[TENON_SOFTMAX_Y].want[i], sinks[i], "golden y with a sink of 0");
    want_destroy(&c, want);
    conform_case_free(&c);
}

/* Three lines of C, as everybody writes them, and ways to get them wrong. */
/* Of the shapes, bits and names of 200 cases. They change when the cases do, and then replay lines of older reports are
 * void. */
#define HASH_SOFTMAX INT64_C(159632872675714950)
#define HASH_LINEAR  INT64_C(1380435421905468700)
enum { RIGHT, NO_MAX, LAST_MISSING, SUM_OFF, FAULTS };

static void naive_softmax(struct conform_case *c, int fault)
{
    const struct conform_slot *xs = &c->slot[TENON_SOFTMAX_X], *ys = &c->slot[TENON_SOFTMAX_Y];
    int64_t cols = xs->tensor.dim[xs->tensor.rank - 1], rows = cols ? tenon_tensor_count(&xs->tensor) / cols : 0;
    for (int64_t row = 0; row < rows; row++) {
        const float *x = (const float *)conform_first(xs) + conform_offset(&xs->tensor, row * cols);
        float *y = (float *)conform_first(ys) + conform_offset(&ys->tensor, row * cols), m = -INFINITY, s = 0;
        for (int64_t j = 0; j < cols; j++)
            m = fmaxf(m, x[j]);
        for (int64_t j = 0; j < cols; j++) {
            y[j] = expf(x[j] - (fault == NO_MAX ? 0 : m));
            s += fault == LAST_MISSING && j == cols - 1 && j > 0 ? 0 : y[j];
        }
        for (int64_t j = 0; j < cols; j++)
            y[j] /= fault == SUM_OFF ? s * (1 + 0x1p-19f) : s;
    }
}

/* Takes everything but the naive version's tensors out of a case; 0: it cannot serve. */
static int plain_softmax(struct conform_case *c)
{
    struct tenon_softmax_params *p = (void *)c->params;
    for (uint32_t i = 0; i < c->n; i++) {
        if (i != TENON_SOFTMAX_X && i != TENON_SOFTMAX_Y)
            c->slot[i].tensor.dtype = 0;
        else if (c->slot[i].tensor.dtype != TENON_F32)
            return 0;
    }
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_softmax), p);
    /* A single f32 accumulator is not good enough for long rows: the specification demands better there. */
    return c->slot[TENON_SOFTMAX_X].tensor.dim[c->slot[TENON_SOFTMAX_X].tensor.rank - 1] <= 300 &&
           c->slot[TENON_SOFTMAX_Y].same_as < 0 && c->mode != CONFORM_ADVERSARIAL;
}

static void naive_linear(struct conform_case *c, int fault)
{
    const struct conform_slot *s = c->slot, *y = &s[TENON_LINEAR_Y];
    int64_t n = s[TENON_LINEAR_W].tensor.dim[0], k = s[TENON_LINEAR_W].tensor.dim[1];
    for (int64_t i = 0; i < tenon_tensor_count(&y->tensor); i++) {
        float sum = 0;
        for (int64_t j = 0; j < k - (fault == LAST_MISSING); j++)
            sum +=
                ((float *)conform_first(&s[TENON_LINEAR_X]))[conform_offset(&s[TENON_LINEAR_X].tensor, i / n * k + j)] *
                ((float *)conform_first(&s[TENON_LINEAR_W]))[conform_offset(&s[TENON_LINEAR_W].tensor, i % n * k + j)];
        if (fault == SUM_OFF)
            sum *= 1 + 0x1p-18f;
        ((float *)conform_first(y))[conform_offset(&y->tensor, i)] = sum;
    }
}

static int plain_linear(struct conform_case *c)
{
    struct tenon_linear_params *p = (void *)c->params;
    c->slot[TENON_LINEAR_BIAS].tensor.dtype = c->slot[TENON_LINEAR_RESIDUAL].tensor.dtype = 0;
    for (uint32_t i = 0; i < c->n; i++)
        if (c->slot[i].tensor.dtype && c->slot[i].tensor.dtype != TENON_F32)
            return 0;
    p->act = TENON_ACT_IDENTITY;
    return !p->trans_x && !p->trans_w && c->slot[TENON_LINEAR_Y].same_as < 0 && c->mode != CONFORM_ADVERSARIAL;
}

/* How many of the plain cases of the first n a version gets right. */
static void judge(uint32_t number, uint64_t n, int (*plain)(struct conform_case *),
                  void (*naive)(struct conform_case *, int), int fault, int *right, int *wrong)
{
    *right = *wrong = 0;
    for (uint64_t i = 0; i < n; i++) {
        struct conform_case c, got;
        struct result result = {0};
        conform_case_make(op_of(number), 5, i, &c);
        if (!plain(&c))
            continue;
        struct conform_want *want = NULL;
        if (conform_case_alloc(&c) || (want = want_create(&c)) == NULL)
            bail("out of memory");
        conform_case_fill(&c);
        c.op->expect(&c, want);
        if (conform_case_clone(&c, &got))
            bail("out of memory");
        naive(&got, fault);
        if (compare_reference(&c, &got, want, &result))
            ++*wrong;
        else
            ++*right;
        if (result.why[0] && fault == RIGHT)
            tap_note("case %d %s: %s", (int)i, c.name, result.why);
        conform_case_free(&got);
        want_destroy(&c, want);
        conform_case_free(&c);
    }
}

static void test_naive(void)
{
    int right, wrong;
    judge(TENON_OPNUM_softmax, 270, plain_softmax, naive_softmax, RIGHT, &right, &wrong);
    ok(right >= 10 && wrong == 0, "naive softmax meets the bounds: %d of %d", right, right + wrong);
    judge(TENON_OPNUM_linear, 270, plain_linear, naive_linear, RIGHT, &right, &wrong);
    ok(right >= 3 && wrong == 0, "naive linear meets the bounds: %d of %d", right, right + wrong);
    for (int fault = NO_MAX + 1; fault < FAULTS; fault++) {
        judge(TENON_OPNUM_softmax, 270, plain_softmax, naive_softmax, fault, &right, &wrong);
        ok(wrong > 0, "softmax with fault %d is caught: %d of %d", fault, wrong, right + wrong);
        judge(TENON_OPNUM_linear, 270, plain_linear, naive_linear, fault, &right, &wrong);
        ok(wrong > 0, "linear with fault %d is caught: %d of %d", fault, wrong, right + wrong);
    }
}

/* A hash over the shapes and inputs of the first cases. */
static uint64_t hash_cases(const struct conform_op *op)
{
    uint64_t hash = 0;
    for (uint64_t i = 30; i < 230; i++) {
        struct conform_case c;
        conform_case_make(op, 99, i, &c);
        if (conform_case_alloc(&c))
            bail("out of memory");
        conform_case_fill(&c);
        for (const char *at = c.name; *at; at++)
            hash = conform_random(hash, (unsigned char)*at);
        for (uint32_t t = 0; t < c.n; t++)
            for (uint64_t b = 0; c.slot[t].data && c.slot[t].same_as < 0 && b < c.slot[t].size; b++)
                hash = conform_random(hash, c.slot[t].data[b]);
        conform_case_free(&c);
    }
    return hash;
}

static void test_cases(void)
{
    is_int(hash_cases(op_of(TENON_OPNUM_softmax)), HASH_SOFTMAX, "softmax: the same bytes on every machine");
    is_int(hash_cases(op_of(TENON_OPNUM_linear)), HASH_LINEAR, "linear: the same bytes on every machine");
    for (uint32_t i = 0; conform_op_at(i); i++) {
        const struct conform_op *op = conform_op_at(i);
        const char *name = tenon_op_contract_by_number(op->op)->name;
        int modes[3] = {0, 0, 0}, in_place = 0, gaps = 0;
        ok(op->cases[CONFORM_QUICK] >= 200 && op->cases[CONFORM_FULL] >= 2000 && op->cases[CONFORM_SOAK] >= 100000,
           "%s: enough cases", name);
        for (uint64_t n = 0; n < op->cases[CONFORM_QUICK]; n++) {
            struct conform_case c;
            conform_case_make(op, 0, n, &c);
            modes[c.mode]++;
            for (uint32_t t = 0; t < c.n; t++) {
                in_place += c.slot[t].tensor.dtype && c.slot[t].same_as >= 0;
                gaps += c.slot[t].tensor.dtype && c.slot[t].lead > 0 && !tenon_tensor_is_contiguous(&c.slot[t].tensor);
            }
        }
        ok(modes[0] >= 15 && modes[1] >= 30 && modes[2] >= 60, "%s: exact %d, random %d, adversarial %d", name,
           modes[0], modes[1], modes[2]);
        ok((in_place >= 5 || !tenon_op_contract_by_number(op->op)->in_place) && gaps >= 50, "%s: in place %d, gaps %d",
           name, in_place, gaps);
        ok(suite_hostile_count(op) >= 80, "%s: %d hostile descriptors", name, (int)suite_hostile_count(op));
        ok(op->n_properties >= 4, "%s: properties", name);
    }
}

int main(void)
{
    test_numbers();
    test_golden();
    test_naive();
    test_cases();
    return tap_done();
}

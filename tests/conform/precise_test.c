/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The check of the references in 256 bits: it must find the references right, and wrong ones (faulty/wrong.h) wrong,
 * and say that it is the reference and not the device. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "../tap.h"
#include "suite.h"
#include "faulty/wrong.h"
#undef exp
#undef log
#undef sqrt
#undef erfc
#undef atan2
#undef sin
#undef fmaf
#undef conform_get
#undef conform_offset

int wrong;

double wrong_exp(double x)
{
    if (wrong == WRONG_exp_f32)
        return (double)expf((float)x);
    return exp(wrong == WRONG_exp_argument ? x * (1 + 0x1p-46) : x) * (wrong == WRONG_exp_off ? 1 + 0x1p-40 : 1);
}

double wrong_log(double x)
{
    return log(x) * (wrong == WRONG_log_off ? 1 + 0x1p-44 : 1);
}

double wrong_sqrt(double x)
{
    return sqrt(x) * (wrong == WRONG_sqrt_off ? 1 + 0x1p-44 : 1);
}

double wrong_erfc(double x)
{
    return erfc(x) * (wrong == WRONG_erfc_off ? 1 + 0x1p-40 : 1);
}

double wrong_atan2(double y, double x)
{
    return atan2(y, x) * (wrong == WRONG_atan_off ? 1 + 0x1p-44 : 1);
}

double wrong_sin(double x)
{
    return sin(x) * (wrong == WRONG_sin_off ? 1 + 0x1p-44 : 1);
}

float wrong_fmaf(float x, float y, float z)
{
    volatile float product = x * y;
    return wrong == WRONG_fma_twice ? product + z : fmaf(x, y, z);
}

double wrong_get(const void *first, uint32_t dtype, int64_t element)
{
    return conform_get(first, dtype, element) * (wrong == WRONG_get_off ? 1 + 0x1p-44 : 1);
}

int64_t wrong_offset(const struct tenon_tensor *tensor, int64_t index)
{
    return conform_offset(tensor, wrong == WRONG_offset_off && index > 0 ? index - 1 : index);
}

static const struct conform_op *op_of(const char *name)
{
    const struct conform_op *op = NULL;
    for (uint32_t i = 0; (op = conform_op_at(i)) != NULL; i++)
        if (strcmp(tenon_op_contract_by_number(op->op)->name, name) == 0)
            return op;
    return NULL;
}

struct tally {
    int cases, wrong, blamed, rounds; /* rounds: cases with a result that may be off at all */
    int64_t elements;
    double worst;
    char why[640];
};

static int may_round(const struct conform_case *c, const struct conform_want *want)
{
    for (uint32_t i = 0; i < c->n; i++)
        for (int64_t e = 0; e < want[i].count; e++)
            if (want[i].bound[e] > 0)
                return 1;
    return 0;
}

/* One case as the suite checks it when it is chosen. */
static void judge(const struct conform_op *op, uint64_t number,
                  void (*expect)(const struct conform_case *, struct conform_want *), struct tally *tally)
{
    struct options options = {.only = (int64_t)number};
    struct result result = {.outcome = RESULT_OK, .at_element = -1};
    struct conform_want *want = NULL;
    struct conform_case c;
    conform_case_make(op, 7, number, &c);
    if (conform_case_alloc(&c) || (want = want_create(&c)) == NULL)
        bail("out of memory");
    conform_case_fill(&c);
    expect(&c, want);
    suite_reference(&options, &c, want, &result);
    tally->rounds += may_round(&c, want);
    tally->cases += result.reference == REFERENCE_CHECKED;
    tally->elements += result.precise;
    tally->wrong += result.outcome == RESULT_FAIL;
    tally->blamed += strstr(result.why, "reference is wrong, not the device") != NULL;
    if (result.precise_worst > tally->worst)
        tally->worst = result.precise_worst;
    if (result.why[0] && !tally->why[0])
        snprintf(tally->why, sizeof(tally->why), "%.110s: %.500s", c.name, result.why);
    want_destroy(&c, want);
    conform_case_free(&c);
}

static struct tally judge_all(const char *name, uint64_t end, uint64_t every,
                              void (*expect)(const struct conform_case *, struct conform_want *))
{
    struct tally tally = {0};
    for (uint64_t n = 0; n < end; n += every)
        judge(op_of(name), n, expect, &tally);
    return tally;
}

static void test_right(void)
{
    const char *level = getenv("TENON_TEST_LEVEL");
    int full = level && strcmp(level, "full") == 0;
    for (uint32_t i = 0; conform_op_at(i); i++) {
        const struct conform_op *op = conform_op_at(i);
        const char *name = tenon_op_contract_by_number(op->op)->name;
        uint64_t end = full ? op->cases[CONFORM_FULL] : 260, every = full ? 3 : 1;
        struct tally tally = judge_all(name, end, every, op->expect);
        ok((uint64_t)tally.cases == (end + every - 1) / every && tally.elements > 2000, "%s: %d cases, %lld elements", name, tally.cases,
           (long long)tally.elements);
        if (!ok(tally.wrong == 0 && (tally.worst > 0 || !tally.rounds), "%s: the reference uses %.3g %% of what f64 may lose", name,
                100 * tally.worst))
            tap_note("%s", tally.why);
    }
}

static void test_wrong(void)
{
#define WRONG_TEXT(name, text) [WRONG_##name] = #name ": " text,
    static const char *const texts[WRONG_COUNT] = {WRONG_LIST(WRONG_TEXT)};
#define TENON_OP(number, name) {#name, &wrong_##name},
    static const struct {
        const char *op;
        const struct wrong_op *wrong;
    } ops[] = {
#include <tenon/ops.def>
    };
#undef TENON_OP
    for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
        const struct wrong_op *own = ops[i].wrong;
        int ways = 0;
        for (; own->ways[ways]; ways++) {
            wrong = own->ways[ways];
            struct tally tally = judge_all(ops[i].op, 100, 1, own->expect);
            ok(tally.wrong > 0 && tally.blamed == tally.wrong, "%s, %s is noticed in %d cases of %d", ops[i].op,
               texts[wrong], tally.wrong, tally.cases);
            tap_note("%s", tally.why);
        }
        wrong = WRONG_NOTHING;
        is_int(judge_all(ops[i].op, 60, 1, own->expect).wrong, 0, "%s: the same source with nothing wrong passes",
               ops[i].op);
        ok(ways >= 2, "%s: %d wrong references", ops[i].op, ways);
    }
}

static int count_mpfr(const struct conform_case *c, const struct conform_want *want, struct conform_precise *precise)
{
    (void)c;
    (void)want;
    precise->checked = 1;
    return 0;
}

/* One case in twenty, each that failed, each that is replayed. */
static void test_choice(void)
{
    struct conform_op counted = *op_of("linear");
    int chosen[3] = {0, 0, 0};
    counted.mpfr = count_mpfr;
    for (uint64_t n = 0; n < 2000; n++)
        for (int way = 0; way < 3; way++) {
            struct options options = {.only = way == 2 ? (int64_t)n : -1};
            struct conform_case c = {.op = &counted, .seed = 7, .number = n};
            struct result result = {.outcome = way == 1 ? RESULT_FAIL : RESULT_OK, .at_element = -1};
            suite_reference(&options, &c, NULL, &result);
            chosen[way] += result.reference == REFERENCE_CHECKED;
        }
    ok(chosen[0] > 70 && chosen[0] < 130, "%d of 2000 cases that passed are checked", chosen[0]);
    is_int(chosen[1], 2000, "every case that failed is checked");
    is_int(chosen[2], 2000, "every case that is replayed is checked");
}

int main(void)
{
    if (!precise_built())
        return tap_skip_all("built without libmpfr");
    test_right();
    test_wrong();
    test_choice();
    return tap_done();
}

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax on the CPU, called through its tables without a plugin around them. Against sums in double; every ISA gives
 * the same bits; bits do not depend on threads, on the order of the parallel regions, on other rows; special rows. */
#define _DEFAULT_SOURCE
#include "config.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <tenon/ops/softmax.h>

#include "../../backends/cpu/cpu.h"
#include "../tap.h"

extern const struct cpu_op tenon__softmax_scalar, tenon__softmax_sse4, tenon__softmax_avx2, tenon__softmax_avx512,
    tenon__softmax_neon;

enum { N = TENON_SOFTMAX_N_TENSORS, STAT0 = TENON_SOFTMAX_MAX };

static const struct isa {
    const char *name;
    const struct cpu_op *op;
} * isa_at(unsigned i)
{
    static struct isa all[5];
    unsigned n = 0;
    all[n++] = (struct isa){"scalar", &tenon__softmax_scalar};
#if defined(TENON_HAVE_X86)
    if (__builtin_cpu_supports("sse4.1"))
        all[n++] = (struct isa){"sse4", &tenon__softmax_sse4};
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        all[n++] = (struct isa){"avx2", &tenon__softmax_avx2};
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        all[n++] = (struct isa){"avx512", &tenon__softmax_avx512};
#elif defined(TENON_HAVE_NEON)
    all[n++] = (struct isa){"neon", &tenon__softmax_neon};
#endif
    return i < n ? &all[i] : NULL;
}

/* ---- one call ---- */

/* order: 0 ascending, -1 descending, n > 0: on n threads. */
struct test_host {
    struct tenon_host host;
    int order;
    char text[240];
};

struct region {
    void (*fn)(void *context, uint32_t i);
    void *context;
    uint32_t n;
    atomic_uint next;
};

static void *region_thread(void *context)
{
    struct region *r = context;
    for (uint32_t i; (i = atomic_fetch_add(&r->next, 1)) < r->n;)
        r->fn(r->context, i);
    return NULL;
}

static void run_parallel(const struct tenon_host *host, uint32_t n, void (*fn)(void *context, uint32_t i),
                         void *context)
{
    const int order = ((const struct test_host *)(const void *)host)->order;
    struct region r = {fn, context, n, 0};
    pthread_t thread[8];
    int started = 0;
    if (order <= 0) {
        for (uint32_t i = 0; i < n; i++)
            fn(context, order < 0 ? n - 1 - i : i);
        return;
    }
    while (started < order - 1 && started < 8 && pthread_create(&thread[started], NULL, region_thread, &r) == 0)
        started++;
    region_thread(&r);
    while (started > 0)
        pthread_join(thread[--started], NULL);
}

static int32_t record_failure(const struct tenon_host *host, int32_t status, const char *message)
{
    struct test_host *h = (struct test_host *)(uintptr_t)(const void *)host;
    size_t n = strlen(message);
    memcpy(h->text, message, n < sizeof h->text ? n + 1 : sizeof h->text);
    return status;
}

struct call {
    struct tenon_tensor tensor[N];
    void *ptr[N];
    struct tenon_softmax_params params;
    int64_t rows, cols;
    int order;
    uint32_t threads;
};

static void run(const struct isa *isa, const struct call *c)
{
    struct test_host host = {
        .host = {.struct_size = sizeof host.host, .parallel = run_parallel, .fail = record_failure}, .order = c->order};
    const struct cpu_env env = {
        .host = &host.host, .threads = c->threads ? c->threads : 1, .l1 = 32 << 10, .l2 = 256 << 10, .l3 = 1 << 20};
    struct cpu_plan plan = {.op = isa->op, .env = &env, .n_tensors = N};
    memcpy(plan.tensor, c->tensor, sizeof c->tensor);
    memcpy(plan.params, &c->params, sizeof c->params);
    if (isa->op->plan(&plan) != 0)
        bail("plan: %s", host.text);
    void *workspace = plan.workspace ? aligned_alloc(64, (size_t)((plan.workspace + 63) / 64 * 64)) : NULL;
    if (plan.workspace && !workspace)
        bail("out of memory");
    if (workspace)
        memset(workspace, 0xff, plan.workspace);
    isa->op->run(&plan, c->ptr, workspace);
    free(workspace);
}

static uint64_t random_state = 7;

static uint32_t random_bits(void)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ z >> 31) >> 32);
}

static float uniform(float low, float high)
{
    return low + (high - low) * ((float)(random_bits() >> 8) * 0x1p-24f);
}

/* Exactly as large as needed, so that a sanitizer sees one byte too many; outputs start as garbage. */
static void give(struct call *c, int i, uint32_t dtype, int wide)
{
    const int64_t n = wide ? c->rows * c->cols : c->rows;
    const size_t bytes = (size_t)n * TENON_DTYPE_SIZE(dtype);
    c->tensor[i] = wide ? (struct tenon_tensor){dtype, 2, {c->rows, c->cols}, {c->cols, 1}}
                        : (struct tenon_tensor){dtype, 1, {c->rows}, {1}};
    c->ptr[i] = malloc(bytes + !bytes);
    if (!c->ptr[i])
        bail("out of memory");
    memset(c->ptr[i], 0xa5, bytes);
}

static void set_x(struct call *c, int64_t i, float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    if (c->tensor[TENON_SOFTMAX_X].dtype == TENON_F32)
        ((float *)c->ptr[TENON_SOFTMAX_X])[i] = v;
    else if (c->tensor[TENON_SOFTMAX_X].dtype == TENON_BF16)
        ((uint16_t *)c->ptr[TENON_SOFTMAX_X])[i] = (uint16_t)(bits >> 16);
    else /* small multiples of 1/8: exact in f16 */
        ((uint16_t *)c->ptr[TENON_SOFTMAX_X])[i] =
            (uint16_t)((bits >> 16 & 0x8000) | (v == 0 ? 0 : ((bits & 0x7fffffff) - (112u << 23)) >> 13));
}

static double get(const struct call *c, int tensor, int64_t i)
{
    const void *p = c->ptr[tensor];
    const uint16_t h = c->tensor[tensor].dtype == TENON_F32 ? 0 : ((const uint16_t *)p)[i];
    const int e = h >> 10 & 31;
    uint32_t bits = (uint32_t)h << 16;
    float f;
    if (c->tensor[tensor].dtype == TENON_F32)
        return (double)((const float *)p)[i];
    memcpy(&f, &bits, sizeof f);
    if (c->tensor[tensor].dtype == TENON_BF16)
        return (double)f;
    const double m =
        e == 31 ? (h & 1023 ? (double)NAN : (double)INFINITY) : ldexp((h & 1023) + (e ? 1024 : 0), (e ? e : 1) - 25);
    return h & 0x8000 ? -m : m;
}

enum { BIAS = 1, MASK = 2, VALID = 4, SCALE = 8, SINK = 16, STATS = 32, TEMP = 64, ROW_SCALE = 128 };

static struct call make(uint32_t x_dtype, uint32_t y_dtype, int64_t rows, int64_t cols, uint32_t algo, uint32_t kind,
                        int options)
{
    struct call c = {.rows = rows,
                     .cols = cols,
                     .params = {.struct_size = sizeof c.params,
                                .kind = kind,
                                .algo = algo,
                                .scale = options & SCALE ? 0.75f : 1.0f,
                                .inv_temp = options & TEMP ? 1.25f : 1.0f,
                                .win = 60.0f}};
    give(&c, TENON_SOFTMAX_X, x_dtype, 1);
    give(&c, TENON_SOFTMAX_Y, y_dtype, 1);
    for (int64_t i = 0; i < rows * cols; i++)
        set_x(&c, i, x_dtype == TENON_F16 ? (float)((int)(random_bits() % 128) - 64) * 0.125f : uniform(-9.0f, 6.0f));
    if (options & BIAS) {
        give(&c, TENON_SOFTMAX_BIAS, TENON_F32, 1);
        for (int64_t i = 0; i < rows * cols; i++)
            ((float *)c.ptr[TENON_SOFTMAX_BIAS])[i] = uniform(-1.0f, 1.0f);
    }
    if (options & MASK) {
        give(&c, TENON_SOFTMAX_MASK, TENON_U8, 1);
        for (int64_t i = 0; i < rows * cols; i++)
            if (!(((uint8_t *)c.ptr[TENON_SOFTMAX_MASK])[i] = (uint8_t)(random_bits() % 3)))
                set_x(&c, i, NAN);
    }
    if (options & VALID) {
        give(&c, TENON_SOFTMAX_VALID_LEN, TENON_I32, 0);
        for (int64_t r = 0; r < rows; r++)
            ((int32_t *)c.ptr[TENON_SOFTMAX_VALID_LEN])[r] = (int32_t)(random_bits() % (uint32_t)(cols + 3)) - 1;
    }
    for (int i = TENON_SOFTMAX_ROW_SCALE; i <= TENON_SOFTMAX_SINK; i++)
        if (options & (i == TENON_SOFTMAX_SINK ? SINK : ROW_SCALE)) {
            give(&c, i, TENON_F32, 0);
            for (int64_t r = 0; r < rows; r++)
                ((float *)c.ptr[i])[r] = uniform(0.1f, 2.0f);
        }
    for (int i = STAT0; i < N && options & STATS; i++)
        give(&c, i, i == TENON_SOFTMAX_ARGMAX ? TENON_I32 : TENON_F32, 0);
    return c;
}

static void destroy(struct call *c)
{
    for (int i = 0; i < N; i++)
        free(c->ptr[i]);
}

/* ---- what should come out ---- */

struct want {
    double max, second, lse, pmax, margin, entropy, T, R, S;
    int64_t argmax, exist;
};

static int exists(const struct call *c, int64_t row, int64_t col)
{
    if (c->ptr[TENON_SOFTMAX_MASK])
        return ((const uint8_t *)c->ptr[TENON_SOFTMAX_MASK])[row * c->cols + col] != 0;
    return !c->ptr[TENON_SOFTMAX_VALID_LEN] || col < ((const int32_t *)c->ptr[TENON_SOFTMAX_VALID_LEN])[row];
}

static double logit(const struct call *c, int64_t row, int64_t col)
{
    const int64_t i = row * c->cols + col;
    const float *bias = c->ptr[TENON_SOFTMAX_BIAS];
    const double x = get(c, TENON_SOFTMAX_X, i);
    if (!bias && c->params.scale == 1.0f)
        return x;
    return (double)fmaf((float)x, c->params.scale, bias ? bias[i] : 0.0f);
}

static struct want expect(const struct call *c, int64_t row)
{
    const float *scale = c->ptr[TENON_SOFTMAX_ROW_SCALE], *sink = c->ptr[TENON_SOFTMAX_SINK];
    struct want w = {.max = -(double)INFINITY, .second = -(double)INFINITY, .argmax = -1};
    double s = 0, a = 0;
    w.T = (double)(c->params.inv_temp * (scale ? scale[row] : 1.0f));
    for (int64_t j = 0; j < c->cols; j++) {
        const double v = exists(c, row, j) ? logit(c, row, j) : -(double)INFINITY;
        w.exist += exists(c, row, j);
        if (v > w.max) {
            w.second = w.max;
            w.max = v;
            w.argmax = j;
        } else if (v > w.second) {
            w.second = v;
        }
    }
    w.R = sink && (double)sink[row] > w.max ? (double)sink[row] : w.max;
    for (int64_t j = 0; j < c->cols; j++)
        if (exists(c, row, j)) {
            const double d = (logit(c, row, j) - w.R) * w.T;
            s += exp(d);
            a += d * exp(d);
        }
    w.S = s + (sink ? exp(((double)sink[row] - w.R) * w.T) : 0);
    w.lse = w.R * w.T + log(w.S);
    w.pmax = exp((w.max - w.R) * w.T) / w.S;
    w.margin = w.pmax - exp((w.second - w.R) * w.T) / w.S;
    w.entropy = log(s) - a / s;
    return w;
}

/* The share of the tolerance that y uses up, at most 1. */
static double y_error(const struct call *c, const struct want *w, int64_t row)
{
    const uint32_t dtype = c->tensor[TENON_SOFTMAX_Y].dtype;
    const double u = 0x1p-24, ulp = dtype == TENON_F32 ? 0 : dtype == TENON_F16 ? 0x1p-10 : 0x1p-7;
    double worst = 0;
    for (int64_t j = 0; j < c->cols; j++) {
        const double got = get(c, TENON_SOFTMAX_Y, row * c->cols + j), v = exists(c, row, j) ? logit(c, row, j) : 0;
        const double d = (v - w->R) * w->T;
        double y = c->params.kind ? d - log(w->S) : exp(d) / w->S;
        double bound = c->params.kind ? u * (8 + 2 * fabs(y) + fabs(w->R)) : y * u * (12 + 2 * fabs(d) + fabs(v));
        bound += fabs(y) * ulp + (dtype == TENON_F16 ? 0x1p-24 : 0x1p-126);
        if (!exists(c, row, j) || !w->exist) {
            y = c->params.kind ? -(double)INFINITY : 0;
            worst = got == y ? worst : 1e9;
        } else if (!(fabs(got - y) <= worst * bound)) {
            worst = isnan(got) ? 1e9 : fabs(got - y) / bound;
        }
    }
    return worst;
}

static double stat_error(const struct call *c, const struct want *w, int64_t row)
{
    const double u = 0x1p-24, lse_bound = u * (8 + 2 * fabs(w->lse) + fabs(w->R));
    const double p_bound = w->pmax * u * (32 + 2 * fabs((w->max - w->R) * w->T));
    double worst = get(c, TENON_SOFTMAX_MAX, row) == w->max ? 0 : 1e9;
    worst = fmax(worst, ((const int32_t *)c->ptr[TENON_SOFTMAX_ARGMAX])[row] == w->argmax ? 0 : 1e9);
    worst = fmax(worst, fabs(get(c, TENON_SOFTMAX_LSE, row) - w->lse) / lse_bound);
    worst = fmax(worst, fabs(get(c, TENON_SOFTMAX_PMAX, row) - w->pmax) / p_bound);
    worst = fmax(worst, fabs(get(c, TENON_SOFTMAX_MARGIN, row) - w->margin) / p_bound);
    worst = fmax(worst, fabs(get(c, TENON_SOFTMAX_ENTROPY, row) - w->entropy) / (4e-6 * (1 + log((double)c->cols))));
    return fmax(worst, fabs(get(c, TENON_SOFTMAX_ENERGY, row) + w->lse / w->T) /
                           (lse_bound / w->T + 2 * u * fabs(w->lse / w->T)));
}

static double error_of(const struct call *c)
{
    double worst = 0;
    for (int64_t r = 0; r < c->rows; r++) {
        const struct want w = expect(c, r);
        const double y = y_error(c, &w, r), s = c->ptr[STAT0] && w.argmax >= 0 ? stat_error(c, &w, r) : 0;
        worst = y <= worst ? worst : y; /* NaN is an error */
        worst = s <= worst ? worst : s;
    }
    return worst;
}

/* ---- tests ---- */

static size_t bytes_of(const struct call *c, int i)
{
    return (size_t)(c->rows * (i <= TENON_SOFTMAX_MASK || i == TENON_SOFTMAX_Y ? c->cols : 1)) *
           TENON_DTYPE_SIZE(c->tensor[i].dtype);
}

/* All outputs, one after another; what the call held is garbage again. */
static unsigned char *take(struct call *c, size_t *size)
{
    *size = 0;
    for (int i = TENON_SOFTMAX_Y; i < N; i++)
        *size += c->ptr[i] ? bytes_of(c, i) : 0;
    unsigned char *all = malloc(*size + 1), *at = all;
    if (!all)
        bail("out of memory");
    for (int i = TENON_SOFTMAX_Y; i < N; i++)
        if (c->ptr[i]) {
            memcpy(at, c->ptr[i], bytes_of(c, i));
            memset(c->ptr[i], 0x5a, bytes_of(c, i));
            at += bytes_of(c, i);
        }
    return all;
}

static const struct variant {
    int64_t rows, cols;
    uint32_t x, y, kind;
    int options;
} variants[] = {
    {1, 1, TENON_F32, TENON_F32, 0, STATS},
    {3, 2, TENON_F32, TENON_F32, 0, 0},
    {5, 17, TENON_F32, TENON_F32, 1, 0},
    {7, 15, TENON_F16, TENON_F16, 0, STATS},
    {4, 63, TENON_BF16, TENON_BF16, 0, 0},
    {3, 65, TENON_BF16, TENON_F32, 1, STATS},
    {6, 100, TENON_F32, TENON_F32, 0, BIAS | STATS},
    {6, 513, TENON_F32, TENON_F32, 0, MASK | STATS},
    {6, 530, TENON_F32, TENON_F32, 1, VALID | SINK | STATS},
    {6, 530, TENON_F16, TENON_F32, 0, SCALE | BIAS | TEMP | ROW_SCALE | SINK | STATS},
    {40, 4096, TENON_F32, TENON_F32, 0, 0},
    {3, 4097, TENON_F16, TENON_F16, 0, 0},
    {2, 12345, TENON_F32, TENON_F32, 0, STATS | MASK},
    {1, 70001, TENON_F32, TENON_F32, 1, 0},
    {1, 100000, TENON_BF16, TENON_BF16, 0, ROW_SCALE | STATS},
    {2, 300007, TENON_F32, TENON_F32, 0, 0},
};

static int allowed(const struct variant *v, uint32_t algo)
{
    return algo != TENON_SOFTMAX_TWO_PASS_EXT || !(v->options & (BIAS | SCALE | TEMP | ROW_SCALE));
}

static void test_variant(const struct variant *v, uint32_t algo)
{
    static const struct {
        int order;
        uint32_t threads;
    } ways[] = {{0, 1}, {-1, 2}, {3, 3}, {0, 7}};
    struct call c = make(v->x, v->y, v->rows, v->cols, algo, v->kind, v->options);
    unsigned char *first = NULL;
    size_t size;
    int differ = 0;
    double worst = 0;
    for (unsigned i = 0; isa_at(i); i++)
        for (unsigned k = 0; k < (v->cols > 100000 && i == 0 ? 1 : 4); k++) {
            c.order = ways[k].order;
            c.threads = ways[k].threads;
            run(isa_at(i), &c);
            if (!first)
                worst = error_of(&c);
            unsigned char *out = take(&c, &size);
            differ += first && memcmp(first, out, size) != 0;
            if (first)
                free(out);
            else
                first = out;
        }
    ok(worst <= 1, "%lldx%lld options %d algo %u: within the tolerance (%.2f of it)", (long long)v->rows,
       (long long)v->cols, v->options, algo, worst);
    is_int(differ, 0, "%lldx%lld options %d algo %u: same bits on every ISA, for any threads", (long long)v->rows,
           (long long)v->cols, v->options, algo);
    free(first);
    destroy(&c);
}

/* A row alone, in place, and as one of many: the same bits. */
static void test_rows(uint32_t algo, int64_t cols)
{
    const struct isa *isa = isa_at(0);
    struct call c = make(TENON_F32, TENON_F32, 9, cols, algo, 0, 0);
    int wrong = 0;
    for (unsigned i = 0; isa_at(i); i++)
        isa = isa_at(i);
    c.threads = 2;
    run(isa, &c);
    for (int64_t r = 0; r < c.rows; r++) {
        struct call one = make(TENON_F32, TENON_F32, 1, cols, algo, 0, 0);
        memcpy(one.ptr[TENON_SOFTMAX_X], (float *)c.ptr[TENON_SOFTMAX_X] + r * cols, (size_t)cols * 4);
        free(one.ptr[TENON_SOFTMAX_Y]);
        one.ptr[TENON_SOFTMAX_Y] = one.ptr[TENON_SOFTMAX_X];
        one.threads = r % 2 ? 1 : 4;
        run(isa, &one);
        wrong += memcmp(one.ptr[TENON_SOFTMAX_Y], (float *)c.ptr[TENON_SOFTMAX_Y] + r * cols, (size_t)cols * 4) != 0;
        one.ptr[TENON_SOFTMAX_Y] = NULL;
        destroy(&one);
    }
    is_int(wrong, 0, "cols %lld algo %u: a row alone and in place has the bits it has among others", (long long)cols,
           algo);
    destroy(&c);
}

/* ---- special rows ---- */

enum { SPECIAL_COLS = 5 };
static const float inf = INFINITY, nan_value = NAN;

static int equal(double a, double b)
{
    return a == b || (isnan(a) && isnan(b)) || fabs(a - b) <= 1e-6 * fabs(b);
}

static void test_special(const struct isa *isa, uint32_t algo, uint32_t kind)
{
    static const struct {
        const char *name;
        float x[SPECIAL_COLS], y0; /* y0: of EXP, first entry */
        float lse, max, entropy;
        int argmax;
    } rows[] = {
        {"NaN", {1, 2, NAN, 3, 0}, NAN, NAN, NAN, NAN, 3},
        {"+Inf", {1, INFINITY, 0, INFINITY, 2}, NAN, NAN, NAN, NAN, 1},
        {"empty", {-INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY}, 0, -INFINITY, -INFINITY, 0, -1},
        {"-Inf and NaN", {NAN, NAN, -INFINITY, NAN, -INFINITY}, NAN, NAN, NAN, NAN, 2},
        {"all NaN", {NAN, NAN, NAN, NAN, NAN}, NAN, NAN, NAN, NAN, 0},
        {"one finite", {-INFINITY, -INFINITY, 7, -INFINITY, -INFINITY}, 0, 7, 7, 0, 2},
        {"equal", {3, 3, 3, 3, 3}, 0.2f, 4.6094379f, 3, 1.6094379f, 0},
        {"wide", {-3e38f, 3e38f, 0, -1, 1}, 0, 3e38f, 3e38f, 0, 1},
        {"beyond 2^20", {2e6f, 2e6f, -5e6f, 0, -INFINITY}, 0.5f, 2000000.75f, 2e6f, 0.6931472f, 0},
    };
    const int64_t n = sizeof rows / sizeof rows[0];
    struct call c = make(TENON_F32, TENON_F32, n, SPECIAL_COLS, algo, kind, STATS);
    for (int64_t r = 0; r < n; r++)
        memcpy((float *)c.ptr[TENON_SOFTMAX_X] + r * SPECIAL_COLS, rows[r].x, sizeof rows[r].x);
    run(isa, &c);
    int wrong = 0;
    for (int64_t r = 0; r < n; r++) {
        const double want = kind ? log((double)rows[r].y0) : (double)rows[r].y0,
                     y = get(&c, TENON_SOFTMAX_Y, r * SPECIAL_COLS);
        const int fine = (equal(y, want) || (kind && isinf(want) && y < -1e6)) &&
                         equal(get(&c, TENON_SOFTMAX_LSE, r), (double)rows[r].lse) &&
                         equal(get(&c, TENON_SOFTMAX_MAX, r), (double)rows[r].max) &&
                         equal(get(&c, TENON_SOFTMAX_ENTROPY, r), (double)rows[r].entropy) &&
                         ((int32_t *)c.ptr[TENON_SOFTMAX_ARGMAX])[r] == rows[r].argmax;
        if (!fine)
            tap_note("%s: y[0] %g lse %g max %g entropy %g argmax %d", rows[r].name, y, get(&c, TENON_SOFTMAX_LSE, r),
                     get(&c, TENON_SOFTMAX_MAX, r), get(&c, TENON_SOFTMAX_ENTROPY, r),
                     ((int32_t *)c.ptr[TENON_SOFTMAX_ARGMAX])[r]);
        wrong += !fine;
    }
    is_int(wrong, 0, "%s: special rows, algo %u kind %u", isa->name, algo, kind);
    destroy(&c);
}

/* Rows with nothing in them by mask, by sink and by rule; bad scales; T == 0. */
static void test_empty(const struct isa *isa, uint32_t algo)
{
    struct call c = make(TENON_F32, TENON_F32, 1, 4, algo, 0, STATS | MASK);
    float *x = c.ptr[TENON_SOFTMAX_X], *y = c.ptr[TENON_SOFTMAX_Y];
    uint8_t *mask = c.ptr[TENON_SOFTMAX_MASK];
    for (int j = 0; j < 4; j++) {
        x[j] = j == 3 ? nan_value : -inf;
        mask[j] = j < 2;
    }
    c.params.empty_row = TENON_SOFTMAX_EMPTY_UNIFORM;
    run(isa, &c);
    ok(y[0] == 0.5f && y[1] == 0.5f && y[2] == 0 && y[3] == 0, "%s: empty row, uniform over what exists, algo %u",
       isa->name, algo);
    c.params.empty_row = TENON_SOFTMAX_EMPTY_NAN;
    run(isa, &c);
    ok(isnan(y[0]) && y[2] == 0 && y[3] == 0, "%s: empty row, NaN where something exists, algo %u", isa->name, algo);
    ok(get(&c, TENON_SOFTMAX_ENERGY, 0) == (double)inf && get(&c, TENON_SOFTMAX_PMAX, 0) == 0, "%s: its statistics",
       isa->name);
    give(&c, TENON_SOFTMAX_SINK, TENON_F32, 0);
    *(float *)c.ptr[TENON_SOFTMAX_SINK] = 2.5f;
    run(isa, &c);
    ok(y[0] == 0 && get(&c, TENON_SOFTMAX_LSE, 0) == 2.5, "%s: empty row with a sink, algo %u", isa->name, algo);
    destroy(&c);
}

static void test_scales(const struct isa *isa, uint32_t algo)
{
    static const float scale[] = {1, 0, -1, NAN, INFINITY, 0x1p-120f, 1e30f};
    struct call c = make(TENON_F32, TENON_F32, 7, 3, algo, 0, STATS | ROW_SCALE);
    float *x = c.ptr[TENON_SOFTMAX_X], *y = c.ptr[TENON_SOFTMAX_Y];
    memcpy(c.ptr[TENON_SOFTMAX_ROW_SCALE], scale, sizeof scale);
    c.params.inv_temp = 1e10f;
    for (int r = 0; r < 7; r++) {
        x[3 * r] = r == 5 ? -3e38f : 1;
        x[3 * r + 1] = r == 5 ? 3e38f : 2;
        x[3 * r + 2] = -inf;
    }
    run(isa, &c);
    ok(y[0] == 0 && y[1] == 1, "%s: a cold row, algo %u", isa->name, algo);
    ok(y[3] == 0.5f && y[4] == 0.5f && y[5] == 0, "%s: T = 0 is uniform above -Inf, algo %u", isa->name, algo);
    ok(get(&c, TENON_SOFTMAX_ENERGY, 1) == -(double)inf, "%s: and has energy -Inf", isa->name);
    int nans = 0;
    for (int r = 2; r < 5; r++)
        nans += isnan(y[3 * r]) && isnan(y[3 * r + 2]) && isnan(get(&c, TENON_SOFTMAX_MAX, r)) &&
                ((int32_t *)c.ptr[TENON_SOFTMAX_ARGMAX])[r] == 1;
    is_int(nans, 3, "%s: a scale that is negative, NaN or infinite makes the row NaN, algo %u", isa->name, algo);
    const double d = -6e38 * 0x1p-120 * (double)1e10f;
    ok(fabs((double)y[15] - exp(d) / (1 + exp(d))) < 1e-6, "%s: differences beyond the largest float, algo %u",
       isa->name, algo);
    ok(y[18] == 0 && y[19] == 1, "%s: a temperature beyond the largest float, algo %u", isa->name, algo);
    destroy(&c);
}

int main(void)
{
    for (uint32_t algo = 0; algo <= TENON_SOFTMAX_FIXED_MAX; algo++)
        for (unsigned k = 0; k < sizeof variants / sizeof variants[0]; k++)
            if (allowed(&variants[k], algo))
                test_variant(&variants[k], algo);
    for (uint32_t algo = 0; algo <= TENON_SOFTMAX_FIXED_MAX; algo++) {
        test_rows(algo, 33);
        test_rows(algo, 9000);
    }
    for (unsigned i = 0; isa_at(i); i++)
        for (uint32_t algo = 0; algo <= TENON_SOFTMAX_FIXED_MAX; algo++) {
            test_special(isa_at(i), algo, TENON_SOFTMAX_EXP);
            test_special(isa_at(i), algo, TENON_SOFTMAX_LOG_EXP);
            test_empty(isa_at(i), algo);
            if (algo != TENON_SOFTMAX_TWO_PASS_EXT)
                test_scales(isa_at(i), algo);
        }
    return tap_done();
}

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Every wrapper of simd.h on every ISA against the scalar one, bit for bit; partial loads and stores against pages
 * that must not be touched; the golden values of exp and log. */
#define _DEFAULT_SOURCE
#include "config.h"

#include <math.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../tap.h"
#include "simd_probe.h"

extern const struct probe probe_scalar;

static uint64_t random_state = 1;

static uint32_t random_bits(void)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ z >> 31) >> 32);
}

static float as_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint32_t as_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static const uint32_t special[] = {
    0x00000000, 0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 0x7fc00000, 0xffc12345,
    0x7f800001, 0x00000001, 0x80000001, 0x007fffff, 0x00800000, 0x7f7fffff, 0xff7fffff, 0x4b000000,
    0x4b000001, 0x4affffff, 0x3f000000, 0x3effffff, 0x3f000001, 0x40200000, 0xc0200000, 0x40600000,
    0x33800000, 0xc2aeac50, 0xc2aeac4f, 0x42b0bd71, 0x477fe000, 0x477ff000, 0x477fefff, 0x38800000,
    0x387fffff, 0x33000000, 0x33000001, 0x47800000, 0x3f803000, 0x3f801000, 0x3f808000, 0x3f818000,
};
enum { SPECIALS = sizeof special / sizeof special[0] };

/* Any bits, special values, and numbers near each other, so that sums cancel. */
static uint32_t argument(void)
{
    const uint32_t r = random_bits();
    switch (r % 4) {
    case 0:
        return special[(r >> 2) % SPECIALS];
    case 1:
        return random_bits();
    default:
        return as_bits(((float)(int32_t)random_bits() * 0x1p-31f) * (float)(1 << (r >> 2) % 12));
    }
}

/* The product a*b is nearly -c: the case in which a fused and an unfused result differ most. */
static void cancel(uint32_t *a, uint32_t *b, uint32_t *c)
{
    *a = as_bits(1.0f + (float)(random_bits() >> 9) * 0x1p-23f);
    *b = as_bits(1.0f + (float)(random_bits() >> 9) * 0x1p-23f);
    *c = as_bits(-as_float(*a) * as_float(*b)) + random_bits() % 3 - 1;
}

/* Two roundings instead of one show where the product lies beside a midpoint: 2^24 + 1 + tiny. */
static void midpoint(uint32_t *a, uint32_t *b, uint32_t *c)
{
    const int scale = (int)(random_bits() % 60);
    *a = as_bits((random_bits() & 1 ? 1.0f : -1.0f) * (1.0f + (float)(random_bits() % 8) * 0x1p-23f));
    *b = as_bits(ldexpf(1.0f + (float)(random_bits() % 8) * 0x1p-23f, -24 - scale / 20));
    *c = as_bits(ldexpf((float)(0x800000u + random_bits() % 0x800000u), -23));
    if (scale == 0) { /* into the subnormal numbers */
        *b = as_bits(ldexpf(as_float(*b), -120));
        *c = random_bits() % 0x1000000u;
    }
}

static void arguments(int kind, uint32_t *a, uint32_t *b, uint32_t *c)
{
    for (int l = 0; l < PROBE_LANES; l++) {
        a[l] = argument();
        b[l] = argument();
        c[l] = argument();
        if (l % 4 == 1)
            cancel(&a[l], &b[l], &c[l]);
        if (l % 4 == 3)
            midpoint(&a[l], &b[l], &c[l]);
        if (kind == PROBE_SMALL)
            a[l] = as_bits((float)(int32_t)random_bits() * (l % 2 ? 0.999f : 0x1.8p-27f));
        if (kind == PROBE_INTEGRAL)
            a[l] = as_bits((float)((int32_t)(random_bits() % 300) - 172));
    }
}

static int same(int kind, uint32_t got, uint32_t want)
{
    return got == want || (kind == PROBE_NUMBER && isnan(as_float(got)) && isnan(as_float(want)));
}

static void test_ops(const struct probe *p)
{
    for (int k = 0; p->ops[k].name; k++) {
        uint32_t a[PROBE_LANES], b[PROBE_LANES], c[PROBE_LANES], got[PROBE_LANES], want[PROBE_LANES];
        int wrong = -1;
        for (int round = 0; round < 4000 && wrong < 0; round++) {
            arguments(p->ops[k].kind, a, b, c);
            if (strcmp(p->ops[k].name, "vf_set1") == 0)
                for (int l = 1; l < PROBE_LANES; l++)
                    a[l] = a[0];
            p->ops[k].apply(a, b, c, got);
            probe_scalar.ops[k].apply(a, b, c, want);
            for (int l = 0; l < PROBE_LANES && wrong < 0; l++)
                if (!same(p->ops[k].kind, got[l], want[l]))
                    wrong = l;
        }
        if (!ok(wrong < 0, "%s: %s", p->name, p->ops[k].name))
            tap_note("lane %d: %08x %08x %08x gives %08x, scalar %08x", wrong, a[wrong], b[wrong], c[wrong], got[wrong],
                     want[wrong]);
    }
}

/* The scalar wrappers themselves, where C alone says what is right. */
static void test_scalar(void)
{
    uint32_t a[PROBE_LANES], b[PROBE_LANES], c[PROBE_LANES], got[PROBE_LANES];
    int fma_wrong = 0, rint_wrong = 0, max_wrong = 0;
    for (int round = 0; round < 4000; round++) {
        arguments(PROBE_NUMBER, a, b, c);
        for (int k = 0; probe_scalar.ops[k].name; k++) {
            const char *name = probe_scalar.ops[k].name;
            if (strcmp(name, "vf_fma") != 0 && strcmp(name, "vf_rint") != 0 && strcmp(name, "vf_max") != 0)
                continue;
            probe_scalar.ops[k].apply(a, b, c, got);
            for (int l = 0; l < PROBE_LANES; l++) {
                const float x = as_float(a[l]), y = as_float(b[l]), z = as_float(c[l]);
                if (strcmp(name, "vf_fma") == 0)
                    fma_wrong += !same(PROBE_NUMBER, got[l], as_bits(fmaf(x, y, z)));
                if (strcmp(name, "vf_rint") == 0)
                    rint_wrong += !same(PROBE_NUMBER, got[l], as_bits(nearbyintf(x)));
                if (strcmp(name, "vf_max") == 0)
                    max_wrong += got[l] != (x > y ? a[l] : b[l]);
            }
        }
    }
    is_int(fma_wrong, 0, "scalar: vf_fma is fmaf");
    is_int(rint_wrong, 0, "scalar: vf_rint is half to even");
    is_int(max_wrong, 0, "scalar: vf_max(a, b) is a > b ? a : b");
}

/* Three pages, of which the middle one may be touched. */
static unsigned char *guarded(size_t *size)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *p = mmap(NULL, 3 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || mprotect(p + page, page, PROT_READ | PROT_WRITE))
        bail("no guarded memory");
    *size = page;
    return p + page;
}

static void test_loads(const struct probe *p, unsigned char *page, size_t size)
{
    for (int k = 0; p->loads[k].name; k++) {
        const struct probe_load *load = &p->loads[k], *plain = &probe_scalar.loads[k];
        int wrong = 0;
        for (int n = 0; n <= p->lanes; n++)
            for (int end = 0; end < 2; end++) {
                const size_t bytes = (size_t)n * (size_t)load->size;
                unsigned char *at = end ? page + size - bytes : page;
                uint32_t got[PROBE_LANES], want;
                for (size_t i = 0; i < bytes; i++)
                    at[i] = i % 3 ? (unsigned char)random_bits() : 0;
                load->part(at, n, got);
                for (int l = 0; l < p->lanes; l++) {
                    want = 0;
                    if (l < n)
                        plain->whole(at + l * load->size, &want);
                    wrong += !same(PROBE_NUMBER, got[l], want);
                }
                if (n < p->lanes)
                    continue;
                load->whole(at, got);
                for (int l = 0; l < p->lanes; l++) {
                    plain->whole(at + l * load->size, &want);
                    wrong += !same(PROBE_NUMBER, got[l], want);
                }
            }
        is_int(wrong, 0, "%s: %s touches only its elements", p->name, load->name);
    }
}

static int store_is(const struct probe *p, int k, unsigned char *at, const unsigned char *before, const uint32_t *in,
                    int n, size_t room)
{
    const struct probe_store *store = &p->stores[k];
    const size_t bytes = (size_t)n * (size_t)store->size;
    int wrong = memcmp(at + bytes, before + bytes, room - bytes) != 0;
    for (int l = 0; l < n; l++) {
        uint32_t want = 0;
        probe_scalar.stores[k].whole(&want, in + l);
        wrong |= memcmp(at + l * store->size, &want, (size_t)store->size) != 0;
    }
    return !wrong;
}

static void test_stores(const struct probe *p, unsigned char *page, size_t size)
{
    for (int k = 0; p->stores[k].name; k++) {
        const struct probe_store *store = &p->stores[k];
        int wrong = 0;
        for (int round = 0; round < 500; round++) {
            const int n = round % (p->lanes + 1);
            const size_t bytes = (size_t)n * (size_t)store->size, room = round % 2 ? bytes : bytes + 8;
            unsigned char *at = round % 2 ? page + size - bytes : page, before[80];
            uint32_t in[PROBE_LANES];
            for (int l = 0; l < PROBE_LANES; l++)
                in[l] = argument();
            memset(before, 0xa5, sizeof before);
            memcpy(at, before, room);
            store->part(at, in, n);
            wrong += !store_is(p, k, at, before, in, n, room);
            if (n == p->lanes) {
                memcpy(at, before, room);
                store->whole(at, in);
                wrong += !store_is(p, k, at, before, in, n, room);
            }
        }
        is_int(wrong, 0, "%s: %s touches only its elements", p->name, store->name);
    }
}

/* Every f16 and bf16 there is, there and back. */
static void test_16(const struct probe *p)
{
    static const char *const names[2][2] = {{"vf_load_f16", "vf_store_f16"}, {"vf_load_bf16", "vf_store_bf16"}};
    for (int t = 0; t < 2; t++) {
        const struct probe_load *load = p->loads;
        const struct probe_store *store = p->stores;
        int wrong = 0;
        while (strcmp(load->name, names[t][0]) != 0)
            load++;
        while (strcmp(store->name, names[t][1]) != 0)
            store++;
        for (uint32_t h = 0; h < 65536; h += (uint32_t)p->lanes) {
            uint16_t in[PROBE_LANES], back[PROBE_LANES];
            uint32_t wide[PROBE_LANES];
            for (int l = 0; l < p->lanes; l++)
                in[l] = (uint16_t)(h + (uint32_t)l);
            load->whole(in, wide);
            store->whole(back, wide);
            for (int l = 0; l < p->lanes; l++)
                wrong += back[l] != in[l] && !(isnan(as_float(wide[l])) && (back[l] | (t ? 0x40 : 0x200)) == back[l]);
        }
        is_int(wrong, 0, "%s: %s and %s of all 65536 values", p->name, names[t][0], names[t][1]);
    }
}

static void test_reductions(const struct probe *p)
{
    int wrong = 0;
    for (int round = 0; round < 1000; round++) {
        float a[PROBE_LANES], sum[PROBE_LANES], most[PROBE_LANES], least[PROBE_LANES];
        for (int l = 0; l < p->lanes; l++)
            sum[l] = most[l] = least[l] = a[l] = as_float(argument());
        for (int half = p->lanes / 2; half > 0; half /= 2)
            for (int l = 0; l < half; l++) {
                sum[l] += sum[l + half];
                most[l] = most[l] > most[l + half] ? most[l] : most[l + half];
                least[l] = least[l] < least[l + half] ? least[l] : least[l + half];
            }
        wrong += !same(PROBE_NUMBER, as_bits(p->reduce_add(a)), as_bits(sum[0]));
        wrong += !same(PROBE_NUMBER, as_bits(p->reduce_max(a)), as_bits(most[0]));
        wrong += !same(PROBE_NUMBER, as_bits(p->reduce_min(a)), as_bits(least[0]));
    }
    is_int(wrong, 0, "%s: reductions go by halves", p->name);
    float in[PROBE_LANES], out[PROBE_LANES] __attribute__((aligned(64)));
    for (int l = 0; l < PROBE_LANES; l++)
        in[l] = (float)l;
    p->stream(out, in);
    ok(memcmp(out, in, (size_t)p->lanes * sizeof *in) == 0, "%s: vf_stream", p->name);
}

static uint32_t value(const struct probe *p, const char *name, float x)
{
    uint32_t a[PROBE_LANES], out[PROBE_LANES];
    const struct probe_op *op = p->ops;
    while (strcmp(op->name, name) != 0)
        op++;
    for (int l = 0; l < PROBE_LANES; l++)
        a[l] = as_bits(x);
    op->apply(a, a, a, out);
    for (int l = 1; l < PROBE_LANES; l++)
        if (out[l] != out[0])
            return 0xdeadbeef;
    return out[0];
}

static void test_golden(const struct probe *p)
{
    static const struct {
        const char *name;
        float x;
        uint32_t bits;
    } golden[] = {
        {"vf_exp", 0.0f, 0x3f800000},     {"vf_exp", -0.5f, 0x3f1b4598},
        {"vf_exp", -1.0f, 0x3ebc5ab2},    {"vf_exp", -10.0f, 0x383e6bce},
        {"vf_exp", -87.0f, 0x00b33687},   {"vf_exp", -87.4f, 0},
        {"vf_exp", -INFINITY, 0},         {"vf_log", 0.5f, 0xbf317218},
        {"vf_log", 2.0f, 0x3f317218},     {"vf_log", 0x1.fffffep-1f, 0xb3800000},
        {"vf_log", 0x1p-24f, 0xc1851592}, {"vf_log", 10.0f, 0x40135d8e},
    };
    for (unsigned k = 0; k < sizeof golden / sizeof golden[0]; k++)
        is_int(value(p, golden[k].name, golden[k].x), golden[k].bits, "%s: %s(%a)", p->name, golden[k].name,
               (double)golden[k].x);
    ok(isnan(as_float(value(p, "vf_exp", as_float(0x7f800001)))), "%s: vf_exp keeps NaN with any payload", p->name);
}

static void test_accuracy(const struct probe *p)
{
    double exp_worst = 0, log_worst = 0;
    for (int i = 0; i < 200000; i++) {
        const float x = -87.3365f * (float)random_bits() * 0x1p-32f,
                    y = as_float(0x00800000 + random_bits() % 0x7f000000u);
        const double e = exp((double)x), g = (double)as_float(value(p, "vf_exp", x));
        const double l = log((double)y), h = (double)as_float(value(p, "vf_log", y));
        const double exp_ulp = ldexp(1.0, ilogb(e) - 23), log_ulp = ldexp(1.0, ilogb(l) - 23);
        exp_worst = fmax(exp_worst, fabs(g - e) / exp_ulp);
        log_worst = l == 0 ? log_worst : fmax(log_worst, fabs(h - l) / log_ulp);
    }
    ok(exp_worst <= 0.9865, "vf_exp within 0.9865 units of the last place: %.3f", exp_worst);
    ok(log_worst <= 0.8317, "vf_log within 0.8317 units of the last place: %.3f", log_worst);
}

int main(void)
{
    size_t size;
    unsigned char *page = guarded(&size);
    test_scalar();
    test_accuracy(&probe_scalar);
    for (unsigned i = 0; probe_at(i); i++) {
        const struct probe *p = probe_at(i);
        if (i > 0)
            test_ops(p);
        test_loads(p, page, size);
        test_stores(p, page, size);
        test_16(p);
        test_reductions(p);
        test_golden(p);
    }
    return tap_done();
}

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include "catalog.h"

struct tenon_context *catalog_context;
const char *catalog_device;

int catalog_devices(void (*systems)(void))
{
    static const char *const devices[] = {"cpu", "opencl", "vulkan"};
    for (size_t i = 0; i < sizeof devices / sizeof devices[0]; i++) {
        catalog_device = devices[i];
        if (tenon_context_open(catalog_device, &catalog_context)) {
            skip("no such device", "%s: the systems of the catalog", catalog_device);
            continue;
        }
        systems();
        tenon_context_close(catalog_context);
    }
    return tap_done();
}

static uint64_t state;

void catalog_seed(uint64_t seed)
{
    state = seed;
}

double catalog_uniform(void)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return ((double)(state >> 11) + 0.5) * 0x1p-53;
}

double catalog_normal(void)
{
    const double a = catalog_uniform(), b = catalog_uniform();
    return sqrt(-2 * log(a)) * cos(6.283185307179586 * b);
}

int catalog_close(double got, double want)
{
    return got == want || fabs(got - want) <= 1e-6 + 2e-5 * fabs(want);
}

void catalog_are(const float *got, const double *want, int n, const char *name)
{
    int wrong = -1;
    for (int i = n - 1; i >= 0; i--)
        if (!catalog_close((double)got[i], want[i]))
            wrong = i;
    if (!ok(wrong < 0, "%s: %s", catalog_device, name))
        tap_note("element %d is %.9g, must be %.9g", wrong, (double)got[wrong], want[wrong]);
}

double catalog_exp_weights(const double *z, double *w, int n)
{
    double m = -(double)INFINITY, s = 0;
    for (int i = 0; i < n; i++)
        m = fmax(m, z[i]);
    for (int i = 0; i < n; i++)
        s += w[i] = exp(z[i] - m);
    for (int i = 0; i < n; i++)
        w[i] /= s;
    return m + log(s);
}

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The published layers with gated recurrences, with the convolution and the projections around them; and that calls
 * over any split of their tokens, pieces without tokens among them, give the bits of one call. */
#include <tenon/ops/causal_conv1d.h>
#include <tenon/ops/linear.h>
#include <tenon/ops/selective_scan.h>

#include "catalog.h"

enum { T = 29, D = 12, S = 5, R = 2, N = T * D, MAP = R + 2 * S };
#define SCAN(NAME) TENON_SELECTIVE_SCAN_##NAME

static float u[N], dt[N], z[N], y[N], a[D * S], map[T * MAP], skip[D], bias[D];
static double want[N];
static struct tenon_selective_scan_params p;
static struct tenon_value v[TENON_SELECTIVE_SCAN_N_TENSORS];

static double softplus(double x)
{
    return log1p(exp(x));
}
static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static void normals(float *to, int n, double scale)
{
    for (int i = 0; i < n; i++)
        to[i] = (float)(scale * catalog_normal());
}

static struct tenon_value tokens(float *from, int first, int count)
{
    return tenon_value_host(from + first * D, TENON_F32, 3, (int64_t[]){1, count, D});
}

/* b, or c: columns `from` on of the projection, in place. */
static struct tenon_value columns(int from, int first, int count)
{
    struct tenon_value value = tenon_value_host(map + first * MAP + from, TENON_F32, 4, (int64_t[]){1, count, 1, S});
    value.tensor.stride[0] = T * MAP;
    value.tensor.stride[1] = MAP;
    return value;
}

static void set_tokens(int first, int count)
{
    v[SCAN(U)] = tokens(u, first, count);
    v[SCAN(DT)] = tokens(dt, first, count);
    v[SCAN(Y)] = tokens(y, first, count);
    if (p.mode == SCAN(SSM)) {
        v[SCAN(BM)] = columns(R, first, count);
        v[SCAN(CM)] = columns(R + S, first, count);
        v[SCAN(Z)] = tokens(z, first, count);
    }
}

static int run(const char *name)
{
    return is_int(tenon_run(catalog_context, TENON_OPNUM_selective_scan, &p, v, TENON_SELECTIVE_SCAN_N_TENSORS),
                  TENON_OK, "%s: %s runs%s%s", catalog_device, name, tenon_error()[0] ? ": " : "", tenon_error());
}

/* One call, then calls over pieces with the states handed on: the same bits. */
static void gives_want(const char *name)
{
    static const int cuts[] = {0, 1, 1, 2, 9, 17, 17, 28, T};
    const int64_t ssm = p.mode == SCAN(SSM), dims[] = {1, D, S};
    float state[D * S] = {0}, end[D * S], whole[N];
    memset(y, 0xff, sizeof y); /* NaN: what another run left would do as well */
    set_tokens(0, T);
    v[SCAN(STATE_OUT)] = tenon_value_host(end, TENON_F32, ssm ? 3 : 2, dims);
    if (!run(name))
        return;
    catalog_are(y, want, N, name);
    memcpy(whole, y, sizeof whole);
    memset(y, 0xff, sizeof y);
    for (size_t i = 0; i + 1 < sizeof cuts / sizeof cuts[0]; i++) {
        set_tokens(cuts[i], cuts[i + 1] - cuts[i]);
        v[SCAN(STATE)] = v[SCAN(STATE_OUT)] = tenon_value_host(state, TENON_F32, ssm ? 3 : 2, dims);
        if (tenon_run(catalog_context, TENON_OPNUM_selective_scan, &p, v, TENON_SELECTIVE_SCAN_N_TENSORS))
            tap_note("%s", tenon_error());
    }
    ok(memcmp(whole, y, sizeof whole) == 0 && memcmp(end, state, (ssm ? S : 1) * D * sizeof(float)) == 0,
       "%s: %s: pieces have the bits of the whole", catalog_device, name);
}

static int linear(float *x, int k, int pitch, const float *w, int n, float *out, const char *name)
{
    struct tenon_linear_params params;
    struct tenon_value l[TENON_LINEAR_N_TENSORS] = {0};
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_linear), &params);
    l[TENON_LINEAR_X] = tenon_value_host(x, TENON_F32, 2, (int64_t[]){T, k});
    l[TENON_LINEAR_X].tensor.stride[0] = pitch;
    l[TENON_LINEAR_W] = tenon_value_host(w, TENON_F32, 2, (int64_t[]){n, k});
    l[TENON_LINEAR_Y] = tenon_value_host(out, TENON_F32, 2, (int64_t[]){T, n});
    return is_int(tenon_run(catalog_context, TENON_OPNUM_linear, &params, l, TENON_LINEAR_N_TENSORS), TENON_OK,
                  "%s: %s runs", catalog_device, name);
}

/* From u on: u = silu(conv4(u) + bias); [dtr,B,C] = u Wx; dt = dtr Wdt; the scan with z. */
static void mamba(void)
{
    float conv_w[D * 4], conv_bias[D], wx[MAP * D], wdt[D * R], raw[N];
    double f_u[N], f_map[T * MAP], h[D][S] = {{0}};
    struct tenon_causal_conv1d_params conv;
    struct tenon_value cv[TENON_CAUSAL_CONV1D_N_TENSORS] = {0};
    catalog_seed(83);
    normals(raw, N, 1);
    normals(z, N, 1);
    normals(conv_w, D * 4, 0.5);
    normals(conv_bias, D, 0.5);
    normals(wx, MAP * D, 0.3);
    normals(wdt, D * R, 0.7);
    normals(skip, D, 1);
    normals(bias, D, 1);
    for (int i = 0; i < D * S; i++)
        a[i] = (float)-exp(0.3 * catalog_normal() + log(1 + i % S));
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_causal_conv1d), &conv);
    conv.act = TENON_CAUSAL_CONV1D_SILU;
    cv[TENON_CAUSAL_CONV1D_X] = tokens(raw, 0, T);
    cv[TENON_CAUSAL_CONV1D_W] = tenon_value_host(conv_w, TENON_F32, 3, (int64_t[]){D, 1, 4});
    cv[TENON_CAUSAL_CONV1D_BIAS] = tenon_value_host(conv_bias, TENON_F32, 1, (int64_t[]){D});
    cv[TENON_CAUSAL_CONV1D_Y] = tokens(u, 0, T);
    if (!is_int(tenon_run(catalog_context, TENON_OPNUM_causal_conv1d, &conv, cv, TENON_CAUSAL_CONV1D_N_TENSORS),
                TENON_OK, "%s: Mamba's convolution runs", catalog_device) ||
        !linear(u, D, D, wx, MAP, map, "Mamba's projection") || !linear(map, R, MAP, wdt, D, dt, "Mamba's step"))
        return;
    for (int t = 0; t < T; t++) {
        for (int d = 0; d < D; d++) {
            double sum = (double)conv_bias[d];
            for (int j = 0; j < 4 && j <= t; j++)
                sum += (double)conv_w[d * 4 + 3 - j] * (double)raw[(t - j) * D + d];
            f_u[t * D + d] = sum * sigmoid(sum);
        }
        for (int i = 0; i < MAP; i++) {
            f_map[t * MAP + i] = 0;
            for (int d = 0; d < D; d++)
                f_map[t * MAP + i] += f_u[t * D + d] * (double)wx[i * D + d];
        }
        for (int d = 0; d < D; d++) {
            double step = (double)bias[d], out = (double)skip[d] * f_u[t * D + d];
            for (int r = 0; r < R; r++)
                step += f_map[t * MAP + r] * (double)wdt[d * R + r];
            step = softplus(step);
            for (int n = 0; n < S; n++) {
                h[d][n] = exp(step * (double)a[d * S + n]) * h[d][n] + step * f_u[t * D + d] * f_map[t * MAP + R + n];
                out += f_map[t * MAP + R + S + n] * h[d][n];
            }
            want[t * D + d] = out * (double)z[t * D + d] * sigmoid((double)z[t * D + d]);
        }
    }
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_selective_scan), &p);
    memset(v, 0, sizeof v);
    p.softplus = 1;
    v[SCAN(A)] = tenon_value_host(a, TENON_F32, 2, (int64_t[]){D, S});
    v[SCAN(DSKIP)] = tenon_value_host(skip, TENON_F32, 1, (int64_t[]){D});
    v[SCAN(DT_BIAS)] = tenon_value_host(bias, TENON_F32, 1, (int64_t[]){D});
    gives_want("Mamba");
}

/* f = lb + (1 - lb) sigmoid(xWf), h = f h + silu(i) (1 - f); the same with logarithms. */
static void hgrn(void)
{
    double h[D] = {0};
    catalog_seed(89);
    for (int i = 0; i < N; i++) {
        const double lower = 0.1 + 0.05 * (i % D), input = catalog_normal();
        dt[i] = (float)(lower + (1 - lower) * sigmoid(2 * catalog_normal()));
        u[i] = (float)(input * sigmoid(input) * (1 - (double)dt[i]));
        want[i] = h[i % D] = (double)dt[i] * h[i % D] + (double)u[i];
    }
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_selective_scan), &p);
    memset(v, 0, sizeof v);
    p.mode = SCAN(PLAIN);
    gives_want("HGRN");
    memset(v, 0, sizeof v);
    p.decay = SCAN(LOG);
    for (int i = 0; i < N; i++)
        dt[i] = (float)log((double)dt[i]);
    gives_want("HGRN, logarithms of the gates");
}

static void systems(void)
{
    mamba();
    hgrn();
}

int main(void)
{
    return catalog_devices(systems);
}

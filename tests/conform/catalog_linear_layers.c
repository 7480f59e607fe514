/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Whole layers of linear attention, as chains of operators: projections, short convolutions, norms of queries and keys,
 * the recurrence, norm and gate of its heads, the last projection; against the same in f64, token by token. */
#include <tenon/ops/causal_conv1d.h>
#include <tenon/ops/gated_norm.h>
#include <tenon/ops/linear.h>
#include <tenon/ops/linear_attention.h>

#include "catalog.h"

#define L(NAME) TENON_LINEAR_ATTENTION_##NAME
#define G(NAME) TENON_GATED_NORM_##NAME
#define C(NAME) TENON_CAUSAL_CONV1D_##NAME
enum { T = 29, W = 10, H = 2, K = 6, V = 6, D = H * K, N = T * D, TAPS = 4 };

/* What a layer is made of. Decays are what `gate` makes of a projection, for head h. */
struct layer {
    const char *name;
    int conv, unit, silu;       /* of q, k and v: a convolution with SiLU; q, k of unit length; SiLU alone */
    uint32_t decay, form;       /* of linear_attention */
    int delta, keys;            /* keys: k = 1 - decay (HGRN2) */
    double (*gate)(double x, int h);
    float scale;                /* as of linear_attention */
    int skip;                   /* D u, added to what is read (Mamba2), and v = dt u */
    uint32_t order, act;        /* of gated_norm */
    int32_t group;
};

/* The same chain of floats, by the device, and of doubles. */
struct chain {
    float q[N], k[N], v[N], u[N], a[N], beta[T * H], o[N], gate[N], y[N], out[T * W];
    double dq[N], dk[N], dv[N], du[N], da[N], dbeta[T * H], d_o[N], dgate[N], dy[N], dout[T * W];
};

static float x[T * W], w[6][D * W], taps[3][D * TAPS], wo[W * D];
static int failed;

static void call(uint32_t op, const void *params, struct tenon_value *v, uint32_t n, const char *name)
{
    if (tenon_run(catalog_context, op, params, v, n) == TENON_OK)
        return;
    failed = 1;
    tap_note("%s: %s: %s", catalog_device, name, tenon_error());
}

static double sigmoid(double z)
{
    return 1 / (1 + exp(-z));
}

static double silu(double z)
{
    return z * sigmoid(z);
}

/* ---- links of the chain: by the device, and in f64 ---- */

static void project(const float *from, const double *dfrom, int in, const float *weight, int out, float *to,
                    double *dto)
{
    struct tenon_linear_params p;
    struct tenon_value v[TENON_LINEAR_N_TENSORS] = {0};
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_linear), &p);
    v[TENON_LINEAR_X] = tenon_value_host((void *)(uintptr_t)from, TENON_F32, 2, (int64_t[]){T, in});
    v[TENON_LINEAR_W] = tenon_value_host((void *)(uintptr_t)weight, TENON_F32, 2, (int64_t[]){out, in});
    v[TENON_LINEAR_Y] = tenon_value_host(to, TENON_F32, 2, (int64_t[]){T, out});
    call(TENON_OPNUM_linear, &p, v, TENON_LINEAR_N_TENSORS, "linear");
    for (int i = 0; i < T * out; i++) {
        dto[i] = 0;
        for (int c = 0; c < in; c++)
            dto[i] += dfrom[i / out * in + c] * (double)weight[i % out * in + c];
    }
}

static void convolve(float *of, double *dof, const float *filter)
{
    float y[N];
    double dy[N];
    struct tenon_causal_conv1d_params p;
    struct tenon_value v[C(N_TENSORS)] = {0};
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_causal_conv1d), &p);
    p.act = C(SILU);
    v[C(X)] = tenon_value_host(of, TENON_F32, 3, (int64_t[]){1, T, D});
    v[C(W)] = tenon_value_host((void *)(uintptr_t)filter, TENON_F32, 3, (int64_t[]){D, 1, TAPS});
    v[C(Y)] = tenon_value_host(y, TENON_F32, 3, (int64_t[]){1, T, D});
    call(TENON_OPNUM_causal_conv1d, &p, v, C(N_TENSORS), "causal_conv1d");
    for (int i = 0; i < N; i++) {
        dy[i] = 0;
        for (int j = 0; j < TAPS && j <= i / D; j++)
            dy[i] += dof[i - j * D] * (double)filter[i % D * TAPS + TAPS - 1 - j];
        dy[i] = silu(dy[i]);
    }
    memcpy(of, y, sizeof y);
    memcpy(dof, dy, sizeof dy);
}

/* norm of groups, with a gate or without one. */
static void normalise(const struct layer *l, float *of, double *dof, float *gate, const double *dgate, float *to,
                      double *dto)
{
    const int group = gate && l->group == 0 ? D : K;
    struct tenon_gated_norm_params p;
    struct tenon_value v[G(N_TENSORS)] = {0};
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_gated_norm), &p);
    p.norm = gate ? G(RMS) : G(L2);
    p.order = l->order;
    p.act = l->act;
    p.group = group;
    v[G(X)] = tenon_value_host(of, TENON_F32, 2, (int64_t[]){T, D});
    if (gate)
        v[G(GATE)] = tenon_value_host(gate, TENON_F32, 2, (int64_t[]){T, D});
    v[G(Y)] = tenon_value_host(to, TENON_F32, 2, (int64_t[]){T, D});
    call(TENON_OPNUM_gated_norm, &p, v, G(N_TENSORS), "gated_norm");
    for (int i = 0; i < N; i += group) {
        double square = 0, z[D];
        for (int j = 0; j < group; j++) {
            const double s = !gate ? 1 : l->act == G(SIGMOID) ? sigmoid(dgate[i + j]) : silu(dgate[i + j]);
            z[j] = dof[i + j] * (l->order == G(GATE_THEN_NORM) ? s : 1);
            square += z[j] * z[j] / (gate ? group : 1);
            dto[i + j] = l->order == G(GATE_THEN_NORM) ? 1 : s;
        }
        for (int j = 0; j < group; j++)
            dto[i + j] *= z[j] / sqrt(square + 1e-6);
    }
}

static void attend(const struct layer *l, struct chain *c)
{
    struct tenon_linear_attention_params p;
    struct tenon_value v[L(N_TENSORS)] = {0};
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_linear_attention), &p);
    p.decay = l->decay;
    p.decay_form = l->form;
    p.update = l->delta;
    p.scale = l->scale;
    p.chunk = 16;
    p.mode = L(CHUNKED);
    v[L(Q)] = tenon_value_host(c->q, TENON_F32, 4, (int64_t[]){1, T, H, K});
    v[L(K)] = tenon_value_host(c->k, TENON_F32, 4, (int64_t[]){1, T, H, K});
    v[L(V)] = tenon_value_host(c->v, TENON_F32, 4, (int64_t[]){1, T, H, V});
    v[L(O)] = tenon_value_host(c->o, TENON_F32, 4, (int64_t[]){1, T, H, V});
    if (l->decay == L(HEAD))
        v[L(DECAY)] = tenon_value_host(c->a, TENON_F32, 1, (int64_t[]){H});
    else if (l->decay)
        v[L(DECAY)] = tenon_value_host(c->a, TENON_F32, l->decay == L(KEY) ? 4 : 3, (int64_t[]){1, T, H, K});
    if (l->delta)
        v[L(BETA)] = tenon_value_host(c->beta, TENON_F32, 3, (int64_t[]){1, T, H});
    call(TENON_OPNUM_linear_attention, &p, v, L(N_TENSORS), "linear_attention");
}

static double decay_of(const struct layer *l, const struct chain *c, int i, int k)
{
    const double a = l->decay == L(HEAD) ? c->da[i % H] : l->decay == L(TOKEN) ? c->da[i] : c->da[i * K + k];
    return !l->decay ? 1 : l->form == L(LOG) ? exp(a) : a;
}

static void attend_f64(const struct layer *l, struct chain *c)
{
    double s[H][K][V] = {{{0}}};
    const double scale = l->scale == 0 ? 1 / sqrt(K) : (double)l->scale;
    for (int i = 0; i < T * H; i++) {
        double (*m)[V] = s[i % H];
        for (int y = 0; y < V; y++) {
            double u = c->dv[i * V + y], sum = 0;
            for (int k = 0; k < K; k++)
                m[k][y] *= decay_of(l, c, i, k);
            for (int k = 0; l->delta && k < K; k++)
                u -= m[k][y] * c->dk[i * K + k];
            u *= l->delta ? c->dbeta[i] : 1;
            for (int k = 0; k < K; k++) {
                m[k][y] += c->dk[i * K + k] * u;
                sum += m[k][y] * c->dq[i * K + k];
            }
            c->d_o[i * V + y] = scale * sum;
        }
    }
}

/* ---- elementwise parts, which a host or a projection's activation makes ---- */

static void gates(const struct layer *l, struct chain *c)
{
    const int n = l->decay == L(HEAD) ? H : l->decay == L(TOKEN) ? T * H : l->decay ? N : 0;
    const int heads = l->decay == L(KEY) ? K : 1;
    for (int i = 0; i < n; i++) {
        c->a[i] = (float)l->gate((double)c->a[i], i / heads % H);
        c->da[i] = l->gate(c->da[i], i / heads % H);
    }
    for (int i = 0; i < T * H; i++) {
        c->beta[i] = (float)sigmoid((double)c->beta[i]);
        c->dbeta[i] = sigmoid(c->dbeta[i]);
    }
    for (int i = 0; i < N; i++) {
        if (l->silu) {
            c->q[i] = (float)silu((double)c->q[i]);
            c->dq[i] = silu(c->dq[i]);
        }
        if (l->keys) {
            c->k[i] = 1 - c->a[i];
            c->dk[i] = 1 - c->da[i];
        } else if (l->silu) {
            c->k[i] = (float)silu((double)c->k[i]);
            c->dk[i] = silu(c->dk[i]);
            c->v[i] = (float)silu((double)c->v[i]);
            c->dv[i] = silu(c->dv[i]);
        }
        if (l->skip) { /* dt, of which the decay was made, is beta's projection here */
            c->u[i] = c->v[i];
            c->du[i] = c->dv[i];
            c->v[i] *= c->beta[i / V];
            c->dv[i] *= c->dbeta[i / V];
        }
    }
}

static void inputs(void)
{
    catalog_seed(61);
    for (int i = 0; i < T * W; i++)
        x[i] = (float)catalog_normal();
    for (int j = 0; j < 6; j++)
        for (int i = 0; i < D * W; i++)
            w[j][i] = (float)(catalog_normal() / sqrt(W));
    for (int j = 0; j < 3; j++)
        for (int i = 0; i < D * TAPS; i++)
            taps[j][i] = (float)(catalog_normal() / 2);
    for (int i = 0; i < W * D; i++)
        wo[i] = (float)(catalog_normal() / sqrt(D));
}

static void run_layer(const struct layer *l)
{
    static struct chain c;
    double dx[T * W];
    int wrong = -1;
    failed = 0;
    memset(&c, 0, sizeof c);
    for (int i = 0; i < T * W; i++)
        dx[i] = (double)x[i];
    project(x, dx, W, w[0], D, c.q, c.dq);
    project(x, dx, W, w[1], D, c.k, c.dk);
    project(x, dx, W, w[2], D, c.v, c.dv);
    project(x, dx, W, w[3], l->decay == L(KEY) ? D : H, c.a, c.da);
    project(x, dx, W, w[4], H, c.beta, c.dbeta);
    project(x, dx, W, w[5], D, c.gate, c.dgate);
    if (l->conv) {
        convolve(c.q, c.dq, taps[0]);
        convolve(c.k, c.dk, taps[1]);
        convolve(c.v, c.dv, taps[2]);
    }
    gates(l, &c);
    if (l->unit) {
        normalise(l, c.q, c.dq, NULL, NULL, c.q, c.dq);
        normalise(l, c.k, c.dk, NULL, NULL, c.k, c.dk);
    }
    attend(l, &c);
    attend_f64(l, &c);
    for (int i = 0; l->skip && i < N; i++) {
        c.o[i] += 0.5f * c.u[i];
        c.d_o[i] += 0.5 * c.du[i];
    }
    normalise(l, c.o, c.d_o, c.gate, c.dgate, c.y, c.dy);
    project(c.y, c.dy, D, wo, W, c.out, c.dout);
    for (int i = T * W - 1; i >= 0; i--) /* norms of small heads carry more than one operator's rounding */
        if (!(fabs((double)c.out[i] - c.dout[i]) <= 5e-5 * (1 + fabs(c.dout[i]))))
            wrong = i;
    if (!ok(!failed && wrong < 0, "%s: %s", catalog_device, l->name))
        tap_note("element %d is %.9g, must be %.9g", wrong, wrong < 0 ? 0 : (double)c.out[wrong],
                 wrong < 0 ? 0 : c.dout[wrong]);
}

/* ---- decays ---- */

static double softplus(double z)
{
    return log1p(exp(z));
}

static double gate_gla(double z, int h)
{
    (void)h;
    return -softplus(-z) / 16;
}

static double gate_delta(double z, int h)
{
    return -exp(0.3 * h) * softplus(z - 1);
}

static double gate_retnet(double z, int h)
{
    (void)z;
    return 1 - pow(2, -5 - h);
}

static double gate_lightning(double z, int h)
{
    (void)z;
    return -pow(2, -8.0 * (h + 1) / H) * (1 - 3.0 / 23 + 1e-5);
}

static double gate_hgrn2(double z, int h)
{
    (void)h;
    return 0.2 + 0.8 * sigmoid(z);
}

static double gate_mamba2(double z, int h)
{
    return exp(-exp(0.3 * h) * softplus(z));
}

static const struct layer layers[] = {
    {.name = "RetNet's layer", .decay = L(HEAD), .gate = gate_retnet, .act = G(SILU), .group = V},
    {.name = "Lightning's layer", .silu = 1, .decay = L(HEAD), .form = L(LOG), .gate = gate_lightning, .scale = 1,
     .act = G(SIGMOID)},
    {.name = "GLA's layer", .decay = L(KEY), .form = L(LOG), .gate = gate_gla, .act = G(SILU), .group = V},
    {.name = "HGRN2's layer", .silu = 1, .decay = L(KEY), .keys = 1, .gate = gate_hgrn2, .act = G(SILU), .group = V},
    {.name = "Mamba2's layer", .conv = 1, .decay = L(TOKEN), .gate = gate_mamba2, .scale = 1, .skip = 1,
     .order = G(GATE_THEN_NORM), .act = G(SILU), .group = V},
    {.name = "DeltaNet's layer", .conv = 1, .unit = 1, .delta = 1, .act = G(SILU), .group = V},
    {.name = "Gated DeltaNet's layer", .conv = 1, .unit = 1, .decay = L(TOKEN), .form = L(LOG), .delta = 1,
     .gate = gate_delta, .act = G(SILU), .group = V},
    {.name = "Kimi delta attention's layer", .conv = 1, .unit = 1, .decay = L(KEY), .form = L(LOG), .delta = 1,
     .gate = gate_delta, .act = G(SIGMOID), .group = V},
};

static void systems(void)
{
    inputs();
    for (size_t i = 0; i < sizeof layers / sizeof layers[0]; i++)
        run_layer(&layers[i]);
}

int main(void)
{
    return catalog_devices(systems);
}

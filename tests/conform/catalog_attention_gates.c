/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The other positions of Gated Attention (Qiu et al. 2025): gates on what attention reads (G2: v, G3: k, G4: q) and on
 * what the projection after it gives (G5). G1, on attention's output, is attention's own (catalog_attention.c). A gate
 * by itself is gated_norm without a norm: x act(gate). On every device that is there, against f64. */
#include <tenon/ops/gated_norm.h>
#include <tenon/ops/linear.h>

#include "catalog_attention.h"

enum { C = HQ * D };

static float gate[N], dense[C * C];

static double act_of(uint32_t act, double g)
{
    return (act == TENON_GATED_NORM_SILU ? g : 1) / (1 + exp(-g));
}

/* y = x act(gate), of T rows of width c. y and x are not the same memory. */
static int multiply(float *x, float *y, int c, uint32_t act, const char *name)
{
    struct tenon_gated_norm_params gp;
    struct tenon_value g[TENON_GATED_NORM_N_TENSORS] = {{.host = NULL}};
    const int64_t shape[2] = {T, c};
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_gated_norm), &gp);
    gp.norm = TENON_GATED_NORM_NONE;
    gp.act = act;
    g[TENON_GATED_NORM_X] = tenon_value_host(x, TENON_F32, 2, shape);
    g[TENON_GATED_NORM_GATE] = tenon_value_host(gate, TENON_F32, 2, shape);
    g[TENON_GATED_NORM_Y] = tenon_value_host(y, TENON_F32, 2, shape);
    return is_int(tenon_run(catalog_context, TENON_OPNUM_gated_norm, &gp, g, TENON_GATED_NORM_N_TENSORS), TENON_OK,
                  "%s: %s: its gate runs%s%s", catalog_device, name, tenon_error()[0] ? ": " : "", tenon_error());
}

/* The gate of token j itself, on one of attention's inputs. */
static void input(const char *name, uint32_t tensor, float *x, int heads, uint32_t act)
{
    static float gated[N];
    double want[N];
    const int n = T * heads * D;
    begin(A(EXP), A(SUM));
    for (int i = 0; i < n; i++)
        gate[i] = (float)catalog_normal();
    if (!multiply(x, gated, heads * D, act, name))
        return;
    set(tensor, gated, TENON_F32, 4, (int64_t[]){1, T, heads, D});
    if (!run(name))
        return;
    for (int i = 0; i < n; i++)
        x[i] = (float)((double)x[i] * act_of(act, (double)gate[i]));
    sums(want, causal, softmax);
    catalog_are(o, want, N, name);
}

static void output(const char *name, uint32_t act)
{
    static float y[N], z[N];
    double rows[N], want[N];
    struct tenon_linear_params lp;
    struct tenon_value l[TENON_LINEAR_N_TENSORS] = {{.host = NULL}};
    begin(A(EXP), A(SUM));
    for (int i = 0; i < C * C; i++)
        dense[i] = (float)(catalog_normal() / sqrt(C));
    for (int i = 0; i < N; i++)
        gate[i] = (float)catalog_normal();
    if (!run(name))
        return;
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_linear), &lp);
    l[TENON_LINEAR_X] = tenon_value_host(o, TENON_F32, 2, (int64_t[]){T, C});
    l[TENON_LINEAR_W] = tenon_value_host(dense, TENON_F32, 2, (int64_t[]){C, C});
    l[TENON_LINEAR_Y] = tenon_value_host(y, TENON_F32, 2, (int64_t[]){T, C});
    if (!is_int(tenon_run(catalog_context, TENON_OPNUM_linear, &lp, l, TENON_LINEAR_N_TENSORS), TENON_OK,
                "%s: %s: its projection runs", catalog_device, name) ||
        !multiply(y, z, C, act, name))
        return;
    sums(rows, causal, softmax);
    for (int i = 0; i < N; i++) {
        double sum = 0;
        for (int c = 0; c < C; c++)
            sum += rows[i / C * C + c] * (double)dense[i % C * C + c];
        want[i] = sum * act_of(act, (double)gate[i]);
    }
    catalog_are(z, want, N, name);
}

static void catalog(void)
{
    input("Gated Attention, G2: a gate on v", A(V), val, HK, TENON_GATED_NORM_SIGMOID);
    input("Gated Attention, G3: a gate on k", A(K), k, HK, TENON_GATED_NORM_SIGMOID);
    input("Gated Attention, G4: a gate on q", A(Q), q, HQ, TENON_GATED_NORM_SIGMOID);
    input("Gated Attention, G2 with SiLU", A(V), val, HK, TENON_GATED_NORM_SILU);
    output("Gated Attention, G5: a gate after the projection", TENON_GATED_NORM_SIGMOID);
}

int main(void)
{
    return catalog_devices(catalog);
}

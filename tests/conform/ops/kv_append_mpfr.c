/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * kv_append in 256 bits, written from tenon/ops/kv_append.h and not from kv_append_ref.c, which it checks: places, what
 * is not quantised, and of AFFINE_TOKEN (s, z) and the codes. */
#include <math.h>
#include "kv_append_suite.h"
#include "../precise.h"

#define RND MPFR_RNDN

/* The rows of the reference that are written, plain: the element itself. Quantised by token and affine: s and z. */
static void check_row(const struct conform_case *c, const struct conform_want *want, struct conform_precise *precise,
                      int values, int64_t source, int64_t goal, mpfr_t t)
{
    const struct tenon_kv_append_params *p = KV_PARAMS(c);
    const uint32_t from = values ? TENON_KV_APPEND_V_NEW : TENON_KV_APPEND_K_NEW;
    const uint32_t to = values ? TENON_KV_APPEND_V : TENON_KV_APPEND_K;
    const uint32_t quant = values ? TENON_KV_APPEND_V_QUANT : TENON_KV_APPEND_K_QUANT;
    const uint32_t mode = values ? p->quant_v : p->quant_k, bits = values ? p->v_bits : p->k_bits;
    const int64_t cols = c->slot[from].tensor.dim[3], each = 8 / bits, group = values ? p->v_group : p->k_group;
    const int64_t span = group ? group : cols;
    double most = 0, least = 0;
    for (int64_t col = 0; col < cols && mode == TENON_KV_APPEND_NONE; col++) {
        mpfr_set_d(t, kv_element(c, from, source * cols + col), RND);
        precise_compare(precise, c, want, to, goal * cols + col, t, 0);
    }
    if (mode != TENON_KV_APPEND_AFFINE_TOKEN)
        return;
    for (int64_t col = 0; col < span; col++) {
        const double x = kv_element(c, from, source * cols + col);
        if (!isfinite(x) || fabs(x) < 0x1p-40 || fabs(x) > 0x1p40) /* the cuts are the suite's business */
            return;
        most = col == 0 || x > most ? x : most;
        least = col == 0 || x < least ? x : least;
    }
    const double steps = exp2(bits) - 1, step = (most - least) / steps;
    if (most - least < 0x1p-40)
        return;
    mpfr_set_d(t, most, RND);
    mpfr_sub_d(t, t, least, RND);
    mpfr_div_d(t, t, steps, RND);
    precise_compare(precise, c, want, quant, goal * (cols / span) * 2, t, step * 0x1p-22);
    mpfr_d_div(t, least, t, RND);
    mpfr_neg(t, t, RND);
    precise_compare(precise, c, want, quant, goal * (cols / span) * 2 + 1, t, fabs(least / step) * 0x1p-21);
    for (int64_t col = 0; col < span; col += each) {
        double byte = 0;
        int near = 0;
        for (int64_t k = 0; k < each; k++) {
            mpfr_set_d(t, kv_element(c, from, source * cols + col + k), RND);
            mpfr_sub_d(t, t, least, RND);
            mpfr_div_d(t, t, step, RND);
            const double exact = mpfr_get_d(t, RND), code = floor(exact + 0.5);
            near |= fabs(exact - floor(exact) - 0.5) < 1e-3; /* either */
            byte += ldexp(code, (int)(k * (int64_t)bits));
        }
        mpfr_set_d(t, byte, RND);
        if (!near)
            precise_compare(precise, c, want, to, goal * (cols / each) + col / each, t, 0);
    }
}

int tenon__conform_kv_append_mpfr(const struct conform_case *c, const struct conform_want *want,
                                  struct conform_precise *precise)
{
    const struct tenon_tensor *x = &c->slot[TENON_KV_APPEND_K_NEW].tensor;
    const int64_t batches = x->dim[0], tokens = x->dim[1], heads = x->dim[2], slots = kv_slots(c);
    const int n_given = c->slot[TENON_KV_APPEND_N_NEW].tensor.dtype != 0;
    mpfr_t t;
    mpfr_init2(t, PRECISE_BITS);
    for (int64_t b = 0; b < batches; b++) {
        const double pos = kv_element(c, TENON_KV_APPEND_POS, b);
        double n = n_given ? kv_element(c, TENON_KV_APPEND_N_NEW, b) : (double)tokens;
        n = n < 0 ? 0 : n > (double)tokens ? (double)tokens : n;
        double all = pos + n;
        all = all < 0 ? 0 : all > 2147483647.0 ? 2147483647.0 : all;
        mpfr_set_d(t, all, RND);
        if (want[TENON_KV_APPEND_KV_LEN].want)
            precise_compare(precise, c, want, TENON_KV_APPEND_KV_LEN, b, t, 0);
        /* the first row of a contiguous cache or of pages, where it goes without turning round */
        if (!(n >= 1) || pos < 0 || pos >= (double)slots || KV_PARAMS(c)->ring || heads == 0)
            continue;
        int64_t goal = (b * slots + (int64_t)pos) * heads;
        if (kv_page(c)) {
            const int64_t page = kv_page(c);
            const double number = kv_element(c, TENON_KV_APPEND_PAGE_TABLE, b * (slots / page) + (int64_t)pos / page);
            if (number < 0 || number >= (double)c->slot[TENON_KV_APPEND_K].tensor.dim[0])
                continue;
            goal = (int64_t)number * heads * page + (int64_t)pos % page;
        }
        for (int values = 0; values < 2; values++)
            check_row(c, want, precise, values, b * tokens * heads, goal, t);
        mpfr_set_d(t, pos, RND);
        if (want[TENON_KV_APPEND_KPOS].want)
            precise_compare(precise, c, want, TENON_KV_APPEND_KPOS, b * slots + (int64_t)pos, t, 0);
    }
    mpfr_clear(t);
    return 0;
}

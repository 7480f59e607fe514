/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The reference of gather_rows is a copy: nothing may be lost. Written from tenon/ops/gather_rows.h. */
#include <tenon/ops/gather_rows.h>
#include "../precise.h"

#define SAMPLES 64

int tenon__conform_gather_rows_mpfr(const struct conform_case *c, const struct conform_want *want,
                                    struct conform_precise *precise)
{
    const struct conform_slot *table = &c->slot[TENON_GATHER_ROWS_TABLE];
    const struct tenon_tensor *t = &table->tensor, *y = &c->slot[TENON_GATHER_ROWS_Y].tensor;
    const int32_t *idx = conform_first(&c->slot[TENON_GATHER_ROWS_IDX]);
    const int64_t cols = t->dim[t->rank - 1], count = tenon_tensor_count(y), all = cols ? tenon_tensor_count(t) : 0;
    const int64_t must = precise->tensor == TENON_GATHER_ROWS_Y ? precise->element : -1;
    const int64_t divisor = ((const struct tenon_gather_rows_params *)(const void *)c->params)->divisor;
    const int64_t n = count < SAMPLES ? count : SAMPLES;
    int64_t wrong = 0;
    mpfr_t exact;
    mpfr_init2(exact, PRECISE_BITS);
    for (int64_t i = 0; i < n; i++) {
        const int64_t at = precise_sample(c, i, n, count, must), pair = idx[at / cols], row = pair < 0 ? pair : pair / divisor;
        mpfr_set_d(exact, 0, MPFR_RNDN);
        if (row > -1 && row * cols < all)
            mpfr_set_d(exact,
                       conform_get(conform_first(table), t->dtype, conform_offset(t, row * cols) + at % cols),
                       MPFR_RNDN);
        precise_compare(precise, c, want, TENON_GATHER_ROWS_Y, at, exact, 0);
    }
    for (int64_t i = 0; cols && i < count / cols; i++)
        wrong += idx[i] < -1 || idx[i] / divisor * cols >= all;
    mpfr_set_si(exact, (long)wrong, MPFR_RNDN);
    if (want[TENON_GATHER_ROWS_FLAGS].want && count)
        precise_compare(precise, c, want, TENON_GATHER_ROWS_FLAGS, 3, exact, 0);
    mpfr_clear(exact);
    return 0;
}

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The smallest host program: softmax of four numbers on whatever device TENON_DEVICE names. */
#include <stdio.h>
#include <tenon/ops/softmax.h>
#include <tenon/tenon.h>

int main(void)
{
    float x[4] = {1, 2, -1, 0.5f}, y[4];
    struct tenon_context *context;
    struct tenon_value v[TENON_SOFTMAX_N_TENSORS] = {0};
    v[TENON_SOFTMAX_X] = tenon_value_host(x, TENON_F32, 1, (int64_t[]){4});
    v[TENON_SOFTMAX_Y] = tenon_value_host(y, TENON_F32, 1, (int64_t[]){4});
    if (tenon_context_open(NULL, &context) ||
        tenon_run(context, TENON_OPNUM_softmax, NULL, v, TENON_SOFTMAX_N_TENSORS)) {
        fprintf(stderr, "%s\n", tenon_error());
        return 1;
    }
    printf("%s: %f %f %f %f\n", tenon_context_spec(context), y[0], y[1], y[2], y[3]);
    tenon_context_close(context);
    return 0;
}

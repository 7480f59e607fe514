/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Tensors past the sizes where 32-bit offsets break: over 2^31 elements on the CPU backend (in place, bf16: 4 GiB),
 * over 128 MiB on every other device. Rows are constant, so every right answer is exactly 1/cols whatever rounds. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <tenon/ops/softmax.h>
#include <tenon/tenon.h>

#include "../tap.h"

static void big_cpu(struct tenon_context *context)
{
    const int64_t rows = 2049, cols = (int64_t)1 << 20, n = rows * cols;
    const size_t size = (size_t)n * 2;
    uint16_t *x = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (x == MAP_FAILED) {
        skip("no 4 GiB of memory", "softmax of 2^31 + 2^20 elements");
        return;
    }
    for (int64_t r = 0; r < rows; r++)
        x[r * cols] = 0; /* zero pages are a constant row; only touch what makes them ours */
    x[(rows - 1) * cols + 5] = 0xff80; /* -Inf in the last row, beyond 2^31 elements */
    struct tenon_value v[TENON_SOFTMAX_N_TENSORS] = {0};
    v[TENON_SOFTMAX_X] = tenon_value_host(x, TENON_BF16, 2, (int64_t[]){rows, cols});
    v[TENON_SOFTMAX_Y] = v[TENON_SOFTMAX_X];
    ok(tenon_run(context, TENON_OPNUM_softmax, NULL, v, TENON_SOFTMAX_N_TENSORS) == TENON_OK,
       "softmax of 2^31 + 2^20 elements: %s", tenon_error());
    int64_t wrong = 0;
    for (int64_t i = 0; i < n; i++)
        wrong += x[i] != (i == (rows - 1) * cols + 5 ? 0 : 0x3580); /* 2^-20; 1/(2^20-1) rounds to it */
    is_int(wrong, 0, "every element is right");
    munmap(x, size);
}

static void big_device(const char *device)
{
    struct tenon_context *context;
    if (tenon_context_open(device, &context)) {
        skip("no such device", "%s: softmax of 192 MiB", device);
        return;
    }
    const int64_t rows = 192 << 10, cols = 256, n = rows * cols;
    const uint64_t size = (uint64_t)n * 4;
    float *x = malloc(size), *y = malloc(size);
    struct tenon_memory *memory = NULL;
    if (!x || !y || tenon_memory_create(context, 2 * size, &memory)) {
        skip(tenon_error(), "%s: softmax of 192 MiB", device);
        goto free_all;
    }
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(i / cols % 7);
    struct tenon_value v[TENON_SOFTMAX_N_TENSORS] = {0};
    v[TENON_SOFTMAX_X] = tenon_value_memory(memory, 0, TENON_F32, 2, (int64_t[]){rows, cols});
    v[TENON_SOFTMAX_Y] = tenon_value_memory(memory, size, TENON_F32, 2, (int64_t[]){rows, cols});
    memset(y, 0xff, size);
    const int32_t wrote = tenon_memory_write(memory, 0, x, size);
    const int32_t ran = wrote ? wrote : tenon_run(context, TENON_OPNUM_softmax, NULL, v, TENON_SOFTMAX_N_TENSORS);
    is_int(ran ? ran : tenon_memory_read(memory, size, y, size), TENON_OK,
           "%s: softmax of 192 MiB in a buffer of 384 MiB", device);
    int64_t wrong = 0;
    for (int64_t i = 0; i < n; i++)
        wrong += y[i] != 1.0f / 256;
    is_int(wrong, 0, "%s: every element is right", device);
free_all:
    tenon_memory_destroy(memory);
    free(x);
    free(y);
    tenon_context_close(context);
}

int main(void)
{
    struct tenon_context *context;
    if (tenon_context_open("cpu", &context))
        return tap_skip_all("no cpu backend");
    big_cpu(context);
    tenon_context_close(context);
    big_device("opencl");
    big_device("vulkan");
    return tap_done();
}

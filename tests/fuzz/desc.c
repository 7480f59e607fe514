/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Descriptors: a good one of the conformance suite, edited as the fuzzer likes, in blocks of exactly the sizes that it
 * claims, so that a read too far is found. What is refused has a sentence; what is accepted can be asked about. */
#include <stdlib.h>
#include <string.h>
#include <tenon/ops.h>
#include "../conform/conform.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define must(condition)   \
    do {                  \
        if (!(condition)) \
            abort();      \
    } while (0)

struct draft {
    struct tenon_op_desc desc;
    struct tenon_tensor tensor[TENON_MAX_TENSORS];
    unsigned char params[CONFORM_PARAMS];
};

/* Edits of 1 to 8 bytes: where, how many, what. */
static void edit(struct draft *draft, const uint8_t *data, size_t size)
{
    while (size >= 4) {
        size_t at = (data[0] | (size_t)data[1] << 8) % sizeof(*draft), n = data[2] % 8 + 1;
        if (n > size - 3)
            n = size - 3;
        if (n > sizeof(*draft) - at)
            n = sizeof(*draft) - at;
        memcpy((char *)draft + at, data + 3, n);
        data += 3 + n;
        size -= 3 + n;
    }
}

/* `size` bytes, the first `known` of them from `from`, the rest zero. */
static void *block(const void *from, size_t known, size_t size)
{
    void *copy = calloc(1, size ? size : 1);
    must(copy);
    memcpy(copy, from, known < size ? known : size);
    return copy;
}

static void ask_about(const struct tenon_op_desc *desc, const struct tenon_op_contract *contract, const void *params)
{
    struct tenon_tensor tensor[TENON_MAX_TENSORS], out;
    uint64_t range[TENON_MAX_TENSORS][2] = {{0}};
    int64_t rows, stride, cols;
    struct tenon_why why;
    tenon_op_tensors(desc, contract, tensor);
    for (uint32_t i = 0; i < contract->n_tensors; i++) {
        if (!tensor[i].dtype)
            continue;
        must(tenon_tensor_bytes(&tensor[i]) <= UINT64_C(1) << 60);
        must(tenon_tensor_count(&tensor[i]) >= 0);
        must(tenon_tensor_rows(&tensor[i], &rows, &stride, &cols) <= 0);
        (void)tenon_tensor_is_contiguous(&tensor[i]);
        range[i][0] = 4096;
        range[i][1] = 4096 + tenon_tensor_bytes(&tensor[i]);
        must(contract->output(params, tensor, i, &out, &why) <= 0);
    }
    must(tenon_op_check_alias(contract, params, tensor, (const uint64_t(*)[2])range, &why) <= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct conform_case c;
    uint32_t n_ops = 0;
    if (size < 3)
        return 0;
    while (conform_op_at(n_ops))
        n_ops++;
    conform_case_make(conform_op_at(data[0] % n_ops), 1, data[1], &c);
    struct draft draft = {.desc = {.struct_size = sizeof(draft.desc), .op = c.op->op, .n_tensors = c.n}};
    memcpy(draft.params, c.params, sizeof(draft.params));
    for (uint32_t i = 0; i < TENON_MAX_TENSORS; i++)
        draft.tensor[i] = c.slot[i].tensor;
    edit(&draft, data + 2, size - 2);

    uint32_t params_size;
    memcpy(&params_size, draft.params, sizeof(params_size));
    size_t claimed = params_size > TENON_STRUCT_MAX ? TENON_STRUCT_MAX : params_size < 4 ? 4 : params_size;
    uint32_t n = draft.desc.n_tensors > TENON_MAX_TENSORS ? TENON_MAX_TENSORS : draft.desc.n_tensors;
    draft.desc.tensors = block(draft.tensor, sizeof(draft.tensor), n * sizeof(draft.tensor[0]));
    draft.desc.params = block(draft.params, sizeof(draft.params), claimed);
    draft.desc.next = NULL;

    const struct tenon_op_contract *contract = NULL;
    _Alignas(uint64_t) unsigned char full[CONFORM_PARAMS];
    struct tenon_why why = {""}, again = {""};
    int32_t status = tenon_op_check(&draft.desc, &contract, full, sizeof(full), &why);
    must(status <= 0 && status >= TENON_STATUS_MIN_);
    must(status == tenon_op_check(&draft.desc, &contract, full, sizeof(full), &again));
    must(memchr(why.text, 0, sizeof(why.text)) && (status ? why.text[0] != 0 : contract != NULL));
    if (!status)
        ask_about(&draft.desc, contract, full);
    free((void *)(uintptr_t)draft.desc.tensors);
    free((void *)(uintptr_t)draft.desc.params);
    return 0;
}

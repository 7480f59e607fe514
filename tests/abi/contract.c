/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The contract library: every way to be refused, and the sentences that say why (R3 R4 R6 R10 R41 R54 R55 R56 R66 R67).
 */
#include <string.h>

#include "contract.h"

void call_init(struct call *call, uint32_t op)
{
    memset(call, 0, sizeof *call);
    const struct tenon_op_contract *contract = tenon_op_contract_by_number(op);
    if (!contract)
        bail("operator %u has no contract", op);
    call->desc = (struct tenon_op_desc){sizeof call->desc, op, 0, contract->n_tensors, call->t, call->params, NULL};
    tenon_op_defaults(contract, call->params);
}

void call_copy(struct call *to, const struct call *from)
{
    memcpy(to, from, sizeof *to);
    to->desc.tensors = from->desc.tensors ? to->t : NULL;
    to->desc.params = from->desc.params ? to->params : NULL;
}

void call_is(struct call *call, int32_t status, const char *part, const char *name)
{
    const struct tenon_op_contract *contract;
    struct tenon_why why = {""};
    uint64_t params[32];
    int32_t got = tenon_op_check(&call->desc, &contract, params, sizeof params, &why);
    is_str(tenon_status_name(got), tenon_status_name(status), "%s: %s", name, got ? why.text : "accepted");
    if (status) {
        has_str(why.text, part, "%s: the sentence", name);
        ok(!contract, "%s: no contract is given out", name);
    }
}

/* ---- the contracts themselves ---- */

static void test_specs(const struct tenon_op_contract *c)
{
    ok(tenon_op_contract_by_number(c->op) == c && tenon_op_contract_by_name(c->name) == c, "%s is found", c->name);
    ok(c->n_tensors <= TENON_MAX_TENSORS && c->n_tensors_first <= c->n_tensors, "%s: number of tensors", c->name);
    ok(c->params_first <= c->params_size && c->params_size <= sizeof(uint64_t[32]), "%s: size of params", c->name);
    int good = c->validate && c->output && c->text && c->source;
    for (uint32_t i = 0; i < c->n_tensors; i++) {
        const struct tenon_tensor_spec *t = &c->tensors[i];
        good &= t->name && t->shape && t->text && t->dtypes && t->role <= TENON_OUT_OPT;
        good &= i < c->n_tensors_first || t->role == TENON_IN_OPT || t->role == TENON_OUT_OPT;
    }
    ok(good, "%s: every tensor is described, and later ones are optional", c->name);
    good = 1;
    for (uint32_t i = 0; i < 32; i++)
        good &= !(c->kept >> i & 1) || (i < c->n_tensors && c->tensors[i].role >= TENON_OUT);
    ok(good, "%s: what is written in part is outputs", c->name);
    good = 1;
    for (uint32_t i = 0; i < c->n_attrs; i++) {
        const struct tenon_attr_spec *a = &c->attrs[i];
        uint32_t size = a->type == TENON_ATTR_U64 ? 8 : 4;
        good &= a->name && a->text && a->offset >= 4 && a->offset % size == 0 && a->offset + size <= c->params_size;
        good &= a->type == TENON_ATTR_FLAGS || (a->min <= a->def && a->def <= a->max);
        good &= a->offset < c->params_first || a->def == 0;
        if (a->type == TENON_ATTR_ENUM) {
            uint32_t n = 0;
            while (a->names[n])
                n++;
            good &= n == (uint32_t)a->max + 1;
        }
    }
    ok(good, "%s: every attribute is described, and later ones default to 0", c->name);
}

static void test_lookup(void)
{
    uint32_t n = 0;
    for (; tenon_op_contract_at(n); n++)
        test_specs(tenon_op_contract_at(n));
    ok(n > 0, "there are operators");
    ok(!tenon_op_contract_at(n + 1) && !tenon_op_contract_at(UINT32_MAX), "nothing past the end");
    ok(!tenon_op_contract_by_number(0) && !tenon_op_contract_by_number(TENON_OP_VENDOR | 1), "unknown numbers");
    ok(!tenon_op_contract_by_name("soft") && !tenon_op_contract_by_name(NULL), "unknown names");
}

/* ---- types, statuses, suggestions ---- */

static void test_names(void)
{
    static const uint32_t dtypes[] = {TENON_F32, TENON_F16, TENON_BF16, TENON_I8, TENON_U8, TENON_I32, TENON_U32};
    uint32_t seen = 0;
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) {
        is_int(tenon_dtype_by_name(tenon_dtype_name(dtypes[i])), dtypes[i], "type %s", tenon_dtype_name(dtypes[i]));
        ok(tenon_dtype_bit(dtypes[i]) && !(seen & tenon_dtype_bit(dtypes[i])), "its bit is its own");
        seen |= tenon_dtype_bit(dtypes[i]);
    }
    is_str(tenon_dtype_name(0x123456), "?", "unknown type");
    is_int(tenon_dtype_by_name("f64"), 0, "unknown type name");
    is_int(tenon_dtype_bit(0), 0, "absent has no bit");
#define CODE(name, number, text) is_str(tenon_status_name(number), #name, "status " #number);
    TENON_STATUS_LIST(CODE)
#undef CODE
    is_str(tenon_status_name(-1000), "INTERNAL", "an unknown negative status");
    is_str(tenon_status_text(7), tenon_status_text(TENON_E_INTERNAL), "a positive status");
    const char *const names[] = {"softmax", "linear", "attention", NULL};
    is_str(tenon_closest("sotfmax", names, 3), "softmax", "two letters swapped");
    is_str(tenon_closest("LINER", names, 3), "linear", "a letter missing, upper case");
    is_str(tenon_closest("zebra", names, 3), NULL, "nothing is close");
    is_str(tenon_closest("", names, 3), NULL, "an empty word");
    is_str(tenon_closest(NULL, names, 4), NULL, "no word; a NULL name");
    char longer[200];
    memset(longer, 'a', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    is_str(tenon_closest(longer, names, 3), NULL, "a word of 199 letters");
    struct tenon_why why;
    is_int(tenon_why_set(&why, TENON_E_ARG, "%s", longer), TENON_E_ARG, "why gives the status back");
    is_int(strlen(why.text), 199, "and holds the sentence");
    is_int(tenon_why_set(NULL, TENON_E_ARG, "nobody listens"), TENON_E_ARG, "why may be NULL");
    is_int(tenon_why_set(&why, TENON_E_ARG, "%s%s", longer, longer), TENON_E_ARG, "a sentence that is too long");
    is_int(strlen(why.text), sizeof why.text - 1, "is cut");
}

/* ---- tensors ---- */

static void test_tensors(void)
{
    struct tenon_tensor t = T(TENON_F32, 2, 3, 4);
    ok(t.stride[0] == 12 && t.stride[1] == 4 && t.stride[2] == 1 && t.stride[3] == 0, "row-major strides");
    is_int(tenon_tensor_count(&t), 24, "count");
    is_int(tenon_tensor_bytes(&t), 96, "bytes");
    t.stride[0] = 100;
    is_int(tenon_tensor_bytes(&t), 4 * (100 + 8 + 3 + 1),
           "bytes from the first to the last element of a strided tensor");
    t.dim[1] = 0;
    ok(tenon_tensor_bytes(&t) == 0 && tenon_tensor_count(&t) == 0, "an empty tensor");
    t.dtype = 0;
    ok(tenon_tensor_bytes(&t) == 0 && tenon_tensor_count(&t) == 0, "an absent tensor");
    t = tenon_tensor_make(TENON_F16, 0, NULL);
    ok(tenon_tensor_count(&t) == 1 && tenon_tensor_bytes(&t) == 2, "a scalar");
    int64_t big[9] = {INT64_MAX, INT64_MAX, INT64_MIN, INT64_MAX, 3, 3, 3, 3, 3};
    is_int(tenon_tensor_make(TENON_F32, 9, big).rank, 9, "rank 9 is kept for the check to refuse");
    is_int(tenon_tensor_make(TENON_F32, 8, big).dim[2], INT64_MIN, "absurd dimensions are kept, without overflow");
}

static void rows_are(struct tenon_tensor t, int64_t rows, int64_t stride, int64_t cols, const char *name)
{
    int64_t r, s, c;
    if (is_int(tenon_tensor_rows(&t, &r, &s, &c), TENON_OK, "%s folds", name))
        ok(r == rows && s == stride && c == cols, "%s: %lld rows every %lld of %lld", name, (long long)r, (long long)s,
           (long long)c);
}

static void test_rows(void)
{
    int64_t r, s, c;
    rows_are(T(TENON_F32, 5), 1, 5, 5, "a vector");
    rows_are(T(TENON_F32, 2, 3, 5), 6, 5, 5, "contiguous");
    rows_are(T(TENON_F32, 2, 0, 5), 0, 5, 5, "no rows");
    rows_are(T(TENON_F32, 2, 3, 0), 6, 1, 0, "no columns");
    struct tenon_tensor t = T(TENON_F32, 2, 3, 5);
    t.stride[0] = 24, t.stride[1] = 8;
    rows_are(t, 6, 8, 5, "padded rows");
    t.stride[0] = t.stride[1] = 0;
    rows_are(t, 6, 0, 5, "broadcast rows");
    t.stride[0] = 100, t.stride[1] = 5;
    is_int(tenon_tensor_rows(&t, &r, &s, &c), TENON_E_UNSUPPORTED, "a gap between batches does not fold");
    ok(!tenon_tensor_is_contiguous(&t), "and is not contiguous");
    t.stride[0] = 0;
    is_int(tenon_tensor_rows(&t, &r, &s, &c), TENON_E_UNSUPPORTED, "nor does broadcasting the outer axis alone");
    t = T(TENON_F32, 1, 3, 1, 5);
    t.stride[0] = 7777, t.stride[2] = 3;
    rows_are(t, 3, 5, 5, "axes of length 1 with odd strides");
    ok(tenon_tensor_is_contiguous(&t), "which are contiguous all the same");
    t = T(TENON_F32, 1000, 1000, 0); /* without elements any strides pass the check */
    t.stride[0] = t.stride[1] = INT64_MAX / 100;
    is_int(tenon_tensor_rows(&t, &r, &s, &c), TENON_E_UNSUPPORTED, "strides whose product overflows do not fold");
    t = T(TENON_F32, 4, INT64_MAX / 2, 0);
    t.stride[0] = t.stride[1] = 0;
    is_int(tenon_tensor_rows(&t, &r, &s, &c), TENON_E_UNSUPPORTED, "nor do more rows than can be counted");
    t = tenon_tensor_make(TENON_F32, 0, NULL);
    is_int(tenon_tensor_rows(&t, &r, &s, &c), TENON_E_SHAPE, "a scalar has no rows");
}

/* ---- structs and chains ---- */

static void test_chain(void)
{
    struct tenon_why why;
    struct tenon_chain chain[TENON_CHAIN_MAX + 1];
    for (uint32_t i = 0; i <= TENON_CHAIN_MAX; i++)
        chain[i] = (struct tenon_chain){sizeof chain[i], 7, i < TENON_CHAIN_MAX ? &chain[i + 1] : NULL};
    is_int(tenon_chain_check(NULL, &why), TENON_OK, "no chain");
    is_int(tenon_chain_check(&chain[1], &why), TENON_OK, "16 entries that nobody knows");
    is_int(tenon_chain_check(&chain[0], &why), TENON_E_INVALID, "17 entries");
    chain[3].next = &chain[2];
    is_int(tenon_chain_check(&chain[1], &why), TENON_E_INVALID, "a cycle");
    has_str(why.text, "cycle", "is called one");
    chain[3].next = NULL;
    chain[3].type |= TENON_CHAIN_CRITICAL;
    is_int(tenon_chain_check(&chain[1], &why), TENON_E_UNSUPPORTED, "a critical entry that nobody knows");
    has_str(why.text, "0x80000007", "its type is named");
    chain[3] = (struct tenon_chain){sizeof(uint32_t), 7, NULL};
    is_int(tenon_chain_check(&chain[1], &why), TENON_E_INVALID, "an entry of 4 bytes");
    chain[3].struct_size = 0x7fffffff;
    is_int(tenon_chain_check(&chain[1], &why), TENON_E_INVALID, "an entry of 2 GiB");
}

static void test_structs(void)
{
    struct {
        uint32_t struct_size, a, b, c;
    } s = {16, 1, 2, 0}, out = {8, 0, 77, 88};
    struct tenon_why why;
    is_int(tenon_struct_check(NULL, 8, 16, "s", &why), TENON_E_INVALID, "NULL struct");
    is_int(tenon_struct_check(&s, 8, 12, "s", &why), TENON_OK, "a longer struct with an unused tail");
    s.c = 1 << 24;
    is_int(tenon_struct_check(&s, 8, 12, "s", &why), TENON_E_UNSUPPORTED, "a longer struct with a used tail");
    has_str(why.text, "byte 15", "the byte is named");
    s.struct_size = 8;
    is_int(tenon_struct_check(&s, 8, 12, "s", &why), TENON_OK, "a shorter struct");
    s.struct_size = 7;
    is_int(tenon_struct_check(&s, 8, 12, "s", &why), TENON_E_INVALID, "shorter than its first version");
    s.struct_size = 0x80000000u;
    is_int(tenon_struct_check(&s, 8, 12, "s", &why), TENON_E_INVALID, "2 GiB long");
    is_int(tenon_struct_write(&out, &s, 16, &why), TENON_OK, "output of 8 bytes");
    ok(out.struct_size == 8 && out.a == 1 && out.b == 77 && out.c == 88, "only they are written");
    out.struct_size = 16;
    is_int(tenon_struct_write(&out, &s, 12, &why), TENON_OK, "output longer than known");
    ok(out.struct_size == 16 && out.b == 2 && out.c == 0, "the rest reads as zero");
    out.struct_size = 4;
    is_int(tenon_struct_write(&out, &s, 12, &why), TENON_E_INVALID, "output of 4 bytes");
    is_int(tenon_struct_write(NULL, &s, 12, &why), TENON_E_INVALID, "no output");
}

static void test_buffer_desc(void)
{
    static char memory[256];
    char *aligned = memory + (64 - (uintptr_t)memory % 64) % 64;
    struct tenon_device_info info = {.struct_size = sizeof info,
                                     .caps = TENON_CAP_IMPORT,
                                     .max_buffer = 1 << 20,
                                     .bind_align = 64,
                                     .import_align = 64};
    const struct tenon_buffer_desc good = {.struct_size = sizeof good, .size = 100};
    struct tenon_why why;
    struct tenon_buffer_desc d = good;
#define IS(status, name) is_int(tenon_buffer_desc_check(&d, &info, &why), status, name)
    IS(TENON_OK, "a buffer");
    d.size = 0;
    IS(TENON_E_INVALID, "a buffer of no bytes");
    d.size = UINT64_C(1) << 63;
    IS(TENON_E_NOMEM, "a buffer of 2^63 bytes");
    d = good, d.flags = 4;
    IS(TENON_E_UNSUPPORTED, "an unknown buffer flag");
    d = good, d.host_ptr = aligned;
    IS(TENON_E_INVALID, "host_ptr without IMPORT");
    d.flags = TENON_BUF_IMPORT;
    IS(TENON_OK, "import");
    d.host_ptr = aligned + 4;
    IS(TENON_E_UNSUPPORTED, "import of misaligned memory");
    d.host_ptr = (void *)(UINTPTR_MAX & ~(uintptr_t)63);
    IS(TENON_E_INVALID, "import beyond the end of the address space");
    d.host_ptr = NULL;
    IS(TENON_E_INVALID, "import of NULL");
    d.host_ptr = aligned, info.import_align = 0, info.caps = 0;
    IS(TENON_E_UNSUPPORTED, "import on a device that cannot");
    d = good, d.struct_size = 8;
    IS(TENON_E_INVALID, "a buffer descriptor of 8 bytes");
    const struct tenon_chain critical = {sizeof critical, TENON_CHAIN_CRITICAL, NULL};
    d = good, d.next = &critical;
    IS(TENON_E_UNSUPPORTED, "a buffer with a critical chain entry");
    is_int(tenon_buffer_desc_check(NULL, &info, &why), TENON_E_INVALID, "no buffer descriptor");
#undef IS
}

static void test_cmd(void)
{
    struct tenon_device_info info = {.struct_size = sizeof info, .bind_align = 64};
    struct tenon_buffer *buffer = (struct tenon_buffer *)&info; /* never followed by the check */
    struct tenon_bind args[2] = {{buffer, 0}, {buffer, 64}};
    const struct tenon_cmd fill = {
        .struct_size = sizeof fill, .kind = TENON_CMD_FILL, .n_args = 1, .args = args, .size = 8};
    const struct tenon_cmd copy = {
        .struct_size = sizeof copy, .kind = TENON_CMD_COPY, .n_args = 2, .args = args, .size = 7};
    const struct tenon_cmd run = {.struct_size = sizeof run,
                                  .kind = TENON_CMD_RUN,
                                  .n_args = 2,
                                  .args = args,
                                  .plan = (struct tenon_plan *)&info};
    const struct tenon_cmd wait = {
        .struct_size = sizeof wait, .kind = TENON_CMD_WAIT, .queue = (struct tenon_queue *)&info};
    struct tenon_why why;
    struct tenon_cmd c = fill;
#define IS(status, name) is_int(tenon_cmd_check(&c, &info, &why), status, name)
    IS(TENON_OK, "FILL");
    c.size = 6;
    IS(TENON_E_INVALID, "FILL of 6 bytes");
    c = fill, c.n_args = 2;
    IS(TENON_E_INVALID, "FILL with two arguments");
    args[0].offset = 2;
    c = fill;
    IS(TENON_E_INVALID, "FILL at byte 2");
    args[0].offset = UINT64_MAX - 3, c = copy;
    IS(TENON_E_INVALID, "COPY whose end overflows");
    args[0].offset = 1;
    IS(TENON_OK, "COPY at any byte");
    args[0].buffer = NULL;
    IS(TENON_E_INVALID, "COPY without a buffer");
    args[0] = (struct tenon_bind){buffer, 32}, c = run;
    IS(TENON_E_INVALID, "RUN with a misaligned argument");
    args[0].offset = 0;
    IS(TENON_OK, "RUN");
    c.workspace.offset = 8;
    IS(TENON_E_INVALID, "RUN with a misaligned workspace");
    c = run, c.plan = NULL;
    IS(TENON_E_INVALID, "RUN without a plan");
    c = run, c.args = NULL;
    IS(TENON_E_INVALID, "RUN without arguments");
    c = run, c.n_args = TENON_MAX_TENSORS + 1;
    IS(TENON_E_INVALID, "RUN with 33 arguments");
    c = run, c.flags = 1;
    IS(TENON_E_UNSUPPORTED, "an unknown command flag");
    c = run, c.kind = 5;
    IS(TENON_E_UNSUPPORTED, "an unknown command");
    c = run, c.struct_size = 16;
    IS(TENON_E_INVALID, "a command of 16 bytes");
    c = wait;
    IS(TENON_E_UNSUPPORTED, "WAIT on a device without it");
    info.caps = TENON_CAP_XQUEUE;
    IS(TENON_OK, "WAIT");
    c.queue = NULL;
    IS(TENON_E_INVALID, "WAIT for nothing");
    is_int(tenon_cmd_check(NULL, &info, &why), TENON_E_INVALID, "no command");
#undef IS
}

#define TENON_OP(number, name) tenon__##name##_contract_test();
int main(void)
{
    test_lookup();
    test_names();
    test_tensors();
    test_rows();
    test_chain();
    test_structs();
    test_buffer_desc();
    test_cmd();
#include <tenon/ops.def>
    return tap_done();
}

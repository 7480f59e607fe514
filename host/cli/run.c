/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * tenon run */
#include "cli.h"
#include "run.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char help[] =
    "usage: tenon run OPERATOR [--device SPEC] [--attr NAME=VALUE]... [--in NAME=FILE.npy]...\n"
    "                 [--out NAME=FILE.npy]... [--dtype NAME=TYPE]... [--json]\n\n"
    "Runs one operator. Inputs and outputs are NumPy files: f4 f2 i4 i1 u1 u4, and u2 for bf16.\n"
    "`tenon ops OPERATOR` lists the tensors and attributes.\n\n"
    "  -d, --device SPEC      where, as TENON_DEVICE\n"
    "  -a, --attr NAME=VALUE  an attribute; enumerations by their lower-case names\n"
    "  -i, --in NAME=FILE     an input\n"
    "  -o, --out NAME=FILE    an output to compute and write; the others that the operator always has are computed "
    "and\n"
    "                         summarised only\n"
    "      --dtype NAME=TYPE  the type of an output (f32 f16 bf16 i32 i8 u8 u32), or bf16 for an input of type u2\n"
    "      --json             the summary as one JSON object\n"
    "  -h, --help\n\n"
    "Exit codes: 0 success, 1 the device failed, 2 bad usage or input, 3 no such device.\n";

static int index_of(const struct tenon_op_contract *op, const char *name, int output, struct tenon_why *why)
{
    const char *names[TENON_MAX_TENSORS];
    uint32_t n = 0;
    for (uint32_t i = 0; i < op->n_tensors; i++) {
        int is_output = op->tensors[i].role >= TENON_OUT;
        if (output >= 0 && is_output != output)
            continue;
        names[n++] = op->tensors[i].name;
        if (!strcmp(op->tensors[i].name, name))
            return (int)i;
    }
    const char *kind = output < 0 ? "tensor" : output ? "output" : "input";
    tenon_why_set(why, TENON_E_ARG, "%s has no %s '%s'%s", op->name, kind, name,
                  cli_near_or_all(name, names, n));
    return -1;
}

/* "NAME=VALUE": the tensor's index, and where the value begins. */
static int split(const struct tenon_op_contract *op, const char *text, int output, const char **value,
                 struct tenon_why *why)
{
    char name[64];
    const char *equals = strchr(text, '=');
    if (!equals || equals == text || (size_t)(equals - text) >= sizeof name || !equals[1]) {
        tenon_why_set(why, TENON_E_ARG, "'%s': expected NAME=%s", text, output < 0 ? "TYPE" : "FILE.npy");
        return -1;
    }
    snprintf(name, sizeof name, "%.*s", (int)(equals - text), text);
    *value = equals + 1;
    return index_of(op, name, output, why);
}

static int add_file(struct run *run, const char *text, int output, struct tenon_why *why)
{
    const char *path;
    int i = split(run->op, text, output, &path, why);
    if (i < 0)
        return -1;
    if (run->file[i])
        return tenon_why_set(why, -1, "%s is given twice", run->op->tensors[i].name);
    run->file[i] = path;
    return 0;
}

static int add_dtype(struct run *run, const char *text, struct tenon_why *why)
{
    static const char *const names[] = {"f32", "f16", "bf16", "i32", "i8", "u8", "u32"};
    const char *name;
    int i = split(run->op, text, -1, &name, why);
    if (i < 0)
        return -1;
    run->dtype[i] = tenon_dtype_by_name(name);
    if (!run->dtype[i])
        return tenon_why_set(why, -1, "%s=%s: no such type%s", run->op->tensors[i].name, name,
                             cli_near(name, names, sizeof names / sizeof names[0]));
    return 0;
}

static int load_inputs(struct run *run, struct tenon_why *why)
{
    for (uint32_t i = 0; i < run->op->n_tensors; i++) {
        const char *name = run->op->tensors[i].name;
        if (run->op->tensors[i].role >= TENON_OUT)
            continue;
        if (!run->file[i]) {
            if (run->op->tensors[i].role == TENON_IN)
                return tenon_why_set(why, -1, "%s needs --in %s=FILE.npy", run->op->name, name);
            continue;
        }
        struct tenon_why inner = {""};
        if (npy_read(run->file[i], &run->array[i], &inner))
            return tenon_why_set(why, -1, "%s: %s", run->file[i], inner.text);
        uint32_t dtype = run->array[i].tensor.dtype;
        if (dtype == TENON_BF16 && run->dtype[i] != TENON_BF16)
            return tenon_why_set(why, -1, "%s: elements of type u2; if they are bf16, say --dtype %s=bf16",
                                 run->file[i], name);
        if (run->dtype[i] && run->dtype[i] != dtype)
            return tenon_why_set(why, -1, "%s holds %s, but --dtype says %s=%s", run->file[i], tenon_dtype_name(dtype),
                                 name, tenon_dtype_name(run->dtype[i]));
        run->tensor[i] = run->array[i].tensor;
    }
    return 0;
}

static int add_output(struct run *run, uint32_t i, struct tenon_why *why)
{
    struct tenon_tensor out = {0};
    run->tensor[i] = (struct tenon_tensor){.dtype = run->dtype[i]};
    if (run->op->output(run->params, run->tensor, i, &out, why)) {
        run->tensor[i] = (struct tenon_tensor){0};
        return -1;
    }
    run->tensor[i] = out;
    return 0;
}

/* Those asked for and those the operator always has; if that is none, the first that exists. */
static int choose_outputs(struct run *run, struct tenon_why *why)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < run->op->n_tensors; i++) {
        uint32_t role = run->op->tensors[i].role;
        if (role < TENON_OUT || (role == TENON_OUT_OPT && !run->file[i] && !run->dtype[i]))
            continue;
        if (add_output(run, i, why))
            return -1;
        n++;
    }
    for (uint32_t i = 0; i < run->op->n_tensors && !n; i++)
        if (run->op->tensors[i].role >= TENON_OUT)
            n += !add_output(run, i, why);
    return n ? 0 : -1;
}

static int allocate_outputs(struct run *run, struct tenon_why *why)
{
    for (uint32_t i = 0; i < run->op->n_tensors; i++) {
        if (run->op->tensors[i].role < TENON_OUT || !run->tensor[i].dtype)
            continue;
        struct npy *array = &run->array[i];
        array->tensor = run->tensor[i];
        array->bytes = tenon_tensor_bytes(&run->tensor[i]);
        array->data = npy_alloc(array->bytes);
        if (!array->data)
            return tenon_why_set(why, -1, "out of memory: %llu bytes for %s", (unsigned long long)array->bytes,
                                 run->op->tensors[i].name);
    }
    return 0;
}

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static int compute(struct run *run, struct tenon_context *context)
{
    struct tenon_value values[TENON_MAX_TENSORS] = {0};
    for (uint32_t i = 0; i < run->op->n_tensors; i++)
        if (run->tensor[i].dtype)
            values[i] = (struct tenon_value){.tensor = run->tensor[i], .host = run->array[i].data};
    int32_t status =
        tenon_impl(context, run->op->op, run->params, run->tensor, run->op->n_tensors, run->impl, sizeof run->impl);
    double begin = now_ms();
    if (!status)
        status = tenon_run(context, run->op->op, run->params, values, run->op->n_tensors);
    if (status)
        return cli_fail_status(status);
    run->ms = now_ms() - begin;
    snprintf(run->device, sizeof run->device, "%s", tenon_context_spec(context));
    return CLI_OK;
}

static int write_outputs(struct run *run)
{
    for (uint32_t i = 0; i < run->op->n_tensors; i++) {
        struct tenon_why why = {""};
        if (run->op->tensors[i].role >= TENON_OUT && run->file[i] && npy_write(run->file[i], &run->array[i], &why))
            return cli_fail(CLI_FAILED, "cannot write %s: %s", run->file[i], why.text);
    }
    return CLI_OK;
}

static int execute(struct run *run, const char *device, int json)
{
    struct tenon_why why = {""};
    if (load_inputs(run, &why))
        return cli_fail(CLI_USAGE, "%s", why.text);
    if (choose_outputs(run, &why))
        return cli_fail(CLI_USAGE, "%s: %s", run->op->name, why.text);
    const struct tenon_op_desc desc = {.struct_size = sizeof desc,
                                       .op = run->op->op,
                                       .n_tensors = run->op->n_tensors,
                                       .tensors = run->tensor,
                                       .params = run->params};
    uint64_t params[RUN_PARAMS_MAX / 8];
    int32_t status = tenon_op_check(&desc, NULL, params, sizeof params, &why);
    if (status) /* before a device is opened: the input is wrong on every one */
        return cli_fail(cli_code(status), "%s: %s: %s", tenon_status_name(status), run->op->name, why.text);
    if (allocate_outputs(run, &why))
        return cli_fail(CLI_FAILED, "%s", why.text);
    struct tenon_context *context;
    status = tenon_context_open(device, &context);
    if (status)
        return cli_fail_status(status);
    int code = compute(run, context);
    tenon_context_close(context);
    if (!code)
        code = write_outputs(run);
    if (!code)
        run_summary(run, json);
    return code;
}

/* Options that need the operator, which may come after them: kept until it is known. */
static int apply(struct run *run, int argc, char **argv, const char **device, int *json)
{
    static const struct option longs[] = {
        {"device", required_argument, NULL, 'd'}, {"attr", required_argument, NULL, 'a'},
        {"in", required_argument, NULL, 'i'},     {"out", required_argument, NULL, 'o'},
        {"dtype", required_argument, NULL, 't'},  {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},         {0}};
    struct tenon_why why = {""};
    int c, bad = 0;
    optind = 1;
    while (!bad && (c = cli_getopt(argc, argv, ":d:a:i:o:h", longs)) != -1)
        switch (c) {
        case 'd':
            *device = optarg;
            break;
        case 'a':
            bad = run->op && tenon_op_attr_set(run->op, run->params, optarg, &why);
            break;
        case 'i':
        case 'o':
            bad = run->op && add_file(run, optarg, c == 'o', &why);
            break;
        case 't':
            bad = run->op && add_dtype(run, optarg, &why);
            break;
        case 'j':
            *json = 1;
            break;
        case 'h':
            fputs(help, stdout);
            return -1;
        default:
            return CLI_USAGE;
        }
    return bad ? cli_fail(CLI_USAGE, "%s", why.text) : CLI_OK;
}

int cli_run(int argc, char **argv)
{
    struct run run = {.op = NULL};
    const char *device = NULL;
    int json = 0;
    int code = apply(&run, argc, argv, &device, &json);
    if (code)
        return code < 0 ? CLI_OK : code;
    if (optind >= argc)
        return cli_fail(CLI_USAGE, "run: which operator? (tenon ops lists them)");
    if (optind + 1 < argc)
        return cli_fail(CLI_USAGE, "run: '%s' is too much (tenon run --help)", argv[optind + 1]);
    run.op = cli_op(argv[optind]);
    if (!run.op)
        return CLI_USAGE;
    if (run.op->params_size > sizeof run.params)
        return cli_fail(CLI_FAILED, "%s: params of %u bytes", run.op->name, run.op->params_size);
    tenon_op_defaults(run.op, run.params);
    code = apply(&run, argc, argv, &device, &json);
    if (!code)
        code = execute(&run, device, json);
    for (uint32_t i = 0; i < TENON_MAX_TENSORS; i++)
        free(run.array[i].data);
    return code;
}

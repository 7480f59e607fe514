/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * tenon kernels */
#include "cli.h"

#include <fnmatch.h>
#include <json-c/json.h>
#include <string.h>
#include <tenon/kernels.h>

static const char help[] =
    "usage: tenon kernels [--device SPEC] [--op GLOB] [--json]\n\n"
    "What the driver's compiler says of each kernel: registers, spills, instructions, whatever it reports.\n"
    "Without --device: every device whose backend can say it.\n\n"
    "  -d, --device SPEC  as TENON_DEVICE\n"
    "      --op GLOB      only operators that match, and kernels whose name matches or begins with theirs\n"
    "      --json         one JSON object a line\n"
    "  -h, --help\n\n"
    "Exit codes: 0 success, 2 bad usage, 3 no such device, or none that can say it.\n";

struct request {
    const char *glob, *device;
    int json;
    uint32_t lines;
};

static int wanted(const struct request *request, const char *kernel)
{
    if (!request->glob || !fnmatch(request->glob, kernel, 0))
        return 1;
    const struct tenon_op_contract *op;
    for (uint32_t i = 0; (op = tenon_op_contract_at(i)); i++) {
        size_t n = strlen(op->name);
        if (!fnmatch(request->glob, op->name, 0) && !strncmp(kernel, op->name, n) && (!kernel[n] || kernel[n] == '_'))
            return 1;
    }
    return 0;
}

static void print_text(const struct request *request, struct json_object *kernel)
{
    printf("%s %s", request->device, json_object_get_string(json_object_object_get(kernel, "kernel")));
    json_object_object_foreach(kernel, key, value)
    {
        if (!strcmp(key, "kernel") || !strcmp(key, "statistics"))
            continue;
        printf("  %s %s", key,
               json_object_is_type(value, json_type_string)
                   ? json_object_get_string(value)
                   : json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN));
    }
    putchar('\n');
    struct json_object *statistics = json_object_object_get(kernel, "statistics");
    if (!json_object_is_type(statistics, json_type_object))
        return;
    json_object_object_foreach(statistics, name, number)
    {
        printf("    %-40s %s\n", name, json_object_get_string(number));
    }
}

static void line(void *user, const char *json)
{
    struct request *request = user;
    struct json_object *kernel = json_tokener_parse(json);
    const char *name = json_object_get_string(json_object_object_get(kernel, "kernel"));
    if (!name || !wanted(request, name)) {
        json_object_put(kernel);
        return;
    }
    request->lines++;
    if (request->json) {
        json_object_object_add(kernel, "device", json_object_new_string(request->device));
        cli_json_line(kernel);
    } else {
        print_text(request, kernel);
        json_object_put(kernel);
    }
}

/* Kernels are specialised by plans: one of each operator and type, so that there is something to say. */
static void plan_some(struct tenon_context *context, const struct request *request)
{
    static const uint32_t dtypes[] = {TENON_F32, TENON_F16, TENON_BF16};
    const struct tenon_op_contract *op;
    for (uint32_t i = 0; (op = tenon_op_contract_at(i)); i++) {
        uint64_t params[512 / 8];
        if (op->params_size > sizeof params || (request->glob && fnmatch(request->glob, op->name, 0)))
            continue;
        tenon_op_defaults(op, params);
        for (size_t k = 0; k < sizeof dtypes / sizeof dtypes[0]; k++) {
            struct tenon_tensor tensors[TENON_MAX_TENSORS];
            int32_t status = cli_example(op, params, dtypes[k], tensors);
            if (!status)
                status = tenon_supports(context, op->op, params, tensors, op->n_tensors);
            (void)status; /* what the device does not support has no kernels */
        }
    }
}

/* 0 done, 1 the backend cannot say it, -1 failed after a message */
static int report(struct tenon_context *context, struct request *request)
{
    const struct tenon_kernels *kernels = tenon_context_backend(context)->extension(TENON_KERNELS_ID);
    if (!kernels || kernels->struct_size < sizeof *kernels || !kernels->report)
        return 1;
    request->device = tenon_context_spec(context);
    plan_some(context, request);
    int32_t status = kernels->report(tenon_context_device(context), line, request);
    if (status) {
        cli_fail_status(status);
        return -1;
    }
    return 0;
}

static int one(const char *spec, struct request *request)
{
    struct tenon_context *context;
    int32_t status = tenon_context_open(spec, &context);
    if (status)
        return cli_fail_status(status);
    int got = report(context, request), code = got < 0 ? CLI_FAILED : CLI_OK;
    if (got > 0)
        code = cli_fail(CLI_NODEVICE, "%s: its backend has no " TENON_KERNELS_ID, tenon_context_spec(context));
    tenon_context_close(context);
    return code;
}

static int every(struct request *request)
{
    struct tenon_report *devices;
    int32_t status = tenon_report_create(NULL, &devices);
    if (status)
        return cli_fail_status(status);
    int said = 0, failed = 0;
    for (uint32_t i = 0; i < devices->n; i++) {
        const struct tenon_report_entry *entry = devices->entries[i];
        char spec[128];
        struct tenon_context *context;
        snprintf(spec, sizeof spec, "%s:%u", entry->backend, entry->index);
        if (entry->reason || tenon_context_open(spec, &context))
            continue;
        int got = report(context, request);
        said |= got == 0;
        failed |= got < 0;
        tenon_context_close(context);
    }
    tenon_report_destroy(devices);
    if (failed)
        return CLI_FAILED;
    return said ? CLI_OK : cli_fail(CLI_NODEVICE, "no device whose backend has " TENON_KERNELS_ID);
}

int cli_kernels(int argc, char **argv)
{
    static const struct option longs[] = {{"device", required_argument, NULL, 'd'},
                                          {"op", required_argument, NULL, 'o'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    struct request request = {.glob = NULL};
    const char *device = NULL;
    int c;
    while ((c = cli_getopt(argc, argv, ":d:h", longs)) != -1)
        switch (c) {
        case 'd':
            device = optarg;
            break;
        case 'o':
            request.glob = optarg;
            break;
        case 'j':
            request.json = 1;
            break;
        case 'h':
            fputs(help, stdout);
            return CLI_OK;
        default:
            return CLI_USAGE;
        }
    if (optind < argc)
        return cli_fail(CLI_USAGE, "kernels: '%s' is too much (tenon kernels --help)", argv[optind]);
    int code = device ? one(device, &request) : every(&request);
    if (!code && !request.lines)
        return request.glob ? cli_fail(CLI_USAGE, "no kernel matches '%s'", request.glob)
                            : cli_fail(CLI_NODEVICE, "no kernel was reported");
    return code;
}

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * tenon ops: the contracts as the program has them, so that what is printed is what is checked. */
#include "cli.h"

#include <json-c/json.h>
#include <string.h>

static const char help[] = "usage: tenon ops [OPERATOR] [--json]\n\n"
                           "Lists the operators, or the tensors and attributes of one.\n\n"
                           "      --json  one JSON object a line, an operator each\n"
                           "  -h, --help\n";

static const char *const roles[] = {
    [TENON_IN] = "in", [TENON_IN_OPT] = "in?", [TENON_OUT] = "out", [TENON_OUT_OPT] = "out?"};
static const char *const types[] = {[TENON_ATTR_F32] = "f32", [TENON_ATTR_U32] = "u32",   [TENON_ATTR_I32] = "i32",
                                    [TENON_ATTR_U64] = "u64", [TENON_ATTR_ENUM] = "enum", [TENON_ATTR_FLAGS] = "flags"};

static const uint32_t all_dtypes[] = {TENON_F32, TENON_F16, TENON_BF16, TENON_I8, TENON_U8, TENON_I32, TENON_U32};

static const char *default_text(const struct tenon_attr_spec *attr, char *text, size_t room)
{
    if (attr->type == TENON_ATTR_ENUM)
        snprintf(text, room, "%s", attr->names[(uint32_t)attr->def]);
    else if (attr->type == TENON_ATTR_FLAGS)
        snprintf(text, room, attr->def != 0 ? "%#llx" : "none", (unsigned long long)attr->def);
    else
        snprintf(text, room, "%g", attr->def);
    return text;
}

static void print_values(const struct tenon_attr_spec *attr)
{
    if (attr->names) {
        for (uint32_t i = 0; attr->names[i]; i++)
            printf("%s%s", i ? "|" : "", attr->names[i]);
    } else {
        printf("%g..%g", attr->min, attr->max);
    }
}

static int widest(int width, const char *word)
{
    const int own = (int)strlen(word);
    return own > width ? own : width;
}

static void print_op(const struct tenon_op_contract *op)
{
    int name = 0, shape = 0, value = 0;
    char text[64];
    for (uint32_t i = 0; i < op->n_tensors; i++) {
        name = widest(name, op->tensors[i].name);
        shape = widest(shape, op->tensors[i].shape);
    }
    for (uint32_t i = 0; i < op->n_attrs; i++) {
        name = widest(name, op->attrs[i].name);
        value = widest(value, default_text(&op->attrs[i], text, sizeof text));
    }
    printf("%s: %s\nsource: %s\n\ntensors\n", op->name, op->text, op->source);
    for (uint32_t i = 0; i < op->n_tensors; i++) {
        const struct tenon_tensor_spec *t = &op->tensors[i];
        printf("  %-4s %-*s %-*s ", roles[t->role], name, t->name, shape, t->shape);
        for (size_t k = 0; k < sizeof all_dtypes / sizeof *all_dtypes; k++)
            if (t->dtypes & tenon_dtype_bit(all_dtypes[k]))
                printf("%s ", tenon_dtype_name(all_dtypes[k]));
        printf("\n       %*s %s\n", name, "", t->text);
    }
    printf("\nattributes (name, type, default, values)\n");
    for (uint32_t i = 0; i < op->n_attrs; i++) {
        printf("  %-*s %-5s %-*s ", name, op->attrs[i].name, types[op->attrs[i].type], value,
               default_text(&op->attrs[i], text, sizeof text));
        print_values(&op->attrs[i]);
        printf("\n  %*s %s\n", name, "", op->attrs[i].text);
    }
}

static struct json_object *tensor_json(const struct tenon_tensor_spec *t)
{
    struct json_object *o = json_object_new_object(), *list = json_object_new_array();
    for (size_t k = 0; k < sizeof all_dtypes / sizeof *all_dtypes; k++)
        if (t->dtypes & tenon_dtype_bit(all_dtypes[k]))
            json_object_array_add(list, json_object_new_string(tenon_dtype_name(all_dtypes[k])));
    json_object_object_add(o, "name", json_object_new_string(t->name));
    json_object_object_add(o, "role", json_object_new_string(t->role >= TENON_OUT ? "out" : "in"));
    json_object_object_add(o, "optional", json_object_new_boolean(t->role == TENON_IN_OPT || t->role == TENON_OUT_OPT));
    json_object_object_add(o, "dtypes", list);
    json_object_object_add(o, "shape", json_object_new_string(t->shape));
    json_object_object_add(o, "text", json_object_new_string(t->text));
    return o;
}

static struct json_object *attr_json(const struct tenon_attr_spec *a)
{
    char text[64];
    struct json_object *o = json_object_new_object();
    json_object_object_add(o, "name", json_object_new_string(a->name));
    json_object_object_add(o, "type", json_object_new_string(types[a->type]));
    if (a->names) {
        struct json_object *values = json_object_new_array();
        for (uint32_t i = 0; a->names[i]; i++)
            json_object_array_add(values, json_object_new_string(a->names[i]));
        json_object_object_add(o, "default", json_object_new_string(default_text(a, text, sizeof text)));
        json_object_object_add(o, "values", values);
    } else {
        json_object_object_add(o, "default", cli_json_number(a->def));
        json_object_object_add(o, "min", cli_json_number(a->min));
        json_object_object_add(o, "max", cli_json_number(a->max));
    }
    json_object_object_add(o, "text", json_object_new_string(a->text));
    return o;
}

static void print_json(const struct tenon_op_contract *op)
{
    struct json_object *o = json_object_new_object(), *tensors = json_object_new_array(),
                       *attrs = json_object_new_array();
    for (uint32_t i = 0; i < op->n_tensors; i++)
        json_object_array_add(tensors, tensor_json(&op->tensors[i]));
    for (uint32_t i = 0; i < op->n_attrs; i++)
        json_object_array_add(attrs, attr_json(&op->attrs[i]));
    json_object_object_add(o, "op", json_object_new_string(op->name));
    json_object_object_add(o, "number", json_object_new_uint64(op->op));
    json_object_object_add(o, "text", json_object_new_string(op->text));
    json_object_object_add(o, "source", json_object_new_string(op->source));
    json_object_object_add(o, "tensors", tensors);
    json_object_object_add(o, "attributes", attrs);
    cli_json_line(o);
}

int cli_ops(int argc, char **argv)
{
    static const struct option longs[] = {{"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {0}};
    int json = 0, c;
    while ((c = cli_getopt(argc, argv, ":h", longs)) != -1) {
        if (c == 'h') {
            fputs(help, stdout);
            return CLI_OK;
        }
        if (c != 'j')
            return CLI_USAGE;
        json = 1;
    }
    if (argc - optind > 1)
        return cli_fail(CLI_USAGE, "ops: '%s' is too much (tenon ops --help)", argv[optind + 1]);
    const struct tenon_op_contract *one = NULL, *op;
    int width = 0;
    if (optind < argc && !(one = cli_op(argv[optind])))
        return CLI_USAGE;
    for (uint32_t i = 0; (op = tenon_op_contract_at(i)); i++)
        width = widest(width, op->name);
    for (uint32_t i = 0; (op = tenon_op_contract_at(i)); i++) {
        if (one && op != one)
            continue;
        if (json)
            print_json(op);
        else if (one)
            print_op(op);
        else
            printf("%-*s %s\n", width, op->name, op->text);
    }
    return CLI_OK;
}

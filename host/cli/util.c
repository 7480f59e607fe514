/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include "cli.h"

#include <json-c/json.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

int cli_fail(int code, const char *format, ...)
{
    fflush(stdout);
    fputs("tenon: ", stderr);
    va_list list;
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
    return code;
}

int cli_code(int32_t status)
{
    switch (status) {
    case TENON_OK:
        return CLI_OK;
    case TENON_E_NODEVICE:
        return CLI_NODEVICE;
    case TENON_E_NOMEM:
    case TENON_E_LOST:
    case TENON_E_TIMEOUT:
    case TENON_E_INTERNAL:
        return CLI_FAILED;
    default: /* what was asked for cannot be had */
        return CLI_USAGE;
    }
}

int cli_fail_status(int32_t status)
{
    return cli_fail(cli_code(status), "%s: %s", tenon_status_name(status), tenon_error());
}

const char *cli_near(const char *word, const char *const *names, uint32_t n)
{
    static char text[128];
    const char *near = tenon_closest(word, names, n);
    if (!near)
        return "";
    snprintf(text, sizeof text, "; did you mean '%s'?", near);
    return text;
}

const char *cli_near_or_all(const char *word, const char *const *names, uint32_t n)
{
    static char text[256];
    const char *near = cli_near(word, names, n);
    if (near[0])
        return near;
    size_t length = (size_t)snprintf(text, sizeof text, "; there %s", n == 1 ? "is" : "are");
    for (uint32_t i = 0; i < n && length < sizeof text; i++)
        length += (size_t)snprintf(text + length, sizeof text - length, "%s %s", i ? "," : "", names[i]);
    return n ? text : "";
}

int cli_getopt(int argc, char **argv, const char *shorts, const struct option *longs)
{
    opterr = 0;
    int c = getopt_long(argc, argv, shorts, longs, NULL);
    if (c != '?' && c != ':')
        return c;
    const char *word = optind > 0 && optind <= argc ? argv[optind - 1] : "";
    if (c == ':') {
        cli_fail(CLI_USAGE, "%s: %s needs a value", argv[0], word);
        return '?';
    }
    const char *names[32];
    uint32_t n = 0;
    while (longs[n].name && n < 32) {
        names[n] = longs[n].name;
        n++;
    }
    char name[64];
    const char *bare = !strncmp(word, "--", 2) ? word + 2 : word;
    size_t length = strcspn(bare, "=");
    length = length < sizeof name ? length : sizeof name - 1;
    memcpy(name, bare, length);
    name[length] = 0;
    if (optopt && strncmp(word, "--", 2))
        cli_fail(CLI_USAGE, "%s: no option '-%c' (tenon %s --help)", argv[0], optopt, argv[0]);
    else
        cli_fail(CLI_USAGE, "%s: option '--%s' %s%s (tenon %s --help)", argv[0], name,
                 optopt ? "takes no value" : "is not known or not unique", optopt ? "" : cli_near(name, names, n),
                 argv[0]);
    return '?';
}

const struct tenon_op_contract *cli_op(const char *name)
{
    const struct tenon_op_contract *contract = tenon_op_contract_by_name(name);
    if (contract)
        return contract;
    const char *names[64];
    uint32_t n = 0;
    for (const struct tenon_op_contract *c; n < 64 && (c = tenon_op_contract_at(n)); n++)
        names[n] = c->name;
    cli_fail(CLI_USAGE, "no operator '%s'%s (tenon ops lists them)", name, cli_near(name, names, n));
    return NULL;
}

const char *cli_shape(const struct tenon_tensor *tensor, char *text, size_t room)
{
    size_t n = 0;
    snprintf(text, room, "scalar");
    for (uint32_t k = 0; k < tensor->rank && n < room; k++)
        n += (size_t)snprintf(text + n, room - n, "%s%lld", k ? "x" : "", (long long)tensor->dim[k]);
    return text;
}

const char *cli_bytes(uint64_t n, char *text, size_t room)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)n;
    unsigned unit = 0;
    for (; value >= 1024 && unit < 6; unit++)
        value /= 1024;
    snprintf(text, room, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return text;
}

void cli_json_line(struct json_object *object)
{
    puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(object);
}

struct json_object *cli_json_number(double value)
{
    if (!isfinite(value))
        return NULL; /* json-c writes null */
    char text[40];
    snprintf(text, sizeof text, "%.9g", value);
    return json_object_new_double_s(value, text);
}

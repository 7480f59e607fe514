/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * tenon devices */
#include "cli.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#define PROBE_SECONDS 20

static const char help[] =
    "usage: tenon devices [-v] [--json] [--probe[=SECONDS]]\n\n"
    "Lists the devices of every backend, under the names that TENON_DEVICE takes.\n\n"
    "  -v, --verbose  also what was skipped and why, each device's limits, and which one would be used\n"
    "      --json     one JSON object a line, with everything\n"
    "      --probe[=SECONDS]\n"
    "                 load each plugin in a process of its own: one that crashes, exits or does not answer within so\n"
    "                 many seconds (20) is reported and does no harm\n"
    "  -h, --help\n\n"
    "Exit codes: 0 there is a device, 3 there is none.\n";

static const char *type_name(uint32_t type)
{
    static const char *const names[] = {"", "cpu", "igpu", "gpu", "accel"};
    return names[type <= TENON_TYPE_ACCEL ? type : 0];
}

static const struct {
    uint64_t bit;
    const char *name;
} caps[] = {{TENON_CAP_UNIFIED, "unified"},
            {TENON_CAP_IMPORT, "import"},
            {TENON_CAP_XQUEUE, "xqueue"},
            {TENON_CAP_SOFTWARE, "software"},
            {TENON_CAP_SYNC, "sync"}};

static void uuid_text(const uint8_t uuid[16], char text[33])
{
    for (int i = 0; i < 16; i++)
        snprintf(text + 2 * i, 3, "%02x", uuid[i]);
}

/* JSON is UTF-8 and file names need not be: a byte above 127 that is no part of a well-formed sequence becomes '?'. */
static struct json_object *json_text(const char *value)
{
    char text[4200];
    size_t n = 0;
    for (const unsigned char *c = (const unsigned char *)value; *c && n + 4 < sizeof text;) {
        unsigned more = *c < 0x80                 ? 0
                        : *c >= 0xc2 && *c < 0xe0 ? 1
                        : (*c & 0xf0) == 0xe0     ? 2
                        : *c >= 0xf0 && *c < 0xf5 ? 3
                                                  : 9;
        unsigned i = 1;
        while (more < 9 && i <= more && (c[i] & 0xc0) == 0x80)
            i++;
        int good = more < 9 && i == more + 1;
        for (i = 0; good && i <= more; i++)
            text[n++] = (char)c[i];
        if (!good)
            text[n++] = '?';
        c += good ? more + 1 : 1;
    }
    return json_object_new_string_len(text, (int)n);
}

static void add_string(struct json_object *object, const char *key, const char *value)
{
    json_object_object_add(object, key, value ? json_text(value) : NULL);
}

static void add_number(struct json_object *object, const char *key, uint64_t value)
{
    json_object_object_add(object, key, json_object_new_uint64(value));
}

static void add_info(struct json_object *object, const struct tenon_device_info *info)
{
    char uuid[33];
    uuid_text(info->uuid, uuid);
    struct json_object *list = json_object_new_array();
    for (size_t i = 0; i < sizeof caps / sizeof caps[0]; i++)
        if (info->caps & caps[i].bit)
            json_object_array_add(list, json_object_new_string(caps[i].name));
    add_string(object, "type", type_name(info->type));
    add_string(object, "name", info->name);
    add_string(object, "driver", info->driver);
    add_string(object, "location", info->location);
    add_string(object, "uuid", uuid);
    add_number(object, "vendor_id", info->vendor_id);
    json_object_object_add(object, "caps", list);
    add_number(object, "mem_total", info->mem_total);
    add_number(object, "max_buffer", info->max_buffer);
    add_number(object, "bind_align", info->bind_align);
    add_number(object, "import_align", info->import_align);
    add_number(object, "max_queues", info->max_queues);
}

struct json_object *cli_entry_json(const struct tenon_report_entry *entry)
{
    struct json_object *object = json_object_new_object();
    char spec[128];
    snprintf(spec, sizeof spec, "%s:%u", entry->backend, entry->index);
    add_string(object, "device", entry->index == UINT32_MAX ? NULL : spec);
    add_string(object, "backend", entry->backend);
    add_string(object, "path", entry->path);
    add_string(object, "version", entry->version);
    add_string(object, "reason", entry->reason);
    add_string(object, "detail", entry->detail);
    if (entry->index != UINT32_MAX) {
        add_number(object, "index", entry->index);
        add_info(object, &entry->info);
    }
    return object;
}

/* ---- for people ---- */

static const char *text_of(struct json_object *object, const char *key)
{
    const char *text = json_object_get_string(json_object_object_get(object, key));
    return text ? text : "";
}

static uint64_t number_of(struct json_object *object, const char *key)
{
    return json_object_get_uint64(json_object_object_get(object, key));
}

static int has_cap(struct json_object *object, const char *name)
{
    struct json_object *list = json_object_object_get(object, "caps");
    for (size_t i = 0; list && i < json_object_array_length(list); i++)
        if (!strcmp(json_object_get_string(json_object_array_get_idx(list, i)), name))
            return 1;
    return 0;
}

static void print_device(struct json_object *object, int verbose)
{
    char memory[32], largest[32];
    cli_bytes(number_of(object, "mem_total"), memory, sizeof memory);
    printf("%-12s %-6s %10s  %s%s\n", text_of(object, "device"), text_of(object, "type"), memory,
           text_of(object, "name"), has_cap(object, "software") ? " (software)" : "");
    if (!verbose)
        return;
    cli_bytes(number_of(object, "max_buffer"), largest, sizeof largest);
    printf("    driver %s; %s%suuid %s\n", text_of(object, "driver"), text_of(object, "location")[0] ? "pci " : "",
           text_of(object, "location")[0] ? text_of(object, "location") : "", text_of(object, "uuid"));
    printf("    largest buffer %s; offsets in steps of %llu bytes; %llu queues;", largest,
           (unsigned long long)number_of(object, "bind_align"), (unsigned long long)number_of(object, "max_queues"));
    struct json_object *list = json_object_object_get(object, "caps");
    for (size_t i = 0; list && i < json_object_array_length(list); i++)
        printf(" %s", json_object_get_string(json_object_array_get_idx(list, i)));
    printf("\n    backend %s %s from %s\n", text_of(object, "backend"), text_of(object, "version"),
           text_of(object, "path"));
}

static void print_skipped(struct json_object *object)
{
    const char *device = text_of(object, "device");
    printf("%-12s %s: %s\n    %s\n", device[0] ? device : text_of(object, "backend"), text_of(object, "reason"),
           text_of(object, "detail"), text_of(object, "path"));
}

/* ---- collecting ---- */

struct list {
    struct json_object *entries; /* array */
};

static void keep(void *user, struct json_object *object)
{
    json_object_array_add(((struct list *)user)->entries, object);
}

/* probe: seconds for each plugin, 0: load them here. */
static int collect(int probe, struct list *list)
{
    struct tenon_report *report;
    /* "none" can mean nobody: every plugin is listed and none is opened. */
    int32_t status = tenon_report_create(probe ? "none" : NULL, &report);
    if (status)
        return cli_fail_status(status);
    for (uint32_t i = 0; i < report->n; i++) {
        const struct tenon_report_entry *entry = report->entries[i];
        if (!probe || strcmp(entry->reason ? entry->reason : "", "FILTERED")) {
            keep(list, cli_entry_json(entry));
        } else if (cli_probe(entry->path, entry->backend, (unsigned)probe, keep, list)) {
            tenon_report_destroy(report);
            return cli_fail(CLI_FAILED, "cannot make a process for %s: %s", entry->path, strerror(errno));
        }
    }
    tenon_report_destroy(report);
    return CLI_OK;
}

static void print_choice(void)
{
    struct tenon_context *context;
    const char *asked = getenv("TENON_DEVICE");
    if (tenon_context_open(NULL, &context)) {
        printf("\nTENON_DEVICE=%s would fail: %s\n", asked ? asked : "", tenon_error());
        return;
    }
    printf("\n%s%s chooses %s\n", asked && *asked ? "TENON_DEVICE=" : "auto", asked ? asked : "",
           tenon_context_spec(context));
    tenon_context_close(context);
}

static int print(const struct list *list, int verbose, int json, int probe)
{
    size_t n = json_object_array_length(list->entries), usable = 0, skipped = 0;
    for (size_t i = 0; i < n; i++) {
        struct json_object *entry = json_object_array_get_idx(list->entries, i);
        int good = !json_object_object_get(entry, "reason");
        if (json)
            cli_json_line(json_object_get(entry));
        else if (good)
            print_device(entry, verbose);
        usable += (size_t)good;
        skipped += (size_t)!good;
    }
    if (!json && skipped && verbose)
        puts("\nskipped:");
    for (size_t i = 0; i < n && !json; i++) {
        struct json_object *entry = json_object_array_get_idx(list->entries, i);
        if (json_object_object_get(entry, "reason") && (verbose || probe))
            print_skipped(entry);
    }
    if (!json && !verbose && !probe && skipped)
        fprintf(stderr, "%zu skipped; tenon devices -v says why\n", skipped);
    if (!json && verbose && !probe)
        print_choice();
    return usable ? CLI_OK : json ? CLI_NODEVICE : cli_fail(CLI_NODEVICE, "no device");
}

int cli_devices(int argc, char **argv)
{
    static const struct option longs[] = {{"verbose", no_argument, NULL, 'v'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"probe", optional_argument, NULL, 'p'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    int verbose = 0, json = 0, probe = 0, c;
    while ((c = cli_getopt(argc, argv, ":vh", longs)) != -1)
        switch (c) {
        case 'v':
            verbose = 1;
            break;
        case 'j':
            json = 1;
            break;
        case 'p':
            probe = optarg ? atoi(optarg) : PROBE_SECONDS;
            if (probe < 1 || probe > 3600)
                return cli_fail(CLI_USAGE, "--probe=%s: must be seconds from 1 to 3600", optarg);
            break;
        case 'h':
            fputs(help, stdout);
            return CLI_OK;
        default:
            return CLI_USAGE;
        }
    if (optind < argc)
        return cli_fail(CLI_USAGE, "devices: '%s' is too much (tenon devices --help)", argv[optind]);
    struct list list = {json_object_new_array()};
    int code = collect(probe, &list);
    if (!code)
        code = print(&list, verbose, json, probe);
    json_object_put(list.entries);
    return code;
}

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The two tables that meet: what a plugin gets from the host, and the host's own copy of what the plugin gives. */
#include "host.h"

#include <stdio.h>
#include <string.h>

#include "fpstate.h"

/* ---- to the plugin ---- */

static void host_log(const struct tenon_host *host, int32_t level, const char *message)
{
    const struct tenon__host *mine = (const struct tenon__host *)host;
    tenon__log(level, "%s: %s", mine->id, message ? message : "");
}

static int32_t host_fail(const struct tenon_host *host, int32_t status, const char *message)
{
    (void)host;
    char clean[1024];
    tenon__text_clean(clean, sizeof clean, message ? message : "", sizeof clean);
    tenon__fail(status, "%s", clean);
    return status;
}

static const char *host_config(const struct tenon_host *host, const char *key)
{
    return tenon__config(((const struct tenon__host *)host)->id, key);
}

static const void *host_extension(const struct tenon_host *host, const char *id)
{
    const struct tenon__host *mine = (const struct tenon__host *)host;
    if (id && !strcmp(id, "tenon.next-host/1"))
        return mine->next_host;
    return id && !strcmp(id, "tenon.next/1") ? mine->next : NULL;
}

void tenon__host_init(struct tenon__host *host, const char *id, const struct tenon_backend *next)
{
    *host = (struct tenon__host){
        .base = {.struct_size = sizeof host->base,
                 .abi_minor = TENON_ABI_MINOR,
                 .name = "libtenon " PACKAGE_VERSION,
                 .log = host_log,
                 .fail = host_fail,
                 .alloc = tenon__host_alloc,
                 .free = tenon__host_free,
                 .config = host_config,
                 .parallel = tenon__parallel,
                 .extension = host_extension},
        .next = next,
    };
    snprintf(host->id, sizeof host->id, "%s", id);
}

/* ---- from the plugin ---- */

#define MANDATORY_SIZE offsetof(struct tenon_backend, plan_record)
#define SIZE_MAX_SANE  65536u
#define SLOT(name)                                                                                                     \
    {                                                                                                                  \
#name, offsetof(struct tenon_backend, name)                                                                    \
    }

static const struct {
    const char *name;
    size_t offset;
} mandatory[] = {
    SLOT(device_count),   SLOT(device_info),  SLOT(device_open),   SLOT(device_close), SLOT(buffer_create),
    SLOT(buffer_destroy), SLOT(buffer_map),   SLOT(buffer_unmap),  SLOT(plan_create),  SLOT(plan_info),
    SLOT(plan_destroy),   SLOT(queue_create), SLOT(queue_destroy), SLOT(enqueue),      SLOT(queue_wait),
};

static int32_t no_record(struct tenon_device *device, const struct tenon_cmd *const *cmds, uint32_t n,
                         struct tenon_plan **plan)
{
    (void)device, (void)cmds, (void)n, (void)plan;
    return tenon__fail(TENON_E_UNSUPPORTED, "recording: more than %d backends without it are loaded",
                       TENON__MAX_PLUGINS);
}

static const void *no_extension(const char *id)
{
    (void)id;
    return NULL;
}

static int check_id(struct tenon__plugin *plugin, const char *id)
{
    char clean[TENON__ID_MAX + 2];
    if (!id)
        return tenon__refuse(plugin, "BAD_ID", "the table's id is NULL");
    size_t n = strnlen(id, TENON__ID_MAX + 1);
    if (n > TENON__ID_MAX)
        return tenon__refuse(plugin, "BAD_ID", "the table's id is longer than %d bytes", TENON__ID_MAX);
    tenon__text_clean(clean, sizeof clean, id, n);
    const struct tenon_backend *wrapped = plugin->host.next;
    if (strcmp(clean, wrapped ? wrapped->id : plugin->id))
        return tenon__refuse(plugin, "BAD_ID", "the table says '%s', the %s says '%s'", clean,
                             wrapped ? "wrapped backend" : "file name", wrapped ? wrapped->id : plugin->id);
    return 0;
}

static int copy_table(struct tenon__plugin *plugin, const struct tenon_backend *given)
{
    uint32_t size = given->struct_size;
    if (size < MANDATORY_SIZE || size > SIZE_MAX_SANE || size % sizeof(void *))
        return tenon__refuse(plugin, "BAD_SIZE", "struct_size %u: must be a multiple of %zu, at least %zu, at most %u",
                             size, sizeof(void *), MANDATORY_SIZE, SIZE_MAX_SANE);
    struct tenon_backend *table = &plugin->table;
    memset(table, 0, sizeof *table);
    memcpy(table, given, size < sizeof *table ? size : sizeof *table);
    table->struct_size = sizeof *table;
    for (size_t i = 0; i < sizeof mandatory / sizeof mandatory[0]; i++) {
        void *slot;
        memcpy(&slot, (const char *)table + mandatory[i].offset, sizeof slot);
        if (!slot)
            return tenon__refuse(plugin, "MISSING_SLOT", "%s is NULL", mandatory[i].name);
    }
    if (check_id(plugin, table->id))
        return -1;
    tenon__text_clean(plugin->version, sizeof plugin->version, table->version ? table->version : "",
                      sizeof plugin->version);
    table->id = plugin->id;
    table->version = plugin->version;
    if (!table->extension)
        table->extension = no_extension;
    if (!table->plan_record && tenon__replay_install(table))
        table->plan_record = no_record;
    return 0;
}

int tenon__plugin_table(struct tenon__plugin *plugin, tenon_backend_entry entry)
{
    struct fpstate state = fpstate_get();
    tenon__error_clear();
    const struct tenon_backend *given = entry(&plugin->host.base);
    if (fpstate_put(state))
        tenon__log(TENON_LOG_WARN, "the entry of %s changed the floating-point mode; restored", plugin->path);
    if (!given)
        return tenon__refuse(plugin, "ENTRY_NULL", "%s",
                             tenon_error()[0] ? tenon_error() : "the entry returned NULL without a reason");
    return copy_table(plugin, given);
}

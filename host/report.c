/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What there is and what was skipped, with a reason a line. */
#include "host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An entry with its own copies of the texts: a report stays what it was when it was made. */
struct line {
    struct tenon_report_entry entry;
    char backend[TENON__ID_MAX + 1], version[64], detail[512];
    char path[]; /* NUL-terminated */
};

struct full_report {
    struct tenon_report base; /* first: freed through its address */
    const struct tenon_report_entry *entries[];
};

static int32_t add(struct full_report *report, const struct tenon__plugin *plugin, uint32_t index, const char *reason,
                   const char *detail, const struct tenon_device_info *info)
{
    size_t length = strlen(plugin->path) + 1;
    struct line *line = tenon__alloc(sizeof *line + length);
    if (!line)
        return TENON_E_NOMEM;
    snprintf(line->backend, sizeof line->backend, "%s", plugin->id);
    snprintf(line->version, sizeof line->version, "%s", plugin->version);
    snprintf(line->detail, sizeof line->detail, "%s", detail);
    memcpy(line->path, plugin->path, length);
    line->entry = (struct tenon_report_entry){.struct_size = sizeof line->entry,
                                              .index = index,
                                              .backend = line->backend,
                                              .path = line->path,
                                              .version = line->version,
                                              .reason = reason,
                                              .detail = line->detail};
    if (info)
        line->entry.info = *info;
    report->entries[report->base.n++] = &line->entry;
    return TENON_OK;
}

static int32_t add_devices(struct full_report *report, const struct tenon__selector *selector,
                           const struct tenon__plugin *plugin)
{
    for (uint32_t i = 0; i < plugin->n_devices; i++) {
        const struct tenon__device *device = &plugin->devices[i];
        const char *reason = device->reason;
        char detail[256];
        snprintf(detail, sizeof detail, "%s", device->detail);
        const struct tenon__term *removed = tenon__selector_removes(selector, plugin->id, i, &device->info);
        int meant = 0;
        for (uint32_t j = 0; j < selector->n && !reason; j++)
            meant |=
                !selector->term[j].negative && tenon__term_matches(&selector->term[j], plugin->id, i, &device->info);
        if (!reason && (removed || !meant)) {
            reason = "FILTERED";
            snprintf(detail, sizeof detail, removed ? "removed by '%s'" : "no term of the selector means it",
                     removed ? removed->text : "");
        }
        int32_t status = add(report, plugin, i, reason, detail, &device->info);
        if (status)
            return status;
    }
    return TENON_OK;
}

static int32_t add_plugin(struct full_report *report, const struct tenon__selector *selector,
                          struct tenon__plugin *plugin)
{
    if (!plugin->reason && !tenon__selector_needs(selector, plugin->id))
        return add(report, plugin, UINT32_MAX, "FILTERED", "no term of the selector can mean it; not opened", NULL);
    if (plugin->reason || tenon__plugin_devices(plugin))
        return add(report, plugin, UINT32_MAX, plugin->reason, plugin->detail, NULL);
    return add_devices(report, selector, plugin);
}

static int by_backend(const void *a, const void *b)
{
    const struct tenon__plugin *x = *(struct tenon__plugin *const *)a, *y = *(struct tenon__plugin *const *)b;
    uint32_t p = tenon__backend_rank(x->id), q = tenon__backend_rank(y->id);
    if (p != q)
        return p < q ? -1 : 1;
    int order = strcmp(x->id, y->id);
    return order ? order : strcmp(x->path, y->path);
}

int32_t tenon_report_create(const char *selector_text, struct tenon_report **report)
{
    if (!report)
        return tenon__fail(TENON_E_INVALID, "tenon_report_create: report is NULL");
    struct tenon__selector selector;
    int32_t status = tenon__selector_parse(selector_text, &selector);
    if (status)
        return status;
    const size_t room = TENON__PLUGIN_ROOM * TENON__MAX_DEVICES;
    struct full_report *full = tenon__alloc(sizeof *full + room * sizeof full->entries[0]);
    if (!full)
        return TENON_E_NOMEM;
    full->base.entries = full->entries;
    tenon__lock();
    struct tenon__plugin *const *plugins, *sorted[TENON__PLUGIN_ROOM];
    uint32_t n = tenon__plugins(&plugins);
    memcpy(sorted, plugins, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, by_backend);
    status = tenon__plugins_complete() ? tenon__layers_check() : TENON_E_NOMEM;
    for (uint32_t i = 0; i < n && !status; i++)
        status = add_plugin(full, &selector, sorted[i]);
    tenon__unlock();
    if (status)
        tenon_report_destroy(&full->base);
    else
        *report = &full->base;
    return status;
}

void tenon_report_destroy(struct tenon_report *report)
{
    for (uint32_t i = 0; report && i < report->n; i++)
        tenon__free((void *)(uintptr_t)report->entries[i]); /* the entry is the line's first member */
    tenon__free(report);
}

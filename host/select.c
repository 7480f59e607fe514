/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * From a selector to an open device: term by term from the left, opening only the plugins that a term can mean, and
 * never another device than the ones written. */
#include "host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct candidate {
    struct tenon__plugin *plugin;
    uint32_t index;
};

struct search {
    const struct tenon__selector *selector;
    int nomem;              /* something was missed for want of memory */
    struct tenon__text why; /* one part a candidate or plugin that did not do */
    char room[3072];
};

/* gpu > igpu > accel > cpu, software devices last; then the backends' order, then the index. */
static int by_rank(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    uint32_t p = tenon__device_rank(&x->plugin->devices[x->index]),
             q = tenon__device_rank(&y->plugin->devices[y->index]);
    if (p != q)
        return p < q ? -1 : 1;
    p = tenon__backend_rank(x->plugin->id), q = tenon__backend_rank(y->plugin->id);
    if (p != q)
        return p < q ? -1 : 1;
    int order = strcmp(x->plugin->id, y->plugin->id);
    return order ? order : x->index < y->index ? -1 : 1;
}

static void note(struct search *search, const char *format, ...) TENON_PRINTF(2, 3);
static void note(struct search *search, const char *format, ...)
{
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    tenon__text_add(&search->why, "; %s", text);
}

static const char *type_name(uint32_t type)
{
    static const char *const names[] = {"?", "cpu", "igpu", "gpu", "accel"};
    return names[type <= TENON_TYPE_ACCEL ? type : 0];
}

/* Appends the plugin's devices that the term means. */
static uint32_t gather(struct search *search, const struct tenon__term *term, struct tenon__plugin *plugin,
                       struct candidate *list, uint32_t n, uint32_t room)
{
    if (tenon__plugin_devices(plugin)) {
        note(search, "%s: %s: %s", plugin->id, plugin->reason, plugin->detail);
        search->nomem |= plugin->transient;
        return n;
    }
    for (uint32_t i = 0; i < plugin->n_devices; i++) {
        const struct tenon__device *device = &plugin->devices[i];
        const struct tenon__term *removed = tenon__selector_removes(search->selector, plugin->id, i, &device->info);
        if (device->reason)
            note(search, "%s:%u: %s: %s", plugin->id, i, device->reason, device->detail);
        else if (!tenon__term_matches(term, plugin->id, i, &device->info))
            note(search, "%s:%u (%s, %s) is not meant by '%s'", plugin->id, i, device->info.name,
                 type_name(device->info.type), term->text);
        else if (removed)
            note(search, "%s:%u is removed by '%s'", plugin->id, i, removed->text);
        else if (n < room)
            list[n++] = (struct candidate){plugin, i};
    }
    return n;
}

static void no_such_backend(struct search *search, const struct tenon__term *term)
{
    struct tenon__plugin *const *plugins;
    const char *names[TENON__PLUGIN_ROOM];
    char list[256];
    struct tenon__text text = TENON__TEXT(list);
    uint32_t n = tenon__plugins(&plugins), m = 0;
    for (uint32_t i = 0; i < n; i++)
        if (!plugins[i]->reason || strcmp(plugins[i]->reason, "DUPLICATE")) {
            tenon__text_add(&text, "%s%s", m ? ", " : "", plugins[i]->id);
            names[m++] = plugins[i]->id;
        }
    const char *near = tenon_closest(term->backend, names, m);
    if (!m)
        note(search,
             "no plugin was found in TENON_BACKEND_PATH, in the folder tenon beside libtenon, or in " TENON_PKGLIBDIR);
    else if (near)
        note(search, "no backend '%s'; did you mean '%s'? (there %s %s)", term->backend, near, m == 1 ? "is" : "are",
             list);
    else
        note(search, "no backend '%s' (there %s %s)", term->backend, m == 1 ? "is" : "are", m ? list : "none");
}

/* 1 when a device is open. */
static int try_term(struct search *search, const struct tenon__term *term, struct candidate *list, uint32_t room,
                    struct tenon__plugin **plugin, uint32_t *index, struct tenon_device **device)
{
    struct tenon__plugin *const *plugins;
    uint32_t n_plugins = tenon__plugins(&plugins), n = 0, known = 0;
    for (uint32_t i = 0; i < n_plugins; i++) {
        if (!tenon__term_names(term, plugins[i]->id))
            continue;
        if (plugins[i]->reason && !strcmp(plugins[i]->reason, "DUPLICATE"))
            continue;
        known = 1;
        const struct tenon__term *removed = tenon__selector_removes(search->selector, plugins[i]->id, 0, NULL);
        if (removed)
            note(search, "%s is removed by '%s'", plugins[i]->id, removed->text);
        else
            n = gather(search, term, plugins[i], list, n, room);
    }
    if (!known)
        no_such_backend(search, term);
    qsort(list, n, sizeof *list, by_rank);
    for (uint32_t i = 0; i < n; i++) {
        struct tenon__plugin *p = list[i].plugin;
        struct tenon_device *opened = NULL;
        tenon__error_clear();
        int32_t status = p->use->device_open(p->devices[list[i].index].raw, NULL, &opened);
        if (!status && opened) {
            *plugin = p;
            *index = list[i].index;
            *device = opened;
            return 1;
        }
        const char *said = tenon_error()[0] ? tenon_error() : tenon_status_text(status);
        note(search, "%s:%u: OPEN_FAILED: %s", p->id, list[i].index,
             status ? said : "device_open returned OK and no device");
        search->nomem |= status == TENON_E_NOMEM;
        tenon__log(TENON_LOG_INFO, "%s:%u does not open: %s", p->id, list[i].index, said);
    }
    return 0;
}

static int32_t search_all(struct search *search, struct candidate *list, uint32_t room, struct tenon__plugin **plugin,
                          uint32_t *index, struct tenon_device **device)
{
    struct tenon__plugin *const *plugins;
    tenon__plugins(&plugins);
    if (!tenon__plugins_complete())
        return TENON_E_NOMEM;
    for (uint32_t i = 0; i < search->selector->n; i++) {
        const struct tenon__term *term = &search->selector->term[i];
        if (!term->negative && try_term(search, term, list, room, plugin, index, device))
            return TENON_OK;
    }
    return search->nomem ? TENON_E_NOMEM : TENON_E_NODEVICE;
}

int32_t tenon__select(const char *text, struct tenon__plugin **plugin, uint32_t *index, struct tenon_device **device)
{
    struct tenon__selector selector;
    if (!text)
        text = tenon__env("TENON_DEVICE");
    if (!text)
        text = "auto";
    int32_t status = tenon__selector_parse(text, &selector);
    if (status)
        return status;
    if (selector.none)
        return tenon__fail(TENON_E_NODEVICE, "device selector 'none': no device is wanted");
    const uint32_t room = TENON__PLUGIN_ROOM * TENON__MAX_DEVICES;
    struct candidate *list = tenon__alloc(room * sizeof *list);
    struct search *search = tenon__alloc(sizeof *search);
    if (!list || !search) {
        tenon__free(list);
        tenon__free(search);
        return TENON_E_NOMEM;
    }
    search->selector = &selector;
    search->why = TENON__TEXT(search->room);
    tenon__lock();
    status = tenon__layers_check();
    if (!status && (status = search_all(search, list, room, plugin, index, device)))
        tenon__fail(status, "no device for '%.200s'%s", text, search->room);
    tenon__unlock();
    tenon__free(list);
    tenon__free(search);
    return status;
}

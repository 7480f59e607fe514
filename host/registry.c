/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The plugins that were found and their devices. Entries are made once and stay: a plugin is never unloaded. */
#include "host.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Backends in the order of preference when two devices are otherwise equal. Others stand between, by name; the
 * template, which computes nothing, stands last. */
#ifndef TENON_BACKEND_ORDER
#define TENON_BACKEND_ORDER "vulkan", "opencl", "cpu"
#endif

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct tenon__plugin *plugins[TENON__PLUGIN_ROOM];
static uint32_t n_plugins;
static int searched;

void tenon__lock(void)
{
    pthread_mutex_lock(&lock);
}

void tenon__unlock(void)
{
    pthread_mutex_unlock(&lock);
}

static struct tenon__plugin *add(const char *path, const char *id)
{
    if (n_plugins == TENON__PLUGIN_ROOM) {
        tenon__fail(TENON_E_NOMEM, "%s: TOO_MANY: more than %d plugins", path, TENON__MAX_PLUGINS);
        return NULL;
    }
    struct tenon__plugin *plugin = tenon__alloc(sizeof *plugin);
    if (!plugin || !(plugin->path = tenon__strdup(path))) {
        tenon__free(plugin);
        searched = 0; /* the search is repeated at the next call, for what it missed */
        return NULL;
    }
    snprintf(plugin->id, sizeof plugin->id, "%s", id);
    plugins[n_plugins++] = plugin;
    if (n_plugins == TENON__PLUGIN_ROOM)
        tenon__refuse(plugin, "TOO_MANY", "more than %d plugins; this one and what follows is not looked at",
                      TENON__MAX_PLUGINS);
    return plugin;
}

/* The earlier plugin that is the same file, reached by another path too, or has the same name. */
static const struct tenon__plugin *earlier(const struct tenon__plugin *plugin)
{
    char mine[PATH_MAX], other[PATH_MAX];
    int have = realpath(plugin->path, mine) != NULL;
    for (uint32_t i = 0; i < n_plugins && plugins[i] != plugin; i++) {
        const struct tenon__plugin *p = plugins[i];
        if (p->reason && !strcmp(p->reason, "DUPLICATE"))
            continue;
        if (!strcmp(p->id, plugin->id) || (plugin->ino && p->ino == plugin->ino && p->dev == plugin->dev) ||
            (have && realpath(p->path, other) && !strcmp(mine, other)))
            return p;
    }
    return NULL;
}

static void register_file(struct tenon__plugin *plugin, int legal_id)
{
    if (!legal_id) {
        tenon__refuse(plugin, "BAD_ID", "the file name's id must be 1 to %d characters of [a-z0-9_-]", TENON__ID_MAX);
        return;
    }
    if (tenon__file_check(plugin))
        return;
    const struct tenon__plugin *first = earlier(plugin);
    if (first)
        tenon__refuse(plugin, "DUPLICATE", "%s, found earlier, wins", first->path);
}

static void found(void *context, const char *directory, const char *file)
{
    (void)context;
    char id[TENON__ID_MAX + 1], path[TENON__PATH_MAX];
    int legal = tenon__plugin_name(file, id);
    if (!strncmp(id, "layer-", 6))
        return;
    int n = snprintf(path, sizeof path, "%s/%s", directory, file);
    if (n < 0 || (size_t)n >= sizeof path)
        return;
    for (uint32_t i = 0; i < n_plugins; i++)
        if (!strcmp(plugins[i]->path, path))
            return; /* the same directory named twice */
    struct tenon__plugin *plugin = add(path, id);
    if (plugin && !plugin->reason)
        register_file(plugin, legal == 1);
}

/* Whether the list is complete; not after want of memory. */
int tenon__plugins_complete(void)
{
    return searched;
}

uint32_t tenon__plugins(struct tenon__plugin *const **list)
{
    if (!searched) {
        searched = 1;
        tenon__search(found, NULL);
    }
    *list = plugins;
    return n_plugins;
}

struct tenon__plugin *tenon__plugin_find(const char *id)
{
    struct tenon__plugin *const *list;
    uint32_t n = tenon__plugins(&list);
    for (uint32_t i = 0; i < n; i++)
        if (!strcmp(list[i]->id, id) && !(list[i]->reason && !strcmp(list[i]->reason, "DUPLICATE")))
            return list[i];
    return NULL;
}

uint32_t tenon__backend_rank(const char *id)
{
    static const char *const order[] = {TENON_BACKEND_ORDER};
    const uint32_t n = sizeof order / sizeof order[0];
    for (uint32_t i = 0; i < n; i++)
        if (!strcmp(id, order[i]))
            return i;
    return strcmp(id, "null") ? n : n + 1;
}

uint32_t tenon__device_rank(const struct tenon__device *device)
{
    static const uint32_t rank[] = {
        [TENON_TYPE_GPU] = 0, [TENON_TYPE_IGPU] = 1, [TENON_TYPE_ACCEL] = 2, [TENON_TYPE_CPU] = 3};
    uint32_t software = device->info.caps & TENON_CAP_SOFTWARE ? 8 : 0;
    return software + rank[device->info.type];
}

/* ---- one file, named by the application ---- */

static int32_t status_of(const char *reason)
{
    static const char *const files[] = {"NOT_FOUND", "NOT_REGULAR", "PERMISSION", "DLOPEN"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        if (!strcmp(reason, files[i]))
            return TENON_E_IO;
    return strcmp(reason, "OTHER_MAJOR") ? TENON_E_INVALID : TENON_E_UNSUPPORTED;
}

/* A path as it may stand in a sentence: a file name can hold a newline. */
struct shown {
    char text[512];
};
static struct shown shown(const char *path)
{
    struct shown clean;
    tenon__text_clean(clean.text, sizeof clean.text, path, TENON__PATH_MAX);
    return clean;
}

static int32_t refused(struct tenon__plugin *plugin)
{
    return tenon__fail(status_of(plugin->reason), "%s: %s: %s", shown(plugin->path).text, plugin->reason,
                       plugin->detail);
}

/* A file named by hand wins over one of the same name that was found but not opened yet. */
static void displace(const struct tenon__plugin *winner)
{
    struct tenon__plugin *const *list;
    uint32_t n = tenon__plugins(&list);
    for (uint32_t i = 0; i < n; i++)
        if (list[i] != winner && !strcmp(list[i]->id, winner->id) && !list[i]->tried && !list[i]->reason)
            tenon__refuse(list[i], "DUPLICATE", "%s, named by the application, wins", winner->path);
}

static int32_t load(const char *path, const char **id)
{
    char name[TENON__ID_MAX + 1];
    const char *file = strrchr(path, '/');
    int legal = tenon__plugin_name(file ? file + 1 : path, name);
    if (!legal)
        return tenon__fail(TENON_E_INVALID, "%s: BAD_ID: a plugin's file name is libtenon-<id>.so", shown(path).text);
    struct tenon__plugin *known = tenon__plugin_find(name), *plugin = NULL;
    if (known && !strcmp(known->path, path))
        plugin = known;
    else if (known && known->tried && !known->reason)
        return tenon__fail(TENON_E_INVALID, "%s: DUPLICATE: %s is loaded already", shown(path).text, known->path);
    else if (!(plugin = add(path, name)))
        return TENON_E_NOMEM;
    else
        displace(plugin);
    if (legal == 2)
        tenon__refuse(plugin, "BAD_ID", "the file name's id must be 1 to %d characters of [a-z0-9_-]", TENON__ID_MAX);
    if (tenon__plugin_open(plugin))
        return refused(plugin);
    *id = plugin->id;
    return TENON_OK;
}

int32_t tenon_plugin_load(const char *path, const char **id)
{
    if (!path || !id)
        return tenon__fail(TENON_E_INVALID, "tenon_plugin_load: %s is NULL", path ? "id" : "path");
    if (path[0] != '/')
        return tenon__fail(TENON_E_IO, "NOT_FOUND: '%.200s' is not an absolute path", path);
    if (strnlen(path, TENON__PATH_MAX) >= TENON__PATH_MAX)
        return tenon__fail(TENON_E_IO, "NOT_FOUND: the path is longer than %d bytes", TENON__PATH_MAX - 1);
    tenon__lock();
    int32_t status = tenon__layers_check();
    if (!status)
        status = load(path, id);
    tenon__unlock();
    return status;
}

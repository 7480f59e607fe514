/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * TENON_LAYERS=check,trace: plugins that stand in front of a backend. A layer's entry is called once a backend, with a
 * host whose extension "tenon.next/1" is the table to wrap; it returns a table of its own each time. The first name
 * stands outermost. */
#include "host.h"

#include <stdio.h>
#include <string.h>

#define LAYER_PREFIX   "layer-"
#define LAYER_NAME_MAX (TENON__ID_MAX + 1 - sizeof LAYER_PREFIX)

struct layer {
    char name[LAYER_NAME_MAX + 1];
    char *path;
};

static struct layer *layers[TENON__MAX_LAYERS]; /* as asked for */
static uint32_t n_layers;
static int parsed;
static int32_t parse_status;
static char parse_text[512];

/* All layers there are, for "did you mean". */
struct found {
    char name[TENON__MAX_LAYERS * 2][TENON__ID_MAX + 1];
    char *path[TENON__MAX_LAYERS * 2];
    uint32_t n;
    int nomem;
};

static void collect(void *context, const char *directory, const char *file)
{
    struct found *found = context;
    char id[TENON__ID_MAX + 1], path[TENON__PATH_MAX];
    if (tenon__plugin_name(file, id) != 1 || strncmp(id, LAYER_PREFIX, strlen(LAYER_PREFIX)) ||
        found->n == TENON__MAX_LAYERS * 2 || found->nomem)
        return;
    for (uint32_t i = 0; i < found->n; i++)
        if (!strcmp(found->name[i], id + strlen(LAYER_PREFIX)))
            return; /* the first wins */
    int n = snprintf(path, sizeof path, "%s/%s", directory, file);
    if (n < 0 || (size_t)n >= sizeof path)
        return;
    if (!(found->path[found->n] = tenon__strdup(path))) {
        found->nomem = 1;
        return;
    }
    snprintf(found->name[found->n++], TENON__ID_MAX + 1, "%s", id + strlen(LAYER_PREFIX));
}

static int32_t unknown(const char *name, const struct found *found)
{
    const char *names[TENON__MAX_LAYERS * 2];
    char list[256];
    struct tenon__text text = TENON__TEXT(list);
    for (uint32_t i = 0; i < found->n; i++) {
        names[i] = found->name[i];
        tenon__text_add(&text, "%s%s", i ? ", " : "", names[i]);
    }
    const char *near = tenon_closest(name, names, found->n);
    snprintf(parse_text, sizeof parse_text, "TENON_LAYERS: no layer '%s'%s%s%s; there %s %s", name,
             near ? "; did you mean '" : "", near ? near : "", near ? "'" : "", found->n == 1 ? "is" : "are",
             found->n ? list : "none");
    return TENON_E_INVALID;
}

static int32_t add(const char *name, const struct found *found)
{
    if (n_layers == TENON__MAX_LAYERS) {
        snprintf(parse_text, sizeof parse_text, "TENON_LAYERS: more than %d layers", TENON__MAX_LAYERS);
        return TENON_E_INVALID;
    }
    for (uint32_t i = 0; i < found->n; i++)
        if (!strcmp(found->name[i], name)) {
            struct layer *layer = tenon__alloc(sizeof *layer);
            if (!layer || !(layer->path = tenon__strdup(found->path[i]))) {
                tenon__free(layer);
                snprintf(parse_text, sizeof parse_text, "out of memory");
                return TENON_E_NOMEM;
            }
            snprintf(layer->name, sizeof layer->name, "%s", name);
            layers[n_layers++] = layer;
            return TENON_OK;
        }
    return unknown(name, found);
}

static int32_t parse(const char *list)
{
    struct found found = {.n = 0};
    tenon__search(collect, &found);
    int32_t status = found.nomem ? TENON_E_NOMEM : TENON_OK;
    if (status)
        snprintf(parse_text, sizeof parse_text, "out of memory");
    while (*list && !status) {
        list += strspn(list, ", \t");
        size_t n = strcspn(list, ", \t");
        char name[LAYER_NAME_MAX + 1];
        if (n > LAYER_NAME_MAX) {
            snprintf(parse_text, sizeof parse_text, "TENON_LAYERS: a name longer than %zu bytes", LAYER_NAME_MAX);
            status = TENON_E_INVALID;
        } else if (n) {
            tenon__text_clean(name, sizeof name, list, n);
            status = add(name, &found);
        }
        list += n;
    }
    for (uint32_t i = 0; i < found.n; i++)
        tenon__free(found.path[i]);
    return status;
}

int32_t tenon__layers_check(void)
{
    if (!parsed) {
        const char *list = tenon__env("TENON_LAYERS");
        for (uint32_t i = 0; i < n_layers; i++) { /* of an attempt that ran out of memory */
            tenon__free(layers[i]->path);
            tenon__free(layers[i]);
        }
        n_layers = 0;
        parse_status = list ? parse(list) : TENON_OK;
        parsed = parse_status != TENON_E_NOMEM;
    }
    return parse_status ? tenon__fail(parse_status, "%s", parse_text) : TENON_OK;
}

/* Around plugin->use. The layer is treated as any plugin is: the same file checks, the same copied table. */
static int wrap(struct tenon__plugin *plugin, const struct layer *layer)
{
    struct tenon__plugin *outer = tenon__alloc(sizeof *outer);
    if (!outer)
        return tenon__refuse_for_now(plugin, "LAYER");
    snprintf(outer->id, sizeof outer->id, LAYER_PREFIX "%s", layer->name);
    outer->path = layer->path;
    tenon__host_init(&outer->host, outer->id, plugin->use);
    outer->host.next_host = &plugin->host.base;
    tenon_backend_entry entry = tenon__plugin_entry(outer);
    if (!entry || tenon__plugin_table(outer, entry)) {
        tenon__refuse(plugin, "LAYER", "layer %s: %s: %s", layer->name, outer->reason, outer->detail);
        tenon__free(outer);
        return -1;
    }
    outer->table.id = plugin->id;
    outer->table.version = plugin->version;
    plugin->use = &outer->table; /* lives as long as the plugin: for ever */
    tenon__log(TENON_LOG_INFO, "%s: layer %s in front", plugin->id, layer->name);
    return 0;
}

int tenon__layers_wrap(struct tenon__plugin *plugin)
{
    if (tenon__layers_check())
        return tenon__refuse(plugin, "LAYER", "%s", parse_text);
    for (uint32_t i = n_layers; i-- > 0;)
        if (wrap(plugin, layers[i]))
            return -1;
    return 0;
}

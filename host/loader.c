/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * From a file to its entry. A plugin has full trust once it is loaded: these checks catch mistakes, not malice. A
 * plugin stays mapped for the life of the process, because unloading driver stacks (their threads, their thread-local
 * destructors) is not safe anywhere. */
#include "host.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <stdio.h>
#include <string.h>

#include "fpstate.h"

#define MAJORS_LOOKED_FOR 16

int tenon__refuse(struct tenon__plugin *plugin, const char *reason, const char *format, ...)
{
    char raw[sizeof plugin->detail];
    va_list list;
    va_start(list, format);
    vsnprintf(raw, sizeof raw, format, list);
    va_end(list);
    tenon__text_clean(plugin->detail, sizeof plugin->detail, raw, sizeof raw);
    plugin->reason = reason;
    tenon__log(TENON_LOG_INFO, "%s: %s: %s", plugin->path, reason, plugin->detail);
    return -1;
}

int tenon__refuse_for_now(struct tenon__plugin *plugin, const char *reason)
{
    plugin->transient = 1;
    return tenon__refuse(plugin, reason, "out of memory");
}

/* The symbol of another ABI major, so that the message says what is really wrong. */
static int other_major(struct tenon__plugin *plugin, void *handle)
{
    for (unsigned major = 0; major <= MAJORS_LOOKED_FOR; major++) {
        char name[64];
        snprintf(name, sizeof name, "tenon_backend_entry_v%u", major);
        if (major != TENON_ABI_MAJOR && dlsym(handle, name))
            return tenon__refuse(plugin, "OTHER_MAJOR", "the plugin is ABI %u, this host is ABI %u", major,
                                 TENON_ABI_MAJOR);
    }
    return tenon__refuse(plugin, "NO_SYMBOL", "no symbol %s", TENON_ENTRY_SYMBOL);
}

/* dlsym also looks into what the object links to: an entry found there belongs to somebody else. */
static tenon_backend_entry own_function(struct tenon__plugin *plugin, void *handle, void *symbol)
{
    Dl_info info;
    struct link_map *mine = NULL, *owner = NULL;
    const ElfW(Sym) *entry = NULL;
    if (dlinfo(handle, RTLD_DI_LINKMAP, &mine) || !dladdr1(symbol, &info, (void **)&owner, RTLD_DL_LINKMAP) ||
        mine != owner) {
        tenon__refuse(plugin, "FOREIGN_SYMBOL", "%s comes from %s", TENON_ENTRY_SYMBOL,
                      owner && owner->l_name[0] ? owner->l_name : "another object");
        return NULL;
    }
    if (!dladdr1(symbol, &info, (void **)&entry, RTLD_DL_SYMENT) || !entry ||
        ELF64_ST_TYPE(entry->st_info) != STT_FUNC) {
        tenon__refuse(plugin, "NOT_FUNCTION", "%s is not a function", TENON_ENTRY_SYMBOL);
        return NULL;
    }
    tenon_backend_entry function;
    memcpy(&function, &symbol, sizeof function);
    return function;
}

tenon_backend_entry tenon__plugin_entry(struct tenon__plugin *plugin)
{
    if (tenon__file_check(plugin))
        return NULL;
    tenon__log(TENON_LOG_DEBUG, "opening %s", plugin->path);
    struct fpstate state = fpstate_get();
    void *handle = dlopen(plugin->path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    const char *error = handle ? NULL : dlerror();
    if (fpstate_put(state))
        tenon__log(TENON_LOG_WARN,
                   "%s changed the floating-point mode while loading (built with -ffast-math?); restored",
                   plugin->path);
    if (!handle) {
        tenon__refuse(plugin, "DLOPEN", "%s", error ? error : "dlopen failed");
        return NULL;
    }
    void *symbol = dlsym(handle, TENON_ENTRY_SYMBOL);
    if (!symbol) {
        other_major(plugin, handle);
        return NULL;
    }
    return own_function(plugin, handle, symbol);
}

int tenon__plugin_open(struct tenon__plugin *plugin)
{
    if (plugin->transient) {
        plugin->transient = plugin->tried = 0;
        plugin->reason = NULL;
    }
    if (plugin->tried || plugin->reason)
        return plugin->reason ? -1 : 0;
    plugin->tried = 1;
    tenon__host_init(&plugin->host, plugin->id, NULL);
    tenon_backend_entry entry = tenon__plugin_entry(plugin);
    if (!entry || tenon__plugin_table(plugin, entry))
        return -1;
    plugin->use = &plugin->table;
    return tenon__layers_wrap(plugin);
}

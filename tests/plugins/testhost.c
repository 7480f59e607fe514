/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#define _GNU_SOURCE
#include "testhost.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../tap.h"

static struct testhost *mine(const struct tenon_host *host)
{
    struct testhost *result;
    memcpy(&result, &host, sizeof result);
    return result;
}

/* Of the texts: backends talk from any thread. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void host_log(const struct tenon_host *host, int32_t level, const char *message)
{
    struct testhost *h = mine(host);
    pthread_mutex_lock(&lock);
    size_t used = strlen(h->log);
    h->errors += level == TENON_LOG_ERROR;
    h->lines++;
    snprintf(h->log + used, sizeof h->log - used, "%s\n", message);
    pthread_mutex_unlock(&lock);
}

static int32_t host_fail(const struct tenon_host *host, int32_t status, const char *message)
{
    pthread_mutex_lock(&lock);
    snprintf(mine(host)->failure, sizeof mine(host)->failure, "%s", message);
    pthread_mutex_unlock(&lock);
    return status;
}

static void *host_alloc(const struct tenon_host *host, size_t size, size_t align)
{
    struct testhost *h = mine(host);
    void *memory = NULL;
    if (++h->allocs == h->fail_at)
        return NULL;
    if (posix_memalign(&memory, align < sizeof(void *) ? sizeof(void *) : align, size ? size : 1))
        return NULL;
    memset(memory, 0xa5, size); /* nobody may rely on zeros */
    h->live++;
    return memory;
}

static void host_free(const struct tenon_host *host, void *memory)
{
    mine(host)->live -= memory != NULL;
    free(memory);
}

static const char *host_config(const struct tenon_host *host, const char *key)
{
    for (const char *const *c = mine(host)->config; c && c[0]; c += 2)
        if (!strcmp(c[0], key))
            return c[1];
    return NULL;
}

static void host_parallel(const struct tenon_host *host, uint32_t n, void (*fn)(void *, uint32_t), void *context)
{
    (void)host;
    for (uint32_t i = 0; i < n; i++)
        fn(context, i);
}

static const void *host_extension(const struct tenon_host *host, const char *id)
{
    if (!strcmp(id, "tenon.next/1"))
        return mine(host)->next;
    return strcmp(id, "tenon.next-host/1") ? NULL : mine(host)->next_host;
}

void testhost_init(struct testhost *host)
{
    *host = (struct testhost){.base = {.struct_size = sizeof host->base,
                                       .name = "testhost",
                                       .log = host_log,
                                       .fail = host_fail,
                                       .alloc = host_alloc,
                                       .free = host_free,
                                       .config = host_config,
                                       .parallel = host_parallel,
                                       .extension = host_extension}};
}

void testhost_clear(struct testhost *host)
{
    host->failure[0] = host->log[0] = 0;
    host->errors = host->lines = 0;
}

/* NULL when it was not built. */
static const char *plugin_path(const char *id, char *path, size_t size)
{
    const char *builddir = getenv("top_builddir");
    static const char *const folders[] = {".libs", "backends/cpu/.libs", "backends/null/.libs"};
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, size, "%s/%s/libtenon-%s.so", builddir ? builddir : ".", folders[i], id);
        if (!access(path, R_OK))
            return path;
    }
    return NULL;
}

int testhost_has(const char *id)
{
    char path[4096];
    return plugin_path(id, path, sizeof path) != NULL;
}

const struct tenon_backend *testhost_load(struct testhost *host, const char *id)
{
    char path[4096];
    void *handle = plugin_path(id, path, sizeof path) ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    void *symbol = handle ? dlsym(handle, TENON_ENTRY_SYMBOL) : NULL;
    if (!symbol)
        bail("no plugin %s: %s", id, path);
    tenon_backend_entry entry;
    memcpy(&entry, &symbol, sizeof entry);
    return entry(&host->base);
}

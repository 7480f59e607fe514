/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * One door for the memory of the host and of the backends, so that leaks can be counted and every allocation be made to
 * fail. */
#include "host.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static atomic_llong live;
static atomic_ullong countdown; /* 0: off */
static atomic_int keep_failing;

void tenon__alloc_fail_at(uint64_t n, int persistent)
{
    atomic_store(&keep_failing, n && persistent);
    atomic_store(&countdown, n);
}

int64_t tenon__alloc_live(void)
{
    return atomic_load(&live);
}

static int refused(void)
{
    unsigned long long now = atomic_load_explicit(&countdown, memory_order_relaxed);
    while (now) {
        if (now == 1 && atomic_load(&keep_failing))
            return 1;
        if (atomic_compare_exchange_weak(&countdown, &now, now - 1))
            return now == 1;
    }
    return 0;
}

static void *take(size_t size, size_t align)
{
    if (refused() || align > 4096 || (align & (align - 1)) || size > PTRDIFF_MAX - 4096)
        return NULL;
    void *memory = NULL;
    size_t room = size ? size : 1;
    if (posix_memalign(&memory, align < sizeof(void *) ? sizeof(void *) : align, room))
        return NULL;
    atomic_fetch_add_explicit(&live, 1, memory_order_relaxed);
    return memory;
}

void *tenon__alloc(size_t size)
{
    void *memory = take(size, 16);
    if (!memory)
        tenon__fail(TENON_E_NOMEM, "out of memory: %zu bytes", size);
    else
        memset(memory, 0, size);
    return memory;
}

void tenon__free(void *memory)
{
    if (!memory)
        return;
    atomic_fetch_sub_explicit(&live, 1, memory_order_relaxed);
    free(memory);
}

char *tenon__strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = tenon__alloc(size);
    if (copy)
        memcpy(copy, text, size);
    return copy;
}

void *tenon__host_alloc(const struct tenon_host *host, size_t size, size_t align)
{
    (void)host;
    return take(size, align);
}

void tenon__host_free(const struct tenon_host *host, void *memory)
{
    (void)host;
    tenon__free(memory);
}

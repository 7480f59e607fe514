/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Settings from the environment. They are copied once, at the first call: getenv is not safe beside setenv, and a
 * setting that changes under a running program would be honoured by one half of it. */
#include "host.h"

#include <ctype.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

extern char **environ;

#define MAX_SETTINGS 128
static char *settings[MAX_SETTINGS]; /* "NAME=value" */
static uint32_t n_settings;
static int privileged;
static uint32_t threads, processors;
static char threads_text[16];
static char *cache_dir;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static const char *find(const char *name)
{
    size_t length = strlen(name);
    for (uint32_t i = 0; i < n_settings; i++)
        if (!strncmp(settings[i], name, length) && settings[i][length] == '=' && settings[i][length + 1])
            return settings[i] + length + 1;
    return NULL;
}

/* $TENON_CACHE_DIR, else the cache folder of the XDG base directory specification; absolute paths only. */
static void find_cache_dir(void)
{
    const char *own = find("TENON_CACHE_DIR"), *xdg = secure_getenv("XDG_CACHE_HOME"), *home = secure_getenv("HOME");
    char path[TENON__PATH_MAX];
    path[0] = 0;
    if (own)
        snprintf(path, sizeof path, "%s", own);
    else if (xdg && xdg[0] == '/')
        snprintf(path, sizeof path, "%s/tenon", xdg);
    else if (home && home[0] == '/')
        snprintf(path, sizeof path, "%s/.cache/tenon", home);
    if (path[0] == '/')
        cache_dir = strdup(path);
}

/* A misspelt name would be ignored silently, which is worse than a warning too much. */
static void warn_misspelt(void)
{
    static const char *const names[] = {"TENON_DEVICE", "TENON_BACKEND_PATH", "TENON_LOG",
                                        "TENON_LAYERS", "TENON_THREADS",      "TENON_CACHE_DIR"};
    const uint32_t n = sizeof names / sizeof names[0];
    for (uint32_t i = 0; i < n_settings; i++) {
        char name[64];
        size_t length = strcspn(settings[i], "=");
        snprintf(name, sizeof name, "%.*s", (int)(length < sizeof name ? length : sizeof name - 1), settings[i]);
        int exact = 0;
        for (uint32_t j = 0; j < n; j++)
            exact |= !strcmp(name, names[j]);
        /* TENON_<BACKEND>_<KEY> is a backend's own; these are surely ours. */
        int ours = !strchr(name + strlen("TENON_"), '_') || !strncmp(name, "TENON_BACKEND_", 14) ||
                   !strncmp(name, "TENON_CACHE_", 12);
        if (exact || !ours)
            continue;
        const char *near = tenon_closest(name, names, n);
        if (near)
            fprintf(stderr, "tenon: warn: %s is not a setting; did you mean %s?\n", name, near);
    }
}

#define MAX_THREADS 1024
static uint32_t find_processors(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) ? (int)sysconf(_SC_NPROCESSORS_ONLN) : CPU_COUNT(&set);
    return n < 1 ? 1 : n > MAX_THREADS ? MAX_THREADS : (uint32_t)n;
}

/* $TENON_THREADS, else the processors this process may use. */
static uint32_t find_threads(void)
{
    const char *text = find("TENON_THREADS");
    if (text) {
        char *end;
        unsigned long n = strtoul(text, &end, 10);
        if (isdigit((unsigned char)text[0]) && !*end && n >= 1 && n <= MAX_THREADS)
            return (uint32_t)n;
        fprintf(stderr, "tenon: warn: TENON_THREADS=%.32s is not a number from 1 to %d; ignored\n", text, MAX_THREADS);
    }
    return processors;
}

static void take_copy(void)
{
    privileged = getauxval(AT_SECURE) != 0; /* what secure_getenv goes by: set-user-id, capabilities */
    if (!privileged)
        for (char **e = environ; e && *e && n_settings < MAX_SETTINGS; e++)
            if (!strncmp(*e, "TENON_", 6) && strchr(*e, '=')) {
                settings[n_settings] = strdup(*e);
                n_settings += settings[n_settings] != NULL;
            }
    if (!privileged)
        find_cache_dir();
    processors = find_processors();
    threads = find_threads();
    snprintf(threads_text, sizeof threads_text, "%u", threads);
    warn_misspelt();
}

uint32_t tenon__threads(void)
{
    pthread_once(&once, take_copy);
    return threads;
}

uint32_t tenon__processors(void)
{
    pthread_once(&once, take_copy);
    return processors;
}

int tenon__privileged(void)
{
    pthread_once(&once, take_copy);
    return privileged;
}

const char *tenon__env(const char *name)
{
    pthread_once(&once, take_copy);
    return find(name);
}

const char *tenon__config(const char *id, const char *key)
{
    char name[160];
    if (!key || strlen(key) > 64)
        return NULL;
    int n = snprintf(name, sizeof name, "TENON_%s_%s", id, key);
    if (n < 0 || (size_t)n >= sizeof name)
        return NULL;
    for (char *c = name; *c; c++)
        *c = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
    const char *value = tenon__env(name);
    if (value)
        return value;
    if (!strcmp(key, "threads"))
        return threads_text;
    if (!strcmp(key, "cache_dir"))
        return cache_dir;
    return NULL;
}

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Where plugins are, and which files are fit to be opened. Never the current directory, never a bare name that the
 * dynamic linker would look up. */
#include "host.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREFIX "libtenon-"
#define SUFFIX ".so"

static int id_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

int tenon__plugin_name(const char *file, char id[TENON__ID_MAX + 1])
{
    size_t length = strlen(file), prefix = strlen(PREFIX), suffix = strlen(SUFFIX);
    if (length < prefix + suffix || strncmp(file, PREFIX, prefix) || strcmp(file + length - suffix, SUFFIX))
        return 0;
    size_t n = length - prefix - suffix;
    int good = n >= 1 && n <= TENON__ID_MAX;
    for (size_t i = 0; i < n; i++)
        good &= id_char(file[prefix + i]);
    tenon__text_clean(id, TENON__ID_MAX + 1, file + prefix, n);
    return good ? 1 : 2;
}

/* A folder that others may write to is skipped whole: anybody could put a plugin there. */
static int directory_check(const char *path, char *why, size_t room)
{
    struct stat st;
    if (stat(path, &st)) {
        snprintf(why, room, "%s", strerror(errno));
        return -1;
    }
    if (!S_ISDIR(st.st_mode)) {
        snprintf(why, room, "not a directory");
        return -1;
    }
    if (st.st_mode & (S_IWGRP | S_IWOTH)) {
        snprintf(why, room, "the directory is writable by %s; chmod go-w it",
                 st.st_mode & S_IWOTH ? "everybody" : "its group");
        return -1;
    }
    if (tenon__privileged() && st.st_uid != 0) {
        snprintf(why, room, "the directory does not belong to root and this process is privileged");
        return -1;
    }
    return 0;
}

static int plugin_files(const struct dirent *entry)
{
    char id[TENON__ID_MAX + 1];
    return tenon__plugin_name(entry->d_name, id) != 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void scan(const char *directory, int32_t level, void (*fn)(void *, const char *, const char *), void *context)
{
    char why[160];
    if (directory[0] != '/') {
        tenon__log(TENON_LOG_WARN, "plugin directory '%s' is not an absolute path; skipped", directory);
        return;
    }
    if (directory_check(directory, why, sizeof why)) {
        tenon__log(level, "plugin directory %s: %s; skipped", directory, why);
        return;
    }
    struct dirent **names;
    int n = scandir(directory, &names, plugin_files, by_name);
    for (int i = 0; i < n; i++) {
        fn(context, directory, names[i]->d_name);
        free(names[i]);
    }
    if (n >= 0)
        free(names);
}

/* The folder `tenon` beside the shared library that holds this function. Nothing when libtenon is linked statically:
 * then this is the program, and the program's folder is not searched. */
static int beside_library(char *path, size_t room)
{
    static const char here;
    Dl_info info;
    struct link_map *map = NULL;
    if (!dladdr1(&here, &info, (void **)&map, RTLD_DL_LINKMAP) || !map || !map->l_name || !map->l_name[0])
        return -1;
    char real[PATH_MAX];
    if (!realpath(map->l_name, real))
        return -1;
    int n = snprintf(path, room, "%s/tenon", dirname(real));
    return n > 0 && (size_t)n < room ? 0 : -1;
}

void tenon__search(void (*fn)(void *context, const char *directory, const char *file), void *context)
{
    const char *list = tenon__env("TENON_BACKEND_PATH");
    char path[TENON__PATH_MAX];
    while (list && *list) {
        size_t n = strcspn(list, ":");
        if (n >= sizeof path) {
            tenon__log(TENON_LOG_WARN, "a directory of TENON_BACKEND_PATH is longer than %d bytes; skipped",
                       TENON__PATH_MAX - 1);
        } else if (n) {
            memcpy(path, list, n);
            path[n] = 0;
            scan(path, TENON_LOG_WARN, fn, context);
        }
        list += n + (list[n] == ':');
    }
    if (!tenon__privileged() && !beside_library(path, sizeof path))
        scan(path, TENON_LOG_DEBUG, fn, context);
    scan(TENON_PKGLIBDIR, TENON_LOG_DEBUG, fn, context);
}

int tenon__file_check(struct tenon__plugin *plugin)
{
    struct stat st;
    const char *path = plugin->path;
    if (path[0] != '/')
        return tenon__refuse(plugin, "NOT_FOUND", "'%s' is not an absolute path", path);
    if (strlen(path) >= TENON__PATH_MAX)
        return tenon__refuse(plugin, "NOT_FOUND", "the path is longer than %d bytes", TENON__PATH_MAX - 1);
    if (stat(path, &st))
        return tenon__refuse(plugin, errno == EACCES ? "PERMISSION" : "NOT_FOUND", "%s", strerror(errno));
    plugin->dev = st.st_dev;
    plugin->ino = st.st_ino;
    if (!S_ISREG(st.st_mode))
        return tenon__refuse(plugin, "NOT_REGULAR", "not a regular file");
    if (st.st_mode & (S_IWGRP | S_IWOTH))
        return tenon__refuse(plugin, "PERMISSION", "the file is writable by %s; chmod go-w it",
                             st.st_mode & S_IWOTH ? "everybody" : "its group");
    if (tenon__privileged() && st.st_uid != 0)
        return tenon__refuse(plugin, "PERMISSION", "the file does not belong to root and this process is privileged");
    if (access(path, R_OK))
        return tenon__refuse(plugin, "PERMISSION", "%s", strerror(errno));
    char copy[TENON__PATH_MAX], why[160];
    snprintf(copy, sizeof copy, "%s", path);
    if (directory_check(dirname(copy), why, sizeof why))
        return tenon__refuse(plugin, "PERMISSION", "%s", why);
    const char *wrong = tenon__elf_check(path, why, sizeof why);
    return wrong ? tenon__refuse(plugin, "DLOPEN", "%s", wrong) : 0;
}

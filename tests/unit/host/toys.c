/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include "toys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../tap.h"

/* Where make put the toys: the tests are run from the top of the build folder, or with $top_builddir. */
static const char *built(void)
{
    static char path[4096];
    const char *top = getenv("top_builddir");
    char here[2048];
    if (!top || top[0] != '/')
        top = getcwd(here, sizeof here);
    snprintf(path, sizeof path, "%s/tests/unit/host/.libs", top ? top : ".");
    return path;
}

static void copy(const char *folder, const char *to, const char *from, long size)
{
    char source[4400], target[4400];
    snprintf(source, sizeof source, "%s/%s", built(), from);
    snprintf(target, sizeof target, "%s/%s", folder, to);
    FILE *in = fopen(source, "rb"), *out = fopen(target, "wb");
    if (!in || !out)
        bail("cannot copy %s to %s", source, target);
    for (int c; size-- && (c = getc(in)) != EOF;)
        putc(c, out);
    fclose(in);
    if (fclose(out) || chmod(target, 0755))
        bail("cannot write %s", target);
}

static void text_file(const char *folder, const char *name, const char *text)
{
    char path[4400];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *out = fopen(path, "wb");
    if (!out || fputs(text, out) < 0 || fclose(out) || chmod(path, 0644))
        bail("cannot write %s", path);
}

static void folder_in(const char *folder, const char *name, mode_t mode)
{
    char path[4400];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (mkdir(path, 0755) || chmod(path, mode))
        bail("cannot make %s", path);
}

static void link_to(const char *folder, const char *name, const char *target)
{
    char path[4400];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (symlink(target, path))
        bail("cannot link %s", path);
}

void toys_folder(char *folder)
{
    char path[4400];
    if (!mkdtemp(folder) || chmod(folder, 0755))
        bail("cannot make %s", folder);
    folder_in(folder, "first", 0755);
    folder_in(folder, "second", 0755);
    folder_in(folder, "writable", 0777);
    copy(folder, "first/libtenon-toy.so", "libtenon-toy.so", -1);
    copy(folder, "first/libtenon-toy2.so", "libtenon-toy2.so", -1);
    copy(folder, "second/libtenon-toy.so", "libtenon-toy.so", -1);
    copy(folder, "writable/libtenon-evil.so", "libtenon-toy.so", -1);
    copy(folder, "first/libtenon-open.so", "libtenon-toy.so", -1);
    copy(folder, "first/libtenon-cut.so", "libtenon-toy.so", 6000);
    text_file(folder, "first/libtenon-text.so", "INPUT(libc.so.6)\n");
    text_file(folder, "first/libtenon-empty.so", "");
    text_file(folder, "first/libtenon-BAD.so", "x");
    text_file(folder, "first/notes.txt", "x");
    folder_in(folder, "first/libtenon-folder.so", 0755);
    link_to(folder, "first/libtenon-loop.so", "libtenon-loop.so");
    link_to(folder, "first/libtenon-zwin.so", "libtenon-toy.so");
    snprintf(path, sizeof path, "%s/first/libtenon-open.so", folder);
    if (chmod(path, 0777))
        bail("cannot chmod %s", path);
}

void toys_remove(const char *folder)
{
    char command[4400];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    if (system(command))
        tap_note("%s is left", folder);
}

void toys_path(void)
{
    char path[8192];
    const char *more = getenv("TENON_TEST_LAYER_PATH"); /* of run-checked.t */
    snprintf(path, sizeof path, "%s:%s", built(), more ? more : "");
    setenv("TENON_BACKEND_PATH", path, 1);
}

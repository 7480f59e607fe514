/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Files that are no plugins: each is named to tenon_plugin_load in a child, or found by the search, and refused with
 * exactly the reason that SPEC.md gives before anything of it is mapped (R1 R30). */
#define _GNU_SOURCE
#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <tenon/tenon.h>

#include "../tap.h"
#include "child.h"

static char good[PATH_MAX]; /* a plugin that loads */
static char folder[PATH_MAX];

/* ---- making files ---- */

/* Good for the next three calls. */
static const char *in_folder(const char *name)
{
    static char paths[4][PATH_MAX + 300];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void copy(const char *to, size_t at, size_t n, const void *bytes, double share)
{
    static unsigned char data[1 << 20];
    int fd = open(good, O_RDONLY);
    ssize_t size = fd < 0 ? -1 : read(fd, data, sizeof data);
    if (size <= 0 || (size_t)size == sizeof data)
        bail("cannot read %s", good);
    close(fd);
    memcpy(data + at, bytes, n);
    size = (ssize_t)((double)size * share);
    fd = open(in_folder(to), O_WRONLY | O_CREAT | O_EXCL, 0644);
    if (fd < 0 || write(fd, data, (size_t)size) != size || fchmod(fd, 0644))
        bail("cannot write %s", in_folder(to));
    close(fd);
}

static void copy_good(const char *to)
{
    copy(to, 0, 0, "", 1);
}

static void write_text(const char *to, const char *text)
{
    FILE *file = fopen(in_folder(to), "w");
    if (!file || fputs(text, file) < 0 || fclose(file) || chmod(in_folder(to), 0644))
        bail("cannot write %s", in_folder(to));
}

/* ---- by name ---- */

static int load_child(void *context)
{
    const char *id = NULL, *again = NULL;
    setenv("TENON_BACKEND_PATH", "/nonexistent", 1);
    setenv("TENON_LOG", "error", 1);
    int32_t status = tenon_plugin_load(context, &id);
    for (const char *c = tenon_error(); *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            child_say("UNPRINTABLE");
            return 0;
        }
    if (status) {
        child_say("%s\n%s", tenon_status_name(status), tenon_error());
        return 0;
    }
    if (tenon_plugin_load(context, &again) || again != id)
        child_say("a second load differs");
    else
        child_say("OK\nid %s", id);
    return 0;
}

static void loads(const char *path, const char *status, const char *part, const char *name)
{
    struct child_result result;
    char copy_of_path[8192] = "";
    if (path)
        snprintf(copy_of_path, sizeof copy_of_path, "%s", path);
    child_run(load_child, path ? copy_of_path : NULL, 30, &result);
    char *sentence = strchr(result.text, '\n');
    if (sentence)
        *sentence++ = 0;
    is_str(result.end, "OK", "%s: the process lives", name);
    is_str(result.text, status, "%s: %s", name, sentence ? sentence : "");
    has_str(sentence, part, "%s: the sentence", name);
}

static void test_by_name(void)
{
    loads(NULL, "INVALID", "NULL", "no path");
    loads("", "IO", "NOT_FOUND", "an empty path, which dlopen takes for the program");
    loads("libtenon-good.so", "IO", "NOT_FOUND", "a bare name, which dlopen would search for");
    loads("./libtenon-good.so", "IO", "NOT_FOUND", "a relative path");
    loads(in_folder("libtenon-nothing.so"), "IO", "NOT_FOUND: No such file", "a missing file");
    char longer[4200];
    memset(longer, 'a', sizeof longer);
    longer[0] = '/';
    longer[4097] = 0;
    loads(longer, "IO", "NOT_FOUND", "a path of 4097 bytes");
    longer[4096] = 0;
    loads(longer, "IO", "NOT_FOUND", "a path of 4096 bytes");
    if (symlink("libtenon-loop.so", in_folder("libtenon-loop.so")) ||
        symlink("gone", in_folder("libtenon-dangling.so")))
        bail("symlink");
    loads(in_folder("libtenon-loop.so"), "IO", "NOT_FOUND", "a symbolic link to itself");
    loads(in_folder("libtenon-dangling.so"), "IO", "NOT_FOUND", "a symbolic link to nothing");
    mkdir(in_folder("libtenon-folder.so"), 0755);
    loads(in_folder("libtenon-folder.so"), "IO", "NOT_REGULAR", "a folder");
    mkfifo(in_folder("libtenon-fifo.so"), 0644);
    loads(in_folder("libtenon-fifo.so"), "IO", "NOT_REGULAR", "a FIFO that nobody writes to");
    copy_good("good.so");
    loads(in_folder("good.so"), "INVALID", "BAD_ID", "another file name");
    copy_good("libtenon-.so");
    loads(in_folder("libtenon-.so"), "INVALID", "BAD_ID", "an empty id");
    copy_good("libtenon-Good.so");
    loads(in_folder("libtenon-Good.so"), "INVALID", "BAD_ID", "an id in upper case");
    copy_good("libtenon-\xff\xfe\n.so");
    loads(in_folder("libtenon-\xff\xfe\n.so"), "INVALID", "BAD_ID", "a name that is not UTF-8");
    char name[100];
    memset(name, 'x', sizeof name);
    memcpy(name, "libtenon-", 9);
    strcpy(name + 9 + 64, ".so");
    copy_good(name);
    loads(in_folder(name), "INVALID", "BAD_ID", "an id of 64 characters");
    copy_good("libtenon-good.so");
    loads(in_folder("libtenon-good.so"), "OK", "id good", "a good plugin, twice");
    unlink(in_folder("libtenon-good.so"));
}

static void test_permissions(void)
{
    static const struct {
        mode_t mode;
        const char *part, *name;
    } modes[] = {{0666, "writable by everybody", "a file that everybody may write"},
                 {0664, "writable by its group", "a file that its group may write"},
                 {0602, "writable by everybody", "a file that others may write"}};
    copy_good("libtenon-good.so");
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        chmod(in_folder("libtenon-good.so"), modes[i].mode);
        loads(in_folder("libtenon-good.so"), "IO", "PERMISSION", modes[i].name);
        loads(in_folder("libtenon-good.so"), "IO", modes[i].part, modes[i].name);
    }
    chmod(in_folder("libtenon-good.so"), 0);
    if (geteuid() == 0)
        skip("root reads everything", "a file that may not be read");
    else
        loads(in_folder("libtenon-good.so"), "IO", "PERMISSION", "a file that may not be read");
    chmod(in_folder("libtenon-good.so"), 0644);
    chmod(folder, 0777);
    loads(in_folder("libtenon-good.so"), "IO", "PERMISSION: the directory is writable by everybody",
          "a file in a folder that everybody may write");
    chmod(folder, 0700);
    unlink(in_folder("libtenon-good.so"));
}

static void test_contents(void)
{
    write_text("libtenon-text.so", "#!/bin/sh\necho I am a script\n");
    loads(in_folder("libtenon-text.so"), "IO", "DLOPEN: not an ELF file", "a text file");
    write_text("libtenon-empty.so", "");
    loads(in_folder("libtenon-empty.so"), "IO", "DLOPEN: an empty file", "an empty file");
    write_text("libtenon-ldscript.so", "/* GNU ld script */\nINPUT ( /lib/libm.so )\n");
    loads(in_folder("libtenon-ldscript.so"), "IO", "DLOPEN: not an ELF file", "a linker script");
    copy("libtenon-class.so", EI_CLASS, 1, sizeof(void *) == 8 ? "\1" : "\2", 1);
    loads(in_folder("libtenon-class.so"), "IO", "DLOPEN: a ", "the other word size");
    copy("libtenon-machine.so", offsetof(Elf64_Ehdr, e_machine), 2, "\x24\x00", 1);
    loads(in_folder("libtenon-machine.so"), "IO", "DLOPEN: made for another processor", "another processor");
    copy("libtenon-type.so", offsetof(Elf64_Ehdr, e_type), 2, "\x02\x00", 1);
    loads(in_folder("libtenon-type.so"), "IO", "DLOPEN: not a shared object", "a program");
    copy("libtenon-half.so", 0, 0, "", 0.5);
    loads(in_folder("libtenon-half.so"), "IO", "DLOPEN: cut short", "half a file, which ld.so would map and touch");
    copy("libtenon-head.so", 0, 0, "", 0.004);
    loads(in_folder("libtenon-head.so"), "IO", "DLOPEN: ", "the first bytes of a file");
    copy("libtenon-headers.so", offsetof(Elf64_Ehdr, e_phnum), 2, "\xff\xff", 1);
    loads(in_folder("libtenon-headers.so"), "IO", "DLOPEN: ", "65535 program headers");
    copy("libtenon-offset.so", offsetof(Elf64_Ehdr, e_phoff), 8, "\xff\xff\xff\xff\xff\xff\xff\x7f", 1);
    loads(in_folder("libtenon-offset.so"), "IO", "DLOPEN: ", "program headers at the end of the universe");
}

/* ---- by search ---- */

struct search {
    const char *path, *cwd; /* TENON_BACKEND_PATH, or NULL; where to stand */
    const char *file;       /* the end of the path of the wanted entry */
};

static int search_child(void *context)
{
    const struct search *search = context;
    struct tenon_report *report;
    setenv("TENON_LOG", "error", 1);
    if (search->path)
        setenv("TENON_BACKEND_PATH", search->path, 1);
    else
        unsetenv("TENON_BACKEND_PATH");
    if ((search->cwd && chdir(search->cwd)) || tenon_report_create("good,zalias,zzlast,n00", &report))
        return 1;
    child_say("%s", report->n > 65 ? "more than 65" : "");
    for (uint32_t i = 0; i < report->n; i++) {
        const struct tenon_report_entry *e = report->entries[i];
        size_t n = strlen(e->path), m = strlen(search->file);
        if (n >= m && !strcmp(e->path + n - m, search->file)) {
            child_say("%s", e->reason ? e->reason : "usable");
            return 0;
        }
    }
    child_say("absent");
    return 0;
}

static void finds(const char *path, const char *cwd, const char *file, const char *want, const char *name)
{
    struct search search = {path, cwd, file};
    struct child_result result;
    child_run(search_child, &search, 60, &result);
    is_str(result.end, "OK", "%s: the process lives", name);
    is_str(result.text, want, "%s: %s", name, want);
}

static void test_search(void)
{
    char second[PATH_MAX], path[2 * PATH_MAX + 2], wanted[PATH_MAX + 100];
    folder_make(second, sizeof second);
    copy_good("libtenon-good.so");
    finds(folder, NULL, "libtenon-good.so", "usable", "a folder of TENON_BACKEND_PATH");
    finds(NULL, folder, "/libtenon-good.so", "absent", "the current folder is not searched");
    finds(".", folder, "/libtenon-good.so", "absent", "nor is it when TENON_BACKEND_PATH says '.'");
    finds(":", folder, "/libtenon-good.so", "absent", "nor for an empty part of TENON_BACKEND_PATH");
    if (symlink(in_folder("libtenon-good.so"), in_folder("libtenon-zalias.so")))
        bail("symlink");
    finds(folder, NULL, "libtenon-zalias.so", "DUPLICATE", "the same file under another name");
    unlink(in_folder("libtenon-zalias.so"));
    if (link(in_folder("libtenon-good.so"), in_folder("libtenon-zalias.so")))
        bail("link");
    finds(folder, NULL, "libtenon-zalias.so", "DUPLICATE", "a hard link to the same file");
    unlink(in_folder("libtenon-zalias.so"));
    snprintf(wanted, sizeof wanted, "%s/libtenon-good.so", second);
    if (symlink(in_folder("libtenon-good.so"), wanted))
        bail("symlink");
    snprintf(path, sizeof path, "%s:%s", folder, second);
    finds(path, NULL, wanted, "DUPLICATE", "the same id in a later folder");
    finds(path, NULL, in_folder("libtenon-good.so"), "usable", "while the first one stands");
    copy_good("libtenon-good.so.bak");
    finds(folder, NULL, "libtenon-good.so.bak", "absent", "other files are not looked at");
    copy_good("libtenon-UPPER.so");
    finds(folder, NULL, "libtenon-UPPER.so", "BAD_ID", "an illegal id is reported");
    chmod(folder, 0777);
    finds(folder, NULL, "/libtenon-UPPER.so", "absent", "a folder that everybody may write is skipped whole");
    chmod(folder, 0700);
    for (int i = 0; i < 70; i++) {
        char name[64];
        snprintf(name, sizeof name, "libtenon-n%02d.so", i);
        copy_good(name);
    }
    finds(folder, NULL, "libtenon-good.so", "usable", "among 72 plugins");
    finds(folder, NULL, "libtenon-n00.so", "BAD_ID", "each is looked at");
    finds(folder, NULL, "libtenon-n62.so", "TOO_MANY", "up to the limit of 64, and the next one says so");
    finds(folder, NULL, "libtenon-n69.so", "absent", "the rest is not looked at");
    folder_remove(second);
}

int main(void)
{
    const char *builddir = getenv("top_builddir");
    char relative[PATH_MAX];
    snprintf(relative, sizeof relative, "%s/tests/plugins/zoo/libtenon-good.so", builddir ? builddir : ".");
    if (!realpath(relative, good))
        bail("%s is not there", relative);
    umask(022);
    folder_make(folder, sizeof folder);
    test_by_name();
    test_permissions();
    test_contents();
    folder_remove(folder);
    folder_make(folder, sizeof folder);
    test_search();
    folder_remove(folder);
    return tap_done();
}

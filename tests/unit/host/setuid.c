/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * A set-user-id program takes nothing from the environment of who starts it: no plugin path, no layer, no device, no
 * cache folder. The test is its own victim: a copy of it, with and without the bit, is run by another user and says
 * what it sees. Needs root. */
#include "../../../host/host.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../tap.h"
#include "toys.h"

enum { OWNER = 65534, STARTER = 65533 };

/* The copy: one line of what the environment did. */
static int victim(void)
{
    struct tenon_report *report;
    int toys = 0;
    const char *cache = tenon__config("toy", "cache_dir");
    if (tenon_report_create(NULL, &report))
        printf("report: %s; ", tenon_error());
    else {
        for (uint32_t i = 0; i < report->n; i++)
            toys += report->entries[i]->backend && !strncmp(report->entries[i]->backend, "toy", 3);
        tenon_report_destroy(report);
    }
    printf("secure %lu, path %s, layers %s, device %s, cache %s, toys %s\n", getauxval(AT_SECURE),
           tenon__env("TENON_BACKEND_PATH") ? "taken" : "ignored", tenon__env("TENON_LAYERS") ? "taken" : "ignored",
           tenon__env("TENON_DEVICE") ? "taken" : "ignored", cache ? "taken" : "ignored", toys ? "loaded" : "none");
    fflush(stdout);
    _exit(0); /* a leak sanitizer may not look into a set-user-id process, and would fail it */
}

/* Runs the copy as another user; what it printed. */
static void look(const char *program, char *line, int size)
{
    int pipes[2];
    ssize_t n;
    if (pipe(pipes))
        bail("pipe: %s", strerror(errno));
    pid_t pid = fork();
    if (!pid) {
        dup2(pipes[1], STDOUT_FILENO);
        if (setgid(STARTER) || setuid(STARTER))
            _exit(2);
        execl(program, program, "victim", (char *)NULL);
        _exit(3);
    }
    close(pipes[1]);
    int used = 0;
    while (used < size - 1 && (n = read(pipes[0], line + used, (size_t)(size - 1 - used))) > 0)
        used += (int)n;
    line[used] = 0;
    line[strcspn(line, "\n")] = 0;
    close(pipes[0]);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    tap_note("%s", line);
}

static void copy_self(const char *to)
{
    FILE *in = fopen("/proc/self/exe", "rb"), *out = fopen(to, "wb");
    if (!in || !out)
        bail("cannot copy this program to %s", to);
    for (int c; (c = getc(in)) != EOF;)
        putc(c, out);
    fclose(in);
    if (fclose(out) || chown(to, OWNER, OWNER) || chmod(to, 0755))
        bail("cannot write %s", to);
}

int main(int argc, char **argv)
{
    char folder[] = "/tmp/tenon-setuid-XXXXXX", program[64], path[128], line[512];
    if (argc == 2 && !strcmp(argv[1], "victim"))
        return victim();
    if (geteuid()) {
        return tap_skip_all("only root can make a program of another user");
    }
    toys_folder(folder);
    snprintf(program, sizeof program, "%s/program", folder);
    snprintf(path, sizeof path, "%s/first", folder);
    copy_self(program);
    setenv("TENON_BACKEND_PATH", path, 1);
    setenv("TENON_LAYERS", "", 1);
    setenv("TENON_DEVICE", "toy:0", 1);
    setenv("TENON_CACHE_DIR", folder, 1);

    look(program, line, sizeof line);
    has_str(line, "secure 0, path taken", "an ordinary program takes the path");
    has_str(line, "device taken, cache taken, toys loaded", "and the rest, and loads the plugins there");
    setenv("TENON_LAYERS", "no_such_layer", 1);
    look(program, line, sizeof line);
    has_str(line, "no_such_layer", "and the layers");

    if (chmod(program, 04755))
        bail("chmod: %s", strerror(errno));
    look(program, line, sizeof line);
    if (strstr(line, "secure 0"))
        skip("/tmp is mounted so that the bit has no effect", "a set-user-id program takes nothing");
    else
        is_str(line, "secure 1, path ignored, layers ignored, device ignored, cache ignored, toys none",
               "a set-user-id program takes nothing");
    toys_remove(folder);
    return tap_done();
}

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#define _GNU_SOURCE
#include "child.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../tap.h"

#define SAY_FD 200 /* out of reach of a plugin that closes what it should not */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void child_say(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vdprintf(SAY_FD, format, list);
    va_end(list);
}

static void be_child(int (*fn)(void *), void *context, int fd)
{
    const struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    signal(SIGSEGV, SIG_DFL); /* a sanitizer would turn a crash into an exit */
    signal(SIGABRT, SIG_DFL);
    int nowhere = open("/dev/null", O_RDWR);
    if (nowhere < 0 || dup2(fd, SAY_FD) < 0)
        _exit(111);
    dup2(nowhere, 0);
    dup2(nowhere, 1);
    close(fd);
    int code = fn(context);
    child_say("%c", 4); /* it got to its end by itself */
    _exit(code);
}

static int listen_to(int fd, double deadline, struct child_result *result)
{
    size_t used = 0;
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        double left = deadline - now();
        if (left <= 0 || poll(&p, 1, (int)(left * 1000) + 1) == 0)
            return -1;
        ssize_t n = read(fd, result->text + used, sizeof result->text - 1 - used);
        if (n <= 0)
            return 0;
        used += (size_t)n;
        result->text[used] = 0;
        if (result->text[used - 1] == 4)
            return 0;
    }
}

void child_run(int (*fn)(void *context), void *context, double timeout_seconds, struct child_result *result)
{
    int ends[2], status = 0;
    double begin = now();
    memset(result, 0, sizeof *result);
    fflush(NULL);
    if (pipe(ends))
        bail("pipe");
    pid_t pid = fork();
    if (pid < 0)
        bail("fork");
    if (pid == 0) {
        close(ends[0]);
        be_child(fn, context, ends[1]);
    }
    close(ends[1]);
    int late = listen_to(ends[0], begin + timeout_seconds, result);
    close(ends[0]);
    if (late)
        kill(pid, SIGKILL);
    if (waitpid(pid, &status, 0) != pid)
        bail("waitpid");
    result->seconds = now() - begin;
    char *end = strchr(result->text, 4);
    if (end)
        *end = 0;
    const char *how = late                          ? "TIMEOUT"
                      : WIFSIGNALED(status)         ? "CRASHED"
                      : !end || WEXITSTATUS(status) ? "EXITED"
                                                    : "OK";
    snprintf(result->end, sizeof result->end, "%s", how);
    result->code = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
}

void folder_make(char *path, size_t size)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(path, size, "%s/tenon-plugins-XXXXXX", tmp && tmp[0] == '/' ? tmp : "/tmp");
    if (!mkdtemp(path))
        bail("no folder under %s", path);
}

void folder_remove(const char *path)
{
    DIR *folder = opendir(path);
    struct dirent *entry;
    while (folder && (entry = readdir(folder)))
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            unlinkat(dirfd(folder), entry->d_name, entry->d_type == DT_DIR ? AT_REMOVEDIR : 0);
    if (folder)
        closedir(folder);
    rmdir(path);
}

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Loading a plugin in a child process with a time limit. The child says what it found through a pipe; what it does not
 * live to say is said here. */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SAID_MAX (1u << 20) /* bytes a child may say */

static void say(FILE *to, struct json_object *object)
{
    fprintf(to, "%s\n", json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN));
    json_object_put(object);
}

static void limits(unsigned seconds)
{
    const struct rlimit no_core = {0, 0}, cpu = {seconds, seconds + 1}, files = {256, 256};
    setrlimit(RLIMIT_CORE, &no_core);
    setrlimit(RLIMIT_CPU, &cpu);
    setrlimit(RLIMIT_NOFILE, &files);
}

/* In the child: what the plugin prints goes nowhere, what we say goes to `fd`. Never returns. */
static void child(const char *path, const char *backend, unsigned seconds, int fd)
{
    const char *id;
    FILE *to = fdopen(fd, "w");
    int nowhere = open("/dev/null", O_RDWR);
    if (!to || nowhere < 0)
        _exit(111);
    dup2(nowhere, 0);
    dup2(nowhere, 1);
    dup2(nowhere, 2);
    limits(seconds);
    struct tenon_report *report;
    int32_t status = tenon_plugin_load(path, &id);
    (void)status; /* the report has the reason */
    if (tenon_report_create(backend, &report))
        _exit(112);
    for (uint32_t i = 0; i < report->n; i++)
        if (!strcmp(report->entries[i]->path, path))
            say(to, cli_entry_json(report->entries[i]));
    fprintf(to, "end\n");
    fflush(to);
    _exit(0); /* no destructors: they are not what is probed */
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Everything the child says until it closes the pipe or its time is over. Returns 0, or -1 on time-out. */
static int listen_to(int fd, int64_t deadline, char **said, size_t *n)
{
    *said = NULL;
    *n = 0;
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int64_t left = deadline - now_ms();
        int ready = left > 0 ? poll(&p, 1, (int)left) : 0;
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready <= 0)
            return -1;
        char *more = realloc(*said, *n + 4097);
        if (!more)
            return -1;
        *said = more;
        ssize_t got = read(fd, *said + *n, 4096);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0 || *n + (size_t)got > SAID_MAX)
            return 0;
        *n += (size_t)got;
        (*said)[*n] = 0;
        if (*n >= 4 && !strcmp(*said + *n - 4, "end\n"))
            return 0;
    }
}

/* Waits for the child, which may have closed the pipe and live on. Returns 0, or -1 when it had to be killed. */
static int reap(pid_t pid, int64_t deadline, int *status)
{
    const struct timespec pause = {0, 5000000};
    for (;;) {
        pid_t got = waitpid(pid, status, WNOHANG);
        if (got == pid || (got < 0 && errno != EINTR))
            return 0;
        if (now_ms() >= deadline)
            break;
        nanosleep(&pause, NULL);
    }
    kill(pid, SIGKILL);
    while (waitpid(pid, status, 0) < 0 && errno == EINTR)
        continue;
    return -1;
}

static void verdict(const char *path, const char *backend, const char *reason, const char *detail,
                    void (*line)(void *, struct json_object *), void *user)
{
    const struct tenon_report_entry entry = {
        .index = UINT32_MAX, .backend = backend, .path = path, .version = "", .reason = reason, .detail = detail};
    line(user, cli_entry_json(&entry));
}

static void judge(const char *path, const char *backend, char *said, int timed_out, unsigned seconds, int wait_status,
                  void (*line)(void *, struct json_object *), void *user)
{
    char detail[128];
    size_t length = said ? strlen(said) : 0;
    if (timed_out || (WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGXCPU)) {
        snprintf(detail, sizeof detail, "no answer within %u seconds", seconds);
        verdict(path, backend, "TIMEOUT", detail, line, user);
    } else if (WIFSIGNALED(wait_status)) {
        snprintf(detail, sizeof detail, "killed by signal %d (%s)", WTERMSIG(wait_status),
                 strsignal(WTERMSIG(wait_status)));
        verdict(path, backend, "CRASHED", detail, line, user);
    } else if (length < 4 || strcmp(said + length - 4, "end\n")) {
        snprintf(detail, sizeof detail, "ended its process with status %d", WEXITSTATUS(wait_status));
        verdict(path, backend, "EXITED", detail, line, user);
    } else {
        char *rest = NULL;
        for (char *l = strtok_r(said, "\n", &rest); l && strcmp(l, "end"); l = strtok_r(NULL, "\n", &rest)) {
            struct json_object *object = json_tokener_parse(l);
            if (object)
                line(user, object);
        }
    }
}

int cli_probe(const char *path, const char *backend, unsigned seconds,
              void (*line)(void *user, struct json_object *object), void *user)
{
    int ends[2];
    fflush(NULL);
    if (pipe2(ends, O_CLOEXEC))
        return -1;
    pid_t pid = fork();
    if (pid < 0) {
        close(ends[0]);
        close(ends[1]);
        return -1;
    }
    if (pid == 0) {
        close(ends[0]);
        child(path, backend, seconds, ends[1]);
    }
    close(ends[1]);
    char *said;
    size_t n;
    int64_t deadline = now_ms() + (int64_t)seconds * 1000;
    int timed_out = listen_to(ends[0], deadline, &said, &n), status = 0;
    close(ends[0]);
    timed_out |= reap(pid, timed_out ? 0 : deadline, &status);
    judge(path, backend, said, timed_out, seconds, status, line, user);
    free(said);
    return 0;
}

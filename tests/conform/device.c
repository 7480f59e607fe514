/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The runner's side of the device process. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "device.h"

#define ARENA_MAX (UINT64_C(3) << 30)
#define ARENA_MIN (UINT64_C(256) << 20)
#define CHILD_LEAKED 23

static uint64_t page_size(void)
{
    return (uint64_t)sysconf(_SC_PAGESIZE);
}

/* All devices of this process that have an arena. A device process leaves the others' arenas at once and its own at the
 * end: it would keep their pages alive, and a leak checker that reads all memory there is would bring those into being
 * that nobody has touched. */
static struct device *with_arena;

static void arena_unmap(struct device *device)
{
    struct device **at = &with_arena;
    munmap(device->arena, device->arena_size);
    device->arena = NULL;
    while (*at && *at != device)
        at = &(*at)->next_with_arena;
    if (*at)
        *at = device->next_with_arena;
}

/* Reserved, not used: pages come into being when they are touched. */
static int arena_map(struct device *device)
{
    for (uint64_t size = sizeof(void *) > 4 ? ARENA_MAX : ARENA_MIN; size >= ARENA_MIN; size /= 2) {
        void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (at != MAP_FAILED) {
            device->arena = at;
            device->arena_size = size;
            device->next_with_arena = with_arena;
            with_arena = device;
            return 0;
        }
    }
    return -1;
}

static void set_or_unset(const char *name, const char *value)
{
    if (value)
        setenv(name, value, 1);
}

/* Only in a build with a leak sanitizer. The child must not run the exit handlers, which are the runner's, so it asks
 * itself. */
extern int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

static void child_main(struct device *device, int fd)
{
    struct rlimit none = {0, 0};
    char text[16];
    for (struct device *other = with_arena, *next; other; other = next) {
        next = other->next_with_arena;
        if (other != device)
            arena_unmap(other);
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setrlimit(RLIMIT_CORE, &none);
    set_or_unset("TENON_CPU_ISA", device->isa);
    snprintf(text, sizeof(text), "%d", device->threads);
    set_or_unset("TENON_THREADS", device->threads ? text : NULL);
    device_child(device, fd);
    arena_unmap(device);
    fflush(NULL);
    _exit(__lsan_do_recoverable_leak_check && __lsan_do_recoverable_leak_check() ? CHILD_LEAKED : 0);
}

static int child_fork(struct device *device)
{
    int pair[2];
    if (!device->arena && arena_map(device))
        return -1;
    fflush(NULL);
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
        return -1;
    device->pid = fork();
    if (device->pid == 0) {
        close(pair[0]);
        child_main(device, pair[1]);
    }
    close(pair[1]);
    if (device->pid < 0) {
        close(pair[0]);
        device->pid = 0;
        return -1;
    }
    device->fd = pair[0];
    return 0;
}

static const char *signal_name(int number)
{
    static const struct {
        int number;
        const char *name;
    } names[] = {{SIGSEGV, "SIGSEGV"}, {SIGABRT, "SIGABRT"}, {SIGBUS, "SIGBUS"},  {SIGFPE, "SIGFPE"},
                 {SIGILL, "SIGILL"},   {SIGKILL, "SIGKILL"}, {SIGTRAP, "SIGTRAP"}};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (names[i].number == number)
            return names[i].name;
    return strsignal(number);
}

/* Ends the child and says how it ended: 0 when by itself and well. */
static int child_reap(struct device *device, int hung, struct device_answer *answer)
{
    int status = 0;
    if (hung)
        kill(device->pid, SIGKILL);
    close(device->fd);
    while (waitpid(device->pid, &status, 0) < 0 && errno == EINTR)
        ;
    device->pid = 0;
    answer->status = TENON_E_INTERNAL;
    if (hung)
        snprintf(answer->text, sizeof(answer->text), "TIMEOUT no answer in %.0f s", device->timeout);
    else if (WIFSIGNALED(status))
        snprintf(answer->text, sizeof(answer->text), "CRASH %s", signal_name(WTERMSIG(status)));
    else
        snprintf(answer->text, sizeof(answer->text), "EXIT the device process ended with status %d",
                 WEXITSTATUS(status));
    return hung || status != 0;
}

static int send_all(int fd, const void *data, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = send(fd, (const char *)data + done, size - done, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        done += (size_t)n;
    }
    return 0;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* 0 done, 1 the other side is gone, 2 time is up. */
static int receive_all(int fd, void *data, size_t size, double deadline)
{
    for (size_t done = 0; done < size;) {
        struct pollfd poll_fd = {fd, POLLIN, 0};
        double left = deadline - now();
        int ready = left > 0 ? poll(&poll_fd, 1, (int)(left * 1000) + 1) : 0;
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready == 0)
            return 2;
        ssize_t n = recv(fd, (char *)data + done, size - done, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return 1;
        done += (size_t)n;
    }
    return 0;
}

int device_ask(struct device *device, const struct device_ask *ask, struct device_answer *answer)
{
    memset(answer, 0, sizeof(*answer));
    if (!device->pid && ask->kind != ASK_OPEN && device_start(device)) {
        *answer = device->opened;
        return -1;
    }
    int gone = send_all(device->fd, ask, sizeof(*ask))
                   ? 1
                   : receive_all(device->fd, answer, sizeof(*answer), now() + device->timeout);
    if (!gone)
        return 0;
    child_reap(device, gone == 2, answer);
    return -1;
}

int device_start(struct device *device)
{
    struct device_ask ask = {.kind = ASK_OPEN};
    if (child_fork(device)) {
        snprintf(device->opened.text, sizeof(device->opened.text), "cannot start the device process: %s",
                 strerror(errno));
        device->opened.status = TENON_E_IO;
        return -1;
    }
    if (device_ask(device, &ask, &device->opened) || device->opened.status)
        return -1;
    snprintf(device->name, sizeof(device->name), "%s%s%s", device->opened.spec, device->isa ? "/" : "",
             device->isa ? device->isa : "");
    return 0;
}

int device_close(struct device *device, struct device_answer *answer)
{
    memset(answer, 0, sizeof(*answer));
    if (!device->pid)
        return 0;
    shutdown(device->fd, SHUT_WR);
    /* A backend that hangs while it closes must not hang the runner. */
    int hung = receive_all(device->fd, answer, sizeof(*answer), now() + device->timeout) == 2;
    return child_reap(device, hung, answer);
}

int device_stop(struct device *device)
{
    struct device_answer answer;
    int bad = device_close(device, &answer);
    if (bad)
        fprintf(stderr, "tenon conform: %s: %s while it closed\n", device->opened.spec, answer.text);
    if (device->arena)
        arena_unmap(device);
    return bad;
}

int device_put(struct device *device, const struct conform_case *c, uint32_t place, struct device_ask *ask)
{
    uint64_t page = page_size(), at = page;
    memset(ask, 0, sizeof(*ask));
    ask->kind = ASK_RUN;
    ask->op = c->op->op;
    ask->n = c->n;
    ask->place = place;
    memcpy(ask->params, c->params, sizeof(ask->params));
    for (uint32_t i = 0; i < c->n; i++) {
        const struct conform_slot *from = &c->slot[i];
        struct device_slot *to = &ask->slot[i];
        to->tensor = from->tensor;
        to->same_as = from->same_as;
        to->is_output = from->is_output;
        if (!from->tensor.dtype || from->same_as >= 0 || !from->data)
            continue;
        uint64_t skip = place == PLACE_HOST_BEGIN ? from->lead : 0, size = from->size - skip;
        uint64_t trail = place == PLACE_HOST_END ? size - from->lead - tenon_tensor_bytes(&from->tensor) : 0;
        size -= trail;
        uint64_t room = (size + page - 1) / page * page + (size == 0) * page;
        if (at + room + page > device->arena_size)
            return -1;
        uint64_t begin = place == PLACE_HOST_END ? at + room - size : at;
        to->before = from->lead - skip;
        to->first = begin + to->before;
        to->size = size - to->before;
        memcpy(device->arena + begin, from->data + skip, size);
        if (place == PLACE_HOST_END || place == PLACE_HOST_BEGIN) {
            to->guard[0] = at - page;
            to->guard[1] = at + room;
        }
        at += room + page;
    }
    for (uint32_t i = 0; i < c->n; i++) {
        const struct conform_slot *from = &c->slot[i];
        struct device_slot *to = &ask->slot[i], *base = from->same_as >= 0 ? &ask->slot[from->same_as] : NULL;
        if (!from->tensor.dtype || !base)
            continue;
        to->first = base->first + from->lead - c->slot[from->same_as].lead;
        to->size = base->size;
    }
    ask->used = at;
    return 0;
}

void device_get(const struct device *device, const struct device_ask *ask, struct conform_case *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        struct conform_slot *to = &c->slot[i];
        const struct device_slot *from = &ask->slot[i];
        if (!to->tensor.dtype || to->same_as >= 0 || !to->data)
            continue;
        memcpy(to->data + to->lead - from->before, device->arena + from->first - from->before,
               from->before + from->size);
    }
    if (ask->used > (UINT64_C(256) << 20)) /* give large cases back */
        madvise(device->arena, ask->used, MADV_REMOVE);
}

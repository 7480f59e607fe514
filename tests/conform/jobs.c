/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * --jobs: several runners, each with device processes of its own. Every runner counts the same tests and does each
 * n-th; its results come back through a pipe and are reported here in the order of the tests, so that a report does not
 * depend on the number of jobs. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "suite.h"

int report_turn(struct report *report)
{
    return report->turn++ % report->jobs == report->job;
}

void report_send(struct report *report, const struct result *result)
{
    const char *at = (const char *)result;
    for (size_t done = 0; done < sizeof(*result);) {
        ssize_t n = write(report->to, at + done, sizeof(*result) - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            _exit(1); /* the reporter is gone */
        done += (size_t)n;
    }
}

/* 1: a result, 0: there are no more. `group` points to a constant, which has the same address in a forked process. */
static int receive(int from, struct result *result)
{
    char *at = (char *)result;
    size_t done = 0;
    while (done < sizeof(*result)) {
        ssize_t n = read(from, at + done, sizeof(*result) - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return 0;
        done += (size_t)n;
    }
    return 1;
}

struct job {
    pid_t pid;
    int from;
};

static int job_start(struct report *report, struct job *jobs, uint32_t i, void (*run)(void *), void *context)
{
    int ends[2];
    fflush(NULL);
    if (pipe(ends))
        return -1;
    jobs[i].pid = fork();
    if (jobs[i].pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (uint32_t other = 0; other < i; other++)
            close(jobs[other].from);
        close(ends[0]);
        report->job = i;
        report->to = ends[1];
        run(context);
        _exit(report->broken);
    }
    close(ends[1]);
    jobs[i].from = ends[0];
    if (jobs[i].pid > 0)
        return 0;
    close(ends[0]);
    return -1;
}

/* A runner that ended badly has not run all of its tests. */
static int job_end(struct job *job, int stopped)
{
    int status = 0;
    if (stopped)
        kill(job->pid, SIGKILL);
    close(job->from);
    while (waitpid(job->pid, &status, 0) < 0 && errno == EINTR)
        ;
    return !stopped && status != 0;
}

void jobs_run(struct report *report, uint32_t n, void (*run)(void *), void *context)
{
    struct job jobs[MAX_JOBS];
    struct result result;
    uint32_t started = 0;
    int broken = 0;
    if (n < 2) {
        run(context);
        return;
    }
    report->jobs = n;
    while (started < n && job_start(report, jobs, started, run, context) == 0)
        started++;
    if (started == n)
        for (uint64_t turn = 0; !report_stopped(report) && receive(jobs[turn % n].from, &result); turn++)
            report_add(report, &result);
    for (uint32_t i = 0; i < started; i++)
        broken |= job_end(&jobs[i], started < n || report_stopped(report));
    if (!broken && started == n)
        return;
    fprintf(stderr, "tenon conform: a runner of --jobs %s\n", broken ? "ended early" : "could not be started");
    report->broken = 1;
}

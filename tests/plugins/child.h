/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Runs a function in a child process, because what it loads may crash, hang or exit, and because libtenon reads its
 * environment once a process. */
#ifndef TENON_TEST_CHILD_H
#define TENON_TEST_CHILD_H

#include <stddef.h>

struct child_result {
    char end[16]; /* "OK", "CRASHED", "EXITED", "TIMEOUT" */
    int code;     /* the signal or the exit status */
    double seconds;
    char text[2048]; /* what it said */
};

/* fn runs in a child whose stdin and stdout are /dev/null and says its result with child_say; it ends OK when it
 * returns 0. */
void child_run(int (*fn)(void *context), void *context, double timeout_seconds, struct child_result *result);
/* Adds to the result's text. For the child. */
void child_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A new folder that only we can write to, under $TMPDIR; removed with all its files by folder_remove. */
void folder_make(char *path, size_t size);
void folder_remove(const char *path);

#endif

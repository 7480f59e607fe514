/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * One line a message, to standard error or to the application's callback. */
#include "host.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void (*sink)(void *, int32_t, const char *);
static void *sink_user;

static const char *const level_names[] = {"error", "warn", "info", "debug"};

void tenon_log_set(void (*log)(void *user, int32_t level, const char *message), void *user)
{
    pthread_mutex_lock(&lock);
    sink = log;
    sink_user = user;
    pthread_mutex_unlock(&lock);
}

static int32_t read_level(void)
{
    const char *text = tenon__env("TENON_LOG");
    if (!text)
        return TENON_LOG_WARN;
    for (int32_t i = 0; i <= TENON_LOG_DEBUG; i++)
        if (!strcasecmp(text, level_names[i]))
            return i;
    fprintf(stderr, "tenon: warn: TENON_LOG=%.32s is none of error, warn, info, debug; using warn\n", text);
    return TENON_LOG_WARN;
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int32_t threshold;
static void set_threshold(void)
{
    threshold = read_level();
}

int tenon__log_wants(int32_t level)
{
    pthread_once(&once, set_threshold);
    return level <= threshold;
}

void tenon__log(int32_t level, const char *format, ...)
{
    if (!tenon__log_wants(level))
        return;
    if (level < TENON_LOG_ERROR || level > TENON_LOG_DEBUG)
        level = TENON_LOG_ERROR;
    char raw[1024], line[1024];
    va_list list;
    va_start(list, format);
    vsnprintf(raw, sizeof raw, format, list);
    va_end(list);
    tenon__text_clean(line, sizeof line, raw, sizeof raw);
    pthread_mutex_lock(&lock);
    void (*to)(void *, int32_t, const char *) = sink;
    void *user = sink_user;
    pthread_mutex_unlock(&lock);
    if (to)
        to(user, level, line);
    else
        fprintf(stderr, "tenon: %s: %s\n", level_names[level], line);
}

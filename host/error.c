/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The last failure of each thread. One slot a thread: nothing to free, nothing dangling. */
#include "host.h"

#include <stdio.h>
#include <string.h>

static _Thread_local char sentence[4096];

const char *tenon_error(void)
{
    return sentence;
}

const char *tenon_version(void)
{
    return PACKAGE_VERSION;
}

static int32_t known(int32_t status)
{
    return status > 0 || status < TENON_STATUS_MIN_ ? TENON_E_INTERNAL : status;
}

int32_t tenon__fail(int32_t status, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(sentence, sizeof sentence, format, list);
    va_end(list);
    return known(status);
}

void tenon__error_clear(void)
{
    sentence[0] = 0;
}

int32_t tenon__fail_from(int32_t status, const char *who)
{
    char theirs[1024];
    tenon__text_clean(theirs, sizeof theirs, sentence[0] ? sentence : tenon_status_text(status), sizeof theirs);
    snprintf(sentence, sizeof sentence, "%s: %s", who, theirs);
    return known(status);
}

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Names and sentences of failures. */
#include <stdarg.h>
#include <stdio.h>

#include <tenon/ops.h>

#define NAME(name, number, text)                                                                                       \
    case number:                                                                                                       \
        return #name;
#define TEXT(name, number, text)                                                                                       \
    case number:                                                                                                       \
        return text;

const char *tenon_status_name(int32_t status)
{
    switch (status) {
        TENON_STATUS_LIST(NAME)
    default:
        return "INTERNAL"; /* a newer side may know more codes */
    }
}

const char *tenon_status_text(int32_t status)
{
    switch (status) {
        TENON_STATUS_LIST(TEXT)
    default:
        return "internal error";
    }
}

int32_t tenon_why_set(struct tenon_why *why, int32_t status, const char *format, ...)
{
    if (!why)
        return status;
    va_list list;
    va_start(list, format);
    vsnprintf(why->text, sizeof why->text, format, list);
    va_end(list);
    return status;
}

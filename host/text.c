/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include "host.h"

#include <stdio.h>

void tenon__text_add(struct tenon__text *text, const char *format, ...)
{
    if (text->n + 1 >= text->room)
        return;
    va_list list;
    va_start(list, format);
    int n = vsnprintf(text->s + text->n, text->room - text->n, format, list);
    va_end(list);
    if (n < 0)
        return;
    if ((size_t)n >= text->room - text->n) {
        text->n = text->room - 1;
        for (size_t i = 0; i < 3 && i < text->n; i++)
            text->s[text->n - 1 - i] = '.';
        return;
    }
    text->n += (size_t)n;
}

void tenon__text_clean(char *to, size_t room, const char *from, size_t from_max)
{
    size_t n = 0;
    for (; n + 1 < room && n < from_max && from[n]; n++)
        to[n] = (unsigned char)from[n] < 0x20 || from[n] == 0x7f ? '?' : from[n];
    to[n] = 0;
}

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tap.h"

static unsigned checks, failures;

static void begin(void)
{
    if (checks++ == 0) {
        setvbuf(stdout, NULL, _IOLBF, 0); /* children and crashes must not swallow lines */
        puts("TAP version 14");
    }
}

/* The name with what TAP would read as its own: '#' starts a directive, a newline ends the line. */
static void print_name(const char *format, va_list list)
{
    char name[512];
    vsnprintf(name, sizeof name, format, list);
    for (const char *c = name; *c; c++) {
        if (*c == '#' || *c == '\\')
            putchar('\\');
        putchar(*c == '\n' || *c == '\r' ? ' ' : *c);
    }
}

static void print_quoted(const char *key, const char *text)
{
    printf("  %s: ", key);
    if (!text) {
        puts("null");
        return;
    }
    putchar('"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            putchar('\\');
        if ((unsigned char)*text < 0x20)
            printf("\\x%02x", (unsigned char)*text);
        else
            putchar(*text);
    }
    puts("\"");
}

static void result(int pass, const char *name, va_list list)
{
    begin();
    failures += !pass;
    printf("%s %u - ", pass ? "ok" : "not ok", checks);
    print_name(name, list);
    putchar('\n');
}

static void where(const char *file, int line)
{
    printf("  ---\n  at: %s:%d\n", file, line);
}

int tap_ok(const char *file, int line, int pass, const char *name, ...)
{
    va_list list;
    va_start(list, name);
    result(pass, name, list);
    va_end(list);
    if (!pass) {
        where(file, line);
        puts("  ...");
    }
    return pass;
}

int tap_is_int(const char *file, int line, int64_t got, int64_t want, const char *name, ...)
{
    va_list list;
    va_start(list, name);
    result(got == want, name, list);
    va_end(list);
    if (got != want) {
        where(file, line);
        printf("  got: %" PRId64 "\n  want: %" PRId64 "\n  ...\n", got, want);
    }
    return got == want;
}

static int text_result(const char *file, int line, int pass, const char *got, const char *key, const char *want)
{
    if (!pass) {
        where(file, line);
        print_quoted("got", got);
        print_quoted(key, want);
        puts("  ...");
    }
    return pass;
}

int tap_is_str(const char *file, int line, const char *got, const char *want, const char *name, ...)
{
    int pass = got && want ? strcmp(got, want) == 0 : got == want;
    va_list list;
    va_start(list, name);
    result(pass, name, list);
    va_end(list);
    return text_result(file, line, pass, got, "want", want);
}

int tap_has_str(const char *file, int line, const char *text, const char *part, const char *name, ...)
{
    int pass = text && part && strstr(text, part);
    va_list list;
    va_start(list, name);
    result(pass, name, list);
    va_end(list);
    return text_result(file, line, pass, text, "want_part", part);
}

void tap_skip(const char *reason, const char *name, ...)
{
    begin();
    printf("ok %u - ", checks);
    va_list list;
    va_start(list, name);
    print_name(name, list);
    va_end(list);
    printf(" # SKIP %s\n", reason);
}

void tap_note(const char *format, ...)
{
    char text[1024];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    fputs("# ", stdout);
    for (const char *c = text; *c; c++) {
        putchar(*c);
        if (*c == '\n' && c[1])
            fputs("# ", stdout);
    }
    putchar('\n');
}

void tap_bail(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fputs("Bail out! ", stdout);
    vprintf(format, list);
    va_end(list);
    putchar('\n');
    fflush(stdout);
    exit(1);
}

int tap_done(void)
{
    if (checks == 0) {
        puts("TAP version 14\nnot ok 1 - the program makes checks\n1..1");
        return 1;
    }
    printf("1..%u\n", checks);
    return failures != 0;
}

int tap_skip_all(const char *reason)
{
    printf("TAP version 14\n1..0 # SKIP %s\n", reason);
    return 0;
}

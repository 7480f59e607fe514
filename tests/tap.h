/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * A test program in TAP 14. Each check prints one line; the plan comes last, so nobody counts.
 *
 *     int main(void)
 *     {
 *         ok(1 + 1 == 2, "sums");
 *         is_int(3, 3, "three is %s", "three");
 *         return tap_done();
 *     }
 *
 * Every check returns whether it passed. Names are formats. A failure says where, what was there and what was wanted.
 */
#ifndef TENON_TAP_H
#define TENON_TAP_H

#include <stdint.h>

#if defined(__GNUC__)
#define TAP_PRINTF(a, b) __attribute__((format(printf, a, b)))
#else
#define TAP_PRINTF(a, b)
#endif

#define ok(condition, ...)     tap_ok(__FILE__, __LINE__, (condition) != 0, __VA_ARGS__)
#define is_int(got, want, ...) tap_is_int(__FILE__, __LINE__, (int64_t)(got), (int64_t)(want), __VA_ARGS__)
#define is_str(got, want, ...) tap_is_str(__FILE__, __LINE__, (got), (want), __VA_ARGS__) /* NULL equals NULL alone */
/* Whether `part` occurs in `text`. */
#define has_str(text, part, ...) tap_has_str(__FILE__, __LINE__, (text), (part), __VA_ARGS__)
/* One check that cannot be made here; the reason is a sentence. */
#define skip(reason, ...) tap_skip((reason), __VA_ARGS__)
/* Nothing more makes sense: ends the program, and the run with it. */
#define bail(...) tap_bail(__VA_ARGS__)

int tap_ok(const char *file, int line, int pass, const char *name, ...) TAP_PRINTF(4, 5);
int tap_is_int(const char *file, int line, int64_t got, int64_t want, const char *name, ...) TAP_PRINTF(5, 6);
int tap_is_str(const char *file, int line, const char *got, const char *want, const char *name, ...) TAP_PRINTF(5, 6);
int tap_has_str(const char *file, int line, const char *text, const char *part, const char *name, ...) TAP_PRINTF(5, 6);
void tap_skip(const char *reason, const char *name, ...) TAP_PRINTF(2, 3);
void tap_note(const char *format, ...) TAP_PRINTF(1, 2); /* a comment line */
#if defined(__GNUC__)
__attribute__((noreturn))
#endif
void tap_bail(const char *format, ...) TAP_PRINTF(1, 2);

/* Prints the plan. The exit status: 0 when all passed. A program without any check fails. */
int tap_done(void);
/* The whole program cannot run here. The exit status. */
int tap_skip_all(const char *reason);

#endif

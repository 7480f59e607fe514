/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#ifndef CONFORM_MAIN_H
#define CONFORM_MAIN_H

/* `tenon conform ARGUMENTS`; argv[0] is "conform". Returns the exit status: 0 passed, 1 failed, 2 usage, 3 no such
 * device. */
int tenon__conform_main(int argc, char **argv);

#endif

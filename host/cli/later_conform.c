/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Linked only where tenon conform is not part of the build. */
#include "cli.h"

int tenon__conform_main(int argc, char **argv)
{
    (void)argc;
    return cli_fail(CLI_USAGE, "%s: not part of this build", argv[0]);
}

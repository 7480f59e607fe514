/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The `tenon` command. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

static int cli_help(int argc, char **argv);

static const struct {
    const char *name;
    int (*main)(int argc, char **argv);
    const char *text;
} commands[] = {
    {"devices", cli_devices, "what is there, what was skipped and why"},
    {"ops", cli_ops, "the operators, their tensors and attributes"},
    {"run", cli_run, "run one operator on NumPy files"},
    {"conform", tenon__conform_main, "test a device or a plugin against the references"},
    {"bench", tenon__bench_main, "measure a device against the machine's own limits"},
    {"kernels", cli_kernels, "what a driver's compiler says of each kernel"},
    {"help", cli_help, "this text, or that of a command"},
};
#define N_COMMANDS (sizeof commands / sizeof commands[0])

static void usage(FILE *to)
{
    fputs("usage: tenon COMMAND [OPTIONS]\n\n", to);
    for (size_t i = 0; i < N_COMMANDS; i++)
        fprintf(to, "  %-9s %s\n", commands[i].name, commands[i].text);
    fputs("\n`tenon COMMAND --help` says more, and so does tenon(1).\n"
          "TENON_DEVICE chooses the device: vulkan:0, opencl:gpu, cpu, auto, or a list like vulkan:gpu,cpu.\n"
          "Exit codes: 0 success, 1 a test failed or results disagree, 2 usage or bad input, 3 no such device.\n",
          to);
}

static int dispatch(int argc, char **argv)
{
    const char *names[N_COMMANDS];
    for (size_t i = 0; i < N_COMMANDS; i++) {
        names[i] = commands[i].name;
        if (!strcmp(argv[0], names[i]))
            return commands[i].main(argc, argv);
    }
    return cli_fail(CLI_USAGE, "no command '%s'%s (tenon --help lists them)", argv[0],
                    cli_near(argv[0], names, N_COMMANDS));
}

static int cli_help(int argc, char **argv)
{
    if (argc < 2) {
        usage(stdout);
        return CLI_OK;
    }
    char help[] = "--help", *args[] = {argv[1], help, NULL};
    return strcmp(argv[1], "help") ? dispatch(2, args) : (usage(stdout), CLI_OK);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        usage(stderr);
        return CLI_USAGE;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
        usage(stdout);
        return CLI_OK;
    }
    if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
        printf("tenon %s (ABI %u.%u)\n", tenon_version(), TENON_ABI_MAJOR, TENON_ABI_MINOR);
        return CLI_OK;
    }
    int code = dispatch(argc - 1, argv + 1);
    /* A full disk or a closed pipe must not look like success. */
    if (fflush(stdout) || ferror(stdout))
        return code ? code : cli_fail(CLI_FAILED, "cannot write to standard output");
    return code;
}

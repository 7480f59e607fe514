/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The line that repeats a test: the same plugin, device, ISA, profile, layers and drivers, whatever of them came from
 * an option and whatever from the environment. */
#include <stdlib.h>
#include <string.h>
#include "suite.h"

extern char **environ;

static void add(struct result *result, const char *text)
{
    size_t used = strlen(result->repro);
    snprintf(result->repro + used, sizeof(result->repro) - used, "%s", text);
}

/* A word of the shell. Backslashes, since reports put the line between quotes. */
static void add_word(struct result *result, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:=,@%+-";
    if (!*word)
        add(result, "\"\"");
    for (; *word; word++) {
        char text[3] = {'\\', *word, 0};
        add(result, strchr(plain, *word) ? text + 1 : text);
    }
}

static void add_option(struct result *result, const char *option, const char *word)
{
    if (!word)
        return;
    add(result, option);
    add_word(result, word);
}

static int matters(const struct options *o, const char *variable)
{
    /* Of the library: all but the device, which the line names, and what changes no result. Of drivers: what chooses
     * their devices. */
    static const char *const not_ours[] = {"TENON_DEVICE=", "TENON_LOG=", "TENON_TEST_LEVEL=", NULL};
    static const char *const drivers[] = {
        "OCL_ICD_VENDORS=",  "OCL_ICD_FILENAMES=", "POCL_DEVICES=",        "RUSTICL_ENABLE=",
        "VK_ICD_FILENAMES=", "VK_DRIVER_FILES=",   "VK_ADD_DRIVER_FILES=", NULL};
    if (o->isa && strncmp(variable, "TENON_CPU_ISA=", 14) == 0)
        return 0;
    for (int i = 0; not_ours[i]; i++)
        if (strncmp(variable, not_ours[i], strlen(not_ours[i])) == 0)
            return 0;
    for (int i = 0; drivers[i]; i++)
        if (strncmp(variable, drivers[i], strlen(drivers[i])) == 0)
            return 1;
    return strncmp(variable, "TENON_", 6) == 0;
}

void suite_repro(const struct options *o, const struct device *device, const uint64_t *seed, uint64_t number,
                 struct result *result)
{
    char text[32];
    result->repro[0] = 0;
    for (char **variable = environ; *variable; variable++) {
        if (!matters(o, *variable))
            continue;
        add_word(result, *variable);
        add(result, " ");
    }
    add(result, o->matrix ? "tenon conform --matrix" : "tenon conform");
    add_option(result, " --plugin ", o->plugin);
    /* The device that "auto" or "opencl:*" meant; that of a plugin is its first unless the user said otherwise. */
    add_option(result, " --device ", o->plugin || !device ? o->device : device->opened.spec);
    add_option(result, " --isa ", o->isa);
    if (strcmp(o->profile->name, "core"))
        add_option(result, " --profile ", o->profile->name);
    snprintf(text, sizeof(text), "%.0f", o->timeout);
    add_option(result, " --timeout ", o->timeout == DEFAULT_TIMEOUT ? NULL : text);
    add_option(result, " --op ", result->group);
    snprintf(text, sizeof(text), "0x%llx", seed ? (unsigned long long)*seed : 0);
    add_option(result, " --seed ", seed ? text : NULL);
    snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
    add_option(result, " --case ", text);
}

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Every animal of zoo.def is found in a folder of its own and loaded in a child; the load report gives exactly the
 * reason that the list wants (R1 R2 R5 R9 R20 R21 R24 R30 R31 R32). */
#define _GNU_SOURCE
#include <fenv.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <tenon/tenon.h>

#include "../tap.h"
#include "child.h"

enum how { REPORT, DEVICE1, OPEN, DIES };
struct animal {
    const char *name, *want, *part;
    enum how how;
};
static const struct animal animals[] = {
#define ZOO(name, how, want, part) {#name, want, part, how},
#include "zoo.def"
#undef ZOO
#define SLOT(name) {"null_" #name, "MISSING_SLOT", #name " is NULL", REPORT},
#include "slots.def"
#undef SLOT
};
#define N_ANIMALS (sizeof animals / sizeof animals[0])

#define SLOT(name) +1
_Static_assert((0
#include "slots.def"
                ) * sizeof(void *) ==
                   offsetof(struct tenon_backend, plan_record) - offsetof(struct tenon_backend, device_count),
               "slots.def lists every mandatory member");
#undef SLOT

static char zoo[PATH_MAX]; /* where the built plugins are */

/* ---- in the child ---- */

static void to_environment(const char *folder)
{
    setenv("TENON_BACKEND_PATH", folder, 1);
    setenv("TENON_LOG", "error", 1);
}

static const struct tenon_report_entry *find(const struct tenon_report *report, const char *folder, const char *name,
                                             uint32_t index)
{
    for (uint32_t i = 0; i < report->n; i++) {
        const struct tenon_report_entry *e = report->entries[i];
        if (!strcmp(e->backend, name) && !strncmp(e->path, folder, strlen(folder)) &&
            (e->index == index || e->index == UINT32_MAX))
            return e;
    }
    return NULL;
}

/* What must still be true of the process and of the report after the animal was loaded. */
static const char *aftermath(const char *name, const struct tenon_report_entry *entry)
{
    volatile float small = 0x1p-126f, third = 1.0f / 3.0f;
    volatile float denormal = small * 0.5f;
    if (denormal == 0)
        return "denormals are flushed";
    volatile float one = 1.0f, three = 3.0f;
    if (one / three != third || -one / three != -third)
        return "the rounding mode is another";
    if (strstr(tenon_error(), "hijacked") || strstr(tenon_version(), "hijacked"))
        return "a symbol of libtenon was taken";
    for (const char *c = entry->info.name; *c; c++)
        if ((unsigned char)*c < 0x20)
            return "control characters in the device's name";
    for (const char *c = entry->detail ? entry->detail : ""; *c; c++)
        if ((unsigned char)*c < 0x20)
            return "control characters in the detail";
    if (!strcmp(name, "caps_absurd") && entry->info.caps != TENON_CAP_ALL)
        return "unknown capabilities are handed on";
    return NULL;
}

struct visit {
    const struct animal *animal;
    const char *folder;
};

static int report_child(void *context)
{
    const struct visit *visit = context;
    struct tenon_report *report;
    to_environment(visit->folder);
    if (tenon_report_create(visit->animal->name, &report)) {
        child_say("no report: %s", tenon_error());
        return 1;
    }
    const struct tenon_report_entry *entry =
        find(report, visit->folder, visit->animal->name, visit->animal->how == DEVICE1 ? 1 : 0);
    if (!entry) {
        child_say("not in the report");
        return 1;
    }
    const char *wrong = aftermath(visit->animal->name, entry);
    if (wrong)
        child_say("AFTERMATH\n%s", wrong);
    else
        child_say("%s\n%s", entry->reason ? entry->reason : "", entry->detail ? entry->detail : "");
    tenon_report_destroy(report);
    return 0;
}

static int open_child(void *context)
{
    const struct visit *visit = context;
    struct tenon_context *opened;
    to_environment(visit->folder);
    int32_t status = tenon_context_open(visit->animal->name, &opened);
    child_say("%s\n%s", tenon_status_name(status), tenon_error());
    return 0;
}

/* ---- outside ---- */

static void put(const char *folder, const char *name)
{
    char from[PATH_MAX + 128], to[PATH_MAX + 128];
    snprintf(from, sizeof from, "%s/libtenon-%s.so", zoo, name);
    snprintf(to, sizeof to, "%s/libtenon-%s.so", folder, name);
    if (access(from, R_OK) || symlink(from, to))
        bail("%s is not there", from);
}

static void test_animal(const struct animal *animal)
{
    char folder[PATH_MAX];
    struct child_result result;
    struct visit visit = {animal, folder};
    folder_make(folder, sizeof folder);
    put(folder, animal->name);
    child_run(animal->how == OPEN ? open_child : report_child, &visit, strcmp(animal->want, "TIMEOUT") ? 60 : 1.5,
              &result);
    folder_remove(folder);
    if (animal->how == DIES) {
        is_str(result.end, animal->want, "%s: %s, as it must (%d)", animal->name, animal->want, result.code);
        return;
    }
    if (!is_str(result.end, "OK", "%s: the process lives", animal->name)) {
        tap_note("%s %d: %s", result.end, result.code, result.text);
        return;
    }
    char *detail = strchr(result.text, '\n');
    if (detail)
        *detail++ = 0;
    is_str(result.text, animal->want, "%s: %s%s%s", animal->name, animal->want[0] ? animal->want : "usable",
           detail && detail[0] ? ": " : "", detail ? detail : "");
    if (animal->part[0])
        has_str(detail, animal->part, "%s: the detail says what is wrong", animal->name);
    if (!strcmp(animal->name, "entry_slow"))
        ok(result.seconds >= 2, "entry_slow: it took its time (%.1f s) and was waited for", result.seconds);
}

/* All animals that let the process live, in a few folders (a host takes 64 plugins), and the good one among them. */
static int crowd_child(void *context)
{
    struct tenon_report *report;
    to_environment(context);
    if (tenon_report_create("!vulkan,!opencl,!cpu", &report)) {
        child_say("no report: %s", tenon_error());
        return 1;
    }
    const struct tenon_report_entry *good = find(report, context, "good", 0);
    uint32_t refused = 0, reasonless = 0;
    for (uint32_t i = 0; i < report->n; i++) {
        refused += report->entries[i]->reason != NULL;
        reasonless += report->entries[i]->reason && !report->entries[i]->detail[0];
    }
    child_say("%s, %s refused, %s without a detail", good && !good->reason ? "good is usable" : "good is lost",
              refused > 10 ? "many" : "few", reasonless ? "some" : "none");
    return 0;
}

static void test_crowd(void)
{
    struct child_result result;
    for (size_t begin = 0; begin < N_ANIMALS; begin += 30) {
        char folder[PATH_MAX];
        folder_make(folder, sizeof folder);
        put(folder, "good");
        for (size_t i = begin; i < N_ANIMALS && i < begin + 30; i++)
            if (animals[i].how != DIES && strcmp(animals[i].name, "good") && strcmp(animals[i].name, "entry_slow"))
                put(folder, animals[i].name);
        child_run(crowd_child, folder, 120, &result);
        folder_remove(folder);
        is_str(result.text, "good is usable, many refused, none without a detail",
               "plugins %zu to %zu together: no failure harms another plugin", begin, begin + 29);
    }
}

/* `tenon devices --probe` survives what kills a host. */
static void test_probe(const char *builddir)
{
    char folder[PATH_MAX], command[2 * PATH_MAX + 200], line[4096], seen[65536] = "";
    size_t used = 0;
    folder_make(folder, sizeof folder);
    put(folder, "good");
    for (size_t i = 0; i < N_ANIMALS; i++)
        if (animals[i].how == DIES)
            put(folder, animals[i].name);
    snprintf(command, sizeof command,
             "cd / && ASAN_OPTIONS=handle_segv=0:handle_abort=0 TSAN_OPTIONS=handle_segv=0:handle_abort=0 "
             "TENON_BACKEND_PATH=%s '%s'/tenon devices --probe=5 --json 2>/dev/null",
             folder, builddir);
    FILE *pipe = popen(command, "r");
    while (pipe && fgets(line, sizeof line, pipe)) {
        size_t n = strlen(line);
        if (strstr(line, folder) && used + n < sizeof seen) {
            memcpy(seen + used, line, n + 1);
            used += n;
        }
    }
    int status = pipe ? pclose(pipe) : -1;
    folder_remove(folder);
    ok(status == 0, "tenon devices --probe ends well among plugins that crash");
    for (size_t i = 0; i < N_ANIMALS; i++) {
        char name[100], *at;
        if (animals[i].how != DIES)
            continue;
        snprintf(name, sizeof name, "libtenon-%s.so", animals[i].name);
        at = strstr(seen, name);
        while (at && at > seen && at[-1] != '\n')
            at--;
        snprintf(line, sizeof line, "%.*s", at ? (int)strcspn(at, "\n") : 0, at ? at : "");
        has_str(line, animals[i].want, "probe: %s is reported as %s", animals[i].name, animals[i].want);
    }
}

int main(void)
{
    const char *builddir = getenv("top_builddir");
    char relative[PATH_MAX + 32], build[PATH_MAX];
    if (!realpath(builddir ? builddir : ".", build))
        bail("the build folder is not there");
    snprintf(relative, sizeof relative, "%s/tests/plugins/zoo", build);
    if (!realpath(relative, zoo))
        bail("%s is not there", relative);
    for (size_t i = 0; i < N_ANIMALS; i++)
        test_animal(&animals[i]);
    test_crowd();
    char tool[PATH_MAX + 16];
    snprintf(tool, sizeof tool, "%s/tenon", build);
    if (access(tool, X_OK))
        skip("the command is not built", "tenon devices --probe");
    else
        test_probe(build);
    return tap_done();
}

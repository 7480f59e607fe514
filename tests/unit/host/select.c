/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Finding plugins and choosing devices, with two toy backends and files that must be refused. */
#include "../../../host/host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../tap.h"
#include "toys.h"

static const char *chosen(const char *selector)
{
    static char spec[96];
    struct tenon_context *context;
    if (tenon_context_open(selector, &context))
        return "";
    snprintf(spec, sizeof spec, "%s", tenon_context_spec(context));
    tenon_context_close(context);
    return spec;
}

static void test_choice(void)
{
    static const struct {
        const char *selector, *spec;
    } cases[] = {
        {NULL, "toy:2"},           {"auto", "toy:2"},
        {"toy", "toy:2"},          {"toy2", "toy2:2"},
        {"toy:0", "toy:0"},        {"toy:igpu", "toy:0"},
        {"*:accel", "toy:3"},      {"toy:cpu", "toy:4"},
        {"!toy", "toy2:2"},        {"toy:1,toy2:4", "toy2:4"},
        {"*:cpu,!toy", "toy2:4"},  {"toy:pci=03:00.0", "toy:2"},
        {"toy:uuid=09", "toy:5"},  {"TOY2:Name=toy accel", "toy2:3"},
        {"!*:gpu", "toy:0"},       {"toy:1,auto", "toy:2"},
        {"nosuch,toy:4", "toy:4"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        is_str(chosen(cases[i].selector), cases[i].spec, "'%s'", cases[i].selector ? cases[i].selector : "(NULL)");
}

static void fails(const char *selector, int32_t status, const char *says)
{
    struct tenon_context *context = NULL;
    is_int(tenon_context_open(selector, &context), status, "'%s' fails", selector);
    has_str(tenon_error(), says, "'%s' says why", selector);
    ok(!context, "'%s' leaves the context alone", selector);
}

static void test_refusal(void)
{
    fails("none", TENON_E_NODEVICE, "no device is wanted");
    fails("toz", TENON_E_NODEVICE, "did you mean 'toy'");
    fails("cpu", TENON_E_NODEVICE, "no backend 'cpu'");
    fails("toy:17", TENON_E_NODEVICE, "toy:0 (Toy IGPU, igpu) is not meant by 'toy:17'");
    fails("toy:1", TENON_E_NODEVICE, "toy:1: OPEN_FAILED: the toy's cable is loose");
    fails("toy,!toy", TENON_E_NODEVICE, "toy is removed by '!toy'");
    fails("toy:0,!*:igpu", TENON_E_NODEVICE, "toy:0 is removed by '!*:igpu'");
    fails("toy:gup", TENON_E_INVALID, "column 5");
    is_int(tenon_context_open("toy", NULL), TENON_E_INVALID, "NULL context");
}

static const struct tenon_report_entry *entry_of(const struct tenon_report *report, const char *file, uint32_t index)
{
    for (uint32_t i = 0; i < report->n; i++)
        if (strstr(report->entries[i]->path, file) && report->entries[i]->index == index)
            return report->entries[i];
    return NULL;
}

static void test_report(void)
{
    struct tenon_report *report;
    is_int(tenon_report_create("toy:gpu", &report), TENON_OK, "a report of toy:gpu");
    const struct tenon_report_entry *e = entry_of(report, "/libtenon-toy.so", 2);
    ok(e && !e->reason && e->info.type == TENON_TYPE_GPU, "toy:2 is usable");
    e = entry_of(report, "/libtenon-toy.so", 0);
    ok(e && e->reason && !strcmp(e->reason, "FILTERED"), "toy:0 is filtered");
    e = entry_of(report, "/libtenon-toy2.so", UINT32_MAX);
    ok(e && e->reason && !strcmp(e->reason, "FILTERED") && strstr(e->detail, "not opened"), "toy2 was not opened");
    tenon_report_destroy(report);
    is_int(tenon_report_create(NULL, &report), TENON_OK, "a report of everything");
    static const struct {
        const char *file, *reason;
    } refused[] = {{"/libtenon-text.so", "DLOPEN"},         {"/libtenon-empty.so", "DLOPEN"},
                   {"/libtenon-cut.so", "DLOPEN"},          {"/libtenon-open.so", "PERMISSION"},
                   {"/libtenon-folder.so", "NOT_REGULAR"},  {"/libtenon-loop.so", "NOT_FOUND"},
                   {"/libtenon-BAD.so", "BAD_ID"},          {"/libtenon-zwin.so", "DUPLICATE"},
                   {"/second/libtenon-toy.so", "DUPLICATE"}};
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        e = entry_of(report, refused[i].file, UINT32_MAX);
        is_str(e ? e->reason : NULL, refused[i].reason, "%s", refused[i].file);
        ok(e && e->detail[0], "%s has a sentence", refused[i].file);
    }
    tenon_report_destroy(report);
    is_int(tenon_report_create("a b:c:d", &report), TENON_E_INVALID, "a report of nonsense");
    tenon_report_destroy(NULL);
}

static void test_load(const char *folder)
{
    const char *id = NULL;
    char path[4300];
    is_int(tenon_plugin_load("libtenon-toy.so", &id), TENON_E_IO, "a relative path");
    is_int(tenon_plugin_load("", &id), TENON_E_IO, "an empty path");
    is_int(tenon_plugin_load(NULL, &id), TENON_E_INVALID, "NULL");
    memset(path, 'x', sizeof path);
    path[0] = '/';
    path[4298] = 0;
    is_int(tenon_plugin_load(path, &id), TENON_E_IO, "a path that is too long");
    snprintf(path, sizeof path, "%s/first/toy.so", folder);
    is_int(tenon_plugin_load(path, &id), TENON_E_INVALID, "a name that is no plugin's");
    snprintf(path, sizeof path, "%s/first/libtenon-nosuch.so", folder);
    is_int(tenon_plugin_load(path, &id), TENON_E_IO, "a file that is not there");
    has_str(tenon_error(), "NOT_FOUND", "and it says so");
    snprintf(path, sizeof path, "%s/first/libtenon-toy.so", folder);
    is_int(tenon_plugin_load(path, &id), TENON_OK, "a plugin that is loaded already");
    is_str(id, "toy", "gives its id");
    snprintf(path, sizeof path, "%s/second/libtenon-toy.so", folder);
    is_int(tenon_plugin_load(path, &id), TENON_E_INVALID, "another file of that name");
    has_str(tenon_error(), "DUPLICATE", "is a duplicate");
}

int main(void)
{
    char folder[] = "/tmp/tenon-select-XXXXXX";
    toys_folder(folder);
    char path[256];
    snprintf(path, sizeof path, "%s/first:%s/second:relative:%s/writable", folder, folder, folder);
    setenv("TENON_BACKEND_PATH", path, 1);
    unsetenv("TENON_DEVICE");
    unsetenv("TENON_LAYERS");
    setenv("TENON_LOG", "error", 1);
    test_choice();
    test_refusal();
    test_report();
    test_load(folder);
    toys_remove(folder);
    return tap_done();
}

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The grammar of TENON_DEVICE: what is accepted, where the error is when it is not, and what a term means. */
#include "../../../host/host.h"

#include <stdio.h>
#include <string.h>

#include "../../tap.h"

static const char *const good[] = {
    "",
    "auto",
    "AUTO",
    " vulkan : 0 ",
    "vulkan:gpu,opencl:gpu,cpu",
    "*:gpu,!opencl",
    "opencl:pci=0000:03:00.0",
    "!vulkan",
    "none",
    " N o n e ",
    "cpu:*",
    "*",
    "*:*",
    "!*:cpu",
    "vulkan:uuid=AB-cd-01",
    "x:name=GeForce RTX*",
    "a-b_9:63",
    "auto,cpu",
    "cpu,!cpu:1",
    "opencl:pci=03:00.0",
    "x:name=a:b=c",
    "!a,!b,!c:2",
    "\tcpu",
};

static const struct {
    const char *text;
    uint32_t column;
    const char *says;
} bad[] = {
    {"vulkan:gup", 8, "did you mean 'gpu'"},
    {"vulkan: igup", 9, "did you mean 'igpu'"},
    {"cpu,,x", 5, "empty term"},
    {",cpu", 1, "empty term"},
    {"cpu,", 5, "empty term"},
    {"cpu:", 4, "nothing after ':'"},
    {":0", 1, "name is missing"},
    {"!", 2, "name is missing"},
    {"!:3", 2, "name is missing"},
    {"vul.kan", 4, "'.' in a backend's name"},
    {"v*", 2, "'*' in a backend's name"},
    {"!!x", 2, "'!' in a backend's name"},
    {"cpu:1x", 6, "'x' in a device index"},
    {"cpu:64", 5, "at most 63"},
    {"cpu:99999999999999999999", 5, "at most 63"},
    {"cpu:-1", 5, "unknown device '-1'"},
    {"none,cpu", 1, "'none' stands alone"},
    {"cpu,none", 5, "'none' stands alone"},
    {"!none", 1, "'none' stands alone"},
    {"!auto", 1, "takes neither"},
    {"auto:gpu", 1, "takes neither"},
    {"x:uuid=", 7, "at least one digit"},
    {"x:uuid=12g4", 10, "'g' in a uuid"},
    {"x:uuid=000000000000000000000000000000001", 40, "at most 32"},
    {"x:pci=", 6, "needs an address"},
    {"x:pci=03_00", 9, "'_' in a PCI"},
    {"x:name=", 7, "1 to 127"},
    {"cpu\n", 4, "control character (0x0a)"},
    {"cpu\x7f", 4, "control character"},
    {"cpu;gpu", 4, "';' in a backend's name"},
    {"abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz01", 1, "longer than 63"},
};

static void test_accepts(void)
{
    struct tenon__selector s;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        ok(tenon__selector_parse(good[i], &s) == TENON_OK && (s.none || s.n > 0), "accepts '%s'", good[i]);
    ok(tenon__selector_parse(NULL, &s) == TENON_OK && s.n == 1 && s.term[0].automatic, "NULL is auto");
}

static void test_refuses(void)
{
    struct tenon__selector s;
    char column[32];
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        is_int(tenon__selector_parse(bad[i].text, &s), TENON_E_INVALID, "refuses case %zu", i);
        snprintf(column, sizeof column, "column %u:", bad[i].column);
        has_str(tenon_error(), column, "case %zu says where", i);
        has_str(tenon_error(), bad[i].says, "case %zu says what", i);
    }
}

static void test_limits(void)
{
    struct tenon__selector s;
    char text[TENON__SELECTOR_MAX + 2], many[4 * 33 + 1];
    memset(text, ' ', sizeof text);
    memcpy(text, "cpu", 3);
    text[TENON__SELECTOR_MAX] = 0;
    is_int(tenon__selector_parse(text, &s), TENON_OK, "1024 bytes are accepted");
    text[TENON__SELECTOR_MAX] = ' ';
    text[TENON__SELECTOR_MAX + 1] = 0;
    is_int(tenon__selector_parse(text, &s), TENON_E_INVALID, "1025 bytes are not");
    many[0] = 0;
    for (int i = 0; i < 32; i++)
        strcat(many, i ? ",cpu" : "cpu");
    is_int(tenon__selector_parse(many, &s), TENON_OK, "32 terms are accepted");
    strcat(many, ",cpu");
    is_int(tenon__selector_parse(many, &s), TENON_E_INVALID, "33 terms are not");
    has_str(tenon_error(), "more than 32 terms", "and it says so");
    many[0] = 0;
    for (int i = 0; i < 32; i++)
        strcat(many, i ? ",!c" : "!c");
    is_int(tenon__selector_parse(many, &s), TENON_E_INVALID, "32 '!' terms leave no room for the auto they imply");
}

static int matches(const char *text, const char *backend, uint32_t index, const struct tenon_device_info *info)
{
    struct tenon__selector s;
    if (tenon__selector_parse(text, &s))
        bail("%s: %s", text, tenon_error());
    if (tenon__selector_removes(&s, backend, index, info))
        return 0;
    for (uint32_t i = 0; i < s.n; i++)
        if (!s.term[i].negative && tenon__term_matches(&s.term[i], backend, index, info))
            return 1;
    return 0;
}

static void test_meaning(void)
{
    const struct tenon_device_info gpu = {
        .type = TENON_TYPE_GPU, .name = "GeForce RTX 9", .location = "0000:03:00.0", .uuid = {0xab, 0xcd, 0x01}};
    const struct tenon_device_info cpu = {.type = TENON_TYPE_CPU, .name = "A CPU"};
    ok(matches("auto", "x", 5, &gpu), "auto means everything");
    ok(matches("x:5", "x", 5, &gpu) && !matches("x:4", "x", 5, &gpu) && !matches("y:5", "x", 5, &gpu), "index");
    ok(matches("x:gpu", "x", 0, &gpu) && !matches("x:igpu", "x", 0, &gpu) && matches("*:cpu", "x", 0, &cpu), "type");
    ok(matches("x:uuid=AB-CD", "x", 0, &gpu) && matches("x:uuid=a", "x", 0, &gpu) &&
           !matches("x:uuid=ac", "x", 0, &gpu),
       "uuid prefix");
    ok(matches("x:pci=0000:03:00.0", "x", 0, &gpu) && matches("x:pci=03:00.0", "x", 0, &gpu) &&
           !matches("x:pci=3:00.0", "x", 0, &gpu) && !matches("x:pci=00:03", "x", 0, &cpu),
       "PCI address, with or without domain");
    ok(matches("x:name=geforce*", "x", 0, &gpu) && matches("x:name=*rtx9", "x", 0, &gpu) &&
           !matches("x:name=rtx*", "x", 0, &gpu),
       "name pattern: case and spaces do not count");
    ok(!matches("!x", "x", 0, &gpu) && matches("!x", "y", 0, &gpu), "only '!' terms: auto without them");
    ok(!matches("x,!x:gpu", "x", 0, &gpu) && matches("x,!x:gpu", "x", 0, &cpu), "'!' removes wherever it stands");
    ok(!matches("!x:gpu,x", "x", 0, &gpu), "also in front");
}

static void test_needs(void)
{
    struct tenon__selector s;
    ok(!tenon__selector_parse("vulkan:0,cpu", &s) && tenon__selector_needs(&s, "cpu") &&
           !tenon__selector_needs(&s, "opencl"),
       "only backends that a term names are needed");
    ok(!tenon__selector_parse("!opencl", &s) && !tenon__selector_needs(&s, "opencl") &&
           tenon__selector_needs(&s, "cpu"),
       "a backend removed whole is not needed");
    ok(!tenon__selector_parse("!opencl:0", &s) && tenon__selector_needs(&s, "opencl"), "one with a device left is");
    ok(!tenon__selector_parse("none", &s) && !tenon__selector_needs(&s, "cpu"), "none needs nothing");
}

int main(void)
{
    test_accepts();
    test_refuses();
    test_limits();
    test_meaning();
    test_needs();
    return tap_done();
}

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The card of a device: what was tested, on what, how well it did. card.json for programs, card.txt for people. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <json-c/json.h>
#include <nettle/sha2.h>
#include <tenon/tenon.h>
#include "suite.h"

static void file_sha256(const char *path, char hex[65])
{
    struct sha256_ctx context;
    unsigned char block[16384], digest[SHA256_DIGEST_SIZE];
    FILE *file = fopen(path, "rb");
    size_t n;
    hex[0] = 0;
    if (!file)
        return;
    sha256_init(&context);
    while ((n = fread(block, 1, sizeof(block), file)) > 0)
        sha256_update(&context, n, block);
    sha256_digest(&context, sizeof(digest), digest);
    for (size_t i = 0; i < sizeof(digest); i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    fclose(file);
}

static void put(struct json_object *to, const char *key, const char *value)
{
    json_object_object_add(to, key, json_object_new_string(value));
}

static struct json_object *op_json(const struct card_op *op)
{
    struct json_object *o = json_object_new_object(), *impls = json_object_new_array();
    char hash[24];
    put(o, "group", op->group);
    json_object_object_add(o, "passed", json_object_new_int64((int64_t)op->count[RESULT_OK]));
    json_object_object_add(o, "failed", json_object_new_int64((int64_t)op->count[RESULT_FAIL]));
    json_object_object_add(o, "skipped", json_object_new_int64((int64_t)op->count[RESULT_SKIP]));
    if (op->budget < 1e30)
        json_object_object_add(o, "worst_budget_pct",
                               json_object_new_double((double)(int64_t)(op->budget * 1e4) / 100));
    put(o, "worst_case", op->worst);
    snprintf(hash, sizeof(hash), "%016" PRIx64, op->hash);
    put(o, "outputs_hash", hash);
    for (uint32_t i = 0; i < op->n_impls; i++)
        json_object_array_add(impls, json_object_new_string(op->impls[i]));
    json_object_object_add(o, "impls", impls);
    return o;
}

static struct json_object *card_json(const struct report *report, const struct device *device, const char *sha256)
{
    static const char *const levels[] = {"quick", "full", "soak"};
    const struct tenon_device_info *info = &device->opened.info;
    struct json_object *card = json_object_new_object(), *ops = json_object_new_array();
    struct utsname os;
    char text[2 * sizeof(info->uuid) + 1], when[32], reference[200];
    time_t now = time(NULL);
    put(card, "kind", info->caps & TENON_CAP_SOFTWARE ? "software device" : "device");
    put(card, "device", info->name);
    put(card, "spec", device->name);
    put(card, "driver", info->driver);
    put(card, "location", info->location);
    for (size_t i = 0; i < sizeof(info->uuid); i++)
        snprintf(text + 2 * i, 3, "%02x", info->uuid[i]);
    put(card, "uuid", text);
    put(card, "plugin", device->opened.path);
    put(card, "plugin_version", device->opened.version);
    put(card, "plugin_sha256", sha256);
    put(card, "tenon", tenon_version());
    if (uname(&os) == 0) {
        put(card, "os", os.sysname);
        put(card, "os_release", os.release);
        put(card, "machine", os.machine);
    }
    strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
    put(card, "time", when);
    put(card, "level", levels[report->options->level]);
    put(card, "profile", report->options->profile->name);
    snprintf(text, sizeof(text), "0x%" PRIx64, suite_seed(report->options));
    put(card, "seed", text);
    json_object_object_add(card, "passed", json_object_new_int64((int64_t)report->count[RESULT_OK]));
    json_object_object_add(card, "failed", json_object_new_int64((int64_t)report->count[RESULT_FAIL]));
    json_object_object_add(card, "skipped", json_object_new_int64((int64_t)report->count[RESULT_SKIP]));
    json_object_object_add(card, "seconds",
                           json_object_new_double((double)(int64_t)((suite_now() - report->started) * 10) / 10));
    put(card, "reference", report_reference(report, reference, sizeof(reference)));
    json_object_object_add(card, "reference_checked", json_object_new_int64((int64_t)report->checked));
    for (uint32_t i = 0; i < report->n_ops; i++)
        json_object_array_add(ops, op_json(&report->ops[i]));
    json_object_object_add(card, "groups", ops);
    return card;
}

static void card_text(FILE *out, const struct report *report, const struct device *device, const char *sha256)
{
    const struct tenon_device_info *info = &device->opened.info;
    char text[200];
    fprintf(out, "%s: %s\n", info->caps & TENON_CAP_SOFTWARE ? "software device" : "device", info->name);
    fprintf(out, "opened as %s, driver %s\nplugin %s %s\nsha256 %s\n", device->name, info->driver, device->opened.path,
            device->opened.version, sha256);
    fprintf(out, "tenon %s, profile %s, seed 0x%" PRIx64 "\n\n", tenon_version(), report->options->profile->name,
            suite_seed(report->options));
    for (uint32_t i = 0; i < report->n_ops; i++) {
        const struct card_op *op = &report->ops[i];
        fprintf(out, "%s: %" PRIu64 " passed, %" PRIu64 " failed, %" PRIu64 " skipped\n", op->group,
                op->count[RESULT_OK], op->count[RESULT_FAIL], op->count[RESULT_SKIP]);
        if (op->worst[0])
            fprintf(out, "  at most %.0f %% of a bound: %s\n  outputs %016" PRIx64 "\n", 100 * op->budget, op->worst,
                    op->hash);
        for (uint32_t j = 0; j < op->n_impls; j++)
            fprintf(out, "  %s\n", op->impls[j]);
    }
    if (report_reference(report, text, sizeof(text))[0])
        fprintf(out, "\n%s\n", text);
    fprintf(out, "\n%" PRIu64 " passed, %" PRIu64 " failed, %" PRIu64 " skipped\n", report->count[RESULT_OK],
            report->count[RESULT_FAIL], report->count[RESULT_SKIP]);
}

int card_write(const struct report *report, const struct device *device)
{
    char path[4096], sha256[65];
    struct json_object *card;
    int failed;
    file_sha256(device->opened.path, sha256);
    card = card_json(report, device, sha256);
    snprintf(path, sizeof(path), "%s/card.json", report->options->report);
    failed = json_object_to_file_ext(path, card, JSON_C_TO_STRING_PRETTY) < 0;
    json_object_put(card);
    snprintf(path, sizeof(path), "%s/card.txt", report->options->report);
    FILE *out = fopen(path, "w");
    if (out)
        card_text(out, report, device, sha256);
    failed |= !out || fclose(out);
    if (failed)
        fprintf(stderr, "tenon conform: cannot write the card to %s\n", report->options->report);
    return failed;
}

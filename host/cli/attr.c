/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * NAME=VALUE into an operator's params, by the contract's list of attributes. Ranges are checked here too, because here
 * the message can show what was typed. */
#include "cli.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct tenon_attr_spec *find(const struct tenon_op_contract *contract, const char *name,
                                          struct tenon_why *why)
{
    const char *names[64];
    uint32_t n = 0;
    for (uint32_t i = 0; i < contract->n_attrs; i++) {
        if (!strcmp(contract->attrs[i].name, name))
            return &contract->attrs[i];
        if (n < 64)
            names[n++] = contract->attrs[i].name;
    }
    tenon_why_set(why, TENON_E_ARG, "%s has no attribute '%s'%s", contract->name, name,
                  cli_near_or_all(name, names, n));
    return NULL;
}

static int by_name(const struct tenon_attr_spec *attr, const char *word, uint32_t *index, struct tenon_why *why)
{
    uint32_t n = 0;
    for (; attr->names[n]; n++)
        if (!strcmp(attr->names[n], word)) {
            *index = n;
            return 0;
        }
    char list[160];
    size_t at = 0;
    list[0] = 0;
    for (uint32_t i = 0; i < n && at < sizeof list; i++)
        at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", i ? ", " : "", attr->names[i]);
    const char *near = cli_near(word, attr->names, n);
    tenon_why_set(why, TENON_E_ARG, "%s=%s: must be one of %s%s", attr->name, word, list, near);
    return -1;
}

static int flags(const struct tenon_attr_spec *attr, const char *value, uint32_t *bits, struct tenon_why *why)
{
    char copy[256], *rest = NULL;
    snprintf(copy, sizeof copy, "%s", value);
    *bits = 0;
    for (char *word = strtok_r(copy, ",|", &rest); word; word = strtok_r(NULL, ",|", &rest)) {
        uint32_t index;
        if (!strcmp(word, "none"))
            continue;
        if (by_name(attr, word, &index, why))
            return -1;
        *bits |= 1u << index;
    }
    return 0;
}

static int range_error(const struct tenon_attr_spec *attr, const char *value, struct tenon_why *why)
{
    tenon_why_set(why, TENON_E_ARG, "%s=%s: must be a%s from %.9g to %.9g", attr->name, value,
                  attr->type == TENON_ATTR_F32 ? " number" : " whole number", attr->min, attr->max);
    return -1;
}

static int number(const struct tenon_attr_spec *attr, const char *value, void *field, struct tenon_why *why)
{
    char *end;
    errno = 0;
    if (attr->type == TENON_ATTR_F32) {
        float f = strtof(value, &end);
        if (end == value || *end || !isfinite(f) || f < attr->min || f > attr->max)
            return range_error(attr, value, why);
        memcpy(field, &f, sizeof f);
        return 0;
    }
    if (attr->type == TENON_ATTR_I32) {
        long long i = strtoll(value, &end, 0);
        if (end == value || *end || errno || (double)i < attr->min || (double)i > attr->max)
            return range_error(attr, value, why);
        int32_t v = (int32_t)i;
        memcpy(field, &v, sizeof v);
        return 0;
    }
    unsigned long long u = strtoull(value, &end, 0);
    if (end == value || *end || errno || value[strspn(value, " \t")] == '-' || (double)u < attr->min ||
        (double)u > attr->max)
        return range_error(attr, value, why);
    uint32_t small = (uint32_t)u;
    uint64_t large = u;
    memcpy(field, attr->type == TENON_ATTR_U64 ? (void *)&large : (void *)&small,
           attr->type == TENON_ATTR_U64 ? sizeof large : sizeof small);
    return 0;
}

int cli_attr_set(const struct tenon_op_contract *contract, void *params, const char *text, struct tenon_why *why)
{
    char name[64];
    const char *equals = strchr(text, '=');
    if (!equals || equals == text || (size_t)(equals - text) >= sizeof name) {
        tenon_why_set(why, TENON_E_ARG, "'%s': an attribute is given as NAME=VALUE", text);
        return -1;
    }
    snprintf(name, sizeof name, "%.*s", (int)(equals - text), text);
    const struct tenon_attr_spec *attr = find(contract, name, why);
    if (!attr)
        return -1;
    void *field = (char *)params + attr->offset;
    uint32_t word;
    if (attr->type == TENON_ATTR_ENUM || attr->type == TENON_ATTR_FLAGS) {
        if (attr->type == TENON_ATTR_ENUM ? by_name(attr, equals + 1, &word, why) : flags(attr, equals + 1, &word, why))
            return -1;
        memcpy(field, &word, sizeof word);
        return 0;
    }
    return number(attr, equals + 1, field, why);
}

/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * NAME=VALUE into an operator's params, by the contract's list of attributes. Ranges are checked here too, because here
 * the message can show what was typed. */
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tenon/ops.h>

/* "; did you mean 'x'?", or the names there are. */
static const char *hint(const char *word, const char *const *names, uint32_t n, char *text, size_t room)
{
    const char *near = tenon_closest(word, names, n);
    text[0] = 0;
    if (near) {
        snprintf(text, room, "; did you mean '%s'?", near);
        return text;
    }
    size_t length = n ? (size_t)snprintf(text, room, "; there %s", n == 1 ? "is" : "are") : 0;
    for (uint32_t i = 0; i < n && length < room; i++)
        length += (size_t)snprintf(text + length, room - length, "%s %s", i ? "," : "", names[i]);
    return text;
}

static const struct tenon_attr_spec *find(const struct tenon_op_contract *contract, const char *name,
                                          struct tenon_why *why)
{
    const char *names[64] = {NULL};
    char text[256];
    uint32_t n = 0;
    for (uint32_t i = 0; i < contract->n_attrs; i++) {
        if (!strcmp(contract->attrs[i].name, name))
            return &contract->attrs[i];
        if (n < 64)
            names[n++] = contract->attrs[i].name;
    }
    tenon_why_set(why, TENON_E_ARG, "%s has no attribute '%s'%s", contract->name, name,
                  hint(name, names, n, text, sizeof text));
    return NULL;
}

static int32_t by_name(const struct tenon_attr_spec *attr, const char *word, uint32_t *index, struct tenon_why *why)
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
    const char *near = tenon_closest(word, attr->names, n);
    return tenon_why_set(why, TENON_E_ARG, "%s=%s: must be one of %s%s%s%s", attr->name, word, list,
                         near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

static int32_t flags(const struct tenon_attr_spec *attr, const char *value, uint32_t *bits, struct tenon_why *why)
{
    char copy[256], *rest = NULL;
    snprintf(copy, sizeof copy, "%s", value);
    *bits = 0;
    for (char *word = strtok_r(copy, ",|", &rest); word; word = strtok_r(NULL, ",|", &rest)) {
        uint32_t index;
        if (!strcmp(word, "none"))
            continue;
        if (by_name(attr, word, &index, why))
            return TENON_E_ARG;
        *bits |= 1u << index;
    }
    return 0;
}

static int32_t range_error(const struct tenon_attr_spec *attr, const char *value, struct tenon_why *why)
{
    return tenon_why_set(why, TENON_E_ARG, "%s=%s: must be a%s from %.9g to %.9g", attr->name, value,
                         attr->type == TENON_ATTR_F32 ? " number" : " whole number", attr->min, attr->max);
}

static int32_t number(const struct tenon_attr_spec *attr, const char *value, void *field, struct tenon_why *why)
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

/* The process may have set a locale whose numbers have a comma; attributes have a point wherever they are. */
static int32_t number_in_c(const struct tenon_attr_spec *attr, const char *value, void *field, struct tenon_why *why)
{
    const locale_t plain = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
    if (!plain)
        return tenon_why_set(why, TENON_E_NOMEM, "%s=%s: no memory", attr->name, value);
    const locale_t before = uselocale(plain); /* of this thread alone */
    const int32_t status = number(attr, value, field, why);
    uselocale(before);
    freelocale(plain);
    return status;
}

int32_t tenon_op_attr_set(const struct tenon_op_contract *contract, void *params, const char *text,
                          struct tenon_why *why)
{
    char name[64];
    const char *equals = strchr(text, '=');
    if (!equals || equals == text || (size_t)(equals - text) >= sizeof name)
        return tenon_why_set(why, TENON_E_ARG, "'%s': an attribute is given as NAME=VALUE", text);
    snprintf(name, sizeof name, "%.*s", (int)(equals - text), text);
    const struct tenon_attr_spec *attr = find(contract, name, why);
    if (!attr)
        return TENON_E_ARG;
    void *field = (char *)params + attr->offset;
    uint32_t word;
    if (attr->type == TENON_ATTR_ENUM || attr->type == TENON_ATTR_FLAGS) {
        if (attr->type == TENON_ATTR_ENUM ? by_name(attr, equals + 1, &word, why) : flags(attr, equals + 1, &word, why))
            return TENON_E_ARG;
        memcpy(field, &word, sizeof word);
        return 0;
    }
    return number_in_c(attr, equals + 1, field, why);
}

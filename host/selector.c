/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The grammar of TENON_DEVICE:
 *
 *     value   = "none" | term *( "," term )
 *     term    = "auto" | ["!"] backend [ ":" device ]
 *     backend = name | "*"
 *     device  = index | "cpu" | "igpu" | "gpu" | "accel" | "*" | "uuid=" hexprefix | "pci=" address | "name=" glob
 *
 * Letter case and spaces do not count. A term is split at its first colon, so that PCI addresses keep theirs. */
#include "host.h"

#include <ctype.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

/* A term without its spaces, in lower case, with the column (from 1) that each character had. */
struct scan {
    char s[TENON__SELECTOR_MAX + 1];
    uint32_t column[TENON__SELECTOR_MAX + 1], n;
};

static const char *const types[] = {[0] = "*",
                                    [TENON_TYPE_CPU] = "cpu",
                                    [TENON_TYPE_IGPU] = "igpu",
                                    [TENON_TYPE_GPU] = "gpu",
                                    [TENON_TYPE_ACCEL] = "accel"};
#define N_TYPES (sizeof types / sizeof types[0])

static int32_t bad(uint32_t column, const char *format, ...) TENON_PRINTF(2, 3);
static int32_t bad(uint32_t column, const char *format, ...)
{
    char raw[400], text[400];
    va_list list;
    va_start(list, format);
    vsnprintf(raw, sizeof raw, format, list);
    va_end(list);
    tenon__text_clean(text, sizeof text, raw, sizeof raw);
    return tenon__fail(TENON_E_INVALID, "device selector, column %u: %s", column, text);
}

static int name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

static int32_t parse_backend(const struct scan *scan, uint32_t begin, uint32_t end, struct tenon__term *term)
{
    uint32_t n = end - begin;
    if (!n)
        return bad(scan->column[begin], "a backend's name is missing");
    if (n > TENON__ID_MAX)
        return bad(scan->column[begin], "a backend's name is longer than %d characters", TENON__ID_MAX);
    memcpy(term->backend, scan->s + begin, n);
    term->backend[n] = 0;
    if (!strcmp(term->backend, "*"))
        return TENON_OK;
    for (uint32_t i = begin; i < end; i++)
        if (!name_char(scan->s[i]))
            return bad(scan->column[i], "'%c' in a backend's name: only letters, digits, '_' and '-' (or '*' alone)",
                       scan->s[i]);
    return TENON_OK;
}

static int32_t parse_index(const struct scan *scan, uint32_t begin, uint32_t end, struct tenon__term *term)
{
    uint32_t value = 0;
    for (uint32_t i = begin; i < end; i++) {
        if (!isdigit((unsigned char)scan->s[i]))
            return bad(scan->column[i], "'%c' in a device index", scan->s[i]);
        value = value * 10 + (uint32_t)(scan->s[i] - '0');
        if (value >= TENON__MAX_DEVICES)
            return bad(scan->column[begin], "device index: at most %d", TENON__MAX_DEVICES - 1);
    }
    term->kind = TENON__INDEX;
    term->value = value;
    return TENON_OK;
}

/* Hexadecimal digits; dashes, as uuids are often written with, do not count. */
static int32_t parse_uuid(const struct scan *scan, uint32_t begin, uint32_t end, struct tenon__term *term)
{
    uint32_t n = 0;
    for (uint32_t i = begin; i < end; i++) {
        if (scan->s[i] == '-')
            continue;
        if (!isxdigit((unsigned char)scan->s[i]))
            return bad(scan->column[i], "'%c' in a uuid: only hexadecimal digits", scan->s[i]);
        if (n == 32)
            return bad(scan->column[i], "a uuid has at most 32 digits");
        term->word[n++] = scan->s[i];
    }
    if (!n)
        return bad(scan->column[begin ? begin - 1 : 0], "uuid= needs at least one digit");
    term->word[n] = 0;
    term->uuid_digits = (uint8_t)n;
    term->kind = TENON__UUID;
    return TENON_OK;
}

static int32_t parse_pci(const struct scan *scan, uint32_t begin, uint32_t end, struct tenon__term *term)
{
    for (uint32_t i = begin; i < end; i++)
        if (!isxdigit((unsigned char)scan->s[i]) && scan->s[i] != ':' && scan->s[i] != '.')
            return bad(scan->column[i], "'%c' in a PCI address, which looks like 0000:03:00.0", scan->s[i]);
    if (begin == end || end - begin >= sizeof term->word)
        return bad(scan->column[begin ? begin - 1 : 0], "pci= needs an address like 0000:03:00.0");
    memcpy(term->word, scan->s + begin, end - begin);
    term->word[end - begin] = 0;
    term->kind = TENON__PCI;
    return TENON_OK;
}

static int32_t parse_name(const struct scan *scan, uint32_t begin, uint32_t end, struct tenon__term *term)
{
    if (begin == end || end - begin >= sizeof term->word)
        return bad(scan->column[begin ? begin - 1 : 0], "name= needs a pattern of 1 to %zu characters",
                   sizeof term->word - 1);
    memcpy(term->word, scan->s + begin, end - begin);
    term->word[end - begin] = 0;
    term->kind = TENON__NAME;
    return TENON_OK;
}

static int32_t parse_device(const struct scan *scan, uint32_t begin, uint32_t end, struct tenon__term *term)
{
    static const struct {
        const char *key;
        int32_t (*parse)(const struct scan *, uint32_t, uint32_t, struct tenon__term *);
    } keys[] = {{"uuid=", parse_uuid}, {"pci=", parse_pci}, {"name=", parse_name}};
    const char *s = scan->s + begin;
    uint32_t n = end - begin;
    if (!n)
        return bad(scan->column[begin ? begin - 1 : 0], "nothing after ':'; an index, cpu, igpu, gpu, accel, *, uuid=, "
                                                        "pci= or name= belongs there");
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (!strncmp(s, keys[i].key, strlen(keys[i].key)) && n >= strlen(keys[i].key))
            return keys[i].parse(scan, begin + (uint32_t)strlen(keys[i].key), end, term);
    if (isdigit((unsigned char)s[0]))
        return parse_index(scan, begin, end, term);
    char word[64];
    snprintf(word, sizeof word, "%.*s", (int)n, s);
    for (uint32_t i = 0; i < N_TYPES; i++)
        if (!strcmp(word, types[i])) {
            term->kind = i ? TENON__TYPE : TENON__ANY;
            term->value = i;
            return TENON_OK;
        }
    static const char *const words[] = {"cpu", "igpu", "gpu", "accel", "uuid=", "pci=", "name="};
    const char *near = tenon_closest(word, words, sizeof words / sizeof words[0]);
    return bad(scan->column[begin], "unknown device '%s'%s%s%s", word, near ? "; did you mean '" : "", near ? near : "",
               near ? "'?" : "; an index, cpu, igpu, gpu, accel, *, uuid=, pci= or name= belongs there");
}

static int32_t parse_term(const struct scan *scan, uint32_t begin, uint32_t end, struct tenon__term *term)
{
    memset(term, 0, sizeof *term);
    term->column = scan->column[begin];
    if (begin == end)
        return bad(term->column, "an empty term");
    snprintf(term->text, sizeof term->text, "%.*s", (int)(end - begin), scan->s + begin);
    if (scan->s[begin] == '!') {
        term->negative = 1;
        begin++;
    }
    const char *colon = memchr(scan->s + begin, ':', end - begin);
    uint32_t split = colon ? (uint32_t)(colon - scan->s) : end;
    int32_t status = parse_backend(scan, begin, split, term);
    if (status)
        return status;
    if (!strcmp(term->backend, "none"))
        return bad(term->column, "'none' stands alone");
    if (!strcmp(term->backend, "auto")) {
        if (term->negative || colon)
            return bad(term->column, "'auto' takes neither '!' nor a device");
        term->automatic = 1;
        snprintf(term->backend, sizeof term->backend, "*");
    }
    term->kind = TENON__ANY;
    return colon ? parse_device(scan, split + 1, end, term) : TENON_OK;
}

static int32_t squeeze(const char *text, struct scan *scan)
{
    size_t length = strnlen(text, TENON__SELECTOR_MAX + 1);
    if (length > TENON__SELECTOR_MAX)
        return bad(TENON__SELECTOR_MAX + 1, "longer than %d bytes", TENON__SELECTOR_MAX);
    scan->n = 0;
    for (uint32_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == ' ' || c == '\t')
            continue;
        if (c < 0x20 || c == 0x7f)
            return bad(i + 1, "a control character (0x%02x)", c);
        scan->column[scan->n] = i + 1;
        scan->s[scan->n++] = (char)(c < 0x80 ? tolower(c) : c);
    }
    scan->column[scan->n] = (uint32_t)length + 1;
    scan->s[scan->n] = 0;
    return TENON_OK;
}

int32_t tenon__selector_parse(const char *text, struct tenon__selector *selector)
{
    struct scan scan;
    selector->n = 0;
    selector->none = 0;
    int32_t status = squeeze(text ? text : "", &scan);
    if (status)
        return status;
    if (!strcmp(scan.s, "none")) {
        selector->none = 1;
        return TENON_OK;
    }
    int positive = 0;
    for (uint32_t begin = 0; scan.n && begin <= scan.n;) {
        const char *comma = memchr(scan.s + begin, ',', scan.n - begin);
        uint32_t end = comma ? (uint32_t)(comma - scan.s) : scan.n;
        if (selector->n == TENON__TERMS_MAX)
            return bad(scan.column[begin], "more than %d terms", TENON__TERMS_MAX);
        status = parse_term(&scan, begin, end, &selector->term[selector->n]);
        if (status)
            return status;
        positive |= !selector->term[selector->n++].negative;
        begin = end + 1;
    }
    if (!positive) { /* empty, or only "!" terms: auto without them */
        if (selector->n == TENON__TERMS_MAX)
            return bad(1, "more than %d terms", TENON__TERMS_MAX - 1);
        selector->term[selector->n++] =
            (struct tenon__term){.automatic = 1, .kind = TENON__ANY, .column = 1, .backend = "*", .text = "auto"};
    }
    return TENON_OK;
}

/* ---- matching ---- */

int tenon__term_names(const struct tenon__term *term, const char *backend)
{
    return !strcmp(term->backend, "*") || !strcmp(term->backend, backend);
}

static int uuid_matches(const struct tenon__term *term, const struct tenon_device_info *info)
{
    for (uint32_t i = 0; i < term->uuid_digits; i++) {
        unsigned nibble = i % 2 ? info->uuid[i / 2] & 15u : info->uuid[i / 2] >> 4;
        if (term->word[i] != "0123456789abcdef"[nibble])
            return 0;
    }
    return 1;
}

static void plain(char *to, size_t room, const char *from)
{
    size_t n = 0;
    for (; *from && n + 1 < room; from++)
        if (*from != ' ' && *from != '\t')
            to[n++] = (char)tolower((unsigned char)*from);
    to[n] = 0;
}

/* The domain of a PCI address may be left out. */
static int pci_matches(const struct tenon__term *term, const struct tenon_device_info *info)
{
    char mine[sizeof info->location + 1];
    plain(mine, sizeof mine, info->location);
    const char *short_form = strchr(mine, ':');
    return mine[0] && (!strcmp(term->word, mine) || (short_form && !strcmp(term->word, short_form + 1)));
}

int tenon__term_matches(const struct tenon__term *term, const char *backend, uint32_t index,
                        const struct tenon_device_info *info)
{
    char name[sizeof info->name + 1];
    if (!tenon__term_names(term, backend))
        return 0;
    switch (term->kind) {
    case TENON__INDEX:
        return term->value == index;
    case TENON__TYPE:
        return term->value == info->type;
    case TENON__UUID:
        return uuid_matches(term, info);
    case TENON__PCI:
        return pci_matches(term, info);
    case TENON__NAME:
        plain(name, sizeof name, info->name);
        return !fnmatch(term->word, name, FNM_NOESCAPE);
    default:
        return 1;
    }
}

const struct tenon__term *tenon__selector_removes(const struct tenon__selector *selector, const char *backend,
                                                  uint32_t index, const struct tenon_device_info *info)
{
    for (uint32_t i = 0; i < selector->n; i++) {
        const struct tenon__term *term = &selector->term[i];
        if (term->negative && (info ? tenon__term_matches(term, backend, index, info)
                                    : term->kind == TENON__ANY && tenon__term_names(term, backend)))
            return term;
    }
    return NULL;
}

int tenon__selector_needs(const struct tenon__selector *selector, const char *backend)
{
    if (selector->none || tenon__selector_removes(selector, backend, 0, NULL))
        return 0;
    for (uint32_t i = 0; i < selector->n; i++)
        if (!selector->term[i].negative && tenon__term_names(&selector->term[i], backend))
            return 1;
    return 0;
}

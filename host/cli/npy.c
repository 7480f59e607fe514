/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * NumPy's .npy format, versions 1 to 3: a magic, a header that is a Python dictionary literal, the elements. Files come
 * from anywhere, so nothing in the header is believed before it was compared with the size of the file. */
#include "cli.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEADER_MAX 65536u
#define PAGE       4096u

static const struct {
    const char *descr;
    uint32_t dtype;
} types[] = {{"<f4", TENON_F32}, {"<f2", TENON_F16}, {"<u2", TENON_BF16}, {"<i4", TENON_I32}, {"|i1", TENON_I8},
             {"<i1", TENON_I8},  {"|u1", TENON_U8},  {"<u1", TENON_U8},   {"|b1", TENON_U8},  {"<u4", TENON_U32}};

void *npy_alloc(uint64_t bytes)
{
    if (bytes > PTRDIFF_MAX - 2 * PAGE)
        return NULL;
    return aligned_alloc(PAGE, (size_t)(bytes / PAGE + 1) * PAGE);
}

/* ---- the header ---- */

struct cursor {
    const char *at, *end;
};

static void blanks(struct cursor *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\n' || *c->at == '\t'))
        c->at++;
}

static int take(struct cursor *c, char wanted)
{
    blanks(c);
    if (c->at == c->end || *c->at != wanted)
        return 0;
    c->at++;
    return 1;
}

/* A quoted word without escapes. */
static int word(struct cursor *c, char *text, size_t room)
{
    blanks(c);
    if (c->at == c->end || (*c->at != '\'' && *c->at != '"'))
        return 0;
    char quote = *c->at++;
    size_t n = 0;
    for (; c->at < c->end && *c->at != quote; c->at++) {
        if (n + 1 >= room || *c->at == '\\' || (unsigned char)*c->at < 0x20)
            return 0;
        text[n++] = *c->at;
    }
    text[n] = 0;
    return take(c, quote);
}

static int name(struct cursor *c, const char *wanted)
{
    size_t n = strlen(wanted);
    blanks(c);
    if ((size_t)(c->end - c->at) < n || memcmp(c->at, wanted, n))
        return 0;
    c->at += n;
    return 1;
}

static int shape(struct cursor *c, struct tenon_tensor *t, struct tenon_why *why)
{
    if (!take(c, '('))
        return tenon_why_set(why, -1, "shape is not a tuple");
    for (t->rank = 0; !take(c, ')');) {
        if (t->rank == TENON_MAX_RANK)
            return tenon_why_set(why, -1, "more than %d axes", TENON_MAX_RANK);
        int64_t n = 0;
        const char *first = c->at;
        for (; c->at < c->end && isdigit((unsigned char)*c->at); c->at++)
            if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *c->at - '0', &n))
                return tenon_why_set(why, -1, "an axis of the shape is too large");
        if (c->at == first)
            return tenon_why_set(why, -1, "shape has something that is not a number of 0 or more");
        take(c, 'L');
        t->dim[t->rank++] = n;
        if (!take(c, ',')) {
            if (!take(c, ')'))
                return tenon_why_set(why, -1, "shape is not a tuple");
            break;
        }
        blanks(c);
    }
    return 0;
}

static int descr_type(const char *descr, uint32_t *dtype, struct tenon_why *why)
{
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (!strcmp(descr, types[i].descr)) {
            *dtype = types[i].dtype;
            return 0;
        }
    if (descr[0] == '>')
        return tenon_why_set(why, -1, "type %s is big-endian; save it with .astype('<%s')", descr, descr + 1);
    return tenon_why_set(why, -1, "type %s is none of f4 f2 i4 i1 u1 u4 b1, or u2 for bf16%s", descr,
                         !strcmp(descr, "<f8") ? "; save it with .astype('f4')" : "");
}

static int header(struct cursor *c, struct tenon_tensor *t, struct tenon_why *why)
{
    char key[32], descr[32];
    unsigned seen = 0;
    if (!take(c, '{'))
        return tenon_why_set(why, -1, "the header is not a dictionary");
    while (!take(c, '}')) {
        if (!word(c, key, sizeof key) || !take(c, ':'))
            return tenon_why_set(why, -1, "the header is damaged");
        unsigned bit;
        if (!strcmp(key, "descr")) {
            bit = 1;
            blanks(c);
            if (!word(c, descr, sizeof descr))
                return tenon_why_set(why, -1, "the elements are records, not numbers");
            if (descr_type(descr, &t->dtype, why))
                return -1;
        } else if (!strcmp(key, "fortran_order")) {
            bit = 2;
            if (name(c, "True"))
                return tenon_why_set(why, -1, "stored in Fortran order; save numpy.ascontiguousarray(x) instead");
            if (!name(c, "False"))
                return tenon_why_set(why, -1, "fortran_order is neither True nor False");
        } else if (!strcmp(key, "shape")) {
            bit = 4;
            blanks(c);
            if (shape(c, t, why))
                return -1;
        } else {
            return tenon_why_set(why, -1, "the header has an unknown key '%s'", key);
        }
        if (seen & bit)
            return tenon_why_set(why, -1, "the header has '%s' twice", key);
        seen |= bit;
        if (!take(c, ',')) {
            if (!take(c, '}'))
                return tenon_why_set(why, -1, "the header is damaged");
            break;
        }
    }
    blanks(c);
    if (seen != 7 || c->at != c->end)
        return tenon_why_set(why, -1,
                             seen != 7 ? "the header lacks descr, fortran_order or shape" : "the header is damaged");
    return 0;
}

/* Bytes of the elements, or -1 when they cannot be counted. */
static int64_t size_of(const struct tenon_tensor *t)
{
    int64_t n = TENON_DTYPE_SIZE(t->dtype);
    int empty = 0;
    for (uint32_t k = 0; k < t->rank; k++) {
        empty |= t->dim[k] == 0;
        if (t->dim[k] && __builtin_mul_overflow(n, t->dim[k], &n))
            return -1;
    }
    return empty ? 0 : n;
}

static int read_header(FILE *file, uint64_t file_size, struct tenon_tensor *t, uint64_t *data_at, struct tenon_why *why)
{
    unsigned char head[12];
    if (fread(head, 1, 10, file) != 10 || memcmp(head, "\x93NUMPY", 6))
        return tenon_why_set(why, -1, "not a .npy file");
    if (head[6] < 1 || head[6] > 3)
        return tenon_why_set(why, -1, ".npy version %u is not known", head[6]);
    uint32_t size = head[8] | (uint32_t)head[9] << 8, at = 10;
    if (head[6] >= 2) {
        if (fread(head + 10, 1, 2, file) != 2)
            return tenon_why_set(why, -1, "cut short in the header");
        size |= (uint32_t)head[10] << 16 | (uint32_t)head[11] << 24;
        at = 12;
    }
    if (size > HEADER_MAX || at + size > file_size)
        return tenon_why_set(why, -1, "the header claims %u bytes of a file of %llu", size,
                             (unsigned long long)file_size);
    char *text = malloc(size + 1);
    if (!text)
        return tenon_why_set(why, -1, "out of memory");
    int bad = fread(text, 1, size, file) != size;
    struct cursor c = {text, text + size};
    bad = bad ? tenon_why_set(why, -1, "cut short in the header") : header(&c, t, why);
    free(text);
    *data_at = at + size;
    return bad;
}

static int read_open(FILE *file, struct npy *npy, struct tenon_why *why)
{
    struct stat st;
    if (fstat(fileno(file), &st))
        return tenon_why_set(why, -1, "%s", strerror(errno));
    if (!S_ISREG(st.st_mode))
        return tenon_why_set(why, -1, "not a regular file");
    struct tenon_tensor t = {0};
    uint64_t size = (uint64_t)st.st_size, data_at = 0;
    if (read_header(file, size, &t, &data_at, why))
        return -1;
    int64_t bytes = size_of(&t);
    if (bytes < 0 || (uint64_t)bytes != size - data_at) {
        char text[160];
        return tenon_why_set(why, -1, "shape %s of %s does not fit the %llu bytes that follow the header",
                             cli_shape(&t, text, sizeof text), tenon_dtype_name(t.dtype),
                             (unsigned long long)(size - data_at));
    }
    void *data = npy_alloc((uint64_t)bytes);
    if (!data)
        return tenon_why_set(why, -1, "out of memory: %lld bytes", (long long)bytes);
    if (fread(data, 1, (size_t)bytes, file) != (size_t)bytes) {
        free(data);
        return tenon_why_set(why, -1, "cannot be read to its end");
    }
    npy->tensor = tenon_tensor_make(t.dtype, t.rank, t.dim);
    npy->bytes = (uint64_t)bytes;
    npy->data = data;
    return 0;
}

int npy_read(const char *path, struct npy *npy, struct tenon_why *why)
{
    struct stat st;
    if (!stat(path, &st) && !S_ISREG(st.st_mode)) /* before open: a FIFO would block */
        return tenon_why_set(why, -1, "not a regular file");
    FILE *file = fopen(path, "rbe");
    if (!file)
        return tenon_why_set(why, -1, "%s", strerror(errno));
    int bad = read_open(file, npy, why);
    fclose(file);
    return bad;
}

/* ---- writing ---- */

static const char *descr_of(uint32_t dtype)
{
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (types[i].dtype == dtype)
            return types[i].descr;
    return NULL;
}

static int write_all(FILE *file, const struct npy *npy)
{
    char dims[256] = "", text[512];
    size_t n = 0;
    const struct tenon_tensor *t = &npy->tensor;
    for (uint32_t k = 0; k < t->rank; k++)
        n += (size_t)snprintf(dims + n, sizeof dims - n, "%lld%s", (long long)t->dim[k],
                              t->rank == 1      ? ","
                              : k + 1 < t->rank ? ", "
                                                : "");
    int length = snprintf(text, sizeof text, "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }",
                          descr_of(t->dtype), dims);
    while ((10 + length + 1) % 64) /* the elements start at a multiple of 64, as NumPy writes it */
        text[length++] = ' ';
    text[length++] = '\n';
    const unsigned char head[10] = {
        0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (unsigned char)(length & 255), (unsigned char)(length >> 8)};
    return fwrite(head, 1, 10, file) != 10 || fwrite(text, 1, (size_t)length, file) != (size_t)length ||
           fwrite(npy->data, 1, (size_t)npy->bytes, file) != (size_t)npy->bytes;
}

int npy_write(const char *path, const struct npy *npy, struct tenon_why *why)
{
    struct stat st;
    int plain = stat(path, &st) || S_ISREG(st.st_mode); /* /dev/stdout and the like are written as they are */
    size_t room = strlen(path) + 16;
    char *temporary = malloc(room);
    if (!temporary)
        return tenon_why_set(why, -1, "out of memory");
    snprintf(temporary, room, plain ? "%s.%ld~" : "%s", path, (long)getpid());
    FILE *file = fopen(temporary, plain ? "wbxe" : "wbe");
    int bad = !file;
    if (file) {
        bad = write_all(file, npy);
        bad = fclose(file) || bad;
    }
    if (!bad && plain)
        bad = rename(temporary, path) != 0;
    if (bad)
        tenon_why_set(why, -1, "%s", strerror(errno));
    if (bad && plain && file)
        unlink(temporary);
    free(temporary);
    return bad ? -1 : 0;
}

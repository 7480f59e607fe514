/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The cache on disk. A file is: a header with the digest of everything after it, the key, the data. Its name is the
 * digest of the kind and the key, so that nothing of the key (driver strings) reaches the file system as a path. */
#include "gpu.h"

#include <errno.h>
#include <fcntl.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX (UINT64_C(256) << 20) /* larger data is neither stored nor believed */
#define PATH_ROOM 4096

struct header {
    char magic[8];
    uint64_t key_size, data_size;
    uint8_t digest[SHA256_DIGEST_SIZE]; /* of the sizes, the key and the data */
};
static const char MAGIC[8] = {'t', 'e', 'n', 'o', 'n', 'c', '1', '\n'};

static void digest_of(const struct header *header, const void *key, const void *data, uint8_t *digest)
{
    struct sha256_ctx sha;
    sha256_init(&sha);
    sha256_update(&sha, sizeof(header->key_size), (const uint8_t *)&header->key_size);
    sha256_update(&sha, sizeof(header->data_size), (const uint8_t *)&header->data_size);
    sha256_update(&sha, header->key_size, key);
    sha256_update(&sha, header->data_size, data);
    sha256_digest(&sha, SHA256_DIGEST_SIZE, digest);
}

/* Opens the folder, made if `create`. A folder that others may write to is not ours. -1: no cache. */
static int open_folder(const struct tenon_host *host, int create)
{
    const char *dir = host->config(host, "cache_dir");
    char path[PATH_ROOM];
    if (dir == NULL || *dir == '\0' || strlen(dir) >= sizeof(path))
        return -1;
    strcpy(path, dir);
    /* every missing part, as mkdir -p does, but private */
    for (char *slash = path + 1; create; slash++) {
        if (*slash != '/' && *slash != '\0')
            continue;
        char end = *slash;
        *slash = '\0';
        if (mkdir(path, 0700) != 0 && errno != EEXIST && errno != EISDIR)
            return -1;
        *slash = end;
        if (end == '\0')
            break;
    }
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat status;
    if (fd < 0)
        return -1;
    if (fstat(fd, &status) != 0 || status.st_uid != geteuid() || (status.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void name_of(const char *kind, const void *key, size_t key_size, char name[2 * SHA256_DIGEST_SIZE + 1])
{
    struct sha256_ctx sha;
    uint8_t digest[SHA256_DIGEST_SIZE];
    sha256_init(&sha);
    sha256_update(&sha, strlen(kind) + 1, (const uint8_t *)kind);
    sha256_update(&sha, key_size, key);
    sha256_digest(&sha, sizeof(digest), digest);
    for (size_t i = 0; i < sizeof(digest); i++)
        snprintf(name + 2 * i, 3, "%02x", digest[i]);
}

static int read_all(int fd, void *to, uint64_t size)
{
    uint8_t *at = to;
    while (size > 0) {
        ssize_t n = read(fd, at, size < (1u << 30) ? size : 1u << 30);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return 0;
        at += n;
        size -= (uint64_t)n;
    }
    return 1;
}

static int write_all(int fd, const void *from, uint64_t size)
{
    const uint8_t *at = from;
    while (size > 0) {
        ssize_t n = write(fd, at, size < (1u << 30) ? size : 1u << 30);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return 0;
        at += n;
        size -= (uint64_t)n;
    }
    return 1;
}

/* The payload (key, then data) of a file that is ours and whole, or NULL. */
static uint8_t *read_file(const struct tenon_host *host, int fd, const void *key, size_t key_size,
                          struct header *header)
{
    struct stat status;
    uint8_t digest[SHA256_DIGEST_SIZE];
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || status.st_uid != geteuid() ||
        (status.st_mode & (S_IWGRP | S_IWOTH)) != 0 || !read_all(fd, header, sizeof(*header)))
        return NULL;
    if (memcmp(header->magic, MAGIC, sizeof(MAGIC)) != 0 || header->key_size != key_size ||
        header->data_size > FILE_MAX ||
        (uint64_t)status.st_size != sizeof(*header) + header->key_size + header->data_size)
        return NULL;
    uint8_t *payload = host->alloc(host, header->key_size + header->data_size + 1, 64);
    if (payload == NULL)
        return NULL;
    if (read_all(fd, payload, header->key_size + header->data_size)) {
        digest_of(header, payload, payload + key_size, digest);
        if (memcmp(digest, header->digest, sizeof(digest)) == 0 && memcmp(payload, key, key_size) == 0)
            return payload;
    }
    host->free(host, payload);
    return NULL;
}

int gpu_cache_load(const struct tenon_host *host, const char *kind, const void *key, size_t key_size, void **data,
                   size_t *size)
{
    char name[2 * SHA256_DIGEST_SIZE + 1];
    struct header header;
    int folder = open_folder(host, 0);
    if (folder < 0)
        return 0;
    name_of(kind, key, key_size, name);
    int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    close(folder);
    if (fd < 0)
        return 0;
    uint8_t *payload = read_file(host, fd, key, key_size, &header);
    close(fd);
    if (payload == NULL)
        return 0;
    *data = host->alloc(host, header.data_size ? header.data_size : 1, 64);
    if (*data != NULL) {
        memcpy(*data, payload + key_size, header.data_size);
        *size = header.data_size;
    }
    host->free(host, payload);
    return *data != NULL;
}

void gpu_cache_store(const struct tenon_host *host, const char *kind, const void *key, size_t key_size,
                     const void *data, size_t size)
{
    char name[2 * SHA256_DIGEST_SIZE + 1], temporary[128];
    struct header header = {.key_size = key_size, .data_size = size};
    if (size > FILE_MAX)
        return;
    int folder = open_folder(host, 1);
    if (folder < 0)
        return;
    memcpy(header.magic, MAGIC, sizeof(MAGIC));
    digest_of(&header, key, data, header.digest);
    name_of(kind, key, key_size, name);
    /* The address makes the name differ between the threads of a process. */
    snprintf(temporary, sizeof(temporary), ".%.32s.%ld.%lx", name, (long)getpid(), (unsigned long)(uintptr_t)&header);
    int fd = openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd >= 0) {
        int whole = write_all(fd, &header, sizeof(header)) && write_all(fd, key, key_size) && write_all(fd, data, size);
        if (close(fd) != 0 || !whole || renameat(folder, temporary, folder, name) != 0)
            unlinkat(folder, temporary, 0);
    }
    close(folder);
}

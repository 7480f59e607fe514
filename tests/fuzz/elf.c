/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Damaged plugin files, as the loader looks at them before the dynamic linker does: a verdict with a sentence, no
 * crash. The seed is a real plugin; what the check accepts has all the bytes that its segments promise. */
#include "../../host/host.h"

#include <elf.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The promise that the check makes to ld.so, worked out anew from the bytes. */
static int complete(const uint8_t *data, size_t size)
{
    ElfW(Ehdr) header;
    memcpy(&header, data, sizeof header);
    for (unsigned i = 0; i < header.e_phnum; i++) {
        ElfW(Phdr) segment;
        if (header.e_phoff > size || (i + 1) * sizeof segment > size - header.e_phoff)
            return 0;
        memcpy(&segment, data + header.e_phoff + i * sizeof segment, sizeof segment);
        if (segment.p_type == PT_LOAD && (segment.p_offset > size || segment.p_filesz > size - segment.p_offset))
            return 0;
    }
    return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    static char path[64];
    char why[160] = "";
    if (fd < 0) {
        fd = memfd_create("plugin", 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    if (fd < 0 || ftruncate(fd, 0) || pwrite(fd, data, size, 0) != (ssize_t)size)
        return 0;
    const char *wrong = tenon__elf_check(path, why, sizeof why);
    if (wrong ? !wrong[0] : size < sizeof(ElfW(Ehdr)) || !complete(data, size))
        abort();
    return 0;
}

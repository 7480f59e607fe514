/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * A look at the file before the dynamic linker maps it: ld.so maps what the headers promise and touches it, so that a
 * file cut short (an interrupted copy, a full disk) kills the process with SIGBUS instead of failing. */
#include "host.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined(__x86_64__)
#define MACHINE EM_X86_64
#elif defined(__aarch64__)
#define MACHINE EM_AARCH64
#elif defined(__i386__)
#define MACHINE EM_386
#elif defined(__arm__)
#define MACHINE EM_ARM
#elif defined(__riscv)
#define MACHINE EM_RISCV
#elif defined(__powerpc64__)
#define MACHINE EM_PPC64
#else
#define MACHINE EM_NONE /* not known here: left to the dynamic linker */
#endif

#define PROGRAM_HEADERS_MAX 512

static const char *header_check(const ElfW(Ehdr) * header, char *text, size_t room)
{
    if (memcmp(header->e_ident, ELFMAG, SELFMAG))
        return "not an ELF file";
    if (header->e_ident[EI_CLASS] != (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32))
        return sizeof(void *) == 8 ? "a 32-bit ELF file in a 64-bit process" : "a 64-bit ELF file in a 32-bit process";
    if (header->e_type != ET_DYN)
        return "not a shared object";
    if (MACHINE != EM_NONE && header->e_machine != MACHINE) {
        snprintf(text, room, "made for another processor (ELF machine %u, this is %u)", header->e_machine, MACHINE);
        return text;
    }
    if (header->e_phentsize != sizeof(ElfW(Phdr)) || header->e_phnum == 0 || header->e_phnum > PROGRAM_HEADERS_MAX)
        return "a damaged ELF header";
    return NULL;
}

static const char *check(int fd, char *text, size_t room)
{
    struct stat st;
    ElfW(Ehdr) header;
    if (fstat(fd, &st))
        return strerror(errno);
    uint64_t size = (uint64_t)st.st_size;
    if (size == 0)
        return "an empty file";
    if (pread(fd, &header, sizeof header, 0) != (ssize_t)sizeof header)
        return "not an ELF file";
    const char *wrong = header_check(&header, text, room);
    if (wrong)
        return wrong;
    for (unsigned i = 0; i < header.e_phnum; i++) {
        ElfW(Phdr) segment;
        if (header.e_phoff > size || pread(fd, &segment, sizeof segment,
                                           (off_t)(header.e_phoff + i * sizeof segment)) != (ssize_t)sizeof segment)
            return "cut short: the ELF program headers are missing";
        uint64_t end;
        if (segment.p_type == PT_LOAD &&
            (__builtin_add_overflow((uint64_t)segment.p_offset, (uint64_t)segment.p_filesz, &end) || end > size)) {
            snprintf(text, room, "cut short: %llu bytes, but a segment ends at byte %llu", (unsigned long long)size,
                     (unsigned long long)end);
            return text;
        }
    }
    return NULL;
}

const char *tenon__elf_check(const char *path, char *text, size_t room)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return strerror(errno);
    const char *wrong = check(fd, text, room);
    close(fd);
    return wrong;
}

/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The guest's memory, as far as the front-end shares it, and the log of what
 * is written to it.
 */

#ifndef VHOST_USER_VSOCK_MEMORY_H
#define VHOST_USER_VSOCK_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What libvhost-user, and so each version of QEMU, can name at the least. */
#define MEMORY_MAX_REGIONS 32

/* A part of a file in memory. */
typedef struct FileMap {
    uint8_t *at;       /* what was asked for; NULL: nothing is mapped */
    void *start;       /* all that is mapped: whole pages of the file */
    size_t size;
} FileMap;

typedef struct MemoryRegion {
    uint64_t gpa;      /* guest physical address */
    uint64_t size;     /* bytes */
    uint64_t qva;      /* the front-end's own address of it */
    uint8_t *va;       /* ours */
    FileMap map;       /* from the start of the file on */
} MemoryRegion;

typedef struct Memory {
    MemoryRegion regions[MEMORY_MAX_REGIONS];
    unsigned int n;
    unsigned int hit;  /* the region found last */

    /*
     * A bit for each page of 4 KiB; NULL: nothing is logged.  While @logging
     * is false the log is there, but not wanted.
     */
    uint8_t *log;
    size_t log_size;
    FileMap log_map;
    bool logging;
    int log_fd;        /* an eventfd to tell of new bits; -1: none */
    bool log_grew;     /* there are such */
} Memory;

/*
 * Map @size bytes of a file from @offset on, to read and to write, in the pages
 * that the file has: those of hugetlbfs are larger than the machine's.  @flags
 * are mmap()'s besides MAP_SHARED; @fd stays the caller's.  0 or a negative
 * errno.
 */
int file_map(FileMap *map, int fd, uint64_t offset, uint64_t size, int flags);
void file_unmap(FileMap *map);

/* Take a region of a file; @fd stays the caller's.  0 or a negative errno. */
int memory_add(Memory *memory, uint64_t gpa, uint64_t size, uint64_t qva,
               uint64_t offset, int fd);
bool memory_remove(Memory *memory, uint64_t gpa, uint64_t size, uint64_t qva);
void memory_clear(Memory *memory);

/*
 * Where the guest's @gpa is.  *@len is shortened to what lies there in one
 * piece.  NULL: not in the guest's memory.
 */
void *memory_at(Memory *memory, uint64_t gpa, uint64_t *len);

/* Where the front-end's @qva is, if all @size bytes are there in one piece. */
void *memory_at_qva(const Memory *memory, uint64_t qva, uint64_t size);

/* Set the log; @fd stays the caller's.  0 or a negative errno. */
int memory_set_log(Memory *memory, uint64_t size, uint64_t offset, int fd);
void memory_clear_log(Memory *memory);

/* Guest memory was written to. */
void memory_wrote(Memory *memory, uint64_t gpa, uint64_t size);

/* Tell who wants to know, if it was. */
void memory_tell_log(Memory *memory);

#endif /* VHOST_USER_VSOCK_MEMORY_H */

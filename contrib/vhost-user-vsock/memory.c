/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The guest's memory, as far as the front-end shares it, and the log of what
 * is written to it.
 */

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <linux/magic.h>
#include <unistd.h>

#include "memory.h"

/* Bytes of a page in the log; the protocol's, not the machine's. */
#define LOG_PAGE 4096u

/* --- Files ---------------------------------------------------------------- */

/* Whether a file holds so much: beyond its end is SIGBUS. */
static bool file_holds(int fd, uint64_t size)
{
    struct stat st;

    /* #syscalls fstat newfstatat */
    return fstat(fd, &st) == 0 &&
           (!S_ISREG(st.st_mode) || (uint64_t)st.st_size >= size);
}

/* What mappings of a file begin and end at a multiple of; 0: not known. */
static uint64_t page_of(int fd)
{
    struct statfs fs;

    /* #syscalls fstatfs */
    if (fstatfs(fd, &fs) < 0) {
        return 0;
    }
    return (uint64_t)(fs.f_type == HUGETLBFS_MAGIC ? fs.f_bsize :
                      sysconf(_SC_PAGESIZE));
}

int file_map(FileMap *map, int fd, uint64_t offset, uint64_t size, int flags)
{
    uint64_t page, skip, all;
    void *start;

    if (!size || size > SIZE_MAX / 4 || offset > INT64_MAX - size ||
        !file_holds(fd, offset + size)) {
        return -EINVAL;
    }
    page = page_of(fd);
    if (!page || page > SIZE_MAX / 4) {
        return -EINVAL;
    }
    /*
     * munmap() and MAP_FIXED do not round, as mmap() does.
     * #syscalls mmap munmap
     */
    skip = offset % page;
    all = (skip + size + page - 1) / page * page;
    start = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_SHARED | flags, fd,
                 (off_t)(offset - skip));
    if (start == MAP_FAILED) {
        return -errno;
    }
    *map = (FileMap) { (uint8_t *)start + skip, start, all };
    return 0;
}

void file_unmap(FileMap *map)
{
    if (map->at) {
        munmap(map->start, map->size);
        *map = (FileMap) { 0 };
    }
}

/* --- Regions -------------------------------------------------------------- */

int memory_add(Memory *memory, uint64_t gpa, uint64_t size, uint64_t qva,
               uint64_t offset, int fd)
{
    uint64_t top = UINT64_MAX - size;
    FileMap map;
    int ret;

    if (memory->n == MEMORY_MAX_REGIONS) {
        return -ENOSPC;
    }
    if (!size || gpa > top || qva > top || offset > top) {
        return -EINVAL;
    }
    /* From the file's start: what offsets a device's file wants is unknown. */
    ret = file_map(&map, fd, 0, offset + size, MAP_NORESERVE);
    if (ret < 0) {
        return ret;
    }
    memory->regions[memory->n++] = (MemoryRegion) {
        .gpa = gpa,
        .size = size,
        .qva = qva,
        .va = map.at + offset,
        .map = map,
    };
    return 0;
}

bool memory_remove(Memory *memory, uint64_t gpa, uint64_t size, uint64_t qva)
{
    for (unsigned int i = 0; i < memory->n; i++) {
        MemoryRegion *r = &memory->regions[i];

        if (r->gpa == gpa && r->size == size && r->qva == qva) {
            file_unmap(&r->map);
            memory->n--;
            memmove(r, r + 1, (memory->n - i) * sizeof(*r));
            memory->hit = 0;
            return true;
        }
    }
    return false;
}

void memory_clear(Memory *memory)
{
    while (memory->n) {
        file_unmap(&memory->regions[--memory->n].map);
    }
    memory->hit = 0;
}

void *memory_at(Memory *memory, uint64_t gpa, uint64_t *len)
{
    for (unsigned int i = 0; i <= memory->n; i++) {
        /* First where the last one was; that one is met twice then. */
        unsigned int at = i ? i - 1 : memory->hit;
        const MemoryRegion *r = &memory->regions[at];
        uint64_t offset = gpa - r->gpa;

        if (at < memory->n && gpa >= r->gpa && offset < r->size) {
            memory->hit = at;
            if (*len > r->size - offset) {
                *len = r->size - offset;
            }
            return r->va + offset;
        }
    }
    return NULL;
}

void *memory_at_qva(const Memory *memory, uint64_t qva, uint64_t size)
{
    for (unsigned int i = 0; i < memory->n; i++) {
        const MemoryRegion *r = &memory->regions[i];
        uint64_t offset = qva - r->qva;

        if (qva >= r->qva && offset < r->size && size <= r->size - offset) {
            return r->va + offset;
        }
    }
    return NULL;
}

/* --- The log of writes, for migration ------------------------------------- */

int memory_set_log(Memory *memory, uint64_t size, uint64_t offset, int fd)
{
    FileMap map;
    int ret = file_map(&map, fd, offset, size, 0);

    if (ret < 0) {
        return ret;
    }
    memory_clear_log(memory);
    memory->log_map = map;
    memory->log = map.at;
    memory->log_size = size;
    return 0;
}

void memory_clear_log(Memory *memory)
{
    file_unmap(&memory->log_map);
    memory->log = NULL;
}

void memory_wrote(Memory *memory, uint64_t gpa, uint64_t size)
{
    if (!memory->logging || !memory->log || !size ||
        gpa > UINT64_MAX - size) {
        return;
    }
    for (uint64_t page = gpa / LOG_PAGE; page <= (gpa + size - 1) / LOG_PAGE;
         page++) {
        if (page / 8 >= memory->log_size) {
            return; /* memory that the front-end does not migrate */
        }
        __atomic_fetch_or(&memory->log[page / 8],
                          (uint8_t)(1u << (page % 8)), __ATOMIC_RELAXED);
        memory->log_grew = true;
    }
}

void memory_tell_log(Memory *memory)
{
    if (memory->log_grew && memory->log_fd >= 0) {
        /* #syscalls write */
        eventfd_write(memory->log_fd, 1);
    }
    memory->log_grew = false;
}

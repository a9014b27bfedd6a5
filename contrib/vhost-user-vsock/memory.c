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

#include "memory.h"

/* Bytes of a page in the log; the protocol's, not the machine's. */
#define LOG_PAGE 4096u

/* --- Regions -------------------------------------------------------------- */

/* Whether a file holds so much: beyond its end is SIGBUS. */
static bool file_holds(int fd, uint64_t size)
{
    struct stat st;

    /* #syscalls fstat newfstatat */
    return fstat(fd, &st) == 0 &&
           (!S_ISREG(st.st_mode) || (uint64_t)st.st_size >= size);
}

int memory_add(Memory *memory, uint64_t gpa, uint64_t size, uint64_t qva,
               uint64_t offset, int fd)
{
    uint64_t top = UINT64_MAX - size;
    void *map;

    if (memory->n == MEMORY_MAX_REGIONS) {
        return -ENOSPC;
    }
    if (!size || gpa > top || qva > top || offset > top ||
        offset + size > SIZE_MAX / 2 || !file_holds(fd, offset + size)) {
        return -EINVAL;
    }
    /* From the file's start: huge pages want offsets that we cannot know.
     * #syscalls mmap munmap */
    map = mmap(NULL, offset + size, PROT_READ | PROT_WRITE,
               MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (map == MAP_FAILED) {
        return -errno;
    }
    memory->regions[memory->n++] = (MemoryRegion) {
        .gpa = gpa,
        .size = size,
        .qva = qva,
        .va = (uint8_t *)map + offset,
        .map = map,
        .map_size = offset + size,
    };
    return 0;
}

bool memory_remove(Memory *memory, uint64_t gpa, uint64_t size, uint64_t qva)
{
    for (unsigned int i = 0; i < memory->n; i++) {
        MemoryRegion *r = &memory->regions[i];

        if (r->gpa == gpa && r->size == size && r->qva == qva) {
            munmap(r->map, r->map_size);
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
        MemoryRegion *r = &memory->regions[--memory->n];

        munmap(r->map, r->map_size);
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
    void *log;

    if (!size || size > SIZE_MAX / 2 || offset > UINT64_MAX - size ||
        !file_holds(fd, offset + size)) {
        return -EINVAL;
    }
    log = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
               (off_t)offset);
    if (log == MAP_FAILED) {
        return -errno;
    }
    memory_clear_log(memory);
    memory->log = log;
    memory->log_size = size;
    return 0;
}

void memory_clear_log(Memory *memory)
{
    if (memory->log) {
        munmap(memory->log, memory->log_size);
        memory->log = NULL;
    }
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

/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Memory of a VMM that goes while it is used.
 */

#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>

#include "guard.h"

static __thread Queues *guarded;

/* Put empty memory where @at is, if that is in the mapping. */
static bool patch(const FileMap *map, const void *at)
{
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;

    if (!map->at || (uintptr_t)at - (uintptr_t)map->start >= map->size) {
        return false;
    }
    /* All of it: the file is not to be trusted any more. #syscalls mmap */
    return mmap(map->start, map->size, PROT_READ | PROT_WRITE, flags, -1,
                0) == map->start;
}

static bool patch_any(Queues *queues, const void *at)
{
    Memory *memory = &queues->memory;

    for (unsigned int i = 0; i < memory->n; i++) {
        if (patch(&memory->regions[i].map, at)) {
            return true;
        }
    }
    return patch(&memory->log_map, at) || patch(&queues->inflight.map, at);
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
    struct sigaction action = { .sa_handler = SIG_DFL };

    if (guarded && patch_any(guarded, info->si_addr)) {
        guarded->memory_lost = true;
        return; /* and try again */
    }
    sigaction(sig, &action, NULL); /* an error of our own: end by it */
}

void guard_init(void)
{
    struct sigaction action = {
        .sa_sigaction = on_sigbus,
        .sa_flags = SA_SIGINFO,
    };

    sigaction(SIGBUS, &action, NULL);
}

void guard_enter(Queues *queues)
{
    guarded = queues;
}

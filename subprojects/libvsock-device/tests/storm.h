/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A device in a storm: flows between the models of a guest and of host programs
 * run to their end, whatever fails on the way; and then all is as before.
 */

#ifndef TEST_STORM_H
#define TEST_STORM_H

#include "models.h"

typedef struct Storm Storm;

/*
 * Flows, each of @guest_sends and @host_sends bytes, or whole messages; then
 * each side says that it sends no more.
 */
typedef struct Scenario {
    const char *name;
    VskType type;
    unsigned int n_guest; /* flows that the guest opens */
    unsigned int n_host;  /* flows that host programs open */
    uint32_t guest_sends;
    uint32_t host_sends;
    /*
     * Of every other flow the guest sends a tenth, and the host programs of the
     * rest.
     */
    bool uneven;
    bool fails;           /* not all flows are complete, in any weather */
    uint32_t window;      /* the device's, of each flow; 0: its default */
    uint32_t buf_alloc;   /* the guest's; 0: VM_BUF_ALLOC */
    unsigned int backlog; /* of host programs; 0: enough */
    bool one_listener;    /* for all flows that the guest opens */
    bool shared;          /* host programs listen for all guests */

    /* Called before each round, from 0 on; may be NULL. */
    void (*weather)(Storm *storm, unsigned int round);
} Scenario;

struct Storm {
    const Scenario *scenario; /* the one that runs */
    GRand *rand;
    Vm *vm;
    Guest *guest;
    GArray *listeners; /* of int */
    GPtrArray *ends;   /* of HostEnd; fd is -1 when closed */
    uint32_t base;     /* of the ports of this run */
    bool paused;
    bool hosts_sleep;  /* host programs do nothing */
    bool hosts_deaf;   /* the same, but accept */
    unsigned int fds;  /* open without any flow */
    size_t memory;     /* bytes in use without any flow */
};

/* A device for @scenario, in which a clean connection works. */
Storm *storm_new(const Scenario *scenario);
void storm_free(Storm *storm);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Storm, storm_free)

/*
 * Run the scenario until all flows have ended.  Fails if one does not, if a
 * chain stays away, or if bytes are out of order or missing before a clean end.
 */
void storm_run(Storm *storm);

/* All flows of the run were complete. */
void storm_assert_complete(const Storm *storm);

/*
 * A clean connection each way works; then descriptors and memory are back, and
 * the device is idle.
 */
void storm_assert_calm(Storm *storm);

/* For @weather. */
void storm_set_paused(Storm *storm, bool paused);
void storm_reset_driver(Storm *storm);
void storm_reset_transport(Storm *storm);

#endif /* TEST_STORM_H */

/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What host programs stand on: AF_UNIX sockets of the kernel
 * (transport-sockets.c), or the like in memory, without a system call
 * (transport-memory.c).
 *
 * A socket is a number, as a descriptor is; errors are negative errnos.
 * Nothing in here blocks.
 */

#ifndef FUZZ_TRANSPORT_H
#define FUZZ_TRANSPORT_H

#include "vsock-device.h"

/* Once, before all else. */
void transport_init(void);

/* Before a device is made: fill in its paths. */
void transport_begin(VskDevConfig *config);

/* After it was freed: no file of it is left, and no descriptor. */
void transport_end(void);

/* Have something lie where a device wants its sockets: of kind @what, any
 * number. */
void transport_litter(unsigned int what);

/* Whether two devices cannot have the same path. */
bool transport_is_exclusive(void);

/* Whether @dev's descriptor is readable. */
bool transport_is_ready(const VskDev *dev);

/* Sockets and other descriptors that are open, of both sides. */
unsigned int transport_count(void);

/* A host client; @small has bits for small send and receive buffers, and for a
 * name that only a device's sockets have. */
int transport_connect(VskType type, unsigned int small);

/* A listener on @port, on that of the shared path if @shared. */
int transport_listen(uint32_t port, bool shared, VskType type, int backlog);

/* Close it, and leave its file there unless @remove. */
void transport_unlisten(int listener, uint32_t port, bool shared,
                        bool remove);

/* The next connection, and the guest's port it comes from. */
int transport_accept(int listener, unsigned int small,
                     uint32_t *ret_guest_port);

/* @odd: with a descriptor, say. */
ssize_t transport_send(int fd, const void *bytes, size_t len, bool odd);

/* One byte out of band; it is not read by who reads the others. */
void transport_send_urgent(int fd);

/* Bytes or one message; 0 bytes are an end of file, but of a message if
 * *@ret_any. */
ssize_t transport_receive(int fd, void *buf, size_t max, bool *ret_any);
/* Bytes that the device wrote and the program has not read; UINT64_MAX if that
 * cannot be told. */
uint64_t transport_unread(int fd);
void transport_shutdown(int fd, int how);
void transport_close(int fd);

/*
 * From now until transport_heal() call @nth of kind @call fails, @times in all,
 * in the way of @how: any numbers.  Returns whether flows may suffer from it.
 */
bool transport_break(unsigned int call, unsigned int nth, unsigned int times,
                     unsigned int how);
void transport_heal(void);

#endif /* FUZZ_TRANSPORT_H */

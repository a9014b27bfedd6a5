/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Messages of a vhost-user front-end, read without blocking and checked at
 * the door.
 */

#ifndef VHOST_USER_VSOCK_MESSAGE_H
#define VHOST_USER_VSOCK_MESSAGE_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>

#include "libvhost-user.h"

/* Not known to every version of libvhost-user. */
#define MESSAGE_RESET_DEVICE 34u

/* A message that is on its way in: it may come in pieces. */
typedef struct MessageReader {
    VhostUserMsg msg; /* its fds are ours to close */
    size_t have;      /* bytes of it that are there */
} MessageReader;

typedef enum MessageState {
    MESSAGE_WAIT,  /* not whole yet */
    MESSAGE_WHOLE, /* MessageReader.msg is complete, and well-formed */
    MESSAGE_END,   /* the front-end went away */
    MESSAGE_BAD,   /* *errp says why; nothing after it can be understood */
} MessageState;

void message_init(MessageReader *reader);

/* Close what came with a message that nobody will take. */
void message_fini(MessageReader *reader);

MessageState message_read(MessageReader *reader, int fd, GError **errp);

/* Hand the whole message over, with its descriptors; the next one begins. */
void message_take(MessageReader *reader, VhostUserMsg *ret_msg);

#endif /* VHOST_USER_VSOCK_MESSAGE_H */

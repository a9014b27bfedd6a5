/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * One host channel, of bytes or of messages: what a flow needs of a host
 * socket, and no more, so that tests can put a scripted one in its place.
 *
 * All operations are non-blocking; none raises SIGPIPE or returns -EINTR.
 */

#ifndef VSK_STREAM_H
#define VSK_STREAM_H

#include "vsock-device.h"

typedef struct VskStream VskStream;

/* What a channel of messages tells of the next one; all zero with bytes. */
typedef struct VskMessage {
    bool any;    /* there is one, perhaps without bytes */
    size_t left; /* bytes of it to be read yet; after a read, 0: it was all */
} VskMessage;

typedef struct VskStreamOps {
    /*
     * Bytes read or written, or a negative errno.  Fewer than asked for
     * means that there is no more, or no more room, for now; so does -EAGAIN
     * where there was none at all.  A read of 0 is the end of file.  -EPIPE
     * of a write: the host program takes no more.  Any other errno: the
     * channel is broken.
     *
     * A channel of messages reads of one at a time, and *@ret_msg, zeroed by
     * the caller, says which part it was; an end of file has no @any.  What
     * is written is one whole message, taken as a whole or not at all.
     */
    ssize_t (*readv)(VskStream *stream, const struct iovec *iov, int n_iov,
                     VskMessage *ret_msg);
    ssize_t (*writev)(VskStream *stream, const struct iovec *iov, int n_iov);

    /*
     * SHUT_RD: the host program can send no more; SHUT_WR: it reads an end
     * of file.
     */
    void (*shutdown)(VskStream *stream, int how);

    /* The guest accepted; its peer is our @host_port.  0 or negative errno. */
    int (*accepted)(VskStream *stream, uint32_t host_port);

    /*
     * What readv would return, 1 for any number of bytes, and for a message;
     * takes none.  @ret_msg as in readv.
     */
    ssize_t (*peek)(VskStream *stream, VskMessage *ret_msg);

    /* Whether both directions have ended, as when the host program closed. */
    bool (*has_hung_up)(VskStream *stream);

    /* What to poll, or -1. */
    int (*get_fd)(const VskStream *stream);

    /* Close, and free @stream. */
    void (*close)(VskStream *stream);
} VskStreamOps;

struct VskStream {
    const VskStreamOps *ops;
};

/**
 * vsk_stream_new_socket:
 * @fd: a connected, non-blocking stream socket; the stream owns it from now on
 * @say_ok: whether its client waits for an "OK <port>" line
 */
VskStream *vsk_stream_new_socket(int fd, bool say_ok);

/**
 * vsk_stream_new_seqpacket:
 * @fd: a connected, non-blocking seqpacket socket; the stream owns it from now
 *   on
 * @say_ok: as above
 * @window: bytes, the largest message that is to be written; made smaller if
 *   the kernel's limits for @fd want it (net.core.wmem_max)
 *
 * Returns: NULL if the kernel cannot do what is needed; @fd is closed then.
 */
VskStream *vsk_stream_new_seqpacket(int fd, bool say_ok, uint32_t *window);

/* Ends @stream as close() would; NULL is fine. */
void vsk_stream_close(VskStream *stream);

#endif /* VSK_STREAM_H */

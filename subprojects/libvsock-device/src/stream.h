/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * One host byte channel: what a flow needs of a host socket, and no more, so
 * that tests can put a scripted one in its place.
 *
 * All operations are non-blocking; none raises SIGPIPE or returns -EINTR.
 */

#ifndef VSK_STREAM_H
#define VSK_STREAM_H

#include "vsock-device.h"

typedef struct VskStream VskStream;

typedef struct VskStreamOps {
    /*
     * Bytes read or written, or a negative errno.  Fewer than asked for
     * means that there is no more, or no more room, for now; so does -EAGAIN
     * where there was none at all.  A read of 0 is the end of file.  -EPIPE
     * of a write: the host program takes no more.  Any other errno: the
     * channel is broken.
     */
    ssize_t (*readv)(VskStream *stream, const struct iovec *iov, int n_iov);
    ssize_t (*writev)(VskStream *stream, const struct iovec *iov, int n_iov);

    /* SHUT_RD: the host program can send no more; SHUT_WR: it reads an end
     * of file. */
    void (*shutdown)(VskStream *stream, int how);

    /* The guest accepted; its peer is our @host_port.  0 or negative errno. */
    int (*accepted)(VskStream *stream, uint32_t host_port);

    /* What readv would return, 1 for any number of bytes; takes none. */
    ssize_t (*peek)(VskStream *stream);

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

/* Ends @stream as close() would; NULL is fine. */
void vsk_stream_close(VskStream *stream);

#endif /* VSK_STREAM_H */

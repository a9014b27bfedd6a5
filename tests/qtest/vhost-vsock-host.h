/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The host's side: the sockets a host program would use.
 *
 * With the kernel's backend these are AF_VSOCK sockets; with the emulator,
 * AF_UNIX ones: a program listens at "<uds path>_<port>", and connects to
 * "<uds path>", where it writes "CONNECT <port>\n" and reads
 * "OK <its own port>\n".  Seqpacket sockets connect to "<uds path>_seqpacket",
 * where both lines are messages.
 */

#ifndef VHOST_VSOCK_HOST_H
#define VHOST_VSOCK_HOST_H

#include "vhost-vsock-config.h"

/* "MY_CID" where a socket's address is meant. */
#define VVT_CID_GUEST 0

typedef enum VvtSockopt {
    VVT_SOCKOPT_RCVBUF,
    VVT_SOCKOPT_SNDBUF,
    VVT_SOCKOPT_LINGER,             /* seconds */
    VVT_SOCKOPT_VM_BUFFER_SIZE,     /* bytes */
    VVT_SOCKOPT_VM_CONNECT_TIMEOUT, /* ms */
} VvtSockopt;

/* How far the emulator's answer to a CONNECT line has come. */
typedef enum VvtAnswer {
    VVT_ANSWER_NONE_NEEDED, /* a socket without such a line, or it came */
    VVT_ANSWER_AWAITED,
    VVT_ANSWER_REFUSED,     /* the end of file came instead */
    VVT_ANSWER_WRONG,       /* something else came */
} VvtAnswer;

/* See vhost-vsock-transfer.h. */
typedef struct VvtTransfer VvtTransfer;

typedef struct VvtSock {
    int fd;
    int type;              /* SOCK_STREAM, SOCK_SEQPACKET */
    VvtAnswer answer;
    GString *line;         /* what came of the answer */
    bool port_known;
    uint32_t port;         /* its own */
    bool any_ok;           /* the OK line may say another one */
    bool raw;              /* its CONNECT line is left to the script */

    bool passcred;         /* each message brings ancillary data */

    /* What is sent and received while other steps run; NULL: nothing. */
    VvtTransfer *out;
    VvtTransfer *in;
    uint32_t out_code;     /* what came of the last that was sent */
    char *background_error;
} VvtSock;

typedef struct VvtHost VvtHost;

VvtHost *vvt_host_new(const VvtConfig *config, uint64_t guest_cid,
                      const char *dir);
void vvt_host_free(VvtHost *host);

/* NULL: there is no such socket. */
VvtSock *vvt_host_find(VvtHost *host, const char *id);

/*
 * These return 0 or a negative errno.  An @id that is in use is closed
 * first.
 */
int vvt_host_connect(VvtHost *host, const char *id, uint64_t cid,
                     uint32_t port, int type, bool raw);
int vvt_host_listen(VvtHost *host, const char *id, uint32_t port,
                    int backlog, int type);

/*
 * -EAGAIN: nobody is waiting.  @ret_peer_cid is VVT_CID_GUEST where names are
 * waived and this socket has none.
 */
int vvt_host_accept(VvtHost *host, const char *id, const VvtSock *listener,
                    uint64_t *ret_peer_cid, uint32_t *ret_peer_port);
void vvt_host_close(VvtHost *host, const char *id);

/*
 * Close what may not have written its CONNECT line: no guest knows of it, so
 * that it may stay when the guest goes, until its time is up.
 */
void vvt_host_close_raw(VvtHost *host);
int vvt_sock_setsockopt(VvtSock *sock, VvtSockopt option, int value);

/* Go on sending @transfer, which is taken over, whenever sockets are pumped. */
void vvt_sock_send(VvtSock *sock, VvtTransfer *transfer);

/* Read on in the answer to a CONNECT line, as far as it is there. */
VvtAnswer vvt_sock_read_answer(VvtSock *sock);

/* Move what sockets are to send and receive in the background. */
void vvt_host_pump(VvtHost *host);

#endif /* VHOST_VSOCK_HOST_H */

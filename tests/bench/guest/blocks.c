/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The guest's program of tests/bench/guest-compare.
 *
 * It connects to port 5000 of the host, reads one byte, and then sends blocks
 * of 64 KiB until the host closes ('s'), or receives blocks up to the one that
 * is marked, and says how many there were, and whether they were right ('r').
 */

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/vm_sockets.h>

#define PORT 5000
#define BLOCK 65536
#define LAST 0xffffffffu

/* Block by block the same bytes; where they begin shows what was lost. */
static uint32_t block[BLOCK / sizeof(uint32_t)];

static int connect_host(void)
{
    struct sockaddr_vm addr = {
        .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = PORT,
    };
    int fd = socket(AF_VSOCK, SOCK_STREAM, 0);

    if (fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void send_blocks(int fd)
{
    size_t at = 0;
    ssize_t n;

    do {
        n = send(fd, (char *)block + at, BLOCK - at, MSG_NOSIGNAL);
        at = n > 0 ? (at + n) % BLOCK : at;
    } while (n > 0 || (n < 0 && errno == EINTR));
}

/*
 * A look at some words of what came; the whole of it would measure how fast
 * an emulated processor compares.
 */
static int is_right(const uint32_t *buffer)
{
    size_t i;

    for (i = 0; i < BLOCK / sizeof(*block); i += 256) {
        if (buffer[i] != block[i]) {
            return 0;
        }
    }
    return 1;
}

/* The last block begins with LAST, and is not counted. */
static void receive_blocks(int fd)
{
    static uint32_t buffer[BLOCK / sizeof(uint32_t)];
    unsigned long long blocks = 0;
    char answer[64];
    size_t at = 0;
    ssize_t n;
    int right = 1;

    while ((n = recv(fd, (char *)buffer + at, BLOCK - at, 0)) > 0) {
        at = (at + n) % BLOCK;
        if (at == 0 && buffer[0] == LAST) {
            break;
        }
        if (at == 0) {
            right &= is_right(buffer);
            blocks++;
        }
    }
    n = snprintf(answer, sizeof(answer), "%llu %s\n", blocks,
                 right ? "right" : "wrong");
    send(fd, answer, n, MSG_NOSIGNAL);
    recv(fd, answer, 1, 0);
}

int main(void)
{
    char what;
    size_t i;
    int fd;

    for (i = 0; i < BLOCK / sizeof(uint32_t); i++) {
        block[i] = i * 2654435761u;
    }
    for (;;) {
        fd = connect_host();
        if (fd < 0) {
            usleep(50000);
            continue;
        }
        if (recv(fd, &what, 1, 0) == 1) {
            if (what == 's') {
                send_blocks(fd);
            } else {
                receive_blocks(fd);
            }
        }
        close(fd);
    }
}

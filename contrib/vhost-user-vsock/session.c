/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * One front-end's visit: its socket, its messages, its rings.
 *
 * Nothing here blocks.  A message is only handled when its reply fits into the
 * socket's buffer, for libvhost-user would try again for ever; a front-end
 * that does not read is heard no further until it does.
 */

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "session.h"

void session_fail(Session *session, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    if (session->failed) {
        return;
    }
    session->failed = true;
    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    if (log_has_budget(&session->budget, session->cid)) {
        log_warning(session->cid, "ending the session with the VMM: %s",
                    g_strchomp(text));
    }
}

/* --- What libvhost-user calls --------------------------------------------- */

static bool session_read_message(VuDev *vu, int fd, VhostUserMsg *ret_msg)
{
    message_take(&SESSION_OF(vu)->reader, ret_msg);
    return true;
}

/* A reply could not be written, or libvhost-user met what it cannot do. */
static void session_panic(VuDev *vu, const char *why)
{
    session_fail(SESSION_OF(vu), "%s", why ? why : "out of memory");
}

/* For queues that libvhost-user runs, and ours it does not. */
static void session_set_watch(VuDev *vu, int fd, int condition,
                              vu_watch_cb callback, void *data)
{
    g_assert_not_reached();
}

static void session_remove_watch(VuDev *vu, int fd)
{
    g_assert_not_reached();
}

/* --- Queues --------------------------------------------------------------- */

void session_stop_queue(Session *session, VskQueue queue)
{
    loop_unwatch(session->loop, &session->kicks[queue]);
    queue_stop(session->queues, queue);
}

void session_tell_broken(Session *session, const char *why)
{
    unsigned int unsaid;

    if (log_may_speak(&session->broken_log, &unsaid)) {
        log_warning(session->cid, "the guest's driver broke a virtqueue: %s; "
                    "the device stands still until it is reset", why);
    }
    for (int i = 0; i < VSK_QUEUE_NUM; i++) {
        int fd = session->queues->queue[i].err_fd;

        if (fd >= 0) {
            /* #syscalls write */
            eventfd_write(fd, 1);
        }
    }
}

/* --- Life ----------------------------------------------------------------- */

bool session_begin(Session *session, int fd)
{
    session->failed = false;
    session->was_reset = false;
    session->congested = false;
    message_init(&session->reader);
    if (!vu_init(&session->vu, VSK_QUEUE_NUM, fd, session_panic,
                 session_read_message, session_set_watch,
                 session_remove_watch, &protocol_iface)) {
        close(fd);
        return false;
    }
    if (!loop_watch(session->loop, &session->socket, fd, EPOLLIN)) {
        vu_deinit(&session->vu);
        return false;
    }
    session->active = true;
    return true;
}

void session_end(Session *session)
{
    if (!session->active) {
        return;
    }
    session->active = false;
    loop_unwatch(session->loop, &session->socket);
    for (int i = 0; i < VSK_QUEUE_NUM; i++) {
        loop_unwatch(session->loop, &session->kicks[i]);
    }
    queues_clear(session->queues);
    message_fini(&session->reader);
    /* #syscalls close */
    vu_deinit(&session->vu);
}

/* --- Messages ------------------------------------------------------------- */

/* Whether a reply can be written; if not, hear of it when it can. */
static bool has_room(Session *session)
{
    struct pollfd out = { .fd = session->vu.sock, .events = POLLOUT };

    /* #syscalls poll ppoll */
    if (poll(&out, 1, 0) == 1 && out.revents) {
        if (session->congested) {
            session->congested = false;
            loop_change(session->loop, &session->socket, EPOLLIN);
        }
        return true;
    }
    session->congested = true;
    loop_change(session->loop, &session->socket, EPOLLOUT);
    return false;
}

static bool session_handle(Session *session)
{
    bool ok;

    session->reply_fd = -1;
    /* #syscalls sendmsg write close */
    ok = vu_dispatch(&session->vu);
    if (session->reply_fd >= 0) {
        close(session->reply_fd);
    }
    return ok && !session->failed;
}

SessionResult session_serve(Session *session)
{
    g_autoptr(GError) err = NULL;

    if (!has_room(session)) {
        return SESSION_WAITS;
    }
    switch (message_read(&session->reader, session->vu.sock, &err)) {
    case MESSAGE_WAIT:
        return SESSION_WAITS;
    case MESSAGE_WHOLE:
        return session_handle(session) ? SESSION_SERVED : SESSION_ENDS;
    case MESSAGE_BAD:
        session_fail(session, "%s", err->message);
        break;
    case MESSAGE_END:
        break;
    }
    return SESSION_ENDS;
}

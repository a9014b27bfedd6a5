/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Host programs, careless ones.
 */

#include "programs.h"
#include "bytes.h"
#include "content.h"
#include "transport.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define MOST_AT_ONCE 300000 /* bytes */

/* That of model_ports whose listener is at the shared path. */
#define SHARED_PORT 1

Programs *programs_new(Model *model, bool has_seqpacket)
{
    Programs *all = g_new0(Programs, 1);

    all->model = model;
    all->has_seqpacket = has_seqpacket;
    for (unsigned int i = 0; i < MAX_PROGRAMS; i++) {
        all->programs[i].fd = -1;
    }
    for (unsigned int i = 0; i < MODEL_PORTS; i++) {
        all->listeners[i].fd = -1;
    }
    return all;
}

void programs_close(Programs *all)
{
    for (unsigned int i = 0; i < MAX_PROGRAMS; i++) {
        if (all->programs[i].fd >= 0) {
            program_close(&all->programs[i]);
        }
    }
    for (unsigned int i = 0; i < MODEL_PORTS; i++) {
        programs_unlisten(all, i, true);
    }
}

void programs_free(Programs *all)
{
    programs_close(all);
    g_free(all);
}

Program *programs_pick(Programs *all, unsigned int number)
{
    for (unsigned int i = 0; i < MAX_PROGRAMS; i++) {
        Program *program = &all->programs[(number + i) % MAX_PROGRAMS];

        if (program->fd >= 0) {
            return program;
        }
    }
    return NULL;
}

static Program *add_program(Programs *all, int fd, VskType type)
{
    for (unsigned int i = 0; i < MAX_PROGRAMS; i++) {
        Program *program = &all->programs[i];

        if (program->fd < 0) {
            *program = (Program) { .fd = fd, .type = type };
            program->messages_sent = g_array_new(FALSE, FALSE,
                                                 sizeof(uint32_t));
            return program;
        }
    }
    transport_close(fd);
    return NULL;
}

/* --- Clients ---------------------------------------------------------- */

static bool say(Program *program, const void *bytes, size_t len)
{
    return transport_send(program->fd, bytes, len, false) == (ssize_t)len;
}

static bool say_line(Program *program, const char *verb, const char *end)
{
    g_autofree char *line = g_strdup_printf("%s %u%s", verb,
                                            program->guest_port, end);

    return say(program, line, strlen(line));
}


static void say_first(Program *program, FirstWords words)
{
    static uint8_t huge[100000];

    program->is_wrong = true;
    switch (words) {
    case FIRST_LINE:
    case FIRST_LINE_ODDLY:
        program->asked = words == FIRST_LINE
                         ? say_line(program, "CONNECT", "\n")
                         : say_line(program, "connect ", " \r\n");
        program->is_wrong = false;
        break;
    case FIRST_PART:
        say(program, "CONNE", 5);
        program->is_wrong = program->type == VSK_TYPE_SEQPACKET;
        break;
    case FIRST_WRONG:
        say(program, "CONNECT 1\0\n", 11);
        break;
    case FIRST_TOO_LONG:
        say(program, "CONNECT                                1\n", 41);
        break;
    case FIRST_EMPTY_MESSAGE:
        say(program, "", 0);
        say_line(program, "CONNECT", "\n");
        program->asked = program->type == VSK_TYPE_STREAM;
        program->is_wrong = !program->asked;
        break;
    case FIRST_HUGE:
        say(program, huge, sizeof(huge));
        break;
    default:
        break;
    }
}

Program *programs_connect(Programs *all, VskType type, uint32_t guest_port,
                          FirstWords words, unsigned int small)
{
    Program *program;
    int fd;

    if (type == VSK_TYPE_SEQPACKET && !all->has_seqpacket) {
        return NULL;
    }
    fd = transport_connect(type, small);
    program = fd < 0 ? NULL : add_program(all, fd, type);
    if (program) {
        program->is_client = true;
        program->guest_port = guest_port;
        trace("program %d connects for %u, type %u, words %u\n", fd,
              guest_port, type, words);
        say_first(program, words);
        if (type == VSK_TYPE_SEQPACKET && !all->model->seqpacket) {
            program->is_wrong = true; /* there is a socket, and no feature */
        }
    }
    return program;
}

void program_finish_line(Program *program)
{
    if (program->is_client && !program->asked && !program->is_wrong &&
        program->type == VSK_TYPE_STREAM) {
        program->asked = say_line(program, "CT", "\n");
    }
}

/* --- Listeners -------------------------------------------------------- */

void programs_listen(Programs *all, unsigned int index, VskType type,
                     int backlog)
{
    Listener *listener = &all->listeners[index];

    if (listener->fd < 0) {
        listener->fd = transport_listen(model_ports[index],
                                        index == SHARED_PORT, type, backlog);
        listener->type = type;
        all->model->generations[index]++;
        trace("program listens on %u, type %u, backlog %d\n",
              model_ports[index], type, backlog);
    }
}

void programs_unlisten(Programs *all, unsigned int index, bool remove)
{
    Listener *listener = &all->listeners[index];

    if (listener->fd >= 0) {
        transport_unlisten(listener->fd, model_ports[index],
                           index == SHARED_PORT, remove);
        listener->fd = -1;
    }
}

Program *programs_accept(Programs *all, unsigned int index,
                         unsigned int small)
{
    Listener *listener = &all->listeners[index];
    Program *program;
    uint32_t guest_port;
    int fd;

    if (listener->fd < 0) {
        return NULL;
    }
    fd = transport_accept(listener->fd, small, &guest_port);
    program = fd < 0 ? NULL : add_program(all, fd, listener->type);
    if (fd >= 0) {
        ModelFlow *flow = model_accept(all->model, listener->type, guest_port,
                                       model_ports[index]);

        trace("program %d accepts %u -> %u\n", fd, guest_port,
              model_ports[index]);
        if (program) {
            program->guest_port = guest_port;
            program->host_port = model_ports[index];
            program->flow = flow;
        }
    }
    return program;
}

/* --- Reading ---------------------------------------------------------- */

/* The OK line has come: with it, which flow this is. */
static void take_ok(Programs *all, Program *program)
{
    unsigned int port;

    program->line[program->line_len] = '\0';
    CHECK(program->line_len <= 9);
    CHECK(sscanf(program->line, "OK %u\n", &port) == 1);
    program->served = true;
    program->host_port = port;
    program->flow = model_find(all->model, program->type,
                               program->guest_port, port);
    CHECK(program->flow && program->flow->by_host);
}

/* Take what belongs to the line; returns how many of @n bytes did. */
static size_t take_line(Programs *all, Program *program, const uint8_t *bytes,
                        size_t n)
{
    for (size_t i = 0; i < n; i++) {
        CHECK(program->line_len < sizeof(program->line) - 1);
        program->line[program->line_len++] = (char)bytes[i];
        if (bytes[i] == '\n') {
            take_ok(all, program);
            return i + 1;
        }
    }
    return n;
}

static void take_bytes(Program *program, const uint8_t *bytes, size_t n)
{
    content_check(content_id(program->type, program->guest_port), FROM_GUEST,
                  (uint32_t)program->received, bytes, (uint32_t)n);
    program->received += n;
    if (program->flow) {
        CHECK(program->received <= program->flow->from_guest);
    }
}

static void take_message(Program *program, const uint8_t *bytes, size_t n)
{
    const ModelFlow *flow = program->flow;

    take_bytes(program, bytes, n);
    if (flow) {
        CHECK(program->messages_received < flow->messages_from_guest->len);
        CHECK(n == model_length(flow->messages_from_guest,
                                program->messages_received));
    }
    program->messages_received++;
}

/* An end of file comes behind all that the guest had sent. */
static void take_end(const Programs *all, Program *program)
{
    const ModelFlow *flow = program->flow;

    program->eof = true;
    if (!flow || flow->lossy || all->model->excused || program->shut_rd) {
        return;
    }
    if (!flow->guest_ended) {
        CHECK(flow->is_over);
    } else if (program->type == VSK_TYPE_SEQPACKET) {
        CHECK(program->messages_received == flow->messages_at_end);
    } else {
        CHECK(program->received == flow->bytes_at_end);
    }
}

/* What the guest got is the front of what was written. */
static void check_messages(const Program *program)
{
    const GArray *sent = program->messages_sent;
    const GArray *got;

    if (!program->flow || program->type != VSK_TYPE_SEQPACKET) {
        return;
    }
    got = program->flow->messages_to_guest;
    CHECK(got->len <= sent->len);
    for (guint i = 0; i < got->len; i++) {
        CHECK(model_length(got, i) == model_length(sent, i));
    }
}

static bool read_once(Programs *all, Program *program, size_t max)
{
    static uint8_t buf[MOST_AT_ONCE];
    size_t used = 0;
    bool any = false;
    ssize_t n;

    if (program->type == VSK_TYPE_SEQPACKET) {
        max = sizeof(buf);
    }
    n = transport_receive(program->fd, buf, MIN(max, sizeof(buf)), &any);
    trace("program %d reads %zd\n", program->fd, n);
    if (n < 0) {
        CHECK(n == -EAGAIN || n == -ECONNRESET);
        if (n == -ECONNRESET && program->type == VSK_TYPE_SEQPACKET) {
            return true; /* what was sent before may follow */
        }
        program->eof |= n == -ECONNRESET;
        return false;
    }
    if (!n && (!any || program->type == VSK_TYPE_STREAM)) {
        take_end(all, program);
        return false;
    }
    if (program->is_client && !program->served) {
        used = take_line(all, program, buf, (size_t)n);
        if (program->type == VSK_TYPE_SEQPACKET) {
            CHECK(program->served && used == (size_t)n);
            return true;
        }
    }
    if (program->type == VSK_TYPE_SEQPACKET) {
        take_message(program, buf, (size_t)n);
    } else {
        take_bytes(program, buf + used, (size_t)n - used);
    }
    check_messages(program);
    return true;
}

void program_read(Programs *all, Program *program, size_t max,
                  unsigned int times)
{
    while (max && times-- && !program->eof &&
           read_once(all, program, max)) {
    }
}

/* --- Writing ---------------------------------------------------------- */

void program_write(Program *program, size_t len, bool odd)
{
    uint32_t id = content_id(program->type, program->guest_port);
    g_autofree uint8_t *bytes = NULL;
    uint32_t message;
    ssize_t n;

    if (program->shut_wr || (program->is_client && !program->asked)) {
        return;
    }
    bytes = content_make(id, FROM_HOST, (uint32_t)program->sent,
                         (uint32_t)len);
    n = transport_send(program->fd, bytes, len, odd);
    trace("program %d writes %zu: %zd\n", program->fd, len, n);
    if (n >= 0) {
        program->sent += (uint64_t)n;
        message = (uint32_t)n;
        g_array_append_val(program->messages_sent, message);
    }
}

void program_write_urgent(Program *program)
{
    /* More than one, and the first is a byte as others are. */
    if (program->type == VSK_TYPE_STREAM && !program->is_urgent &&
        !program->shut_wr && (program->asked || !program->is_client)) {
        trace("program %d writes out of band\n", program->fd);
        program->is_urgent = true;
        transport_send_urgent(program->fd);
    }
}

void program_shutdown(Program *program, int how)
{
    trace("program %d shuts down %d\n", program->fd, how);
    transport_shutdown(program->fd, how);
    program->shut_wr |= how != SHUT_RD;
    program->shut_rd |= how != SHUT_WR;
}

void program_close(Program *program)
{
    trace("program %d closes\n", program->fd);
    check_messages(program);
    transport_close(program->fd);
    program->fd = -1;
    g_array_unref(program->messages_sent);
}

void programs_check_taken(const Programs *all)
{
    for (unsigned int i = 0; i < MAX_PROGRAMS; i++) {
        const Program *program = &all->programs[i];
        const ModelFlow *flow = program->flow;
        uint64_t unread;

        /* For one that reads no more, the device takes all. */
        if (program->fd < 0 || !flow || program->shut_rd || flow->lossy ||
            all->model->excused) {
            continue;
        }
        if (flow->fwd_cnt > program->received) {
            unread = transport_unread(program->fd);
            CHECK(flow->fwd_cnt - program->received <= unread);
        }
    }
}

/* --- At the end ------------------------------------------------------- */

static void check_from_guest(const Program *program, const ModelFlow *flow)
{
    if (program->shut_rd) {
        return;
    }
    if (program->type == VSK_TYPE_SEQPACKET) {
        CHECK(program->messages_received ==
              (flow->guest_ended ? flow->messages_at_end
                                 : flow->messages_from_guest->len));
    } else {
        CHECK(program->received == (flow->guest_ended ? flow->bytes_at_end
                                                      : flow->from_guest));
    }
    if (flow->guest_shutdown & VSK_SHUTDOWN_SEND) {
        CHECK(program->eof);
    }
}

static void check_to_guest(const Program *program, const ModelFlow *flow)
{
    if (flow->guest_shutdown & VSK_SHUTDOWN_RECEIVE) {
        return;
    }
    CHECK(flow->to_guest == program->sent);
    if (program->type == VSK_TYPE_SEQPACKET) {
        CHECK(flow->messages_to_guest->len == program->messages_sent->len);
    }
    if (program->shut_wr && !program->shut_rd) {
        CHECK(flow->told_shutdown & VSK_SHUTDOWN_SEND);
    }
}

void program_check_delivered(const Programs *all, const Program *program)
{
    const ModelFlow *flow = program->flow;

    check_messages(program);
    if (program->is_client && program->asked && !program->is_wrong &&
        !program->shut_rd && !all->model->excused) {
        CHECK(program->served || program->eof);
    }
    if (!flow || flow->lossy || all->model->excused) {
        return;
    }
    if (!flow->is_over && !flow->owes_rst) {
        check_from_guest(program, flow);
        check_to_guest(program, flow);
        CHECK(flow->guest_shutdown != VSK_SHUTDOWN_BOTH);
    }
    if (flow->to_guest_at_end >= 0) {
        CHECK((uint64_t)flow->to_guest_at_end == program->sent);
    }
}

/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The seqpacket socket as a stream of messages, and what of the kernel it
 * relies on: reading.
 */

#include "seqpacket-pair.h"
#include "unix-socket.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- Reading -------------------------------------------------------------- */

static void test_read_is_of_one_message(void)
{
    Pair pair = pair_new();

    assert_no_message(&pair, -EAGAIN);
    unix_write(pair.host, "one");
    unix_write(pair.host, "two");
    assert_message(&pair, "one");
    assert_message(&pair, "two");
    assert_no_message(&pair, -EAGAIN);
    pair_free(&pair);
}

static void test_area_of_the_messages_size(void)
{
    Pair pair = pair_new();

    unix_write(pair.host, "12345678");
    unix_write(pair.host, "next");
    assert_part(&pair, 8, "12345678", 0);
    assert_message(&pair, "next");
    pair_free(&pair);
}

static void test_message_in_pieces(void)
{
    Pair pair = pair_new();

    unix_write(pair.host, "0123456789");
    unix_write(pair.host, "abcdef");
    unix_write(pair.host, "last");
    assert_part(&pair, 4, "0123", 6);
    assert_part(&pair, 2, "45", 4);
    assert_peeks(&pair, 4);
    assert_part(&pair, 3, "678", 1);
    assert_part(&pair, 3, "9", 0);
    assert_part(&pair, 3, "abc", 3);
    assert_part(&pair, 3, "def", 0); /* and fits to the byte */
    assert_message(&pair, "last");
    assert_no_message(&pair, -EAGAIN);
    pair_free(&pair);
}

/* What comes, or ends, while a message is read does not disturb it. */
static void test_message_in_pieces_while_others_come(void)
{
    Pair pair = pair_new();

    unix_write(pair.host, "abcdef");
    assert_part(&pair, 2, "ab", 4);
    unix_write(pair.host, "");
    assert_part(&pair, 2, "cd", 2);
    unix_write(pair.host, "xy");
    pair_host_closes(&pair);
    assert_part(&pair, 2, "ef", 0);
    assert_message(&pair, "");
    assert_message(&pair, "xy");
    assert_no_message(&pair, 0);
    pair_free(&pair);
}

/* Each piece, and each piece but the first, at every size. */
static void test_pieces_of_all_sizes(void)
{
    static const char text[] = "abcdefghijklm";
    Pair pair = pair_new();

    for (size_t room = 1; room <= sizeof(text); room++) {
        size_t left = strlen(text);

        unix_write(pair.host, text);
        while (left) {
            size_t at = strlen(text) - left;
            size_t n = MIN(room, left);
            g_autofree char *part = g_strndup(text + at, n);

            left -= n;
            assert_part(&pair, room, part, left);
        }
    }
    assert_no_message(&pair, -EAGAIN);
    pair_free(&pair);
}

static void test_peek_takes_nothing(void)
{
    Pair pair = pair_new();

    unix_write(pair.host, "hello");
    assert_peeks(&pair, 5);
    assert_peeks(&pair, 5);
    assert_message(&pair, "hello");
    pair_free(&pair);
}

static void test_message_of_the_whole_window(void)
{
    g_autofree char *text = g_strnfill(PAIR_WINDOW, 'w');
    g_autofree char *buf = g_malloc(PAIR_WINDOW);
    Pair pair = pair_new();
    VskMessage msg;

    unix_write(pair.host, text);
    g_assert_cmpint(pair_reads(&pair, buf, PAIR_WINDOW - 1, &msg), ==,
                    PAIR_WINDOW - 1);
    g_assert_cmpuint(msg.left, ==, 1);
    assert_part(&pair, PAIR_WINDOW, "w", 0);
    pair_free(&pair);
}

/* Guest memory that is not there: an error, and the socket is as it was. */
static void test_area_that_cannot_be_written(void)
{
    Pair pair = pair_new();
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    char *page = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                      0);
    VskMessage msg;

    g_assert_true(page != MAP_FAILED);
    unix_write(pair.host, "0123456789");
    g_assert_cmpint(pair_reads(&pair, page, 4, &msg), ==, -EFAULT);
    g_assert_false(msg.any);
    assert_peeks(&pair, 10);
    assert_message(&pair, "0123456789");
    munmap(page, size);
    pair_free(&pair);
}

/* --- Empty messages and the end ------------------------------------------- */

static void test_empty_messages_are_messages(void)
{
    Pair pair = pair_new();

    unix_write(pair.host, "");
    unix_write(pair.host, "");
    unix_write(pair.host, "x");
    unix_write(pair.host, "");
    assert_message(&pair, "");
    assert_message(&pair, "");
    assert_message(&pair, "x");
    assert_message(&pair, "");
    assert_no_message(&pair, -EAGAIN);
    pair_free(&pair);
}

static void test_empty_messages_that_were_peeked_at(void)
{
    Pair pair = pair_new();

    unix_write(pair.host, "");
    unix_write(pair.host, "");
    unix_write(pair.host, "x");
    assert_peeks(&pair, 0);
    assert_peeks(&pair, 0);
    assert_message(&pair, "");
    assert_peeks(&pair, 0);
    assert_message(&pair, "");
    assert_peeks(&pair, 1);
    assert_message(&pair, "x");
    pair_free(&pair);
}

static void test_empty_messages_before_the_end(void)
{
    Pair pair = pair_new();

    unix_write(pair.host, "x");
    unix_write(pair.host, "");
    unix_write(pair.host, "");
    g_assert_cmpint(shutdown(pair.host, SHUT_WR), ==, 0);
    assert_message(&pair, "x");
    assert_message(&pair, "");
    assert_peeks(&pair, 0);
    assert_message(&pair, "");
    assert_no_message(&pair, 0);
    assert_no_message(&pair, 0);
    pair_free(&pair);
}

/* A client writes behind its CONNECT line before there is a stream. */
static void test_messages_from_before_the_stream(void)
{
    int fds[2];
    Pair pair;

    make_sockets(fds);
    unix_write(fds[1], "");
    unix_write(fds[1], "early");
    unix_write(fds[1], "");
    close(fds[1]);
    pair = pair_of(fds[0], -1);
    assert_peeks(&pair, 0);
    assert_message(&pair, "");
    assert_message(&pair, "early");
    assert_message(&pair, "");
    assert_no_message(&pair, 0);
    pair_free(&pair);
}

static void test_our_own_shutdown_ends_reading(void)
{
    Pair pair = pair_new();

    pair.stream->ops->shutdown(pair.stream, SHUT_RD);
    assert_no_message(&pair, 0);
    g_assert_cmpint(send(pair.host, "x", 1, MSG_NOSIGNAL), ==, -1);
    g_assert_cmpint(errno, ==, EPIPE);
    pair_free(&pair);
}

/* --- A close that loses messages ------------------------------------------ */

static void test_close_with_unread_is_told_after_the_messages(void)
{
    Pair pair = pair_new();

    g_assert_cmpint(pair_writes(&pair, "unread"), ==, 6);
    unix_write(pair.host, "last");
    unix_write(pair.host, "words");
    pair_host_closes(&pair);
    assert_message(&pair, "last");
    assert_part(&pair, 3, "wor", 2);
    assert_message(&pair, "ds");
    assert_no_message(&pair, -ECONNRESET);
    g_assert_true(pair.stream->ops->has_hung_up(pair.stream));
    pair_free(&pair);
}

static void test_close_with_unread_within_a_message(void)
{
    Pair pair = pair_new();

    g_assert_cmpint(pair_writes(&pair, "unread"), ==, 6);
    unix_write(pair.host, "abcdef");
    unix_write(pair.host, "");
    assert_part(&pair, 2, "ab", 4);
    pair_host_closes(&pair);
    assert_part(&pair, 2, "cd", 2);
    assert_part(&pair, 2, "ef", 0);
    assert_message(&pair, "");
    assert_no_message(&pair, -ECONNRESET);
    pair_free(&pair);
}

/* The write that hears of it must not take the news from the reads. */
static void test_close_with_unread_that_a_write_finds(void)
{
    Pair pair = pair_new();

    g_assert_cmpint(pair_writes(&pair, "unread"), ==, 6);
    unix_write(pair.host, "last");
    pair_host_closes(&pair);
    g_assert_cmpint(pair_writes(&pair, "more"), ==, -EPIPE);
    g_assert_cmpint(pair_writes(&pair, "more"), ==, -EPIPE);
    assert_message(&pair, "last");
    assert_no_message(&pair, -ECONNRESET);
    pair_free(&pair);
}

static void test_clean_close_is_an_end(void)
{
    Pair pair = pair_new();

    g_assert_cmpint(pair_writes(&pair, "read"), ==, 4);
    unix_expect_message(pair.host, "read");
    g_assert_false(pair.stream->ops->has_hung_up(pair.stream));
    pair_host_closes(&pair);
    g_assert_true(pair.stream->ops->has_hung_up(pair.stream));
    assert_no_message(&pair, 0);
    pair_free(&pair);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(path, fn) g_test_add_func("/seqpacket/" path, fn)
    TEST("read/of-one-message", test_read_is_of_one_message);
    TEST("read/area-of-the-size-of-the-message",
         test_area_of_the_messages_size);
    TEST("read/in-pieces", test_message_in_pieces);
    TEST("read/in-pieces-while-others-come",
         test_message_in_pieces_while_others_come);
    TEST("read/pieces-of-all-sizes", test_pieces_of_all_sizes);
    TEST("read/peek-takes-nothing", test_peek_takes_nothing);
    TEST("read/message-of-the-whole-window",
         test_message_of_the_whole_window);
    TEST("read/area-that-cannot-be-written",
         test_area_that_cannot_be_written);
    TEST("end/empty-messages-are-messages", test_empty_messages_are_messages);
    TEST("end/empty-messages-that-were-peeked-at",
         test_empty_messages_that_were_peeked_at);
    TEST("end/empty-messages-before-it", test_empty_messages_before_the_end);
    TEST("end/messages-from-before-the-stream",
         test_messages_from_before_the_stream);
    TEST("end/our-own-shutdown", test_our_own_shutdown_ends_reading);
    TEST("end/close-with-unread-after-the-messages",
         test_close_with_unread_is_told_after_the_messages);
    TEST("end/close-with-unread-within-a-message",
         test_close_with_unread_within_a_message);
    TEST("end/close-with-unread-that-a-write-finds",
         test_close_with_unread_that_a_write_finds);
    TEST("end/clean-close", test_clean_close_is_an_end);
    return g_test_run();
}

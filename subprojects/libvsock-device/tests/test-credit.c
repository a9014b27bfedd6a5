/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Credit arithmetic: credit.h.
 */

#include "credit.h"

/* Values on both sides of every edge of 32-bit arithmetic. */
static const uint32_t edges[] = {
    0, 1, 2, 3, 4095, 4096, 65536, 262144, 0x7ffffffe, 0x7fffffff,
    0x80000000, 0x80000001, 0xfffbffff, 0xfffffffd, 0xfffffffe, 0xffffffff,
};
#define N_EDGES G_N_ELEMENTS(edges)

static void peer_says(VskCredit *credit, uint32_t buf_alloc, uint32_t fwd_cnt)
{
    VskHdr hdr = { .buf_alloc = buf_alloc, .fwd_cnt = fwd_cnt };

    vsk_credit_peer_update(credit, &hdr);
}

/* --- To the guest -------------------------------------------------------- */

static void test_room_before_a_word(void)
{
    VskCredit credit;

    vsk_credit_init(&credit, 4096);
    g_assert_cmpuint(vsk_credit_room(&credit), ==, 0);
}

/* For each total sent, part of it in flight and buffer size: exact. */
static void test_room_is_exact_at_any_count(void)
{
    for (unsigned int t = 0; t < N_EDGES; t++) {
        for (unsigned int f = 0; f < N_EDGES; f++) {
            for (unsigned int b = 0; b < N_EDGES; b++) {
                uint32_t in_flight = edges[f];
                uint32_t buf = edges[b];
                VskCredit credit = { .tx_cnt = edges[t] };

                peer_says(&credit, buf, edges[t] - in_flight);
                g_assert_cmpuint(vsk_credit_room(&credit), ==,
                                 buf > in_flight ? buf - in_flight : 0);
            }
        }
    }
}

static void test_room_shrinks_by_what_is_sent(void)
{
    VskCredit credit = { .tx_cnt = 0xfffffffa };

    peer_says(&credit, 10, 0xfffffffa);
    for (uint32_t left = 10; left > 0; left--) {
        g_assert_cmpuint(vsk_credit_room(&credit), ==, left);
        vsk_credit_sent(&credit, 1);
    }
    g_assert_cmpuint(vsk_credit_room(&credit), ==, 0);
    g_assert_cmpuint(credit.tx_cnt, ==, 4);
    peer_says(&credit, 10, 4);
    g_assert_cmpuint(vsk_credit_room(&credit), ==, 10);
}

static void test_shrunk_buffer_gives_nothing(void)
{
    VskCredit credit = { 0 };

    peer_says(&credit, 100, 0);
    vsk_credit_sent(&credit, 80);
    peer_says(&credit, 79, 0);
    g_assert_cmpuint(vsk_credit_room(&credit), ==, 0);
    peer_says(&credit, 0, 0);
    g_assert_cmpuint(vsk_credit_room(&credit), ==, 0);
    peer_says(&credit, 81, 0);
    g_assert_cmpuint(vsk_credit_room(&credit), ==, 1);
}

/*
 * Whatever a guest claims to have taken: as long as it is part of what was
 * sent, there is no more room than buf_alloc less what really is in flight;
 * when it is more than was sent, there is less room than it lied by, and
 * never more than buf_alloc.
 */
static void test_lies_never_give_more(void)
{
    for (unsigned int t = 0; t < N_EDGES; t++) {
        for (unsigned int c = 0; c < N_EDGES; c++) {
            for (unsigned int b = 0; b < N_EDGES; b++) {
                uint32_t sent = edges[t];
                uint32_t claim = edges[c];
                VskCredit credit = { .tx_cnt = sent };
                uint32_t room;

                peer_says(&credit, edges[b], claim);
                room = vsk_credit_room(&credit);
                g_assert_cmpuint(room, <=, edges[b]);
                if (claim > sent) {
                    g_assert_true(room == 0 || room < claim - sent);
                } else {
                    g_assert_cmpuint((uint64_t)room + (sent - claim), <=,
                                     MAX(edges[b], sent - claim));
                }
            }
        }
    }
}

/* --- From the guest ------------------------------------------------------ */

static void test_received_up_to_the_window(void)
{
    for (unsigned int i = 0; i < N_EDGES; i++) {
        VskCredit credit = { .buf_alloc = 8192, .rx_cnt = edges[i],
                             .fwd_cnt = edges[i] };

        g_assert_true(vsk_credit_received(&credit, 8191));
        g_assert_true(vsk_credit_received(&credit, 1));
        g_assert_cmpuint(vsk_credit_held(&credit), ==, 8192);
        g_assert_true(vsk_credit_received(&credit, 0));
        g_assert_false(vsk_credit_received(&credit, 1));
        g_assert_cmpuint(vsk_credit_held(&credit), ==, 8192);
        vsk_credit_consumed(&credit, 1);
        g_assert_true(vsk_credit_received(&credit, 1));
        g_assert_false(vsk_credit_received(&credit, 1));
    }
}

static void test_overrun_changes_nothing(void)
{
    for (unsigned int i = 0; i < N_EDGES; i++) {
        for (unsigned int w = 1; w < N_EDGES; w++) {
            VskCredit credit = { .buf_alloc = edges[w], .rx_cnt = edges[i],
                                 .fwd_cnt = edges[i] };

            if (edges[w] == UINT32_MAX) {
                g_assert_true(vsk_credit_received(&credit, UINT32_MAX));
                continue;
            }
            g_assert_false(vsk_credit_received(&credit, edges[w] + 1));
            g_assert_false(vsk_credit_received(&credit, UINT32_MAX));
            g_assert_cmpuint(credit.rx_cnt, ==, edges[i]);
            g_assert_true(vsk_credit_received(&credit, edges[w]));
            g_assert_false(vsk_credit_received(&credit, UINT32_MAX));
        }
    }
}

static void test_stamp_tells_our_side(void)
{
    VskCredit credit;
    VskHdr hdr = { .len = 7 };

    vsk_credit_init(&credit, 8192);
    g_assert_true(vsk_credit_received(&credit, 5000));
    vsk_credit_consumed(&credit, 4500);
    g_assert_true(vsk_credit_update_due(&credit));
    vsk_credit_stamp(&credit, &hdr);
    g_assert_cmpuint(hdr.buf_alloc, ==, 8192);
    g_assert_cmpuint(hdr.fwd_cnt, ==, 4500);
    g_assert_cmpuint(hdr.len, ==, 7);
    g_assert_false(vsk_credit_update_due(&credit));
}

static void test_no_update_without_news(void)
{
    VskCredit credit;

    vsk_credit_init(&credit, 8192);
    peer_says(&credit, 8192, 0);
    g_assert_false(vsk_credit_update_due(&credit));
    g_assert_true(vsk_credit_received(&credit, 8192));
    g_assert_false(vsk_credit_update_due(&credit));
    vsk_credit_consumed(&credit, 1);
    g_assert_true(vsk_credit_update_due(&credit));
}

/*
 * A guest that sends @chunk bytes at a time, in windows of the smaller of both
 * buffers, to a host that takes all at once: it must always see room for
 * the next byte, and must not be told more often than twice per window.
 */
static void run_sender(uint32_t ours, uint32_t its, uint32_t chunk,
                       uint32_t start)
{
    uint32_t window = MIN(ours, its);
    VskCredit credit = { .buf_alloc = ours, .rx_cnt = start, .fwd_cnt = start,
                         .told_fwd_cnt = start };
    uint32_t sent = start;
    uint32_t heard = start;
    uint32_t updates = 0;

    peer_says(&credit, its, 0);
    while (sent - start < 8 * window) {
        uint32_t n = MIN(chunk, window - (sent - heard));

        g_assert_cmpuint(n, >, 0);
        g_assert_true(vsk_credit_received(&credit, n));
        sent += n;
        vsk_credit_consumed(&credit, n);
        if (vsk_credit_update_due(&credit)) {
            VskHdr hdr;

            vsk_credit_stamp(&credit, &hdr);
            heard = hdr.fwd_cnt;
            updates++;
        }
    }
    g_assert_cmpuint(updates, <=, 16 + 1);
}

static void test_update_before_the_sender_stalls(void)
{
    for (uint32_t window = 2; window <= 48; window++) {
        for (uint32_t chunk = 1; chunk <= window; chunk++) {
            run_sender(48, window, chunk, 0);
            run_sender(window, 48, chunk, 0xffffffe0);
        }
    }
    run_sender(262144, 65536, 4096, 0xffff0000);
    run_sender(262144, 4096, 4096, 0);
    run_sender(8192, 1, 1, 0);
}

static void test_update_at_once_for_an_empty_window(void)
{
    VskCredit credit;

    vsk_credit_init(&credit, 8192);
    peer_says(&credit, 0, 0);
    g_assert_true(vsk_credit_received(&credit, 1));
    vsk_credit_consumed(&credit, 1);
    g_assert_true(vsk_credit_update_due(&credit));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/credit/room/none-before-a-word",
                    test_room_before_a_word);
    g_test_add_func("/credit/room/exact-at-any-count",
                    test_room_is_exact_at_any_count);
    g_test_add_func("/credit/room/shrinks-by-what-is-sent",
                    test_room_shrinks_by_what_is_sent);
    g_test_add_func("/credit/room/shrunk-buffer-gives-nothing",
                    test_shrunk_buffer_gives_nothing);
    g_test_add_func("/credit/room/lies-never-give-more",
                    test_lies_never_give_more);
    g_test_add_func("/credit/received/up-to-the-window",
                    test_received_up_to_the_window);
    g_test_add_func("/credit/received/overrun-changes-nothing",
                    test_overrun_changes_nothing);
    g_test_add_func("/credit/stamp/tells-our-side",
                    test_stamp_tells_our_side);
    g_test_add_func("/credit/update/none-without-news",
                    test_no_update_without_news);
    g_test_add_func("/credit/update/before-the-sender-stalls",
                    test_update_before_the_sender_stalls);
    g_test_add_func("/credit/update/at-once-for-an-empty-window",
                    test_update_at_once_for_an_empty_window);
    return g_test_run();
}

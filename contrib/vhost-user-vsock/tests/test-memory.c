/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The guest's memory: what is found, and what is refused.
 */

#include <errno.h>
#include <glib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../memory.h"

#define PAGE 4096u

/* A file of @pages, each byte of a page is its number. */
static int make_file(unsigned int pages)
{
    int fd = memfd_create("test-memory", MFD_CLOEXEC);

    g_assert_cmpint(fd, >=, 0);
    for (unsigned int i = 0; i < pages; i++) {
        uint8_t page[PAGE];

        memset(page, (int)i, sizeof(page));
        g_assert_cmpint(write(fd, page, sizeof(page)), ==, sizeof(page));
    }
    return fd;
}

/* Guest pages 16 to 19 and 20 to 21, from one file, the second part first. */
static void make_two(Memory *memory)
{
    int fd = make_file(6);

    *memory = (Memory) { .log_fd = -1 };
    g_assert_cmpint(memory_add(memory, 20 * PAGE, 2 * PAGE, 0x70000000,
                               0, fd), ==, 0);
    g_assert_cmpint(memory_add(memory, 16 * PAGE, 4 * PAGE, 0x60000000,
                               2 * PAGE, fd), ==, 0);
    close(fd);
}

static void test_finds_pages(void)
{
    Memory memory;
    uint64_t len = 8;
    uint8_t *at;

    make_two(&memory);
    at = memory_at(&memory, 16 * PAGE, &len);
    g_assert_cmpuint(*at, ==, 2);
    at = memory_at(&memory, 21 * PAGE, &len);
    g_assert_cmpuint(*at, ==, 1);
    g_assert_cmpuint(len, ==, 8);
    at = memory_at_qva(&memory, 0x60000000 + PAGE, 3 * PAGE);
    g_assert_cmpuint(*at, ==, 3);
    memory_clear(&memory);
}

static void test_ends_where_a_region_ends(void)
{
    Memory memory;
    uint64_t len = PAGE;

    make_two(&memory);
    g_assert_nonnull(memory_at(&memory, 20 * PAGE - 10, &len));
    g_assert_cmpuint(len, ==, 10);
    len = UINT64_MAX;
    g_assert_nonnull(memory_at(&memory, 22 * PAGE - 1, &len));
    g_assert_cmpuint(len, ==, 1);
    len = 1;
    g_assert_null(memory_at(&memory, 22 * PAGE, &len));
    g_assert_null(memory_at(&memory, 16 * PAGE - 1, &len));
    g_assert_null(memory_at(&memory, UINT64_MAX, &len));
    g_assert_null(memory_at_qva(&memory, 0x60000000 + PAGE, 3 * PAGE + 1));
    g_assert_null(memory_at_qva(&memory, 0x60000000, UINT64_MAX));
    memory_clear(&memory);
}

static void test_removes_what_is_there(void)
{
    Memory memory;
    uint64_t len = 1;

    make_two(&memory);
    g_assert_false(memory_remove(&memory, 20 * PAGE, 2 * PAGE, 0x60000000));
    g_assert_true(memory_remove(&memory, 20 * PAGE, 2 * PAGE, 0x70000000));
    g_assert_null(memory_at(&memory, 20 * PAGE, &len));
    g_assert_nonnull(memory_at(&memory, 19 * PAGE, &len));
    memory_clear(&memory);
    g_assert_null(memory_at(&memory, 19 * PAGE, &len));
}

static void test_refuses_what_cannot_be(void)
{
    Memory memory = { .log_fd = -1 };
    int fd = make_file(2);

    g_assert_cmpint(memory_add(&memory, 0, 0, 0, 0, fd), ==, -EINVAL);
    g_assert_cmpint(memory_add(&memory, 0, 3 * PAGE, 0, 0, fd), ==, -EINVAL);
    g_assert_cmpint(memory_add(&memory, 0, PAGE, 0, 2 * PAGE, fd), ==,
                    -EINVAL);
    g_assert_cmpint(memory_add(&memory, UINT64_MAX, PAGE, 0, 0, fd), ==,
                    -EINVAL);
    g_assert_cmpint(memory_add(&memory, 0, PAGE, UINT64_MAX, 0, fd), ==,
                    -EINVAL);
    g_assert_cmpint(memory_add(&memory, 0, PAGE, 0, UINT64_MAX, fd), ==,
                    -EINVAL);
    g_assert_cmpint(memory_add(&memory, 0, PAGE, 0, 0, -1), ==, -EINVAL);
    for (uint64_t i = 0; i < MEMORY_MAX_REGIONS; i++) {
        g_assert_cmpint(memory_add(&memory, i * PAGE, PAGE, i * PAGE, 0, fd),
                        ==, 0);
    }
    g_assert_cmpint(memory_add(&memory, PAGE * 99, PAGE, 0, 0, fd), ==,
                    -ENOSPC);
    memory_clear(&memory);
    close(fd);
}

static void test_logs_each_page(void)
{
    Memory memory = { .log_fd = eventfd(0, EFD_NONBLOCK), .logging = true };
    int fd = memfd_create("log", MFD_CLOEXEC);
    eventfd_t told;

    g_assert_cmpint(memory_set_log(&memory, PAGE, 0, fd), ==, -EINVAL);
    g_assert_cmpint(ftruncate(fd, PAGE), ==, 0);
    g_assert_cmpint(memory_set_log(&memory, PAGE, 0, fd), ==, 0);
    memory_wrote(&memory, 8 * PAGE - 1, 2);
    g_assert_cmpuint(memory.log[0], ==, 0x80);
    g_assert_cmpuint(memory.log[1], ==, 0x01);
    memory_wrote(&memory, UINT64_MAX - 4, 4); /* far outside */
    memory_wrote(&memory, 5, 0);
    memory_tell_log(&memory);
    g_assert_cmpint(eventfd_read(memory.log_fd, &told), ==, 0);
    memory_tell_log(&memory);
    g_assert_cmpint(eventfd_read(memory.log_fd, &told), ==, -1);

    memory.logging = false;
    memory_wrote(&memory, 64 * PAGE, 1);
    g_assert_cmpuint(memory.log[8], ==, 0);
    close(memory.log_fd);
    memory_clear_log(&memory);
    close(fd);
}

/* Parts that do not begin or end where pages of hugetlbfs do. */
static void test_huge_pages_leave_no_mapping(void)
{
    int fd = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB);
    FileMap map, was;
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0 || ftruncate(fd, 2 * st.st_blksize) < 0 ||
        file_map(&map, fd, st.st_blksize + PAGE, PAGE, MAP_NORESERVE) < 0) {
        g_test_skip("no huge pages here");
        return;
    }
    was = map;
    g_assert_cmpuint(was.size, ==, st.st_blksize);
    g_assert_true(was.at == (uint8_t *)was.start + PAGE);
    file_unmap(&map);
    g_assert_null(map.at);
    g_assert_cmpint(msync(was.start, PAGE, MS_ASYNC), ==, -1);
    g_assert_cmpint(errno, ==, ENOMEM); /* nothing is there */
    close(fd);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(path, fn) g_test_add_func("/memory/" path, fn)
    TEST("finds-pages", test_finds_pages);
    TEST("ends-where-a-region-ends", test_ends_where_a_region_ends);
    TEST("removes-what-is-there", test_removes_what_is_there);
    TEST("refuses-what-cannot-be", test_refuses_what_cannot_be);
    TEST("huge-pages-leave-no-mapping", test_huge_pages_leave_no_mapping);
    TEST("logs-each-page", test_logs_each_page);
    return g_test_run();
}

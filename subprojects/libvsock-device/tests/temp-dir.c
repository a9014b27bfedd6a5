/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A private directory for the sockets of one test.
 */

#include "temp-dir.h"

#include <glib/gstdio.h>
#include <malloc.h>
#include <sys/stat.h>
#include <unistd.h>

TempDir *temp_dir_new(void)
{
    TempDir *dir = g_new0(TempDir, 1);

    g_autoptr(GError) err = NULL;

    dir->path = g_dir_make_tmp("vsk-XXXXXX", &err);
    g_assert_no_error(err);
    return dir;
}

static void remove_tree(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *child = g_build_filename(path, name, NULL);

        if (g_unlink(child) < 0) {
            remove_tree(child);
        }
    }
    g_rmdir(path);
}

void temp_dir_free(TempDir *dir)
{
    if (dir) {
        remove_tree(dir->path);
        g_free(dir->path);
        g_free(dir);
    }
}

char *temp_dir_file(const TempDir *dir, const char *name)
{
    return g_build_filename(dir->path, name, NULL);
}

static int by_name(const void *a, const void *b)
{
    return g_strcmp0(*(char *const *)a, *(char *const *)b);
}

char *temp_dir_list(const TempDir *dir)
{
    g_autoptr(GDir) entries = g_dir_open(dir->path, 0, NULL);
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    const char *name;

    g_assert_nonnull(entries);
    while ((name = g_dir_read_name(entries))) {
        g_ptr_array_add(names, g_strdup(name));
    }
    g_ptr_array_sort(names, by_name);
    g_ptr_array_add(names, NULL);
    return g_strjoinv(" ", (char **)names->pdata);
}

mode_t file_mode(const char *path)
{
    struct stat st;

    g_assert_cmpint(lstat(path, &st), ==, 0);
    return st.st_mode & 07777;
}

bool file_exists(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

uint64_t unique_seed(void)
{
    static uint32_t calls;

    return (uint64_t)getpid() << 32 | calls++ << 20;
}

unsigned int open_fds(void)
{
    g_autoptr(GDir) dir = g_dir_open("/proc/self/fd", 0, NULL);
    unsigned int n = 0;

    g_assert_nonnull(dir);
    while (g_dir_read_name(dir)) {
        n++;
    }
    return n - 1; /* the one that reads the directory */
}

size_t memory_in_use(void)
{
#if __GLIBC_PREREQ(2, 33)
    struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.hblkhd;
#else
    return 0;
#endif
}

Place *place_new(const char *name)
{
    Place *place = g_new0(Place, 1);

    place->dir = temp_dir_new();
    place->path = temp_dir_file(place->dir, name);
    place->seqpacket = g_strdup_printf("%s_seqpacket", place->path);
    place->lock = g_strdup_printf("%s.lock", place->path);
    return place;
}

void place_free(Place *place)
{
    temp_dir_free(place->dir);
    g_free(place->path);
    g_free(place->seqpacket);
    g_free(place->lock);
    g_free(place);
}

void place_expect(const Place *place, const char *files)
{
    g_autofree char *list = temp_dir_list(place->dir);

    g_assert_cmpstr(list, ==, files);
}

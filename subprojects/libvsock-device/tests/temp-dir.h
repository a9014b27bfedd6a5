/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A private directory for the sockets of one test.
 */

#ifndef TEST_TEMP_DIR_H
#define TEST_TEMP_DIR_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct TempDir {
    char *path;
} TempDir;

/* Make one, empty, mode 0700, with a path that leaves room in sun_path. */
TempDir *temp_dir_new(void);

/* Remove it and all files in it. */
void temp_dir_free(TempDir *dir);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(TempDir, temp_dir_free)

/* "<dir>/<name>", the caller's. */
char *temp_dir_file(const TempDir *dir, const char *name);

/* What lies there, sorted, with a space in between; the caller's. */
char *temp_dir_list(const TempDir *dir);

/* Permission bits of @path; the test fails if there is no such file. */
mode_t file_mode(const char *path);

bool file_exists(const char *path);

/*
 * Unlike that of any other call or process of now: abstract socket names are
 * seen by all tests that run at the same time.
 */
uint64_t unique_seed(void);

/* Descriptors this process has open. */
unsigned int open_fds(void);

/* Bytes it has from malloc(); 0 where that cannot be asked. */
size_t memory_in_use(void);

/* Where a listening socket is to be, in a directory of its own. */
typedef struct Place {
    TempDir *dir;
    char *path;
    char *seqpacket; /* "<path>_seqpacket" */
    char *lock;      /* "<path>.lock" */
} Place;

Place *place_new(const char *name);
void place_free(Place *place);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Place, place_free)

/* That these files lie there, sorted, with a space in between; no others. */
void place_expect(const Place *place, const char *files);

#endif /* TEST_TEMP_DIR_H */

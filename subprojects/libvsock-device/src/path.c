/*
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Where the emulator's host sockets are: see vsock-path.h.
 */

#include "vsock-path.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

_Static_assert(VSK_SUN_PATH_SIZE ==
               sizeof(((struct sockaddr_un *)NULL)->sun_path),
               "VSK_SUN_PATH_SIZE is the size of sun_path");

static int __attribute__((format(printf, 2, 3)))
format_path(char *ret, const char *fmt, ...)
{
    char path[VSK_SUN_PATH_SIZE];
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(path, sizeof(path), fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof(path)) {
        return -ENAMETOOLONG;
    }
    memcpy(ret, path, (size_t)n + 1);
    return 0;
}

int vsk_path_default_dir(char ret[static VSK_SUN_PATH_SIZE])
{
    const char *base;

    if (geteuid() == 0) {
        return format_path(ret, "/run/vsock");
    }
    base = getenv("XDG_RUNTIME_DIR");
    if (base && base[0] == '/') {
        return format_path(ret, "%s/vsock", base);
    }
    base = getenv("HOME");
    if (base && base[0] == '/') {
        return format_path(ret, "%s/.cache/vsock", base);
    }
    return -ENOENT;
}

int vsk_path_default(uint64_t cid, char ret[static VSK_SUN_PATH_SIZE])
{
    char dir[VSK_SUN_PATH_SIZE];
    int err = vsk_path_default_dir(dir);

    if (err) {
        return err;
    }
    return format_path(ret, "%s/%" PRIu64 ".vsock", dir, cid);
}

int vsk_path_for_port(const char *base, uint32_t port,
                      char ret[static VSK_SUN_PATH_SIZE])
{
    return format_path(ret, "%s_%" PRIu32, base, port);
}

int vsk_path_for_seqpacket(const char *base,
                           char ret[static VSK_SUN_PATH_SIZE])
{
    return format_path(ret, "%s_seqpacket", base);
}

/* mkdir() of @dir and, where missing, of the directories above it. */
static int make_dirs(const char *dir)
{
    char path[PATH_MAX];
    size_t len = strlen(dir);

    if (len >= sizeof(path)) {
        return -ENAMETOOLONG;
    }
    memcpy(path, dir, len + 1);
    for (char *slash = strchr(path + 1, '/'); slash;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(path, 0700) < 0 && errno != EEXIST) {
            return -errno;
        }
        *slash = '/';
    }
    if (mkdir(path, 0700) < 0 && errno != EEXIST) {
        return -errno;
    }
    return 0;
}

/*
 * Whether not just anybody can put another directory in the place of @dir, by
 * renaming one of those above it: a sticky one, as /tmp, lets its entries be.
 * Their owners and groups are trusted.
 */
static int check_parents(const char *dir)
{
    char *real = realpath(dir, NULL);
    struct stat st;
    char *slash;
    int err = real ? 0 : -errno;

    while (!err && (slash = strrchr(real, '/'))) {
        slash[slash == real] = '\0'; /* "/" is the last */
        if (lstat(real, &st) < 0) {
            err = -errno;
        } else if ((st.st_mode & S_IWOTH) && !(st.st_mode & S_ISVTX)) {
            err = -EPERM;
        }
        if (slash == real) {
            break;
        }
    }
    free(real);
    return err;
}

int vsk_path_prepare_dir(const char *dir)
{
    struct stat st;
    int err = make_dirs(dir);

    if (err) {
        return err;
    }
    /* lstat(): a link that somebody else planted is not our directory. */
    if (lstat(dir, &st) < 0) {
        return -errno;
    }
    if (!S_ISDIR(st.st_mode)) {
        return -ENOTDIR;
    }
    if (st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH))) {
        return -EPERM;
    }
    return check_parents(dir);
}

int vsk_path_format_source(uint64_t cid, uint32_t port, uint64_t unique,
                           char ret[static VSK_SUN_PATH_SIZE])
{
    return format_path(ret, "vsock:%" PRIu64 ":%" PRIu32 ":%016" PRIx64,
                       cid, port, unique);
}

int vsk_path_parse_source(const char *name, size_t len, uint64_t *ret_cid,
                          uint32_t *ret_port)
{
    char text[VSK_SUN_PATH_SIZE];
    uint64_t cid;
    uint32_t port;
    int end = 0;

    if (len < 2 || len > sizeof(text) || name[0] != '\0') {
        return -EINVAL;
    }
    memcpy(text, name + 1, len - 1);
    text[len - 1] = '\0';
    if (sscanf(text, "vsock:%20" SCNu64 ":%10" SCNu32 ":%n",
               &cid, &port, &end) != 2 || end == 0) {
        return -EINVAL;
    }
    *ret_cid = cid;
    *ret_port = port;
    return 0;
}

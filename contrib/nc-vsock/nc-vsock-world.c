/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Which sockets a command line of nc-vsock means on this machine.
 *
 * Theory of operation
 * -------------------
 * A guest and its host speak through AF_VSOCK where the kernel does it, and
 * through AF_UNIX sockets on the host where QEMU emulates the device.  A host
 * can have both at once: one that is itself a guest has an AF_VSOCK that
 * leads to its own hypervisor.  Guessing there would hand bytes to a stranger,
 * so a world is chosen without being asked only if the other one cannot be
 * meant, and nothing is opened to find that out:
 *
 *   AF_VSOCK can be meant if the device node is there;
 *   AF_UNIX can be meant, to connect, if the guest's socket is there, and, to
 *   listen, if any guest's socket is there.
 *
 * CID 2 is the host as a guest sees it, so to connect there is always
 * AF_VSOCK.
 */

#include "nc-vsock-internal.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_socket(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISSOCK(st.st_mode);
}

/* Whether @name is "<cid>.vsock". */
static bool is_guest_name(const char *name)
{
    size_t digits = strspn(name, "0123456789");

    return digits > 0 && strcmp(name + digits, ".vsock") == 0;
}

/* The first guest's socket in @dir, for a message; false: there is none. */
static bool find_guest(const char *dir, char ret[static VSK_SUN_PATH_SIZE])
{
    char path[VSK_SUN_PATH_SIZE];
    struct dirent *entry;
    bool found = false;
    DIR *d = opendir(dir);

    if (!d) {
        return false;
    }
    while (!found && (entry = readdir(d))) {
        int n = snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);

        if (is_guest_name(entry->d_name) && (size_t)n < sizeof(path) &&
            is_socket(path)) {
            memcpy(ret, path, sizeof(path));
            found = true;
        }
    }
    closedir(d);
    return found;
}

/* The directory of the emulator's sockets, or a negative errno. */
static int find_dir(const NcOptions *opts, char ret[static VSK_SUN_PATH_SIZE])
{
    size_t len;

    if (!opts->dir) {
        return vsk_path_default_dir(ret);
    }
    len = strlen(opts->dir);
    if (len >= VSK_SUN_PATH_SIZE) {
        return -ENAMETOOLONG;
    }
    memcpy(ret, opts->dir, len + 1);
    return 0;
}

/*
 * The emulator's path for @opts, in @ret_place, whether or not anything is
 * there.  To listen for every guest, the host's own CID stands in the name.
 */
static int find_path(const NcOptions *opts, NcPlace *ret_place)
{
    uint32_t cid = opts->has_cid ? opts->cid : NC_CID_HOST;
    char base[VSK_SUN_PATH_SIZE];
    int err, n;

    if (opts->uds_path) {
        n = snprintf(base, sizeof(base), "%s", opts->uds_path);
    } else {
        err = find_dir(opts, ret_place->dir);
        if (err) {
            return err;
        }
        n = snprintf(base, sizeof(base), "%s/%" PRIu32 ".vsock",
                     ret_place->dir, cid);
    }
    if (n < 0 || (size_t)n >= sizeof(base)) {
        return -ENAMETOOLONG;
    }
    if (opts->listen) {
        return vsk_path_for_port(base, opts->port, ret_place->path);
    }
    memcpy(ret_place->path, base, sizeof(base));
    return 0;
}

static const char *path_trouble(int err)
{
    return err == -ENOENT ? "neither XDG_RUNTIME_DIR nor HOME is set"
                          : strerror(-err);
}

static NcExit choose_unix(const NcOptions *opts, NcPlace *place)
{
    int err = find_path(opts, place);

    if (!opts->listen && opts->cid == NC_CID_HOST && !opts->uds_path) {
        nc_error("CID 2 is the host as a guest sees it, and is reached by "
                 "AF_VSOCK only");
        return NC_EXIT_USAGE;
    }
    if (err) {
        nc_error("no path for the emulator's socket: %s", path_trouble(err));
        return NC_EXIT_USAGE;
    }
    place->world = NC_WORLD_UNIX;
    return NC_EXIT_OK;
}

static NcExit refuse_both(const NcOptions *opts, const char *guest)
{
    if (opts->listen) {
        nc_error("clients could come by AF_VSOCK (%s is there) or from the "
                 "emulator's guests (%s is there): choose with --vsock or "
                 "--unix", opts->vsock_node, guest);
    } else {
        nc_error("CID %" PRIu32 " could be reached by AF_VSOCK (%s is there) "
                 "or by the emulator's socket (%s is there): choose with "
                 "--vsock or --unix", opts->cid, opts->vsock_node, guest);
    }
    return NC_EXIT_USAGE;
}

static NcExit refuse_none(const NcOptions *opts, const NcPlace *place, int err)
{
    if (!opts->listen && opts->cid == NC_CID_HOST) {
        nc_error("CID 2 is reached by AF_VSOCK only, and %s is missing: is "
                 "this a guest, and its vsock driver loaded?",
                 opts->vsock_node);
    } else if (err) {
        nc_error("%s is missing, so no AF_VSOCK; and no path for the "
                 "emulator's socket: %s", opts->vsock_node, path_trouble(err));
    } else if (opts->listen) {
        nc_error("%s is missing, so no AF_VSOCK; and there is no guest's "
                 "socket in %s (use --unix to listen before the guest "
                 "starts)", opts->vsock_node, place->dir);
    } else {
        nc_error("%s is missing, so no AF_VSOCK; and there is no emulator's "
                 "socket %s: does the guest run?", opts->vsock_node,
                 place->path);
    }
    return NC_EXIT_USAGE;
}

static NcExit choose_auto(const NcOptions *opts, NcPlace *place)
{
    bool vsock = access(opts->vsock_node, F_OK) == 0;
    char guest[VSK_SUN_PATH_SIZE] = "";
    bool emulator = false;
    int err = find_path(opts, place);

    if (!err && opts->listen) {
        emulator = find_guest(place->dir, guest);
    } else if (!err && opts->cid != NC_CID_HOST) {
        memcpy(guest, place->path, sizeof(guest));
        emulator = is_socket(guest);
    }
    if (vsock && emulator) {
        return refuse_both(opts, guest);
    }
    if (!vsock && !emulator) {
        return refuse_none(opts, place, err);
    }
    place->world = vsock ? NC_WORLD_VSOCK : NC_WORLD_UNIX;
    return NC_EXIT_OK;
}

NcExit nc_world_choose(const NcOptions *opts, NcPlace *ret_place)
{
    NcPlace place = { .cid = opts->cid, .port = opts->port };
    NcExit code = NC_EXIT_OK;

    if (opts->world == NC_WORLD_VSOCK) {
        place.world = NC_WORLD_VSOCK;
    } else if (opts->world == NC_WORLD_UNIX) {
        code = choose_unix(opts, &place);
    } else {
        code = choose_auto(opts, &place);
    }
    if (code == NC_EXIT_OK) {
        *ret_place = place;
    }
    return code;
}

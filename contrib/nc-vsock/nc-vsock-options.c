/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The command line of nc-vsock, and its help text.
 */

#include "nc-vsock-internal.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef NC_VSOCK_VERSION
#define NC_VSOCK_VERSION "(no version)"
#endif

#define VSOCK_NODE    "/dev/vsock"
#define TIMEOUT_MAX_S 1e6

static const char help_text[] =
"Usage: nc-vsock [OPTION]... CID PORT      connect to PORT of machine CID\n"
"       nc-vsock [OPTION]... -l PORT       listen, and serve one client\n"
"\n"
"Copies stdin to a vsock connection, and the connection to stdout.  CID 2 is\n"
"the host, as seen from a guest; a guest's CID is its guest-cid= property.\n"
"\n"
"  -l, --listen        listen instead of connecting\n"
"  -k, --keep          with -l: serve any number of clients at the same time,\n"
"                      until a signal ends nc-vsock.  What they send goes to\n"
"                      stdout as it comes; stdin goes to all who are there\n"
"  -w, --timeout=SEC   give up if no connection is made in SEC seconds, and\n"
"                      end one on which nothing moved for SEC seconds\n"
"  -N, --no-half-close do not tell the peer when stdin ends; go on until the\n"
"                      peer ends the connection\n"
"  -v, --verbose       say on stderr who connects and who leaves (CID:PORT)\n"
"  -h, --help          print this, and exit\n"
"      --version       print the version, and exit\n"
"\n"
"Which sockets:\n"
"      --vsock         AF_VSOCK, the kernel's: in a guest, and on a host\n"
"                      whose kernel carries the guest's device\n"
"      --unix          the AF_UNIX sockets of QEMU's emulated device: on its\n"
"                      host, in the run-time directory (/run/vsock for root,\n"
"                      $XDG_RUNTIME_DIR/vsock for others)\n"
"      --uds-path=PATH the same, of a device with uds-path=PATH; CID is then\n"
"                      not needed\n"
"      --cid=N         with -l and --unix: listen for guest N only, not for\n"
"                      all guests; implies --unix\n"
"      --dir=DIR       another run-time directory\n"
"      --vsock-node=FILE\n"
"                      look for FILE instead of " VSOCK_NODE "\n"
"      --explain       print what would be used, and exit\n"
"Without these, AF_VSOCK is taken if " VSOCK_NODE " is there, the emulator's\n"
"sockets if the guest's socket is there (with -l: any guest's); if both are,\n"
"as on a host that is itself a guest, nc-vsock asks for --vsock or --unix.\n"
"\n"
"The end of stdin is passed on as a half-close, and what the peer still sends\n"
"is read to its end; the other way round likewise.\n"
"\n"
"Exit status:\n"
"  0  all of stdin was sent, and all that came was written\n"
"  1  no connection, or it was cut before that: refused, reset, timed out\n"
"  2  wrong arguments, or no way, or two ways, to read them on this machine\n"
"  3  trouble here: address in use, stdin, stdout, memory\n"
"A signal ends nc-vsock as it ends other programs; a listener's socket is\n"
"removed before.\n"
"\n"
"Examples:\n"
"  nc-vsock -l 1234              on the host; then, in the guest:\n"
"  echo hello | nc-vsock 2 1234\n"
"  nc-vsock 3 22                 on the host: talk to port 22 of guest 3\n"
"  ssh -o ProxyCommand='nc-vsock 3 22' root@guest3\n";

enum {
    OPT_VSOCK = 256,
    OPT_UNIX,
    OPT_UDS_PATH,
    OPT_CID,
    OPT_DIR,
    OPT_VSOCK_NODE,
    OPT_EXPLAIN,
    OPT_VERSION,
};

static const struct option long_options[] = {
    { "listen", no_argument, NULL, 'l' },
    { "keep", no_argument, NULL, 'k' },
    { "timeout", required_argument, NULL, 'w' },
    { "no-half-close", no_argument, NULL, 'N' },
    { "verbose", no_argument, NULL, 'v' },
    { "help", no_argument, NULL, 'h' },
    { "version", no_argument, NULL, OPT_VERSION },
    { "vsock", no_argument, NULL, OPT_VSOCK },
    { "unix", no_argument, NULL, OPT_UNIX },
    { "uds-path", required_argument, NULL, OPT_UDS_PATH },
    { "cid", required_argument, NULL, OPT_CID },
    { "dir", required_argument, NULL, OPT_DIR },
    { "vsock-node", required_argument, NULL, OPT_VSOCK_NODE },
    { "explain", no_argument, NULL, OPT_EXPLAIN },
    { NULL, 0, NULL, 0 },
};

/* A decimal number below 2^32 - 1, which means "any" for CIDs and ports. */
static bool parse_number(const char *text, const char *what, uint32_t *ret)
{
    unsigned long long n;
    char *end;

    errno = 0;
    n = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno || n >= UINT32_MAX) {
        nc_error("%s '%s' is not a number from 0 to %" PRIu32, what, text,
                 UINT32_MAX - 1);
        return false;
    }
    *ret = (uint32_t)n;
    return true;
}

static bool parse_cid(NcOptions *opts, const char *text)
{
    opts->has_cid = true;
    return parse_number(text, "CID", &opts->cid);
}

static bool parse_timeout(const char *text, int *ret_ms)
{
    char *end;
    double seconds = strtod(text, &end);

    /* Written so that a NaN is refused too. */
    if (end == text || *end || !(seconds > 0 && seconds <= TIMEOUT_MAX_S)) {
        nc_error("timeout '%s' is not a number of seconds above 0", text);
        return false;
    }
    *ret_ms = (int)(seconds * 1000);
    return true;
}

static bool set_world(NcOptions *opts, NcWorld world)
{
    if (opts->world != NC_WORLD_AUTO && opts->world != world) {
        nc_error("--vsock excludes --unix, --uds-path and --cid");
        return false;
    }
    opts->world = world;
    return true;
}

static bool parse_option(NcOptions *opts, int c)
{
    switch (c) {
    case 'l':
        opts->listen = true;
        return true;
    case 'k':
        opts->keep = true;
        return true;
    case 'w':
        return parse_timeout(optarg, &opts->timeout_ms);
    case 'N':
        opts->half_close = false;
        return true;
    case 'v':
        opts->verbose = true;
        return true;
    case 'h':
        fputs(help_text, stdout);
        exit(fflush(stdout) == 0 ? NC_EXIT_OK : NC_EXIT_LOCAL);
    case OPT_VERSION:
        puts("nc-vsock " NC_VSOCK_VERSION);
        exit(fflush(stdout) == 0 ? NC_EXIT_OK : NC_EXIT_LOCAL);
    case OPT_VSOCK:
        return set_world(opts, NC_WORLD_VSOCK);
    case OPT_UNIX:
        return set_world(opts, NC_WORLD_UNIX);
    case OPT_UDS_PATH:
        opts->uds_path = optarg;
        return set_world(opts, NC_WORLD_UNIX);
    case OPT_CID:
        return set_world(opts, NC_WORLD_UNIX) && parse_cid(opts, optarg);
    case OPT_DIR:
        opts->dir = optarg;
        return true;
    case OPT_VSOCK_NODE:
        opts->vsock_node = optarg;
        return true;
    case OPT_EXPLAIN:
        opts->explain = true;
        return true;
    default:
        return false; /* getopt_long() has said what is wrong */
    }
}

/* What remains on the command line: [CID] PORT. */
static bool parse_address(NcOptions *opts, int n, char **args)
{
    if (opts->listen) {
        if (n != 1) {
            nc_error("-l wants a port and nothing else");
            return false;
        }
    } else if (opts->has_cid) {
        nc_error("--cid is for -l; to connect, give CID and PORT");
        return false;
    } else if (n == 2) {
        if (!parse_cid(opts, args[0])) {
            return false;
        }
        args++;
    } else if (n != 1 || !opts->uds_path) {
        nc_error("a CID and a port are needed");
        return false;
    }
    return parse_number(args[0], "port", &opts->port);
}

static bool check_options(const NcOptions *opts)
{
    if (opts->keep && !opts->listen) {
        nc_error("-k is for -l");
        return false;
    }
    if (opts->listen && opts->uds_path && opts->has_cid) {
        nc_error("--uds-path names one guest's device already: no --cid");
        return false;
    }
    if (opts->has_cid && !opts->uds_path && opts->cid == 0) {
        nc_error("CID 0 is reserved: nobody can be reached there");
        return false;
    }
    if (opts->dir && !opts->dir[0]) {
        nc_error("--dir is empty");
        return false;
    }
    return true;
}

bool nc_options_parse(NcOptions *opts, int argc, char **argv)
{
    int c;

    *opts = (NcOptions) {
        .half_close = true,
        .timeout_ms = -1,
        .vsock_node = VSOCK_NODE,
    };
    while ((c = getopt_long(argc, argv, "lkw:Nvh", long_options, NULL)) >= 0) {
        if (!parse_option(opts, c)) {
            return false;
        }
    }
    return parse_address(opts, argc - optind, argv + optind) &&
           check_options(opts);
}

# SPDX-License-Identifier: GPL-2.0-or-later
#
# What every script here starts with: where the checkout and its build folder
# are, an environment that nothing of the user's disturbs, and how a step is
# shown while it runs and explained when it fails.
#
# Sourced by bash scripts: . "$(dirname "$0")/common.sh"

set -eEuo pipefail
trap 'printf "error: %s, line %s: %s\n" "$0" "$LINENO" "$BASH_COMMAND" >&2' ERR

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
build=${BUILD:-$top/build}
case $build in /*) ;; *) build=$PWD/$build ;; esac

# The distribution's tools come first: its meson is invisible to a python3
# of pyenv or conda, and QEMU's configure takes the first python3 it finds.
PATH=/usr/bin:/bin:/usr/sbin:/sbin:$PATH
export PATH
export LC_ALL=C.UTF-8
unset CC CXX CFLAGS CXXFLAGS CPPFLAGS LDFLAGS MAKEFLAGS MAKELEVEL \
      PYTHONPATH PYTHONHOME PYTHON VIRTUAL_ENV PKG_CONFIG PKG_CONFIG_PATH \
      PKG_CONFIG_LIBDIR LD_LIBRARY_PATH LD_PRELOAD NINJA_STATUS CDPATH \
      GIT_DIR GIT_WORK_TREE DESTDIR

jobs=${JOBS:-$(nproc)}

say()  { printf '==> %s\n' "$*"; }
note() { printf '    %s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }
die()  { printf 'error: %s\n' "$1" >&2; shift
         for line; do printf '       %s\n' "$line" >&2; done; exit 1; }

# Name a file as the user sees it: relative to where they stand if it is below.
nice_path() { case $1 in "$PWD"/*) echo "${1#"$PWD"/}" ;; *) echo "$1" ;; esac; }

# progress LOG: copy standard input to LOG; of ninja's "[n/m] …" lines show a
# counter on a terminal, and a line at each tenth elsewhere.
progress() {
    local tty=0
    if [ -t 1 ]; then tty=1; fi
    awk -v log_file="$1" -v tty="$tty" '
        { print > log_file; fflush(log_file) }
        match($0, /^\[[0-9]+\/[0-9]+\]/) {
            split(substr($0, 2, RLENGTH - 2), n, "/")
            if (tty) {
                printf "\r    %d of %d steps ", n[1], n[2]; fflush(); shown = 1
            } else if (n[2] >= 100 && int(10 * n[1] / n[2]) > tenth) {
                tenth = int(10 * n[1] / n[2])
                printf "    %d of %d steps\n", n[1], n[2]; fflush()
            }
        }
        END { if (shown) printf "\r\033[K" }'
}

# step LOGNAME WHAT HINT COMMAND…: run a command with its output in
# build/logs/LOGNAME.log; when it fails say what failed, show the end of the
# log, where it is, and HINT: what to do.
step() {
    local log=$build/logs/${1//\//-}.log what=$2 hint=$3 rc=0
    shift 3
    mkdir -p "$build/logs"
    { "$@" 2>&1 </dev/null | progress "$log"; } || rc=$?
    if [ "$rc" -ne 0 ]; then
        # Not ninja's steps that went well, and not whole command lines.
        grep -v '^\[[0-9]*/[0-9]*\]' "$log" | tail -n 25 | cut -c -160 |
            sed 's/^/    | /' >&2
        die "$what failed." "The whole log: $(nice_path "$log")" "$hint"
    fi
}

# configure_meson NAME WHAT COMPILER [OPTION…]: have the checkout set up by meson
# in build/NAME, anew if that was with another compiler or other options.
# COMPILER may be empty: meson's choice.
configure_meson() {
    local name=$1 what=$2 compiler=$3 folder=$build/$1
    shift 3
    if [ -e "$folder/build.ninja" ] &&
       [ "$(cat "$folder/.options" 2>/dev/null)" = "$compiler $*" ]; then
        return
    fi
    say "Configuring $what ($name)"
    if [ -n "$compiler" ]; then
        export CC=$compiler
    fi
    rm -rf "$folder"
    mkdir -p "$folder"
    step "configure-$name" "Configuring $what" \
        "A missing library? See the log." \
        meson setup "$folder" "$top" "$@"
    echo "$compiler $*" >"$folder/.options"
}

# Run one build at a time in this build folder.
lock_build() {
    if [ -n "${VSOCK_BUILD_LOCKED:-}" ]; then
        return
    fi
    mkdir -p "$build"
    exec {build_lock}>"$build/.lock"
    if ! flock -n "$build_lock"; then
        say "Waiting for another make in $(nice_path "$build")"
        flock "$build_lock"
    fi
    export VSOCK_BUILD_LOCKED=1
}

# Let others build, when what follows keeps to a folder of its own.
unlock_build() {
    if [ -n "${build_lock:-}" ]; then
        exec {build_lock}>&-
        unset VSOCK_BUILD_LOCKED
    fi
}

# lock_folder FOLDER: what keeps to FOLDER runs once at a time.  Before
# lock_build: who waits for the folder is not to hold the others up.
lock_folder() {
    mkdir -p "$(dirname "$1")"
    exec {folder_lock}>"$1.lock"
    flock "$folder_lock"
}

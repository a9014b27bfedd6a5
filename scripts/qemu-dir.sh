# SPDX-License-Identifier: GPL-2.0-or-later
#
# Which series of QEMU is built, and where.  Sourced after apt.sh; sets
# series, qemu_codename and qemu_dir.

# Which Debian release has which series.
codename_of() {
    case $1 in
    7.2)  echo bookworm ;;
    10.0) echo trixie ;;
    10.2) echo sid ;;
    11.1) echo forky ;;
    esac
}

# The series that there are patches for, in the order of their versions.
patch_sets() {
    (cd "$top/patches" && printf '%s\n' qemu-*) | sed 's/^qemu-//' | sort -V |
        tr '\n' ' ' | sed 's/ $//'
}

series=${QEMU:-}
if [ -z "$series" ]; then
    case $running_codename in
    bookworm) series=7.2 ;;
    trixie)   series=10.0 ;;
    *)  die "This is Debian '$running_codename', whose QEMU was not tried." \
            "Name a series to build: make QEMU=$(
                patch_sets | sed 's/ / or QEMU=/g')" ;;
    esac
fi
qemu_codename=$(codename_of "$series")
if [ -z "$qemu_codename" ] || [ ! -d "$top/patches/qemu-$series" ]; then
    die "There is no patch set for QEMU '$series'." \
        "Sets here: $(patch_sets)"
fi

# QEMU's configure refuses a path with spaces or colons.
case $build in
*[[:space:]:]*)
    qemu_dir=${XDG_CACHE_HOME:-$HOME/.cache}/vsock-device-$(
        printf %s "$build" | cksum | cut -d' ' -f1)/qemu-$series
    case $qemu_dir in
    *[[:space:]:]*)
        die "QEMU cannot be built in a path with spaces or colons." \
            "Give a folder without: make BUILD=/tmp/vsock-build" ;;
    esac ;;
*)
    qemu_dir=$build/qemu-$series ;;
esac

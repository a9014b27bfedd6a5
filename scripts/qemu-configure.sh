# SPDX-License-Identifier: GPL-2.0-or-later
#
# How QEMU is configured here, with few features: the flags, configure_qemu,
# and a meson that is new enough.  Sourced after qemu-dir.sh.
#
# environment: QEMU_CONFIGURE= more flags for QEMU's configure

# QEMU 8.1 and later want a newer meson than bookworm's: take that of its
# backports, unpacked in the build folder and not installed.
use_newer_meson() {
    local wanted=1.5.0 folder=$build/tools/meson
    if [ "$(printf '%s\n' "$wanted" "$(meson --version)" | sort -V |
            head -n1)" = "$wanted" ]; then
        return
    fi
    if [ ! -d "$folder" ]; then
        say "Getting a newer meson"
        apt_use "$running_codename-backports"
        rm -f "$downloads"/meson_*.deb
        apt_download meson
        mkdir -p "$build/tools"
        dpkg -x "$apt_deb" "$folder.new"
        mv "$folder.new" "$folder"
    fi
    export PYTHONPATH=$folder/usr/lib/python3/dist-packages
}

flags=(
    --target-list=x86_64-softmmu
    --without-default-features
    --enable-tcg --enable-kvm
    --enable-vhost-kernel --enable-vhost-user --enable-vsock-emulator
    --enable-fdt=system
    --enable-tools --disable-docs --disable-werror
    --firmwarepath=/usr/share/qemu:/usr/share/seabios:/usr/lib/ipxe/qemu
)
case $series in
7.*)
    ;;
*)
    use_newer_meson
    flags+=(--python=/usr/bin/python3 --disable-download
            --disable-install-blobs)
    ;;
esac
# The daemon in QEMU's own build, where its libraries are installed.
if pkgconf --exists yaml-0.1 libseccomp; then
    flags+=(--enable-vhost-user-vsock-daemon)
fi
# shellcheck disable=SC2206  # the user's flags are words
flags+=(${QEMU_CONFIGURE:-})

# configure_qemu SOURCE FOLDER: have SOURCE configured in FOLDER, anew if that
# was with other flags.  A source without the patches does not know ours.
configure_qemu() {
    local source=$1 folder=$2 flag known=()
    for flag in "${flags[@]}"; do
        case $flag in
        *-vsock-emulator|*-vhost-user-vsock-daemon)
            grep -q -e "$flag)" "$source/scripts/meson-buildoptions.sh" ||
                continue ;;
        esac
        known+=("$flag")
    done
    if [ -e "$folder/build.ninja" ] &&
       [ "$(cat "$folder/.flags" 2>/dev/null)" = "${known[*]}" ]; then
        return
    fi
    say "Configuring QEMU $series (about 20 s)"
    mkdir -p "$folder"
    rm -f "$folder/.flags"
    (cd "$folder" && step configure-qemu "Configuring QEMU" \
        "A missing library? The end of $(nice_path "$folder")/config.log tells more." \
        "$source/configure" "${known[@]}")
    echo "${known[*]}" >"$folder/.flags"
}

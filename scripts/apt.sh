# SPDX-License-Identifier: GPL-2.0-or-later
#
# An apt of our own in the build folder: it downloads source and binary
# packages from the archives this machine uses, needs no root, and leaves the
# machine's apt alone.  Sourced after common.sh.

running_codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
downloads=$build/downloads

# apt_use CODENAME [ARCH]: set up apt_options for that release; with ARCH, for
# another architecture than this machine's, and without the suites of updates:
# mirrors keep those of rare architectures less well.
apt_use() {
    local dir=$build/apt/$1${2:+-$2}
    mkdir -p "$dir"/lists/partial "$dir"/archives/partial "$dir"/sources \
             "$downloads"
    /usr/bin/python3 "$top/scripts/apt-sources" "$1" |
        awk -v RS= -v ORS='\n\n' -v foreign="${2:-}" \
            '!foreign || !/\nSuites: [^\n]*-/' \
            >"$dir/sources/debian.sources.new"
    mv "$dir/sources/debian.sources.new" "$dir/sources/debian.sources"
    apt_dir=$dir
    apt_options=(
        -o Dir::Etc::SourceList=/dev/null
        -o Dir::Etc::SourceParts="$dir/sources"
        -o Dir::State::Lists="$dir/lists"
        -o Dir::Cache="$dir"
        -o Dir::Cache::archives="$dir/archives"
        -o Dir::Cache::pkgcache=
        -o Dir::Cache::srcpkgcache=
        -o APT::Sandbox::User=root
        -o Acquire::Retries=5
        -o Acquire::Languages=none
        -o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false
        -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
    )
    if [ -n "${2:-}" ]; then
        apt_options+=(-o APT::Architecture="$2" -o APT::Architectures="$2")
    fi
}

# Get the package lists, unless that was done within the last day.
apt_update() {
    if [ -n "$(find "$apt_dir/updated" -mmin -1440 2>/dev/null)" ]; then
        return
    fi
    say "Reading Debian's package lists (into $(nice_path "$apt_dir"))"
    step apt-update "Reading the package lists" \
        "Is the network up? Does 'apt-get update' work as root?" \
        apt-get "${apt_options[@]}" update
    touch "$apt_dir/updated"
}

# apt_download PACKAGE: have PACKAGE's .deb in the downloads folder, and set
# apt_deb to it.
apt_download() {
    local found
    found=$(find "$downloads" -maxdepth 1 -name "$1_*.deb" | sort -V | tail -n1)
    if [ -z "$found" ]; then
        apt_update
        mkdir -p "$build/logs"
        (cd "$downloads" && step "download-$1" "Downloading package $1" \
            "Is the network up? A list that is too old: rm $apt_dir/updated" \
            apt-get "${apt_options[@]}" download "$1")
        found=$(find "$downloads" -maxdepth 1 -name "$1_*.deb" |
                sort -V | tail -n1)
    fi
    apt_deb=$found
}

# apt_libraries PACKAGE: print the library packages that PACKAGE needs, with
# those which they need, as if nothing were installed.
apt_libraries() {
    local list=$downloads/$1.libraries queue=("$1") seen=" $1 " next
    if [ ! -s "$list" ]; then
        apt_update
        while [ ${#queue[@]} -gt 0 ]; do
            next=${queue[0]}
            queue=("${queue[@]:1}")
            for next in $(apt-cache "${apt_options[@]}" depends --important \
                              "$next" | awk '/^ *Depends: / { print $2 }'); do
                case $next in
                lib*|zlib1g) ;;
                *) continue ;;
                esac
                if [[ $seen != *" $next "* ]]; then
                    seen+="$next "
                    queue+=("$next")
                fi
            done
        done
        printf '%s\n' $seen | tail -n +2 >"$list.new"
        mv "$list.new" "$list"
    fi
    cat "$list"
}

# newest_dsc SERIES: print the newest source package of QEMU that is in the
# downloads folder, complete or not; dpkg-source checks that.
newest_dsc() {
    find "$downloads" -maxdepth 1 -name "qemu_$1[+.]*.dsc" | sort -V |
        tail -n1
}

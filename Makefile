# SPDX-License-Identifier: GPL-2.0-or-later
#
# The door to everything; the work is done by scripts/.  `make help` tells.

BUILD ?= build

# Variables that the scripts read; give them on the command line.
export QEMU QEMU_CONFIGURE BUILD JOBS KVM GUEST_CID SUITES CHECK_JOBS V \
       AUTHOR

.PHONY: all help qemu lib tools daemon run check fuzz install clean distclean \
        patches check-series

all: lib daemon qemu

help:
	@echo 'make             everything: QEMU with the device, the library, the tools'
	@echo 'make run         boot a Linux guest with the device and show it at work'
	@echo 'make check       run every test there is'
	@echo 'make fuzz        feed the fuzz targets, a minute each, or SECONDS=3600 TARGETS="a b"'
	@echo 'make lib         the emulator library and nc-vsock alone, in seconds'
	@echo 'make daemon      vhost-user-vsock, for QEMU as it is and other VMMs'
	@echo 'make qemu        QEMU with the device, and the replay suite'
	@echo 'make install     install library, nc-vsock and daemon (PREFIX=, DESTDIR=)'
	@echo 'make patches     the quilt series for Debian'"'"'s QEMU: docs/packaging.rst'
	@echo 'make check-series  apply it to the pristine source, build that and test it'
	@echo 'make clean       delete what was compiled; downloads stay'
	@echo 'make distclean   delete the whole build folder'
	@echo
	@echo 'Programs are linked into $(BUILD)/bin.  Variables:'
	@echo '  KVM=1             make run: the guest runs under KVM (needs /dev/kvm)'
	@echo '  GUEST_CID=3       make run: the guest'"'"'s CID'
	@echo '  SUITES="a b"      make check: only these suites; SUITES=list names them'
	@echo '  CHECK_JOBS=1      make check: one suite after the other, not two at a time'
	@echo '  V=1               make check: print every test, not only each suite'
	@echo '  QEMU=7.2          the series of QEMU; default: the running Debian'"'"'s'
	@echo '  QEMU_CONFIGURE=   more flags for QEMU'"'"'s configure'
	@echo '  AUTHOR="A <a@b>"  make patches: who is named in their headers'
	@echo '  BUILD=build       the build folder'
	@echo '  JOBS=N            compilers at a time; default: one per processor'

qemu:
	@scripts/build-qemu

lib tools:
	@scripts/build-lib

daemon:
	@scripts/build-daemon

run:
	@scripts/run

check:
	@scripts/check

fuzz: qemu daemon
	@scripts/install-packages check
	@tests/fuzz/run $(if $(SECONDS),--seconds $(SECONDS)) $(TARGETS)

patches:
	@scripts/make-patches

check-series:
	@scripts/check-series

install: daemon
	@PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' scripts/install-lib

clean:
	@scripts/clean

distclean:
	@scripts/clean --all

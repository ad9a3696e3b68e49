#!/bin/sh
# Installs what labctl needs on Debian or Ubuntu, after saying what that is.
# Elsewhere it says what to install by hand. With the argument "test" it adds
# what the tests need. Run again it does nothing.
set -eu

# Vagrant with its libvirt provider; the hypervisor of the embedded engine;
# the tools that make its box; and what the scenarios use on this machine.
packages="vagrant vagrant-libvirt
	qemu-system-x86 qemu-utils libvirt-daemon-system libvirt-clients libvirt-daemon-driver-qemu dnsmasq-base iptables iproute2
	mmdebstrap debian-archive-keyring extlinux fdisk e2fsprogs
	openssh-client rsync curl ca-certificates"
if [ "${1-}" = test ]; then
	packages="$packages shellcheck chromium ansible-core"
fi

if command -v VBoxManage >/dev/null && command -v vagrant >/dev/null && [ "${1-}" != test ]; then
	echo "VirtualBox and Vagrant are installed: nothing else is needed."
	exit 0
fi

if ! command -v apt-get >/dev/null; then
	cat >&2 <<-'TEXT'
		This machine is neither Debian nor Ubuntu, so install by hand, then run this again:
		  - Vagrant 2.3 or newer
		  - VirtualBox 6.1 or newer; or, on Linux, libvirt and QEMU with the Vagrant plugin vagrant-libvirt
		  - curl, which scenario 4-1 uses
		README.md, Requirements, has the details.
	TEXT
	exit 1
fi

missing=""
for p in $packages; do
	[ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$p" 2>/dev/null)" = "ii " ] || missing="$missing $p"
done
if [ -z "$missing" ]; then
	exit 0
fi

sudo=""
if [ "$(id -u)" -ne 0 ]; then
	if ! command -v sudo >/dev/null; then
		echo "error: not root, and sudo is not installed; as root run: apt-get install --no-install-recommends$missing" >&2
		exit 1
	fi
	sudo=sudo
fi
echo "labctl needs these packages, which are installed now:"
echo " $missing"
# The lists may be missing or too old to find the packages.
$sudo apt-get update -q
# shellcheck disable=SC2086 # the list is meant to be split
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing </dev/null

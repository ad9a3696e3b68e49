#!/bin/sh
# Builds box.img in the folder $1 and packs it as box.box. Runs as root in
# mount and process namespaces of its own, so that nothing stays mounted or
# running when it ends, however it ends.
#
#   $1 folder with packages.txt, vagrant.pub, sources.list, apt.conf, image/
#      and scripts/     $2 release     $3 size of the disk in GiB
set -eu
work=$1
release=$2
size=$3
export work # for the hooks
root=$work/root
raw=$work/disk.raw
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
umask 022

progress() { echo "progress: $*"; }

packages=$(sed -e 's/#.*//' "$work/packages.txt" | tr -s ' \n' ',')

progress "install $release and its kernel"
# The hooks are for mmdebstrap's shell to expand.
# shellcheck disable=SC2016
set -- --mode=root --format=directory --variant=minbase \
	--aptopt="$work/apt.conf" \
	--dpkgopt="$work/image/etc/dpkg/dpkg.cfg.d/labctl" \
	--include="$packages" \
	--essential-hook='cp -R "$work/image/." "$1"' \
	--customize-hook='sh "$work/scripts/customize.sh" "$1" "$work/vagrant.pub"'
mmdebstrap "$@" "$release" "$root" "$work/sources.list"
# They hold how this host reaches its mirror: not the node's business.
rm -f "$root/etc/apt/apt.conf.d/99mmdebstrap" "$root/etc/dpkg/dpkg.cfg.d/99mmdebstrap"

progress "make the disk"
# One bootable partition from 1 MiB to the end.
offset=$((1024 * 1024))
truncate -s "${size}G" "$raw"
echo 'start=2048, type=83, bootable' | sfdisk --quiet --label dos "$raw"
# extlinux reads no 64-bit ext4. The inode tables are written now (zeros take
# no room), or the kernel would do it behind the first start of each node.
mke2fs -q -t ext4 -L labctl-root -m 1 -i 32768 -O ^64bit \
	-E "offset=$offset,lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0" \
	-d "$root" "$raw" "$((size * 1024 * 1024 - 1024))k"
dd if=/usr/lib/EXTLINUX/mbr.bin of="$raw" bs=440 count=1 conv=notrunc status=none
mkdir -p "$work/mnt"
mount -o "loop,offset=$offset" "$raw" "$work/mnt"
extlinux --install "$work/mnt/boot/extlinux"
umount "$work/mnt"

progress "compress the disk"
qemu-img convert -c -O qcow2 -o compression_type=zstd -m 16 -W "$raw" "$work/box.img"

progress "pack the box"
printf '{"provider":"libvirt","format":"qcow2","virtual_size":%s}\n' "$size" >"$work/metadata.json"
tar -C "$work" -cf "$work/box.box" metadata.json box.img

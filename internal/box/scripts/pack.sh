#!/bin/sh
# Packs the system in the folder $2 as the box $1/box.box, with a disk of $3
# GiB. Runs as root in a mount namespace of its own.
set -eu
work=$1
root=$2
size=$3
raw=$work/disk.raw

echo "progress: make the disk"
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

exec sh -eu "$work/scripts/seal.sh" "$work" "$size"

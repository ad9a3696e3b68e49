#!/bin/sh
# Makes the box $1/box.box of the finished disk $1/disk.raw of $2 GiB.
set -eu
work=$1
size=$2

echo "progress: compress the disk"
qemu-img convert -c -O qcow2 -o compression_type=zstd -m 16 -W "$work/disk.raw" "$work/box.img"

echo "progress: pack the box"
printf '{"provider":"libvirt","format":"qcow2","virtual_size":%s}\n' "$size" >"$work/metadata.json"
tar -C "$work" -cf "$work/box.box" metadata.json box.img

#!/bin/sh
# Makes the box $1/box.box of the disk of a finished node, $1/node.raw. Runs as
# root in mount and process namespaces of its own, as build.sh does.
#
#   $1 folder with node.raw, vagrant.pub, image/, scripts/ and bake/
#   $2 size of the disk in GiB
set -eu
work=$1
size=$2
root=$work/node
export LC_ALL=C.UTF-8
umask 022

echo "progress: open the node's disk"
mkdir -p "$root"
# The node ran when its disk was copied: mounting replays the journal.
mount -o "loop,offset=$((1024 * 1024))" "$work/node.raw" "$root"

echo "progress: remove what is the node's own"
sh -eu "$work/bake/clean.sh" "$root" "$work"

# A new file system holds nothing of the old one's free space.
exec sh -eu "$work/scripts/pack.sh" "$work" "$root" "$size"

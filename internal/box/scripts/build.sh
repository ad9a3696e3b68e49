#!/bin/sh
# Builds a system in the folder $1 and packs it as box.box. Runs as root in
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

exec sh -eu "$work/scripts/pack.sh" "$work" "$root" "$size"

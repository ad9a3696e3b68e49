#!/bin/sh
# Installs packages in the plain box $1/plain.box and makes the box $1/box.box
# of it. Runs as root in mount and process namespaces of its own, as build.sh
# does, and at the speed of the host's own processor.
#
#   $1 folder with plain.box, debs/, files/, finish.sh, scripts/ and bake/
#   $2 size of the disk in GiB
set -eu
work=$1
size=$2
root=$work/node
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
umask 022

echo "progress: open the plain box"
mkdir -p "$root"
tar -C "$work" -xf "$work/plain.box" box.img
qemu-img convert -O raw -m 16 -W "$work/box.img" "$work/disk.raw"
rm "$work/box.img"
mount -o "loop,offset=$((1024 * 1024))" "$work/disk.raw" "$root"

echo "progress: install the packages"
# Settings come first: the first start on the node is the right one.
cp -R "$work/files/." "$root/"
mount --bind "$work/debs/" "$root/mnt"
# Nothing starts here, though what is to start with the node is enabled.
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 0755 "$root/usr/sbin/policy-rc.d"
installing() {
	SYSTEMD_OFFLINE=1 chroot "$root" dpkg --force-unsafe-io --force-confdef --force-confold "$@"
}
# As on a node, what the box has in this version or a newer one stays.
installing --skip-same-version --refuse-downgrade --unpack --recursive /mnt
installing --configure --pending
rm "$root/usr/sbin/policy-rc.d"
umount "$root/mnt"

echo "progress: prepare Docker"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t tmpfs run "$root/run"
mount --rbind /sys/fs/cgroup "$root/sys/fs/cgroup" || : # Docker alone needs it
chroot "$root" sh -eu -s <"$work/finish.sh"
umount -R "$root/sys" "$root/proc" "$root/run"

# shellcheck source=/dev/null
. "$work/scripts/unname.sh"
unname "$root"
umount "$root"

exec sh -eu "$work/scripts/seal.sh" "$work" "$size"

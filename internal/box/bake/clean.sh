#!/bin/sh
# Takes from the node in the folder $1 all that is its own or its lab's, and
# leaves Docker with its images. $2 is the work folder with the box's recipe.
set -eu
root=$1
work=$2

fail() {
	echo "E: $*" >&2
	exit 1
}
[ -d "$root/var/lib/docker/image" ] || fail "the disk has no Docker with an image in it"

# shellcheck source=/dev/null
. "$work/scripts/unname.sh"
unname "$root"

# Docker: images and their layers stay. All else is made anew at its start:
# the engine's id, the swarm with its keys, networks, volumes, build cache.
find "$root/var/lib/docker" -mindepth 1 -maxdepth 1 ! -name image ! -name overlay2 -exec rm -rf {} +
rm -rf "$root/etc/docker/key.json" \
	"$root/var/lib/containerd/io.containerd.grpc.v1.introspection" \
	"$root"/var/lib/containerd/io.containerd.runtime.* \
	"$root"/var/lib/containerd/tmpmounts

# The proxy's address may hold a password. Without the mark the next create
# looks again at what Docker is told, and sets that lab's own proxy.
if [ -e "$root/etc/docker/labctl-proxy.env" ]; then
	rm -f "$root/var/lib/labctl/docker.mark"
fi
rm -f "$root/etc/docker/labctl-proxy.env" "$root/etc/apt/apt.conf.d/80labctl-proxy" \
	"$root/etc/systemd/system/docker.service.d/labctl-proxy.conf"

# The lab: names, addresses, keys.
for file in etc/hostname etc/hosts; do
	cat "$work/image/$file" >"$root/$file"
done
rm -f "$root"/etc/systemd/network/*-labctl-*

# The users' folders as they were at first. The box's well-known key is the
# only one that can log in, until the next lab replaces it.
home=$root/home/vagrant
owner=$(stat -c %u:%g "$home") mode=$(stat -c %a "$home")
rm -rf "$home"
cp -a "$root/etc/skel" "$home"
install -d -m 0700 "$home/.ssh"
install -m 0600 "$work/vagrant.pub" "$home/.ssh/authorized_keys"
chown -R "$owner" "$home"
chmod "$mode" "$home"
find "$root/root" -mindepth 1 ! -name .bashrc ! -name .profile -delete

# Traces: logs, histories, what was temporary.
rm -rf "$root"/var/log/journal/* "$root"/var/lib/systemd/timers \
	"$root"/var/lib/systemd/timesync
for dir in tmp var/tmp var/crash var/lib/sudo var/spool/cron/crontabs; do
	[ ! -d "$root/$dir" ] || find "$root/$dir" -mindepth 1 -delete
done
find "$root/var/log" -type f -size +0 -exec truncate -s 0 {} +

# pack.sh writes the boot loader anew.
chattr -i "$root/boot/extlinux/ldlinux.sys" 2>/dev/null || :
rm -f "$root"/boot/extlinux/ldlinux.*

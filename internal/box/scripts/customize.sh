#!/bin/sh
# Runs as a hook of mmdebstrap when all packages are in: $1 is the root of
# the new system, $2 a file with the public key that may log in.
set -eu
root=$1
key=$2

chroot "$root" addgroup --system --quiet docker
chroot "$root" adduser --quiet --disabled-password --gecos '' vagrant
chroot "$root" adduser --quiet vagrant docker
install -d -m 0700 "$root/home/vagrant/.ssh"
install -m 0600 "$key" "$root/home/vagrant/.ssh/authorized_keys"
chroot "$root" chown -R vagrant:vagrant /home/vagrant/.ssh
chmod 0440 "$root/etc/sudoers.d/vagrant"

chroot "$root" systemctl --quiet enable systemd-networkd.service \
	labctl-hostkeys.service labctl-randmaps.service labctl-resolv.path
# Nothing that runs by itself and gets in the way of an exercise, or delays
# the start. AppArmor's own unit only loads profiles of programs that are
# not there; Docker loads its profile itself. A kernel module that is needed
# all the same, such as loop, is loaded when it is.
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
	e2scrub_all.timer e2scrub_reap.service fstrim.timer apparmor.service \
	getty@tty1.service systemd-pstore.service systemd-udev-settle.service \
	dev-hugepages.mount sys-kernel-debug.mount sys-kernel-tracing.mount \
	sys-fs-fuse-connections.mount sys-kernel-config.mount \
	proc-sys-fs-binfmt_misc.automount systemd-binfmt.service \
	systemd-repart.service modprobe@configfs.service modprobe@dm_mod.service \
	modprobe@drm.service modprobe@loop.service \
	systemd-network-generator.service systemd-sysusers.service \
	systemd-update-utmp.service systemd-update-utmp-runlevel.service; do
	ln -sf /dev/null "$root/etc/systemd/system/$unit"
done

# D-Bus and logind start when somebody asks for them: nobody does on most nodes.
rm -f "$root"/lib/systemd/system/multi-user.target.wants/dbus.service \
	"$root"/lib/systemd/system/multi-user.target.wants/systemd-logind.service

# What udev would look up for each device and each card that Docker makes: names
# and properties of hardware that no node has.
for rules in 60-autosuspend 60-drm 60-evdev 60-fido-id 60-infiniband 60-input-id \
	60-persistent-alsa 60-persistent-input 60-persistent-storage-tape \
	60-persistent-v4l 60-sensor 60-serial 64-btrfs 70-camera 70-joystick \
	70-memory 70-mouse 70-touchpad 70-uaccess 71-seat 73-seat-late \
	75-net-description 75-probe_mtd 78-sound-card 85-hwclock; do
	ln -sf /dev/null "$root/etc/udev/rules.d/$rules.rules"
done

# Generators run at every start and every time systemd reads its units again,
# which installing Docker has it do; without KVM each takes a quarter of a
# second. Those stay that a node can need: mounts of fstab, init scripts.
install -d "$root/etc/systemd/system-generators"
for generator in cryptsetup debug getty gpt-auto hibernate-resume integritysetup \
	rc-local run system-update veritysetup; do
	ln -sf /dev/null "$root/etc/systemd/system-generators/systemd-$generator-generator"
done

# No mail and no news at login.
sed -i -E '/pam_(motd|mail)\.so/d' "$root/etc/pam.d/sshd"
# An account without a password must still be open for keys.
chroot "$root" usermod -p '*' vagrant

# shellcheck source=/dev/null
. "${0%/*}/unname.sh"
unname "$root"

#!/bin/sh
# Makes a fresh VM a node of the lab, as far as that goes without Docker.
# Arguments: HOSTNAME USER [NAME=ADDRESS]...; an empty HOSTNAME leaves the name.
# Run again it changes nothing. lib.sh stands in front.
set -eu

name=$1
user=$2
shift 2

# Vagrant's own way to set a Debian hostname restarts the network, 30 s on a
# slow VM; the file and the kernel's name are all that is needed.
[ -z "$name" ] || echo "$name" | put /etc/hostname 0644
if [ -n "$name" ] && [ "$(hostname)" != "$name" ]; then
	hostname "$name"
	changed "hostname $name"
fi

{
	awk '/^# labctl: begin$/ { skip = 1 } !skip { print } /^# labctl: end$/ { skip = 0 }' /etc/hosts
	echo '# labctl: begin'
	for peer; do
		printf '%s\t%s\n' "${peer#*=}" "${peer%%=*}"
	done
	echo '# labctl: end'
} | put /etc/hosts 0644

# The group is made before Docker is: the connections that labctl opens after
# this script are members already, and docker.io keeps a group that exists.
if ! getent group docker >/dev/null; then
	groupadd --system docker
	changed "group docker"
fi
case " $(id -nG "$user") " in
*' docker '*) ;;
*)
	usermod -aG docker "$user"
	changed "$user in group docker"
	;;
esac

# overlay: images; br_netfilter, vxlan, ip_vs: Swarm's networks.
printf '%s\n' '# labctl' overlay br_netfilter vxlan ip_vs | put /etc/modules-load.d/labctl.conf 0644
for module in overlay br_netfilter vxlan ip_vs; do
	[ -d "/sys/module/$module" ] && continue
	why=$(modprobe "$module" 2>&1) ||
		fail "the kernel $(uname -r) cannot load the module $module, which Docker Swarm needs: $why"
done
# The last word, since it is compared with the time at which it arrives.
date -u '+::clock %s.%N'

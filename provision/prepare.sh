#!/bin/sh
# Makes a fresh VM a node of the lab, as far as that goes without Docker.
# Arguments: HOSTNAME USER ADDRESS/PREFIXLENGTH NETWORK/PREFIXLENGTH
# [NAME=ADDRESS]...; an empty HOSTNAME leaves the name, an empty ADDRESS the
# network.
# Run again it changes nothing. lib.sh stands in front.
set -eu

name=$1
user=$2
address=$3
network=$4
shift 4

# In labctl's own box, where Vagrant was told to leave that to labctl, the lab's
# network card gets its address.
if [ -n "$address" ]; then
	card=eth1 # Vagrant's first private network; eth0 is its own management network
	[ -e "/sys/class/net/$card" ] || fail "this VM has no network card $card for the lab's network"
	printf '[Match]\nName=%s\n\n[Network]\nAddress=%s\nLinkLocalAddressing=no\nIPv6AcceptRA=no\nIgnoreCarrierLoss=yes\n\n[Route]\nDestination=%s\nType=unreachable\nMetric=4000\n' "$card" "$address" "$network" |
		put "/etc/systemd/network/30-labctl-$card.network" 0644
	if ! ip -o -4 addr show dev "$card" scope global | grep -qF " $address "; then
		# As networkd will at the next boots: it starts D-Bus to be told now.
		[ ! -e "/proc/sys/net/ipv6/conf/$card" ] || echo 1 >"/proc/sys/net/ipv6/conf/$card/addr_gen_mode" # none
		ip link set "$card" up
		why=$(ip addr add "$address" brd + dev "$card" 2>&1) || fail "$card does not take the address $address: $why"
		# While the card is down, the engine must not look for the managers by way
		# of Vagrant's network: they would know it by an address of that one, and
		# go on with it when the card is back.
		ip route replace unreachable "$network" metric 4000
		changed "address $address"
	fi
fi

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

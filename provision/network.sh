#!/bin/sh
# Gives the lab's network card its address, where Vagrant was told to leave
# that to labctl. Argument: ADDRESS/PREFIXLENGTH. Run again it changes nothing.
# lib.sh stands in front.
set -eu

address=$1
card=eth1 # Vagrant's first private network; eth0 is its own management network

[ -e "/sys/class/net/$card" ] || fail "this VM has no network card $card for the lab's network"
printf '[Match]\nName=%s\n\n[Network]\nAddress=%s\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n' "$card" "$address" |
	put "/etc/systemd/network/30-labctl-$card.network" 0644
case " $(ip -o -4 addr show dev "$card" scope global | awk '{ print $4 }' | tr '\n' ' ') " in
*" $address "*) exit 0 ;;
esac
changed "address $address"
networkctl reload # which also sets up a card whose file is new
i=0
until ip -o -4 addr show dev "$card" | grep -qF " $address "; do
	i=$((i + 1))
	[ "$i" != 10 ] || networkctl reconfigure "$card" # whose address somebody has removed
	[ "$i" -le 100 ] || fail "$card did not get the address $address within 20 s"
	sleep 0.2
done

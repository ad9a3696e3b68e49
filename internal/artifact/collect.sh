#!/bin/sh
# collect.sh ITEM_SECONDS TOTAL_SECONDS
#
# Gathers what only the node's own system knows and writes it to standard
# output as one tar archive, so that it costs one round trip. An item that
# fails keeps its output and gets a line in missing.tsv: name, tab, reason.
# Each item has ITEM_SECONDS; after TOTAL_SECONDS no further one is begun, so
# that what there is arrives. What Docker knows is asked through its API.
set +e # an item that fails must not keep the others from being asked
set -u

# now sets $now, in seconds. A program takes a tenth of a second to start on an
# emulated node that is busy: what the shell can do itself, it does.
now() {
	read -r now _ </proc/uptime
	now=${now%%.*}
}

limit=$1
now
end=$((now + $2))

# Memory rather than disk: a full disk is one of the things to be found out.
dir=$(mktemp -d /dev/shm/labctl-collect.XXXXXX 2>/dev/null || mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 130' HUP INT TERM
cd "$dir" || exit 1
umask 077
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"

missing() { printf '%s\t%s\n' "$1" "$2" >>missing.tsv; }

# item NAME COMMAND...: standard error joins the output, except in JSON.
item() {
	name=$1
	shift
	now
	left=$((end - now))
	if [ "$left" -le 0 ]; then
		missing "$name" 'not begun: the time for this node was over'
		return 1
	fi
	[ "$left" -lt "$limit" ] || left=$limit
	code=0
	timeout -k 2 "$left" "$@" </dev/null >"$name" 2>.stderr || code=$?
	reason=
	if [ -s .stderr ]; then
		reason=$(head -n 1 .stderr | cut -c 1-300 | tr '\t' ' ')
		case $name in
		*.json) ;;
		*) cat .stderr >>"$name" ;;
		esac
	fi
	case $code in
	0) return 0 ;;
	124 | 137) missing "$name" "no answer within ${left}s" ;;
	127) missing "$name" "not there: $1" ;;
	*) missing "$name" "exit code $code${reason:+: $reason}" ;;
	esac
	[ -s "$name" ] || rm -f "$name"
	return "$code"
}

# within NAME SCRIPT NAMESPACE...: the same for SCRIPT in each of Docker's
# network namespaces that is there.
within() {
	name=$1
	shift
	# shellcheck disable=SC2016 # the inner shell's own variables
	item "$name" sh -c '
		script=$1
		shift
		code=0
		for ns; do
			# Docker leaves the names of former ones for a while.
			grep -q "^nsfs $ns " /proc/self/mounts || continue
			echo "# ${ns##*/}"
			nsenter --net="$ns" sh -c "$script" || code=$?
		done
		exit "$code"' sh "$@"
}

item uname.txt uname -a
item os-release.txt cat /etc/os-release
item clock.txt date -u +%Y-%m-%dT%H:%M:%S.%NZ
item timedatectl.txt timedatectl
item memory.txt free -m
item disk.txt df -h
item ip-addr.json ip -j addr
item ip-route.json ip -j route
item ip-neigh.json ip -j neigh
item sockets.txt ss -lntup
item iptables.txt iptables-save
if command -v nft >/dev/null; then item nft.txt nft list ruleset; fi
# Which tasks a published port and a service's address lead to.
within ipvs.txt 'if command -v ipvsadm; then ipvsadm -Ln; else cat /proc/net/ip_vs; fi' \
	/run/docker/netns/ingress_sbox /run/docker/netns/lb_*
# Behind which node each container of an overlay is.
within vxlan.txt 'ip -d link show type vxlan; bridge fdb show; ip neigh show' /run/docker/netns/1-*
item dmesg.txt dmesg
[ ! -f dmesg.txt ] || { tail -n 300 dmesg.txt >.tail && mv .tail dmesg.txt; }
item boot.txt systemd-analyze
item failed-units.txt systemctl --failed --no-pager --plain
item journal-docker.txt journalctl -u docker -u containerd -n 500 --no-pager -o short-iso
# shellcheck disable=SC2016 # dpkg-query's own variables
item packages.txt dpkg-query -W -f '${Package}\t${Version}\t${db:Status-Abbrev}\n'

rm -f .stderr
tar -cf - .

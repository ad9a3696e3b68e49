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
		missing "$name" 'not begun: the time was over'
		return 1
	fi
	[ "$left" -lt "$limit" ] || left=$limit
	code=0
	timeout -k 2 "$left" "$@" </dev/null >>"$name" 2>.stderr || code=$?
	if [ -s .asking ]; then # see look
		read -r name <.asking
		: >.asking
	fi
	reason=
	if [ -s .stderr ]; then
		# Cut to its length after secrets are out of it: half of one is not seen.
		reason=$(head -n 1 .stderr | cut -c 1-4000 | tr '\t' ' ')
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

# What is asked in a network namespace, whose name is $1. All of it is one item,
# since on an emulated node it is the start of programs that takes the time.
# What it is at stands in .asking.
# shellcheck disable=SC2016 # the inner shell's own variables
look='
	here=$1
	ask() {
		file=$1
		shift
		echo "$file" >.asking
		echo "# $here" >>"$file"
		"$@" >>"$file" 2>&1 || printf "%s\t%s: exit code %s\n" "$file" "$here" "$?" >>missing.tsv
	}
	printf "addr\nroute\n" >.batch
	ask namespaces.txt ip -o -batch .batch
	case $here in
	"the node itself" | 1-*) # behind which node each container of an overlay is
		printf "link show type vxlan\nneigh show\n" >.batch
		ask vxlan.txt ip -d -batch .batch
		ask vxlan.txt bridge fdb show
		;;
	esac
	case $here in
	"the node itself" | 1-* | ingress_sbox | lb_*) # to which tasks a port or an address leads
		if command -v ipvsadm >/dev/null; then
			ask ipvs.txt ipvsadm -Ln
		elif [ -e /proc/net/ip_vs ]; then
			ask ipvs.txt cat /proc/net/ip_vs
		else
			ask ipvs.txt :
		fi
		;;
	esac
	case $here in
	"the node itself" | ingress_sbox | lb_*) # and which connections are marked for that
		ask iptables.txt iptables-save
		;;
	esac
	: >.asking'

# namespaces looks at the node itself and at each of Docker's namespaces.
namespaces() {
	item namespaces.txt sh -c "$look" sh "the node itself" ||
		for name in vxlan.txt ipvs.txt iptables.txt; do
			[ -e "$name" ] || missing "$name" 'not begun: the time was over'
		done
	mounts=$(grep '^nsfs ' /proc/self/mounts)
	for ns in /run/docker/netns/*; do
		# Docker leaves the names of former ones for a while.
		case $mounts in
		*"nsfs $ns "*) item namespaces.txt nsenter --net="$ns" sh -c "$look" sh "${ns##*/}" ;;
		esac
	done
}

# there NAME FILE: keeps a file that not every node has. Reading it cannot
# hang, so that it needs no deadline and one program less.
there() {
	[ ! -f "$2" ] || cat "$2" >"$1" 2>/dev/null || missing "$1" "cannot read $2"
}

item uname.txt uname -a
there os-release.txt /etc/os-release
item clock.txt date -u +%Y-%m-%dT%H:%M:%S.%NZ
there memory.txt /proc/meminfo
item disk.txt df -h
item ip-addr.json ip -j addr
item ip-route.json ip -j route
item ip-neigh.json ip -j neigh
# With what was dropped, and the VXLAN's own settings.
item ip-link.json ip -j -s -d link
# shellcheck disable=SC2016 # the inner shell's own
item ip-route-all.txt sh -c 'printf "rule\nroute show table all\n" | ip -batch - && ip -6 route show table all'
item sockets.txt ss -lntup
if command -v nft >/dev/null; then item nft.txt nft list ruleset; fi
namespaces
item dmesg.txt dmesg
[ ! -f dmesg.txt ] || { tail -n 300 dmesg.txt >.tail && mv .tail dmesg.txt; }
item failed-units.txt systemctl --failed --no-pager --plain
item docker-unit.txt systemctl cat --no-pager docker containerd
there docker-daemon.json /etc/docker/daemon.json
there hosts.txt /etc/hosts
there resolv.conf.txt /etc/resolv.conf
item processes.txt ps -eww -o pid,ppid,stat,rss,etime,args
there modules.txt /proc/modules
item journal-docker.txt journalctl -u docker -u containerd -n 500 --no-pager -o short-iso
# shellcheck disable=SC2016 # dpkg-query's own variables
item packages.txt dpkg-query -W -f '${Package}\t${Version}\t${db:Status-Abbrev}\n'

rm -f .stderr .batch .asking
tar -cf - .

#!/bin/sh
# collect.sh ROLE ITEM_SECONDS TOTAL_SECONDS
#
# Gathers what a node can tell and writes it to standard output as one tar
# archive, so that it costs one round trip. An item that fails keeps its output
# and gets a line in missing.tsv: name, tab, reason. Each item has ITEM_SECONDS;
# after TOTAL_SECONDS no further one is begun, so that what there is arrives.
# ROLE is manager or worker; only a manager is asked about the swarm.
set +e # an item that fails must not keep the others from being asked
set -u

role=$1
limit=$2
end=$(($(date +%s) + $3))

# Memory rather than disk: a full disk is one of the things to be found out.
dir=$(mktemp -d /dev/shm/labctl-collect.XXXXXX 2>/dev/null || mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 130' HUP INT TERM
cd "$dir" || exit 1
umask 077
export LC_ALL=C

# Without sudo some items lack, but not all.
sudo=
[ "$(id -u)" = 0 ] || ! sudo -n true </dev/null 2>/dev/null || sudo='sudo -n'

missing() { printf '%s\t%s\n' "$1" "$2" >>missing.tsv; }

# item NAME COMMAND...: standard error joins the output, except in JSON.
item() {
	name=$1
	shift
	left=$((end - $(date +%s)))
	if [ "$left" -le 0 ]; then
		missing "$name" 'not begun: the time for this node was over'
		return 1
	fi
	[ "$left" -lt "$limit" ] || left=$limit
	code=0
	# timeout runs below sudo: it may not signal a process of root otherwise.
	# shellcheck disable=SC2086 # $sudo is two words or none
	$sudo timeout -k 2 "$left" "$@" </dev/null >"$name" 2>.stderr || code=$?
	reason=$(head -n 1 .stderr | cut -c 1-300 | tr '\t' ' ')
	case $name in
	*.json) ;;
	*) cat .stderr >>"$name" ;;
	esac
	rm -f .stderr
	case $code in
	0) return 0 ;;
	124 | 137) missing "$name" "no answer within ${left}s: $*" ;;
	127) missing "$name" "not there: $1" ;;
	*) missing "$name" "exit code $code: ${reason:-$*}" ;;
	esac
	[ -s "$name" ] || rm -f "$name"
	return "$code"
}

# column N FILE: that column of a table, 0 for the last one, without its head.
column() { [ -f "$2" ] && awk -v n="$1" 'NR > 1 && NR < 50 { print n ? $n : $NF }' "$2"; }

item uname.txt uname -a
item os-release.txt cat /etc/os-release
item clock.txt date -u +%Y-%m-%dT%H:%M:%S.%NZ
item memory.txt free -m
item disk.txt df -h
item ip-addr.json ip -j addr
item ip-route.json ip -j route
item ip-neigh.json ip -j neigh
item sockets.txt ss -lntup
item iptables.txt iptables-save
item dmesg.txt dmesg
[ ! -f dmesg.txt ] || { tail -n 300 dmesg.txt >.tail && mv .tail dmesg.txt; }
item boot.txt systemd-analyze
item failed-units.txt systemctl --failed --no-pager --plain
item journal-docker.txt journalctl -u docker -u containerd -n 500 --no-pager -o short-iso
# shellcheck disable=SC2016 # dpkg-query's own variables
item packages.txt dpkg-query -W -f '${Package}\t${Version}\t${db:Status-Abbrev}\n'

if item docker-version.txt docker version; then
	item docker-info.txt docker info
	item docker-ps.txt docker ps -a --no-trunc
	if item networks.txt docker network ls; then
		# shellcheck disable=SC2046 # one word an id
		item networks.json docker network inspect $(column 1 networks.txt)
	fi
	for c in $(column 0 docker-ps.txt); do
		item "container-$c.log" docker logs --timestamps --tail 500 "$c"
	done
	if [ "$role" = manager ]; then
		if item node-ls.txt docker node ls; then
			# shellcheck disable=SC2046
			item nodes.json docker node inspect $(column 1 node-ls.txt)
		fi
		item service-ls.txt docker service ls
		services=$(column 2 service-ls.txt)
		if [ -n "$services" ]; then
			# shellcheck disable=SC2086 # one word a service
			item service-ps.txt docker service ps --no-trunc $services
			# shellcheck disable=SC2086
			item services.json docker service inspect $services
		fi
		for s in $services; do
			item "service-$s.log" docker service logs --timestamps --no-trunc --tail 500 "$s"
		done
	fi
else
	missing docker 'docker version failed, so docker was asked nothing else'
fi

tar -cf - .

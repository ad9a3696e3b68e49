#!/bin/sh
# What the scripts of this folder share. labctl puts this file in front of
# each of them, so that every script arrives on a node as one text.
#
# Words to labctl are lines of their own: "::progress TEXT" and
# "::changed TEXT" on standard output, "labctl: REASON" on standard error
# before a failing exit.
set -eu
export LC_ALL=C

progress() { printf '::progress %s\n' "$*"; }
changed() { printf '::changed %s\n' "$*"; }
fail() {
	printf 'labctl: %s\n' "$*" >&2
	exit 1
}

# now prints seconds that only ever grow: the wall clock of a VM may jump.
now() { cut -d. -f1 /proc/uptime; }

# put FILE MODE: makes FILE hold what standard input says, through a temporary
# name so that no half-written file is ever read; MODE is 0644 or 0600. Sets
# put_new to 1 if FILE was not so before, else to 0; at the end of a pipe that is
# lost, since the shell runs it as a process of its own. It starts few programs:
# each takes an emulated node a tenth of a second.
# shellcheck disable=SC2034 # the scripts behind this one read put_new
put() {
	put_umask=022
	[ "$2" = 0644 ] || put_umask=077
	{
		[ -d "${1%/*}" ] || mkdir -p "${1%/*}"
		put_left=0
		[ ! -e "$1.labctl-new" ] || put_left=1
		(umask "$put_umask" && exec cat >"$1.labctl-new")
	} || {
		rm -f "$1.labctl-new"
		# shellcheck disable=SC2046 # two words
		set -- "$1" $(df -Pm "${1%/*}" | awk 'NR == 2 { print $4, $6 }')
		fail "cannot write $1: $2 MiB are free on $3"
	}
	[ "$put_left" = 0 ] || chmod "$2" "$1.labctl-new"
	put_new=1
	if [ -e "$1" ] && cmp -s "$1" "$1.labctl-new" && [ "$(stat -c %a "$1")" = "${2#0}" ]; then
		rm "$1.labctl-new"
		put_new=0
		return
	fi
	mv "$1.labctl-new" "$1"
	changed "$1"
}

# lock_holder FILE...: prints "PID COMMAND" of the process that holds a lock
# on one of the files. /proc/locks is read since fuser and lslocks are not on
# every node; it names inodes only, so the process must have the file open too.
lock_holder() {
	for lock_file; do
		[ -e "$lock_file" ] || continue
		inode=$(stat -c %i "$lock_file")
		# shellcheck disable=SC2013 # words are wanted: process ids
		for pid in $(awk -v i=":$inode\$" '$2 != "->" && $6 ~ i { print $5 }' /proc/locks); do
			for fd in "/proc/$pid/fd/"*; do
				[ "$(readlink "$fd" || :)" = "$lock_file" ] || continue
				printf '%s %s\n' "$pid" "$(cat "/proc/$pid/comm" || echo '?')"
				return 0
			done
		done
	done 2>/dev/null
	return 1
}

# wait_dpkg SECONDS: waits until nobody holds a lock of dpkg or apt. The locks
# are never removed: their holder is at work on the package database.
wait_dpkg() {
	wait_until=$(($(now) + $1))
	wait_said=
	while holder=$(lock_holder /var/lib/dpkg/lock-frontend /var/lib/dpkg/lock \
		/var/lib/apt/lists/lock /var/cache/apt/archives/lock); do
		if [ "$(now)" -ge "$wait_until" ]; then
			fail "the package database is still locked by process $holder after $1 s; wait for it to end, then run the same command again"
		fi
		if [ "$wait_said" != "$holder" ]; then
			progress "waiting for the package database, locked by process $holder"
			wait_said=$holder
		fi
		sleep 1
	done
}

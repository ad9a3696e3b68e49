#!/bin/sh
# The programs of a make-believe node, all in one: its name in the node's bin
# folder says which one is wanted. $NODE is the node's folder, which stands for
# "/" to the scripts of provision/: the shell below rewrites the paths in them,
# so that the real scripts run, and nothing of this machine is touched.
set -eu

# inside rewrites the paths of a script to lie within $NODE.
inside() {
	sed -E "s#(^|[^A-Za-z0-9_.})/-])/(etc|var|run|sys|bin|usr|lib|dev/shm|proc/(sys|loadavg|pressure|meminfo|cpuinfo|mounts|\\[0-9]))(/|[^A-Za-z0-9_]|\$)#\\1$NODE/\\2\\4#g"
}

shell() {
	options=
	while [ $# -gt 0 ]; do
		case $1 in
		-*c)
			text=$(printf '%s\n' "$2" | inside)
			flags=$1
			shift 2
			# shellcheck disable=SC2086 # options are words
			exec /bin/sh $options "$flags" "$text" "$@"
			;;
		-s)
			# shellcheck disable=SC2086
			inside | /bin/sh $options "$@"
			exit
			;;
		-*)
			options="$options $1"
			shift
			;;
		*)
			inside <"$1" >"$1.inside"
			file=$1.inside
			shift
			# shellcheck disable=SC2086
			exec /bin/sh $options "$file" "$@"
			;;
		esac
	done
	# shellcheck disable=SC2086
	inside | /bin/sh $options
}

docker() {
	[ -e "$NODE/dockerd" ] || {
		echo 'Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?' >&2
		exit 1
	}
	case "$1 ${2-}" in
	'version --format') echo 20.10.24 ;;
	'image inspect')
		[ -e "$NODE/image" ] || exit 1
		cat "$NODE/image"
		;;
	'load -q')
		tar -xOf "$4" manifest.json | sed 's/.*"Config":"\([0-9a-f]*\)\.json".*/sha256:\1/' >"$NODE/image"
		;;
	'info --format') cat "$NODE/swarm" 2>/dev/null || echo 'inactive ' ;;
	'ps -aq' | 'network ls' | 'volume ls') cat "$NODE/${1#-}-there" 2>/dev/null || : ;;
	'image ls') [ ! -e "$NODE/image" ] || echo toolbox ;;
	'image rm') rm "$NODE/image" ;;
	'run --rm')
		[ -e "$NODE/packages/apparmor" ] || {
			echo 'docker: Error response from daemon: AppArmor enabled on system but the docker-default profile could not be loaded.' >&2
			exit 125
		}
		echo ok
		;;
	*)
		echo "docker: '$1' is not a docker command." >&2
		exit 1
		;;
	esac
}

apt_get() {
	while [ $# -gt 0 ]; do
		case $1 in
		-o) shift ;;
		install)
			if [ -e "$NODE/apt-fails" ]; then
				echo 'E: Unable to locate package docker.io' >&2
				exit 100
			fi
			# What would ask a question: nobody is there to answer.
			{
				echo "frontend ${DEBIAN_FRONTEND-} needrestart ${NEEDRESTART_SUSPEND-} ${NEEDRESTART_MODE-}"
				echo "input: $(cat)"
			} >"$NODE/apt-asked"
			for word; do
				case $word in
				-* | install) ;;
				apparmor) [ -e "$NODE/no-apparmor" ] || : >"$NODE/packages/$word" ;;
				*)
					: >"$NODE/packages/$word"
					[ "$word" != docker.io ] || ln -sf node.sh "$NODE/bin/dockerd"
					;;
				esac
			done
			return
			;;
		esac
		shift
	done
}

case ${0##*/} in
sh) shell "$@" ;;
sudo)
	shift # -n
	exec "$@"
	;;
docker) docker "$@" ;;
systemctl)
	case "$*" in
	'is-active --quiet docker') [ -e "$NODE/dockerd" ] ;;
	'is-active docker') if [ -e "$NODE/dockerd" ]; then echo active; else echo inactive; fi ;;
	'start docker' | 'restart docker') [ ! -e "$NODE/packages/docker.io" ] || : >"$NODE/dockerd" ;;
	esac
	;;
apt-get) apt_get "$@" ;;
apt-cache) exit 100 ;;
dpkg)
	case $1 in
	--print-architecture) echo amd64 ;;
	--purge)
		shift
		for package; do rm "$NODE/packages/$package"; done
		rm "$NODE/dockerd" "$NODE/bin/dockerd"
		;;
	esac
	;;
dpkg-query)
	if [ -n "${4-}" ]; then
		[ ! -e "$NODE/packages/$4" ] || printf installed
	else
		for package in "$NODE"/packages/*; do
			[ ! -e "$package" ] || echo "installed ${package##*/} 1.0-1"
		done
	fi
	;;
busybox)
	case $1 in
	--list) echo '[ awk cat cut date echo env grep head hostname httpd id ip ls nc nslookup ping ps sed sh sleep tail timeout wget' | tr ' ' '\n' ;;
	sh)
		shift
		exec /bin/sh "$@"
		;;
	esac
	;;
hostname)
	[ $# -eq 0 ] || echo "$1" >"$NODE/hostname"
	cat "$NODE/hostname"
	;;
getent) [ -e "$NODE/group" ] ;;
groupadd) : >"$NODE/group" ;;
usermod) : >"$NODE/member" ;;
id)
	case $1 in
	-u) echo 0 ;;
	*) if [ -e "$NODE/member" ]; then echo 'vagrant docker'; else echo vagrant; fi ;;
	esac
	;;
uname) echo 6.1.0-fake ;;
df)
	[ ! -e "$NODE/disk" ] || {
		echo 'Filesystem 1024-blocks Used Available Capacity Mounted on'
		for word; do
			case $word in /*) echo "root 4000000 0 $(cat "$NODE/disk") 100% /" ;; esac
		done
		exit 0
	}
	exec /bin/df "$@"
	;;
date)
	case "$*" in
	*-s*)
		: >"$NODE/clock-set"
		rm -f "$NODE/clock"
		;;
	*)
		[ ! -e "$NODE/clock" ] || set -- -d "$(cat "$NODE/clock")" "$@"
		exec /bin/date "$@"
		;;
	esac
	;;
*)
	# diagnose takes a node that tells no interface for one that is mute.
	[ "${0##*/} $*" != 'ip -j addr show' ] || {
		echo '[]'
		exit
	}
	echo "${0##*/}: not on this node" >&2
	exit 127
	;;
esac

#!/bin/sh
# Installs and configures Docker on a node, and ends with a container that
# really ran. Argument: the folder that labctl sent, which holds
#   env            settings as shell assignments, proxy password included
#   daemon.json    what /etc/docker/daemon.json shall say
#   containerd.toml  and /etc/containerd/config.toml, if there is none
#   toolbox.sh     makes the scenario image
#   debs/          packages and SHA256SUMS, with the source "bundle" only
# Every part looks first and acts only if it must. lib.sh stands in front.
set -eu

dir=$1
SOURCE='' THEIRS='' VERSION='' PROXY='' NO_PROXY='' MIRROR='' MARK='' LOCK_WAIT=180 START_WAIT=120
# shellcheck source=/dev/null
. "$dir/env"

# Nothing may ask, and nothing may restart services behind our back.
export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true
export NEEDRESTART_SUSPEND=1 NEEDRESTART_MODE=l UCF_FORCE_CONFFOLD=1 APT_LISTCHANGES_FRONTEND=none
if [ -n "$PROXY" ]; then
	export http_proxy="$PROXY" https_proxy="$PROXY" no_proxy="$NO_PROXY"
fi

# An install that lost its connection may still be at work.
exec 9>/run/labctl-install.lock
flock -w "$LOCK_WAIT" 9 || fail "another labctl still installs Docker on this node after $LOCK_WAIT s"

# dpkg_run ARGS...: dpkg, as soon as nobody else uses the package database.
dpkg_run() {
	dpkg_tries=0
	while :; do
		wait_dpkg "$LOCK_WAIT"
		if dpkg --force-unsafe-io --force-confdef --force-confold "$@" >"$dir/dpkg.log" 2>&1 9>&-; then
			return 0
		fi
		# Somebody may take the lock between our look and dpkg's.
		dpkg_tries=$((dpkg_tries + 1))
		grep -q 'lock was locked by another process' "$dir/dpkg.log" && [ "$dpkg_tries" -lt 20 ] && continue
		tail -n 30 "$dir/dpkg.log" >&2
		fail "dpkg $1 failed: $(grep -m 1 -E '^(dpkg: )?error|dependency problems|No space left' "$dir/dpkg.log" || tail -n 1 "$dir/dpkg.log")"
	done
}

# apt_run ARGS...: apt-get, likewise.
apt_run() {
	wait_dpkg "$LOCK_WAIT"
	if ! apt-get -o "DPkg::Lock::Timeout=$LOCK_WAIT" -o DPkg::Options::=--force-unsafe-io \
		-o DPkg::Options::=--force-confdef -o DPkg::Options::=--force-confold \
		-o Acquire::Retries=3 -y "$@" >"$dir/apt.log" 2>&1 9>&-; then
		tail -n 30 "$dir/apt.log" >&2
		# update succeeds without a mirror, and install then only says that
		# there is no such package.
		why=$(cat "$dir/update.log" "$dir/apt.log" 2>/dev/null | grep -m 1 '^W: Failed to fetch' ||
			grep -m 1 '^E: ' "$dir/apt.log" || tail -n 1 "$dir/apt.log")
		fail "apt-get $1: ${why#[EW]: }"
	fi
	[ "$1" != update ] || mv "$dir/apt.log" "$dir/update.log"
}

# installed NAME...: whether every one of the packages is installed whole.
installed() {
	for package; do
		# shellcheck disable=SC2016 # the braces are dpkg-query's
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || :)" = installed ] || return 1
	done
}

# mend: finishes what an interrupted install left half done.
mend() {
	[ -z "$(dpkg --audit)" ] || {
		progress "finishing an interrupted package installation"
		dpkg_run --configure -a
	}
}

from_bundle() {
	[ -d "$dir/debs" ] || {
		mend
		return 0
	}
	progress "checking the packages"
	(cd "$dir/debs" && sha256sum --quiet -c SHA256SUMS >"$dir/sums.log" 2>&1) ||
		fail "a package was damaged on its way: $(grep -m 1 ': FAILED' "$dir/sums.log" || cat "$dir/sums.log")"
	progress "unpacking the packages"
	dpkg_run --unpack "$dir"/debs/*.deb
	# Room for Docker's own files on a small disk.
	rm -f "$dir"/debs/*.deb
	# unsafe-io is quick, but until now a power cut would leave empty files
	# behind. probe.sh trusts what is configured and nothing before that.
	sync
	progress "configuring the packages"
	# Every package with a unit makes systemd read all its units again, and
	# starts its own. Offline, systemctl leaves both out; start does them once.
	[ "$was_active" = 1 ] || export SYSTEMD_OFFLINE=1
	dpkg_run --configure --pending
	unset SYSTEMD_OFFLINE
	changed "packages"
}

# from_dnf: Docker's own packages, as Docker documents it for Fedora, CentOS
# and RHEL, and what is made of them. No test covers it.
from_dnf() {
	ID=''
	# shellcheck source=/dev/null
	. /etc/os-release
	case $ID in
	fedora | rhel) repo=$ID ;;
	*) repo=centos ;;
	esac
	if command -v dockerd >/dev/null && [ -z "$VERSION" ]; then
		return 0
	fi
	curl -fsS --retry 3 -m 60 -o /etc/yum.repos.d/labctl-docker.repo "https://download.docker.com/linux/$repo/docker-ce.repo" 2>"$dir/curl.log" ||
		fail "cannot fetch Docker's package list: $(cat "$dir/curl.log")"
	progress "installing docker-ce"
	dnf -y install "docker-ce${VERSION:+-$VERSION*}" docker-ce-cli containerd.io iptables iproute kmod >"$dir/dnf.log" 2>&1 9>&- || {
		tail -n 30 "$dir/dnf.log" >&2
		fail "dnf: $(grep -m 1 -i error "$dir/dnf.log" || tail -n 1 "$dir/dnf.log")"
	}
	changed "packages"
}

# for_toolbox: all that a node needs which had Docker before labctl came.
for_toolbox() {
	if [ "$SOURCE" = bundle ]; then
		from_bundle
	elif [ ! -x /bin/busybox ] && command -v apt-get >/dev/null; then
		apt_run update
		apt_run install --no-install-recommends busybox-static
		changed "packages"
	fi
}

from_apt() {
	base="apparmor iptables busybox-static ca-certificates kmod iproute2"
	if [ "$SOURCE" = upstream ]; then
		docker_package=docker-ce
		want="docker-ce docker-ce-cli containerd.io $base"
	else
		docker_package=docker.io
		want="docker.io $base"
	fi
	# shellcheck disable=SC2086 # a list of package names
	if installed $want && [ "$VERSION" = '' ] && command -v docker >/dev/null; then
		return 0
	fi
	mend
	[ "$SOURCE" != upstream ] || upstream_source
	progress "reading the package lists"
	apt_run update
	# In Debian 13 the command line is a package of its own.
	if [ "$SOURCE" = apt ] && apt-cache show docker-cli >/dev/null 2>&1; then
		want="$want docker-cli"
	fi
	[ -z "$VERSION" ] || want="$(printf '%s' "$want" | sed "s/^$docker_package /$docker_package=$(version_glob) /")"
	progress "installing $docker_package"
	# shellcheck disable=SC2086 # a list of package names
	apt_run install --no-install-recommends --allow-downgrades $want
	changed "packages"
}

# version_glob: what apt is told for VERSION. Docker's own packages carry an
# epoch that nobody writes down ("5:24.0.7-1~debian.12~bookworm").
version_glob() {
	case $SOURCE:$VERSION in
	upstream:*:*) printf '%s*' "$VERSION" ;;
	upstream:*) printf '5:%s*' "$VERSION" ;;
	*) printf '%s*' "$VERSION" ;;
	esac
}

# upstream_source adds Docker's own apt repository, as Docker documents it for
# Debian and Ubuntu. No test covers it: the real-VM suite has no way out.
upstream_source() {
	ID='' VERSION_CODENAME=''
	# shellcheck source=/dev/null
	. /etc/os-release
	case $ID in
	debian | ubuntu) ;;
	*) fail "docker.source = \"upstream\" knows Debian and Ubuntu, and the node runs ${ID:-something else}" ;;
	esac
	installed ca-certificates curl || {
		apt_run update
		apt_run install --no-install-recommends ca-certificates curl
	}
	curl -fsS --retry 3 -m 60 -o "$dir/docker.asc" "https://download.docker.com/linux/$ID/gpg" 2>"$dir/curl.log" ||
		fail "cannot fetch the key of Docker's package repository: $(cat "$dir/curl.log")"
	put /etc/apt/keyrings/docker.asc 0644 <"$dir/docker.asc"
	put /etc/apt/sources.list.d/labctl-docker.sources 0644 <<-END
		Types: deb
		URIs: https://download.docker.com/linux/$ID
		Suites: $VERSION_CODENAME
		Components: stable
		Architectures: $(dpkg --print-architecture)
		Signed-By: /etc/apt/keyrings/docker.asc
	END
}

# configure writes dockerd's settings. It comes before the packages, so that
# the first start of dockerd is already the right one.
configure() {
	restart=0 put_new=0
	ours=/var/lib/labctl/daemon.json
	if [ ! -e /etc/docker/daemon.json ] || cmp -s /etc/docker/daemon.json "$ours" || cmp -s /etc/docker/daemon.json "$dir/daemon.json"; then
		put "$ours" 0644 <"$dir/daemon.json"
		put /etc/docker/daemon.json 0644 <"$dir/daemon.json"
		restart=$put_new
	elif [ -n "$MIRROR" ]; then
		fail "docker.registry-mirror is set, but the node has an /etc/docker/daemon.json that labctl did not write: remove the file or the setting"
	else
		progress "keeping the node's own /etc/docker/daemon.json"
	fi

	# Before the package is there, which then keeps it.
	[ -e /etc/containerd/config.toml ] || put /etc/containerd/config.toml 0644 <"$dir/containerd.toml"

	unit=/etc/systemd/system/docker.service.d/labctl-proxy.conf
	if [ -n "$PROXY" ]; then
		# The address may hold a password: the unit, which everybody may
		# read, only names the file that root may read.
		put /etc/docker/labctl-proxy.env 0600 <<-END
			HTTP_PROXY="$PROXY"
			HTTPS_PROXY="$PROXY"
			NO_PROXY="$NO_PROXY"
		END
		[ "$put_new" = 0 ] || restart=1
		put "$unit" 0644 <<-END
			[Service]
			EnvironmentFile=/etc/docker/labctl-proxy.env
		END
		[ "$put_new" = 0 ] || restart=1
		put /etc/apt/apt.conf.d/80labctl-proxy 0600 <<-END
			Acquire::http::Proxy "$PROXY";
			Acquire::https::Proxy "$PROXY";
		END
	elif [ -e "$unit" ]; then
		rm -f "$unit" /etc/docker/labctl-proxy.env /etc/apt/apt.conf.d/80labctl-proxy
		changed "no proxy"
		restart=1
	fi
}

# start brings dockerd up and waits until it answers.
start() {
	if [ "$was_active" = 1 ] && [ "$restart" = 1 ]; then
		progress "restarting dockerd with its new settings"
		systemctl daemon-reload
		systemctl restart docker || :
	elif [ "$was_active" = 1 ] && ! systemctl is-active --quiet docker; then
		progress "waiting for dockerd, which starts with the node"
		systemctl start docker || :
	elif ! systemctl is-active --quiet docker; then
		progress "starting dockerd"
		systemctl daemon-reload
		systemctl reset-failed docker docker.socket 2>/dev/null || :
		# enable reads all units again, also if it has nothing to do.
		systemctl is-enabled --quiet docker || systemctl enable --quiet docker 2>/dev/null || :
		systemctl start docker || :
	fi
	start_until=$(($(now) + START_WAIT))
	# systemd has it active when it answers. Docker's client, which can say why it
	# does not, takes an emulated node a second.
	until systemctl is-active --quiet docker || docker version --format '{{.Server.Version}}' >"$dir/docker.log" 2>&1; do
		if [ "$(now)" -ge "$start_until" ]; then
			{
				cat "$dir/docker.log"
				journalctl -u docker -u containerd -n 30 --no-pager -o cat || :
			} >&2
			fail "dockerd does not answer after $START_WAIT s"
		fi
		sleep 1
	done
	progress "dockerd answers"
}

image=labctl/toolbox:latest
# has_image ID: whether Docker has it. Its own list is looked at, since its client
# takes an emulated node a second to start.
has_image() { grep -qsF "\"$image\":\"$1\"" /var/lib/docker/image/*/repositories.json; }

# load_image FOLDER: gives Docker the image that toolbox.sh left there, or that
# a box with Docker in it has brought.
load_image() {
	id=$(cat "$1/toolbox.id")
	if ! has_image "$id"; then
		progress "loading the scenario image"
		docker load -q -i "$1/toolbox.tar" >"$dir/load.log" 2>&1 || {
			cat "$dir/load.log" >&2
			fail "docker load of $image failed: $(tail -n 1 "$dir/load.log")"
		}
		changed "image $image $id"
	fi
	rm -f "$1/toolbox.id" "$1/toolbox.tar"
}

# prove runs a container. docker.io without apparmor, or a kernel without
# overlayfs, shows only here. In the host's network, since for one of its own
# dockerd starts itself once more, seconds on an emulated node; an engine with
# user namespaces refuses it.
prove() {
	progress "running a container"
	said=''
	for network in host none; do
		[ "$said" = ok ] || said=$(docker run --rm --log-driver none --network "$network" labctl/toolbox:latest echo ok 2>"$dir/run.log" </dev/null) || :
	done
	if [ "$said" != ok ]; then
		cat "$dir/run.log" >&2
		fail "a first container did not run: $(tail -n 1 "$dir/run.log")"
	fi
}

command -v systemctl >/dev/null || fail "the node has no systemd, which starts Docker"
# In a box with Docker in it dockerd starts with the node, and may be at it.
was_active=0
case $(systemctl is-active docker 2>/dev/null || :) in
active | activating | reloading) was_active=1 ;;
esac
[ -n "$THEIRS" ] || configure
if [ -n "$THEIRS" ]; then
	restart=0
	for_toolbox
elif command -v dnf >/dev/null && ! command -v dpkg >/dev/null; then
	from_dnf
elif [ "$SOURCE" = bundle ]; then
	from_bundle
else
	from_apt
fi
start
toolbox=/var/lib/labctl
if ! [ -s "$toolbox/toolbox.id" ] || ! { [ -s "$toolbox/toolbox.tar" ] || has_image "$(cat "$toolbox/toolbox.id")"; }; then
	progress "making the scenario image"
	toolbox=$dir
	sh -eu "$dir/toolbox.sh" "$dir"
fi
load_image "$toolbox"
prove
printf '%s\n' "$MARK" | put /var/lib/labctl/docker.mark 0600

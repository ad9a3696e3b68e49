#!/bin/sh
# Takes off a machine that labctl did not make what labctl has put there,
# once the swarm is left. Arguments: DOCKER, "1" if labctl installed it, and
# PURGE, "1" if it shall go as well. lib.sh stands in front.
set -eu

docker=$1
purge=$2

for image in $(docker image ls -q --filter 'reference=labctl/*' 2>/dev/null); do
	docker image rm --force "$image" >/dev/null
	changed "image $image"
done
if grep -q '^# labctl: begin$' /etc/hosts; then
	hosts=$(awk '/^# labctl: begin$/ { skip = 1 } !skip { print } /^# labctl: end$/ { skip = 0 }' /etc/hosts)
	printf '%s\n' "$hosts" | put /etc/hosts 0644
fi
rm -f /etc/modules-load.d/labctl.conf
if [ "$docker" = 1 ] && [ "$purge" = 1 ]; then
	progress "removing Docker"
	wait_dpkg 180
	if command -v dpkg >/dev/null; then
		ours=''
		for package in docker.io docker-cli containerd runc tini docker-ce docker-ce-cli containerd.io docker-ce-rootless-extras docker-buildx-plugin docker-compose-plugin; do
			# shellcheck disable=SC2016 # the braces are dpkg-query's
			case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || :) in
			'' | not-installed) ;;
			*) ours="$ours $package" ;;
			esac
		done
		# shellcheck disable=SC2086 # a list of package names
		[ -z "$ours" ] || DEBIAN_FRONTEND=noninteractive dpkg --purge $ours >/dev/null
	else
		dnf -y remove docker-ce docker-ce-cli containerd.io >/dev/null
	fi
	for link in docker0 docker_gwbridge; do
		ip link delete "$link" 2>/dev/null || :
	done
	rm -rf /var/lib/docker /var/lib/containerd /etc/docker /etc/systemd/system/docker.service.d/labctl-proxy.conf \
		/etc/apt/apt.conf.d/80labctl-proxy /etc/apt/sources.list.d/labctl-docker.sources /etc/yum.repos.d/labctl-docker.repo
	! grep -qs '^# Written by labctl' /etc/containerd/config.toml || rm -f /etc/containerd/config.toml
	systemctl daemon-reload
	changed "Docker"
	docker=0
fi
rm -f /var/lib/labctl/docker.mark /var/lib/labctl/made.json
if [ "$docker" = 1 ]; then
	# Docker stays: that it is labctl's must not be forgotten.
	echo '{"docker":true}' >/var/lib/labctl/made.json
else
	rm -rf /var/lib/labctl
fi

#!/bin/sh
# Tells labctl what is on the node, and changes nothing.
# Argument: the fingerprint that install.sh leaves in its mark at its end.
# Prints "done" and the room alone if there is nothing to do: the mark is right,
# dockerd runs or is about to, and has the scenario image. lib.sh stands in front.
set -eu

# What is free where packages arrive, where they are unpacked to, and where
# Docker lives.
df -Pk /var/tmp /usr /var/lib | awk 'NR > 1 { print "room", NR == 2 ? "sent" : NR == 3 ? "programs" : "data", $4, $6 }'

# answers: whether dockerd has the image. Its own list is looked at first, since
# its client takes an emulated node a second to start.
answers() {
	case $(systemctl is-active docker) in
	active | activating) ;;
	*) return 1 ;;
	esac
	grep -qsF '"labctl/toolbox:latest":' /var/lib/docker/image/*/repositories.json ||
		docker image inspect labctl/toolbox:latest >/dev/null 2>&1
}
if [ "$(cat /var/lib/labctl/docker.mark 2>/dev/null || :)" = "$1" ] && answers; then
	echo "done"
	exit 0
fi

ID='' VERSION_CODENAME=''
# shellcheck source=/dev/null
[ ! -r /etc/os-release ] || . /etc/os-release
if ! command -v dpkg >/dev/null && command -v dnf >/dev/null; then
	printf 'distribution %s\nfamily rpm\narch %s\n' "$ID" "$(uname -m)"
	exit 0
fi
command -v dpkg >/dev/null || fail "the node runs ${ID:-an unknown system}, neither of Debian's nor of Red Hat's family: labctl cannot install Docker there"
echo "distribution $ID"
echo "release $VERSION_CODENAME"
echo "arch $(dpkg --print-architecture)"
# shellcheck disable=SC2016 # the braces are dpkg-query's
dpkg-query -W -f '${db:Status-Status} ${Package} ${Version}\n' | sed -n 's/^installed /package /p'

#!/bin/sh
# Makes the scenario image labctl/toolbox:latest from the node's own static
# busybox, as docker load takes it. Times, owners and order are fixed, so the
# image's ID depends on the busybox alone: nodes with the same package have
# the same image, and no registry is asked. Argument: a folder, in which it
# leaves toolbox.tar and toolbox.id. lib.sh stands in front.
set -eu

image=labctl/toolbox
work=$1/toolbox
busybox=/bin/busybox

if [ ! -x "$busybox" ] && ! command -v dpkg >/dev/null; then
	# Red Hat's family has no busybox; Docker's image of it is static, too.
	busybox=$1/busybox
	docker pull -q busybox:musl >"$1/pull.log" 2>&1 || fail "docker pull busybox:musl: $(tail -n 1 "$1/pull.log")"
	box=$(docker create busybox:musl)
	docker cp "$box:/bin/busybox" "$busybox" >/dev/null
	docker rm "$box" >/dev/null
fi
[ -x "$busybox" ] || fail "there is no $busybox on the node: the package busybox-static is not installed"
applets="awk basename cat cut date df dirname du echo env expr false find free grep gunzip gzip head
hostname httpd id ifconfig ip kill less ln ls md5sum mkdir mktemp mv nc netstat nslookup od ping ping6
printenv printf ps pwd readlink rm route sed seq sh sha256sum sleep sort stat stty tail tar tee telnet
test timeout top touch tr traceroute true uname uniq uptime vi watch wc wget which xargs yes"
have=" $($busybox --list | tr '\n' ' ') "

rm -rf "$work"
mkdir -p "$work/tree/bin" "$work/tree/etc" "$work/tree/root" "$work/tree/tmp" "$work/tree/www" "$work/image"
cp -L "$busybox" "$work/tree/bin/busybox"
# One shell that is busybox itself, and so has ln inside, in place of eighty
# programs: an emulated node takes seconds for them.
# shellcheck disable=SC2016 # the inner shell's own variables
"$busybox" sh -euc 'cd "$1"; for applet in $2; do case $3 in *" $applet "*) ln -s busybox "$applet" ;; esac; done' \
	sh "$work/tree/bin" "$applets" "$have"
# The scenarios cannot do without these.
for applet in sh httpd ping wget nslookup tail hostname ip cat sleep nc timeout; do
	[ -L "$work/tree/bin/$applet" ] || fail "$busybox has no $applet: the node needs the package busybox-static"
done
echo 'root:x:0:0:root:/root:/bin/sh' >"$work/tree/etc/passwd"
echo 'root:x:0:' >"$work/tree/etc/group"
echo "hosts: files dns" >"$work/tree/etc/nsswitch.conf"
echo "<!doctype html><title>$image</title><p>$image answers" >"$work/tree/www/index.html"

# The modes do not depend on the caller's umask.
find "$work/tree" -type d -exec chmod 0755 {} +
find "$work/tree" -type f -exec chmod 0644 {} +
chmod 0755 "$work/tree/bin/busybox"
chmod 1777 "$work/tree/tmp"
chmod 0700 "$work/tree/root"

pack() { tar --format=ustar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner "$@"; }
sum() { sha256sum "$1" | cut -d' ' -f1; }

pack -C "$work/tree" -cf "$work/image/layer.tar" .
layer=$(sum "$work/image/layer.tar")

arch=$(dpkg --print-architecture 2>/dev/null || uname -m)
case $arch in
x86_64) arch=amd64 ;;
aarch64) arch=arm64 ;;
armhf | armel) arch=arm ;;
i386) arch=386 ;;
esac
printf '{"architecture":"%s","config":{"Cmd":["httpd","-f","-vv","-p","80","-h","/www"],"Env":["PATH=/bin"],"ExposedPorts":{"80/tcp":{}},"WorkingDir":"/"},"created":"1970-01-01T00:00:00Z","history":[{"created":"1970-01-01T00:00:00Z","created_by":"labctl"}],"os":"linux","rootfs":{"diff_ids":["sha256:%s"],"type":"layers"}}' \
	"$arch" "$layer" >"$work/config"
config=$(sum "$work/config")
mv "$work/config" "$work/image/$config.json"

printf '[{"Config":"%s.json","Layers":["layer.tar"],"RepoTags":["%s:latest"]}]' "$config" "$image" >"$work/image/manifest.json"
pack -C "$work/image" -cf "$1/toolbox.tar" manifest.json "$config.json" layer.tar
rm -rf "$work"
echo "sha256:$config" >"$1/toolbox.id"

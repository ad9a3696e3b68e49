#!/bin/sh
# Vagrant's shell provisioner runs this as root on each node: Docker from the
# packages that the file provisioner has sent, and the image of the scenarios.
set -eu
export DEBIAN_FRONTEND=noninteractive

cat >>/etc/hosts <<-'HOSTS'
	192.168.33.11 docker1
	192.168.33.12 docker2
HOSTS
modprobe -a overlay br_netfilter vxlan ip_vs

dpkg --install /tmp/debs/*.deb
rm -r /tmp/debs
usermod -aG docker vagrant
timeout 300 sh -c 'until docker version >/dev/null 2>&1; do sleep 1; done'

tree=$(mktemp -d)
mkdir -p "$tree/bin" "$tree/etc" "$tree/root" "$tree/tmp" "$tree/www"
cp /bin/busybox "$tree/bin/busybox"
for applet in sh httpd ping wget nslookup tail hostname ip cat sleep nc; do
	ln -s busybox "$tree/bin/$applet"
done
echo 'labctl/toolbox answers' >"$tree/www/index.html"
tar -C "$tree" -c . | docker import \
	--change 'ENV PATH=/bin' \
	--change 'CMD ["httpd","-f","-vv","-p","80","-h","/www"]' \
	- labctl/toolbox
rm -r "$tree"

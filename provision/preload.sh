#!/bin/sh
# Gives Docker the scenario image while a box is made, and runs a container of
# it, at the speed of this machine's own processor: its engine runs for a moment
# inside of the box, in namespaces of its own. Then the box has the mark of
# install.sh's end. Where it cannot, the nodes do what is left: toolbox.tar stays
# for them. toolbox.sh stands in front. Arguments: the folder with toolbox.tar, and
# the mark.
set -eu

work=$1
mark=$2
socket=unix:///run/labctl-docker.sock
# Images as the nodes keep them, and nothing of this machine's network.
unshare --net timeout -k 5 60 dockerd --storage-driver=overlay2 --bridge=none --iptables=false --ip-forward=false \
	-H "$socket" >/run/dockerd.log 2>&1 &
engine=$!
loaded=0
while [ "$loaded" = 0 ] && kill -0 "$engine" 2>/dev/null; do
	if docker -H "$socket" load -q -i "$work/toolbox.tar" </dev/null >/dev/null 2>&1; then loaded=1; else sleep 0.1; fi
done
said=''
if [ "$loaded" = 1 ]; then
	# The cgroup is this machine's own, and goes with the container.
	said=$(timeout -k 5 30 docker -H "$socket" run --rm --log-driver none --network host --cgroup-parent /labctl-box \
		labctl/toolbox:latest echo ok 2>/run/docker.log </dev/null) || :
	rmdir /sys/fs/cgroup/labctl-box /sys/fs/cgroup/*/labctl-box 2>/dev/null || :
fi
kill "$engine" 2>/dev/null || :
wait "$engine" || :
pkill -KILL -x containerd || : # if the engine had to be killed

# What an engine makes for itself is made anew on each node.
rm -f /etc/docker/key.json
if [ "$loaded" = 1 ]; then
	rm "$work/toolbox.tar"
	find /var/lib/docker -mindepth 1 -maxdepth 1 ! -name image ! -name overlay2 -exec rm -rf {} +
	if [ "$said" = ok ]; then
		printf '%s\n' "$mark" | put "$work/docker.mark" 0600 >/dev/null
	else
		echo "progress: no container runs in the box on this machine ($(tail -n 1 /run/docker.log)): the nodes try it"
	fi
else
	echo "progress: Docker does not run in the box on this machine ($(tail -n 1 /run/dockerd.log)): the nodes load the scenario image"
	rm -rf /var/lib/docker
fi

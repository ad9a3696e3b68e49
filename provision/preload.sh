#!/bin/sh
# Gives Docker the scenario image while a box is made, at the speed of this
# machine's own processor: its engine runs for a moment inside of the box, in
# namespaces of its own. Where it cannot, toolbox.tar stays, and the nodes load
# it. toolbox.sh stands in front. Argument: the folder with toolbox.tar.
set -eu

work=$1
socket=unix:///run/labctl-docker.sock
# Images as the nodes keep them, and nothing of this machine's network.
unshare --net timeout -k 5 60 dockerd --storage-driver=overlay2 --bridge=none --iptables=false --ip-forward=false \
	-H "$socket" >/run/dockerd.log 2>&1 &
engine=$!
loaded=0
while [ "$loaded" = 0 ] && kill -0 "$engine" 2>/dev/null; do
	if docker -H "$socket" load -q -i "$work/toolbox.tar" </dev/null >/dev/null 2>&1; then loaded=1; else sleep 0.1; fi
done
kill "$engine" 2>/dev/null || :
wait "$engine" || :
pkill -KILL -x containerd || : # if the engine had to be killed

# What an engine makes for itself is made anew on each node.
rm -f /etc/docker/key.json
if [ "$loaded" = 1 ]; then
	rm "$work/toolbox.tar"
	find /var/lib/docker -mindepth 1 -maxdepth 1 ! -name image ! -name overlay2 -exec rm -rf {} +
else
	echo "progress: Docker does not run in the box on this machine ($(tail -n 1 /run/dockerd.log)): the nodes load the scenario image"
	rm -rf /var/lib/docker
fi

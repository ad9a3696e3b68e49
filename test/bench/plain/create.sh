#!/bin/sh
# The plain way, from nothing to two Ready nodes. Argument: --parallel or
# --no-parallel, for `vagrant up`.
set -eu

vagrant up "$1"
token=$(vagrant ssh docker1 -c 'docker swarm init --advertise-addr 192.168.33.11 >/dev/null && docker swarm join-token -q worker' | tr -d '\r')
vagrant ssh docker2 -c "docker swarm join --advertise-addr 192.168.33.12 --token $token 192.168.33.11:2377"
# shellcheck disable=SC2016 # the node expands it
vagrant ssh docker1 -c 'timeout 300 sh -c "until [ \$(docker node ls --format {{.Status}} | grep -c Ready) = 2 ]; do sleep 1; done" && docker node ls'

#!/bin/sh
# Lets the node find other subnets of the lab. Arguments: ROUTER NETWORK... Run
# again it changes nothing. lib.sh stands in front.
set -eu

router=$1
shift
unit=labctl-routes.service
way=$(ip -o -4 route get "$router" || :)
case $way in
*" via "* | '') fail "this node has no network card in the subnet of the router $router" ;;
esac
# shellcheck disable=SC2001 # a pattern with a group
card=$(echo "$way" | sed 's/.* dev \([^ ]*\).*/\1/')
lines=$(for network; do echo "ExecStart=/bin/ip route replace $network via $router dev $card"; done)
put "/etc/systemd/system/$unit" 0644 <<END
[Unit]
Description=the way to the other subnets of the lab
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
$lines

[Install]
WantedBy=multi-user.target
END
# shellcheck disable=SC2154 # put sets it
missing=$put_new
for network; do
	[ -n "$(ip -4 route show exact "$network" via "$router")" ] || missing=1
done
[ "$missing" = 1 ] || exit 0
changed "routes through $router"
systemctl daemon-reload
systemctl enable -q "$unit"
systemctl restart "$unit" || fail "no route through $router: $(journalctl -q -n 3 -o cat -u "$unit" | tr '\n' ' ')"

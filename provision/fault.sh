#!/bin/sh
# Breaks one thing on a node on purpose, and mends it again. Verbs:
#   inject ID RECORD [WORD]... writes the journal, arms the timer, breaks it
#   undo ID                    mends it and removes the journal
#   list                       tells what the journal holds
#   shows WORD...              says, with exit code 0, that the symptom is there
# WORDs are key=value: kind, and what take() below knows. Everything that the
# undo needs is on the disk before anything is broken: it is run by a timer of
# this node, by its next boot, or by labctl. lib.sh stands in front.
set -eu
umask 077

journal=/var/lib/labctl/fault
unit=/etc/systemd/system/labctl-fault.service
wanted=/etc/systemd/system/multi-user.target.wants/labctl-fault.service
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

boot_id() { cat /proc/sys/kernel/random/boot_id; }

# take WORD...: sets the variables of the kinds.
take() {
	kind='' lab='' peers='' rules='' seconds=0 percent='' delay='' rate='' mtu='' shift='' image='' with=''
	for word; do
		value=${word#*=}
		case $word in
		kind=*) kind=$value ;;
		lab=*) lab=$value ;;         # this node's address in the lab's network
		peers=*) peers=$value ;;     # those of the nodes that it is about
		rules=*) rules=$value ;;     # "CHAIN/protocol/port" each, for port
		seconds=*) seconds=$value ;; # until the timer; 0: no timer
		percent=*) percent=$value ;;
		delay=*) delay=$value ;;     # milliseconds
		rate=*) rate=$value ;;       # kbit/s
		mtu=*) mtu=$value ;;
		shift=*) shift=$value ;;     # seconds, negative for back
		image=*) image=$value ;;
		with=*) with=$value ;;       # overlay, bridge or machines
		id=*) id=$value ;;           # for shows
		*) fail "an unknown word: $word" ;;
		esac
	done
}

# find_card sets card to the network card of the lab's network. Faults of the
# network touch that one only, and there only what goes between nodes, since
# it may be the card by which labctl comes.
find_card() {
	case $kind in
	port | partition | loss | delay | bandwidth | mtu) ;;
	*) return 0 ;;
	esac
	card=$(ip -o -4 addr show | awk -v ip="$lab" '{ split($4, a, "/"); if (a[1] == ip) { print $2; exit } }')
	[ -n "$card" ] || fail "no network card of this node has the lab's address $lab"
}

needs() {
	for program; do
		command -v "$program" >/dev/null || fail "this node has no $program, which this fault needs"
	done
}

# ---- port, partition: rules of the firewall, which carry the fault's id

port_save() {
	needs iptables
	for rule in $rules; do
		chain=${rule%%/*} door=${rule#*/}
		protocol=${door%%/*} number=${door#*/} side=-i far=-s
		[ "$chain" = INPUT ] || side=-o far=-d
		if [ -z "$peers" ]; then
			echo "$chain $side $card -p $protocol --dport $number -m comment --comment labctl-fault-$id -j DROP"
		fi
		for peer in $peers; do
			echo "$chain $side $card $far $peer -p $protocol --dport $number -m comment --comment labctl-fault-$id -j DROP"
		done
	done >"$dir/rules"
}
partition_save() {
	needs iptables
	for peer in $peers; do
		echo "INPUT -i $card -s $peer -m comment --comment labctl-fault-$id -j DROP"
		echo "OUTPUT -o $card -d $peer -m comment --comment labctl-fault-$id -j DROP"
	done >"$dir/rules"
}
port_break() {
	while read -r rule; do
		# shellcheck disable=SC2086 # a list of words
		iptables -w 20 -I $rule
	done <"$dir/rules"
}
partition_break() { port_break; }
port_mend() {
	while read -r rule; do
		# shellcheck disable=SC2086 # a list of words
		while iptables -w 20 -C $rule 2>/dev/null; do iptables -w 20 -D $rule; done
	done <"$dir/rules"
}
partition_mend() { port_mend; }
# What the rules have stopped so far, for each protocol.
port_shows() {
	iptables-save -c | awk -v want="$rules" '
		/--comment "?labctl-fault-/ {
			split($1, n, "[^0-9]+"); p = ""
			for (i = 1; i < NF; i++) if ($i == "-p") p = $(i + 1)
			packets[p] += n[2]
		}
		END {
			count = split(want, list, " ")
			for (i = 1; i <= count; i++) { split(list[i], r, "/"); if (!packets[r[2]]) exit 1; told = told " " packets[r[2]] " of " r[2] }
			if (!count) exit 1
			print "packets that were stopped:" told
		}'
}

# ---- loss, delay, bandwidth: a queue for what goes to the other nodes

# queue_save MODULE
queue_save() {
	needs tc
	for module in sch_prio cls_u32 "$1"; do
		[ -d "/sys/module/$module" ] || modprobe "$module" 2>/dev/null ||
			fail "the kernel $(uname -r) has no module $module, which this fault needs"
	done
	# Only the kernel's own queue comes back by itself.
	case $(tc qdisc show dev "$card" root) in
	'' | *' 0: '*) ;;
	*) fail "$card has a queue of its own already: $(tc qdisc show dev "$card" root | head -n 1)" ;;
	esac
}
loss_save() { queue_save sch_netem; }
delay_save() { queue_save sch_netem; }
bandwidth_save() { queue_save sch_tbf; }
# Packets to the other nodes go to the fourth band, all others as ever.
queue() {
	tc qdisc add dev "$card" root handle 1fa: prio bands 4
	tc qdisc add dev "$card" parent 1fa:4 handle 2fa: "$@"
	for peer in $peers; do
		tc filter add dev "$card" parent 1fa: protocol ip prio 1 u32 match ip dst "$peer/32" flowid 1fa:4
	done
}
loss_break() { queue netem loss "$percent%"; }
delay_break() { queue netem delay "${delay}ms"; }
bandwidth_break() { queue tbf rate "${rate}kbit" burst 4kb latency 400ms; }
loss_mend() {
	case $(tc qdisc show dev "$card" root) in
	*' 1fa: '*) tc qdisc del dev "$card" root ;;
	esac
}
delay_mend() { loss_mend; }
bandwidth_mend() { loss_mend; }
# Each peer is asked beside the others: there may be many.
loss_shows() {
	for peer in $peers; do
		{
			got=$(ping -q -c 20 -i 0.2 -W 1 "$peer" | awk '/ received/ { print $4 }')
			[ "${got:-0}" -ge 20 ] || echo "$((20 - ${got:-0})) of 20 packets to $peer were lost"
		} &
	done | awk '{ print; n++ } END { exit !n }'
}
delay_shows() {
	for peer in $peers; do
		ping -q -c 4 -i 0.3 -W 3 "$peer" | awk -F/ -v peer="$peer" -v want="$delay" \
			'/^rtt/ { sub(/.*= /, ""); if ($1 >= want * 0.9) print "the quickest of four answers of " peer " took " $1 " ms" }' &
	done | awk '{ print; n++ } END { exit !n }'
}
bandwidth_shows() {
	case $(tc qdisc show dev "$card" root) in
	*' 1fa: '*) ;;
	*) return 1 ;;
	esac
	for peer in $peers; do ping -q -c 60 -i 0.01 -s 1400 -W 1 "$peer" >/dev/null 2>&1 || :; done
	tc -s qdisc show dev "$card" | awk '
		$2 == "tbf" { mine = 1; rate = $7 }
		mine && / overlimits [1-9]/ { sub(/.*overlimits /, ""); print "the line was full " $1 + 0 " times at " rate; n = 1; exit }
		END { exit !n }'
}

# ---- mtu

mtu_save() { cat "/sys/class/net/$card/mtu" >"$dir/was"; }
mtu_break() { ip link set dev "$card" mtu "$mtu"; }
mtu_mend() {
	# Somebody may have mended it already, by another value.
	[ "$(cat "/sys/class/net/$card/mtu")" != "$mtu" ] || ip link set dev "$card" mtu "$(cat "$dir/was")"
}
mtu_shows() {
	for peer in $peers; do
		{
			# Without any answer it is no question of size.
			! ping -q -c 1 -W 2 "$peer" >/dev/null 2>&1 ||
				ping -q -c 2 -i 0.3 -W 2 -M "do" -s 1472 "$peer" >/dev/null 2>&1 ||
				echo "a packet of 1500 bytes does not get to $peer, one of 84 does"
		} &
	done | awk '{ print; n++ } END { exit !n }'
}

# ---- dns

resolv=/etc/resolv.conf
there() { [ -e "$1" ] || [ -L "$1" ]; }
dns_save() { if there "$resolv"; then cp -a "$resolv" "$dir/was"; fi; }
dns_break() {
	rm -f "$resolv"
	# An address of the range that is for documentation: nobody answers there.
	printf '# labctl-fault-%s\nnameserver 192.0.2.53\n' "$id" >"$resolv"
	chmod 0644 "$resolv"
}
dns_mend() {
	# A file that somebody wrote since, DHCP or a person, stays.
	grep -qsF "labctl-fault-$id" "$resolv" || return 0
	rm -f "$resolv"
	if there "$dir/was"; then cp -a "$dir/was" "$resolv"; fi
}
dns_shows() {
	servers=$(awk '$1 == "nameserver" { print $2 }' "$resolv" 2>/dev/null | tr '\n' ' ')
	[ -n "$servers" ] || fail "this node knows no name server, so there is nothing to break"
	# shellcheck disable=SC2086,SC2016 # a list of addresses; perl's own words
	perl -MSocket -e '
		for my $ip (@ARGV) {
			my $addr = inet_aton($ip) or next;
			socket(my $s, AF_INET, SOCK_DGRAM, 0) or die;
			send($s, pack("n6", 4711, 0x100, 1, 0, 0, 0) . "\0" . pack("nn", 2, 1), 0, sockaddr_in(53, $addr)) or next;
			my $bits = ""; vec($bits, fileno($s), 1) = 1;
			exit 1 if select($bits, undef, undef, 3) > 0;
		}
		print "no answer from the name server @ARGV\n"' $servers
}

# ---- clock

mono() { cut -d' ' -f1 /proc/uptime; }
# offset: the wall clock less the time since boot, in seconds.
offset() { awk -v now="$(date +%s.%N)" -v up="$(mono)" 'BEGIN { printf "%.2f\n", now - up }'; }
# set_offset SECONDS
set_offset() { date -u -s "@$(awk -v o="$1" -v up="$(mono)" 'BEGIN { printf "%.2f", o + up }')" >/dev/null; }
clock_save() {
	was=$(offset)
	echo "$was $(awk -v o="$was" -v s="$shift" 'BEGIN { printf "%.2f", o + s }')" >"$dir/was"
}
clock_break() { set_offset "$(cut -d' ' -f2 "$dir/was")"; }
clock_mend() {
	# A boot takes the time from the hardware; and a clock that somebody has
	# set since is right.
	[ "$(boot_id)" = "$(cat "$dir/boot")" ] || return 0
	read -r was ours <"$dir/was"
	if awk -v a="$(offset)" -v b="$ours" 'BEGIN { d = a - b; exit !(d < 5 && d > -5) }'; then set_offset "$was"; fi
}
clock_shows() { return 1; } # labctl compares it with its own

# ---- dockerd-stop

dockerd_stop_save() {
	for service in docker.socket docker.service; do
		! systemctl is-active --quiet "$service" || echo "$service"
	done >"$dir/was"
}
dockerd_stop_break() { systemctl stop docker.socket docker.service 2>/dev/null; }
dockerd_stop_mend() {
	# shellcheck disable=SC2046 # a list of units
	[ ! -s "$dir/was" ] || systemctl start $(cat "$dir/was")
}
dockerd_stop_shows() { ! systemctl is-active --quiet docker.service && echo "docker.service does not run"; }

# ---- disk-full: a file takes the room, all but a rest for the system's own

ballast() { echo "/var/lib/docker/labctl-fault-$id"; }
# free: the bytes that root may still write, in the file system of Docker.
free() { stat -f -c '%f %S' /var/lib/docker | awk '{ printf "%.0f\n", $1 * $2 }'; }
disk_full_save() {
	needs fallocate
	rest=$((32 * 1048576))
	size=$(($(free) - rest))
	[ "$size" -gt 0 ] || fail "the disk is full already: $(free) bytes are free"
	echo "$size" >"$dir/size"
}
disk_full_break() { fallocate -l "$(cat "$dir/size")" "$(ballast)"; }
disk_full_mend() { rm -f "$(ballast)"; }
disk_full_shows() {
	df -P -m /var/lib/docker | awk 'NR == 2 && $4 <= 40 { print $1 " has " $4 " MiB free for users, " $5 " are used"; n = 1 } END { exit !n }'
}

# ---- cpu

cpu_save() {
	bound=$seconds
	[ "$bound" -gt 0 ] || bound=3600
	loops=$(($(nproc) * 3))
	echo "$bound $loops" >"$dir/size"
}
cpu_break() {
	read -r bound loops <"$dir/size"
	# shellcheck disable=SC2016 # for the shell of the unit
	systemd-run --quiet --collect --unit="labctl-fault-$id-load" -p "RuntimeMaxSec=$bound" \
		sh -c 'n=0; while [ "$n" -lt "$1" ]; do (while :; do :; done) & n=$((n + 1)); done; wait' sh "$loops"
}
cpu_mend() { systemctl stop "labctl-fault-$id-load.service" 2>/dev/null || :; }
cpu_shows() {
	# Two looks at the time that the processors had nothing to do, and at how
	# many programs wait for one.
	{ head -n 1 /proc/stat; sleep 2; head -n 1 /proc/stat; cut -d' ' -f4 /proc/loadavg; } | awk -v cpus="$(nproc)" '
		$1 == "cpu" { t = 0; for (i = 2; i <= 9; i++) t += $i; idle = $5 - i0; all = t - t0; i0 = $5; t0 = t; next }
		{
			split($1, r, "/")
			if (all > 0 && idle / all < 0.05 && r[1] > 2 * cpus) {
				printf "idle for %d%% of the time, %d programs want a processor\n", 100 * idle / all, r[1]; n = 1
			}
		}
		END { exit !n }'
}

# ---- image-missing

image_missing_save() {
	docker image inspect --format '{{.Id}}' "$image" >"$dir/image" 2>/dev/null || fail "this node has no image $image"
}
image_missing_break() {
	docker tag "$image" "labctl-kept:$id"
	docker image rm --no-prune --force "$image" >/dev/null
}
image_missing_mend() {
	await_docker
	if docker image inspect "labctl-kept:$id" >/dev/null 2>&1; then
		docker image inspect "$image" >/dev/null 2>&1 || docker tag "labctl-kept:$id" "$image"
		docker image rm --no-prune "labctl-kept:$id" >/dev/null
	else
		docker image inspect "$image" >/dev/null 2>&1 || fail "the image $image was removed under its second name labctl-kept:$id too"
	fi
}
image_missing_shows() { ! docker image inspect "$image" >/dev/null 2>&1 && echo "there is no image $image"; }

# await_docker: a node that has just booted takes a while.
await_docker() {
	until_up=$(($(now) + 180))
	until docker version >/dev/null 2>&1; do
		[ "$(now)" -lt "$until_up" ] || fail "Docker does not answer, so the image cannot be given its name back"
		sleep 2
	done
}

# ---- subnet-overlap: a service in a network whose addresses are taken

subnet_overlap_save() { docker node ls -q >/dev/null 2>&1 || fail "this node is no manager of a swarm"; }
subnet_overlap_break() {
	case $with in
	overlay)
		# The managers give it its addresses a moment after it is there.
		docker network create -d overlay --label "labctl.fault=$id" "net-$id-a" >/dev/null
		subnet='' give_up=$(($(now) + 30))
		while [ -z "$subnet" ] && [ "$(now)" -lt "$give_up" ]; do
			subnet=$(docker network inspect --format '{{range .IPAM.Config}}{{.Subnet}}{{end}}' "net-$id-a")
		done
		;;
	bridge) subnet=$(docker network inspect --format '{{(index .IPAM.Config 0).Subnet}}' bridge) ;;
	machines) subnet=$(ip -4 route show scope link src "$lab" | awk 'NR == 1 { print $1 }') ;;
	esac
	[ -n "$subnet" ] || fail "cannot tell the subnet to collide with"
	docker network create -d overlay --subnet "$subnet" --label "labctl.fault=$id" "net-$id" >/dev/null ||
		fail "this engine refuses a subnet that is taken"
	# A task on this node shows whether the machines are reached.
	scale="--replicas 2"
	[ "$with" != machines ] || scale="--mode global"
	# shellcheck disable=SC2086 # two words
	docker service create --quiet --detach --no-resolve-image --name "web-$id" --label "labctl.fault=$id" --network "net-$id" \
		--stop-grace-period 1s $scale "$image" tail -f /dev/null >/dev/null
}
subnet_overlap_mend() {
	until_gone=$(($(now) + 120))
	while :; do
		list=$(docker service ls -q --filter "label=labctl.fault=$id") || fail "the swarm does not answer, so what was made in it cannot be removed"
		# shellcheck disable=SC2086 # a list of ids
		[ -z "$list" ] || docker service rm $list >/dev/null 2>&1 || :
		for network in $(docker network ls -q --filter "label=labctl.fault=$id") ; do
			docker network rm "$network" >/dev/null 2>&1 || :
		done
		[ -n "$(docker network ls -q --filter "label=labctl.fault=$id")" ] || break
		[ "$(now)" -lt "$until_gone" ] || fail "the networks of the fault are still in use: $(docker network ls --format '{{.Name}}' --filter "label=labctl.fault=$id" | tr '\n' ' ')"
		sleep 1
	done
}
subnet_overlap_shows() {
	[ -n "${id:-}" ] || return 1
	tasks=$(docker service ps --no-trunc --format '{{.CurrentState}} {{.Error}}' "web-$id" 2>/dev/null) || return 1
	case $with in
	overlay)
		[ -z "$(docker network inspect --format '{{.Driver}}' "net-$id" 2>/dev/null)" ] &&
			echo "the network net-$id has no driver, and its tasks are $(echo "$tasks" | head -n 1)"
		;;
	bridge) echo "$tasks" | grep -m 1 -i 'overlap' ;;
	machines)
		container=$(docker ps -q --filter "label=com.docker.swarm.service.name=web-$id" | head -n 1)
		[ -n "$container" ] || return 1
		for peer in $lab $peers; do
			! docker exec "$container" ping -c 1 -W 2 "$peer" >/dev/null 2>&1 || return 1
		done
		echo "a container of web-$id reaches none of $lab $peers"
		;;
	esac
}

# ---- node-down: nothing to journal here; labctl boots the node again

node_down_shows() { return 1; }

# ---- the frame

# call WHAT: the function of this kind.
call() { "$(echo "$kind" | tr '-' '_')_$1"; }

inject() {
	id=$1 record=$2
	shift 2
	take "$@"
	dir=$journal/$id
	trap 'undo "$id"' EXIT # whatever fails from here on leaves nothing
	for word; do printf '%s\n' "$word"; done >"$dir/words"
	boot_id >"$dir/boot"
	echo "$(($(now) + seconds))" >"$dir/until"
	find_card
	echo "${card:-}" >"$dir/card"
	call save
	cat >"$dir/undo" <<-END
		#!/bin/sh
		# Mends what labctl broke on purpose: $kind.
		exec sh -eu $dir/program undo $id
	END
	printf '%s\n' "$record" >"$dir/record"
	# The next boot mends whatever stands.
	cat >"$unit" <<-END
		[Unit]
		Description=Mends what labctl fault broke before this boot

		[Service]
		Type=oneshot
		TimeoutStartSec=600
		ExecStart=/bin/sh -c 'for undo in $journal/*/undo; do sh "\$\$undo"; done'

		[Install]
		WantedBy=multi-user.target
	END
	mkdir -p "$(dirname "$wanted")"
	ln -sf "$unit" "$wanted"
	sync
	if [ "$seconds" -gt 0 ]; then
		# It tries again if Docker, say, does not answer yet.
		systemd-run --quiet --collect --on-active="$seconds" --timer-property=AccuracySec=100ms --unit="labctl-fault-$id" \
			-p Restart=on-failure -p RestartSec=10 -p StartLimitIntervalSec=0 sh "$dir/undo"
	fi
	call break
	trap - EXIT
}

undo() {
	id=$1
	dir=$journal/$id
	[ -d "$dir" ] || return 0
	if [ -e "$dir/record" ]; then
		set --
		while IFS= read -r word; do set -- "$@" "$word"; done <"$dir/words"
		take "$@"
		card=$(cat "$dir/card")
		call mend
	fi
	rm -rf "$dir"
	systemctl stop "labctl-fault-$id.timer" 2>/dev/null || :
	if rmdir "$journal" 2>/dev/null; then
		rm -f "$unit" "$wanted"
		# After a boot systemd keeps it in mind though its file is gone.
		[ "$(systemctl show -p LoadState --value "${unit##*/}" 2>/dev/null)" != loaded ] || systemctl daemon-reload
	fi
	sync
}

# list prints "ID SECONDS RECORD" of each fault; SECONDS is what is left until
# the timer, "-" without one.
list() {
	for dir in "$journal"/*; do
		# A timer may be at work on it at this moment.
		record=$(cat "$dir/record" 2>/dev/null) || continue
		until=$(cat "$dir/until" 2>/dev/null) || continue
		boot=$(cat "$dir/boot" 2>/dev/null) || continue
		if [ -z "$record" ] || [ -z "$until" ]; then continue; fi
		left=-
		if grep -qsx 'seconds=[1-9][0-9]*' "$dir/words" && [ "$(boot_id)" = "$boot" ]; then left=$((until - $(now))); fi
		printf '%s %s %s\n' "${dir##*/}" "$left" "$record"
	done
}

verb=$1
shift
case $verb in
inject | undo)
	# A timer and a labctl may come at the same time.
	exec 9>/run/labctl-fault.lock
	flock -w 300 9 || fail "another labctl or a timer still works on a fault of this node"
	"$verb" "$@" 9>&-
	;;
list) list ;;
shows)
	take "$@"
	find_card
	call shows
	;;
*) fail "an unknown verb: $verb" ;;
esac

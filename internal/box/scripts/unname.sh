# shellcheck shell=sh
# unname ROOT: takes from a system what must differ between machines, and the
# traces of its making. It is made anew at the next start.
unname() {
	rm -f "$1"/etc/ssh/ssh_host_* "$1/var/lib/dbus/machine-id" \
		"$1/var/lib/systemd/random-seed" "$1/var/lib/systemd/credential.secret" \
		"$1/etc/resolv.conf"
	: >"$1/etc/machine-id"

	rm -rf "$1"/var/log/*.log "$1"/var/log/apt "$1"/var/cache/debconf/*-old \
		"$1"/var/lib/dpkg/*-old "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/*
	mkdir -p "$1/var/log/journal" "$1/var/lib/apt/lists/partial" \
		"$1/var/cache/apt/archives/partial"
}

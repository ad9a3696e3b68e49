package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// web is a service in a network of its own, for what only shows with tasks.
const web = "docker network create -d overlay mynet >/dev/null && docker service create -q --no-resolve-image --name web --network mynet --replicas 3 labctl/toolbox httpd -f >/dev/null"

// noWeb takes it away.
const noWeb = "docker service rm web bad >/dev/null 2>&1; for i in $(seq 30); do docker network rm mynet mynet2 big >/dev/null 2>&1; [ -n \"$(docker network ls -qf name=mynet -f name=big)\" ] || break; sleep 2; done"

// brokenMore are further ways to break a lab, of a manager and two workers;
// see broken.
var brokenMore = []breakage{
	{name: "two of one machine-id", node: "@workers", how: "rm -f /etc/machine-id; echo 0123456789abcdef0123456789abcdef >/etc/machine-id", id: "duplicate-machine-id", cause: "docker2 and docker3 have the same machine-id", fix: true},
	{name: "another hostname", node: "docker3", how: "hostname pc3", id: "hostname-differs", cause: "the machine docker3 calls itself pc3", fix: true},
	{name: "somebody's address", node: "docker3", how: "ip addr add 192.168.33.12/24 dev eth1", id: "duplicate-address", cause: "docker3 has the address 192.168.33.12", fix: true},
	{name: "no address", node: "docker2", how: "ip addr flush dev eth1", id: "address-missing", cause: "eth1 of docker2 has not got the address 192.168.33.12", fix: true},
	{name: "a route astray", node: "docker2", how: "ip route add 192.168.33.11/32 dev eth0", id: "route-astray", cause: "what docker2 sends to docker1 does not go through eth1", fix: true},
	{name: "a blackhole", node: "docker3", how: "ip route add blackhole 192.168.33.12/32", id: "route-astray", cause: "what docker3 sends to docker2 does not go through eth1", fix: true},
	{name: "a socket for root alone", node: "docker2", how: "chgrp root /run/docker.sock; chmod 600 /run/docker.sock", id: "engine-silent", cause: "may not speak to it"},
	{name: "no daemon.json", node: "docker3", how: "echo '{' >/etc/docker/daemon.json; systemctl restart docker; true", id: "engine-stopped", cause: "not valid JSON"},
	{name: "masked", node: "docker2", how: "systemctl mask --now docker.socket docker.service", id: "engine-stopped", cause: "are masked", fix: true},
	{name: "containerd stopped", node: "docker3", how: "systemctl stop containerd", id: "containerd-stopped|engine-stopped", cause: "containerd", fix: true},
	{name: "nothing passes on", node: "docker2", how: "iptables -I FORWARD -i docker_gwbridge -j DROP", id: "forward-blocked", cause: "the firewall of docker2 stops what its containers send to the world"},
	{name: "left the swarm", node: "docker3", how: "docker swarm leave", id: "not-in-swarm", cause: "docker3 is not an active member of a swarm"},
	{name: "a swarm of its own", node: "docker3", how: "docker swarm leave; docker swarm init --advertise-addr 192.168.33.13", id: "other-swarm", cause: "docker3 is in another swarm than docker1"},
	{name: "drained, and needed", node: "docker1", how: "docker node update --availability drain docker3; docker service create -d --no-resolve-image --name bad --constraint node.hostname==docker3 labctl/toolbox sleep 999", id: "node-drained", cause: "somebody set the availability of docker3 to drain", undo: noWeb},
	{name: "no ingress network", node: "docker1", how: "echo y | docker network rm ingress", id: "ingress-missing", cause: "the swarm has no ingress network", fix: true},
	{name: "a sandbox without address", node: "docker1", how: "docker service create -q --no-resolve-image --name web --publish 8080:80 labctl/toolbox >/dev/null; sleep 35; nsenter --net=/run/docker/netns/ingress_sbox ip addr flush dev eth0", id: "ingress-sandbox-broken", cause: "the ingress sandbox of docker1", fix: true, undo: noWeb},
	{name: "an overlay on docker0", node: "docker1", how: "docker network create -d overlay --subnet 172.17.0.0/16 mynet2", id: "overlay-overlaps-bridge", cause: "172.17.0.0/16", undo: noWeb},
	{name: "an overlay on the nodes", node: "docker1", how: "docker network create -d overlay --subnet 192.168.33.0/24 mynet2", id: "overlay-overlaps-machines", cause: "the machines' own network (192.168.33.0/24)", undo: noWeb},
	{name: "an overlay on the name server", node: "docker1", how: "s=$(sed -n 's/^nameserver //p' /etc/resolv.conf | head -n 1); docker network create -d overlay --subnet ${s%.*}.0/24 mynet2", id: "overlay-hides-nameserver|overlay-overlaps-machines", cause: "mynet2", undo: noWeb},
	{name: "an overlay with large packets", node: "docker1", how: "docker network create -d overlay -o com.docker.network.driver.mtu=9000 big", id: "overlay-mtu", cause: "big was created with an MTU of 9000", undo: noWeb},
	{name: "a program that is not there", node: "docker1", how: "docker service create -d --no-resolve-image --name bad labctl/toolbox nosuch", id: "tasks-fail", cause: "the image does not contain the program", undo: noWeb, look: true},
	{name: "the pool is used up", node: "docker1", how: "for i in 1 2 3 4; do docker network create -d overlay used$i >/dev/null; done", id: "overlay-without-addresses", cause: "gave the overlay network used4 no addresses", undo: "docker network rm used1 used2 used3 used4"},
	{name: "logs for nobody", node: "docker1", how: "docker service create -d --no-resolve-image --log-driver none --name bad labctl/toolbox sleep 999", id: "log-driver", cause: "the service bad was created with the log driver none", undo: noWeb},
	{name: "names in a container", node: "docker1", how: web + "; for i in $(seq 60); do docker ps -qf name=web | grep -q . && break; sleep 1; done; sleep 35; nsenter -n -t $(docker inspect -f '{{.State.Pid}}' $(docker ps -qf name=web | head -n 1)) iptables -t nat -F", id: "container-dns", cause: "127.0.0.11, cannot be reached from inside", undo: noWeb},
	{name: "a busy processor", node: "docker3", how: "systemd-run -q --unit=busy sh -c 'for i in 1 2 3; do while :; do :; done & done; wait'", id: "cpu-starved", cause: "keep"},
}

// brokenRare are those that change the machine or the swarm more deeply.
var brokenRare = []breakage{
	{name: "no programs to ask with", node: "docker3", how: "mv /usr/bin/ip /usr/bin/ip.away", id: "node-mute", cause: "a command on the node failed", look: true,
		mend: "mv /usr/bin/ip.away /usr/bin/ip"},
	{name: "memory used up", node: "docker3", how: "mkdir -p /run/eat; mount -t tmpfs -o size=90% none /run/eat; for i in 1 2 3; do head -c $(($(awk '/^MemAvailable/ { print $2 }' /proc/meminfo) - 20000))K /dev/zero >/run/eat/$i; done", id: "memory-low", cause: "the memory of docker3 is used up", look: true,
		mend: "umount /run/eat"},
	{name: "a module that is not to be loaded", node: "docker3", how: "systemctl stop docker.socket docker; umount /run/docker/netns/*; sleep 3; iptables -F; iptables -t mangle -F; rmmod xt_ipvs; rmmod ip_vs_rr; rmmod ip_vs; echo 'install ip_vs /bin/false' >/etc/modprobe.d/no.conf; systemctl start docker", id: "module-missing", cause: "the kernel of docker3 has no module ip_vs", look: true,
		mend: "rm /etc/modprobe.d/no.conf; modprobe ip_vs; systemctl restart docker"},
	{name: "the way into the overlay is cut", node: "docker2", how: "nsenter --net=$(ls -t /run/docker/netns/1-* | head -n 1) ip link set vxlan0 down", id: "overlay-broken", cause: "the overlay ingress carries nothing", fix: true},
	{name: "left and come back", node: "docker3", how: "docker swarm leave; sleep 2; docker swarm join --advertise-addr 192.168.33.13 --token WORKER-KEY 192.168.33.11:2377", id: "former-self", cause: "docker3 has left the swarm and joined it again", fix: true},
	{name: "the wrong address", node: "docker3", how: "docker swarm leave; sleep 2; docker swarm join --advertise-addr eth0 --token WORKER-KEY 192.168.33.11:2377; sleep 10", id: "wrong-advertise-address", cause: "docker3 joined the swarm with the address 192.168.121."},
	{name: "the other manager has left", node: "docker3", how: "docker swarm leave; docker swarm join --advertise-addr 192.168.33.13 --token MANAGER-KEY 192.168.33.11:2377; sleep 8; docker swarm leave --force; sleep 8", id: "no-leader", cause: "of 2 managers 2 must work, and docker3 has left it"},
	{name: "an agent that hears no manager", node: "docker3", how: "modprobe xt_cgroup; iptables -I OUTPUT -m cgroup --path system.slice/docker.service -p tcp --dport 2377 -j DROP", id: "node-down", cause: "the managers hear nothing from docker3, though its engine answers", until: "down", look: true,
		mend: "iptables -D OUTPUT -m cgroup --path system.slice/docker.service -p tcp --dport 2377 -j DROP; systemctl restart docker"},
	{name: "gossip that does not arrive", node: "docker3", with: silentGossip, id: "peer-missing", cause: "in mynet some nodes are not known", look: true, undo: noWeb,
		mend: "for p in udp tcp; do iptables -D OUTPUT -m cgroup --path system.slice/docker.service -p $p --dport 7946 -j DROP; done; iptables -D OUTPUT -p tcp --sport 7946 --tcp-flags PSH PSH -j DROP"},
	{name: "a certificate that has ended", node: "docker3", with: expired, id: "certificate-expired", cause: "the certificate by which the swarm knows docker3 ended at "},
	{name: "powered off", node: "docker3", how: "(sleep 1; poweroff -f) >/dev/null 2>&1 &", id: "vm-off", cause: "the VM of docker3 is powered off", until: "powered off"},
}

// silentGossip stops what docker3's engine tells the others, while a look at the
// port by another program finds nothing. It takes the others a while to miss it.
func silentGossip(t *testing.T, l *lab) string {
	l.ok(shortWithin, "exec", "docker1", "--", "sh", "-c", web)
	return "modprobe xt_cgroup; for p in udp tcp; do iptables -I OUTPUT -m cgroup --path system.slice/docker.service -p $p --dport 7946 -j DROP; done; iptables -I OUTPUT -p tcp --sport 7946 --tcp-flags PSH PSH -j DROP; sleep 45"
}

// expired gives docker3 a certificate that ended an hour ago: the swarm gets a
// root of the test's own, and its certificate is signed again by that.
func expired(t *testing.T, l *lab) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "swarm-ca"}, NotBefore: time.Now().Add(-72 * time.Hour), NotAfter: time.Now().AddDate(20, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	der, err := x509.CreateCertificate(rand.Reader, root, root, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	asPEM := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	l.ok(shortWithin, "exec", "docker1", "--", "sh", "-c", "umask 077; cd $(mktemp -d); echo '"+asPEM("CERTIFICATE", der)+"' >root; echo '"+asPEM("EC PRIVATE KEY", secret)+"' >key; docker swarm ca --rotate --quiet --ca-cert root --ca-key key")
	const file = "/var/lib/docker/swarm/certificates/swarm-node.crt"
	block, _ := pem.Decode([]byte(l.ok(shortWithin, "exec", "docker3", "--", "sudo", "cat", file).out))
	if block == nil {
		t.Fatal("docker3 has no certificate")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	cert.NotBefore, cert.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-time.Hour)
	der, err = x509.CreateCertificate(rand.Reader, cert, root, cert.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return "systemctl stop docker.socket docker; echo '" + asPEM("CERTIFICATE", der) + "' >" + file + "; systemctl start docker"
}

// TestDiagnose breaks a lab of three in all these ways. A lab with a drained
// node, and one under a rolling update, has nothing wrong.
func TestDiagnose(t *testing.T) {
	needVMs(t)
	if !all() {
		t.Skip("it takes a quarter of an hour more: set LABCTL_E2E=all")
	}
	l := newLab(t, "provider = \"embedded\"\nmanagers = 1\nworkers = 2\n[swarm]\ndefault-address-pool = [\"10.50.0.0/22\"]\n")
	l.ok(killedWithin, "create")
	t.Setenv("LAB_FILE", "lab.toml") // as in diagnoseBroken
	sound := func(t *testing.T, what string) {
		t.Helper()
		l.t = t
		if left := l.diagnosed(func(f []finding) bool { return true }); len(left) > 0 {
			t.Errorf("%s: %+v", what, left)
		}
	}
	onManager := func(t *testing.T, command string) {
		t.Helper()
		l.t = t
		l.ok(shortWithin, "exec", "docker1", "--", "sh", "-c", command)
	}
	t.Run("sound", func(t *testing.T) { sound(t, "a new lab") })
	t.Run("sound with services", func(t *testing.T) {
		onManager(t, web)
		sound(t, "a new service")
		onManager(t, "docker node update --availability drain docker3 >/dev/null")
		sound(t, "a drained node")
		onManager(t, "docker node update --availability active docker3 >/dev/null; docker service update -d --force --update-delay 5s web >/dev/null")
		sound(t, "a rolling update")
		onManager(t, noWeb)
	})
	l.t = t
	diagnoseAll(t, l, slices.Concat(brokenMore, brokenRare))
	l.ok(shortWithin, "reset")
}

// keepFacts leaves what diagnose has found for a person who looks into a
// failure, if LABCTL_FACTS names a folder.
func (l *lab) keepFacts(t *testing.T, name string) {
	t.Helper()
	dir := os.Getenv("LABCTL_FACTS")
	if dir == "" {
		return
	}
	r := l.run(shortWithin, nil, "diagnose", "--json")
	var d struct{ Facts json.RawMessage }
	if err := json.Unmarshal([]byte(r.out), &d); err != nil {
		t.Errorf("diagnose --json: %v", err)
		return
	}
	if err := os.WriteFile(filepath.Join(dir, strings.ReplaceAll(name, " ", "-")+".json"), []byte(r.out), 0o600); err != nil {
		t.Error(err)
	}
}

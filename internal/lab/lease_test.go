package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"labctl/internal/config"
	"labctl/internal/vagrant"
)

// The lease of a VM that is gone does not count for the one that boots, nor does
// a half-written file or another node's lease.
func TestAwaitLease(t *testing.T) {
	e := &Env{Lab: config.Default(), Dir: t.TempDir()}
	mac := vagrant.ManagementMAC(e.id(), "docker1")
	if mac == vagrant.ManagementMAC(e.id(), "docker2") || mac == vagrant.ManagementMAC("other", "docker1") || mac[:9] != "52:54:00:" {
		t.Errorf("the address of the card is %s", mac)
	}
	file := filepath.Join(e.Engine().Dir, "lib", "dnsmasq", "virbr1.status")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	entry := func(mac, ip string, expiry int) string {
		return fmt.Sprintf(`{"ip-address": %q, "mac-address": %q, "hostname": "localhost", "expiry-time": %d}`, ip, mac, expiry)
	}
	old := entry(mac, "192.168.121.10", 100)
	write("[" + old + "]")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got := make(chan string, 1)
	go e.awaitLease(ctx, "docker1", func(host string) { got <- host })
	for _, text := range []string{
		"[" + old + "," + entry("52:54:00:00:00:01", "192.168.121.66", 200) + "]", "[" + old, "[]", "[" + old + "]",
	} {
		time.Sleep(2 * leaseEvery)
		write(text)
	}
	select {
	case host := <-got:
		t.Fatalf("found %s before there was a lease", host)
	case <-time.After(3 * leaseEvery):
	}
	write("[" + entry(mac, "192.168.121.11", 300) + "]")
	select {
	case host := <-got:
		if host != "192.168.121.11" {
			t.Errorf("found %s", host)
		}
	case <-time.After(10 * time.Second):
		t.Error("the lease was not found")
	}
}

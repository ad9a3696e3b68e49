//go:build unix

package vagrant

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/config"
	"labctl/internal/remote"
)

func TestStatus(t *testing.T) {
	c := fake(t, `echo "$*" >"$T/called"; cat <<'END'
1795594202,docker1,metadata,provider,libvirt
1795594203,docker1,state,running
1795594203,docker1,state-human-long,The Libvirt domain is running. To stop this machine%!(VAGRANT_COMMA) you can run\n`+"`vagrant halt`"+`.
1795594203,docker2,state,not_created
1795594203,docker3,state,shutoff
1795594203,docker4,state,poweroff
1795594203,docker5,state,aborted
END`)
	got, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]State{"docker1": Running, "docker2": NotCreated, "docker3": PowerOff, "docker4": PowerOff, "docker5": "aborted"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if called, _ := os.ReadFile(filepath.Join(c.Dir, "called")); string(called) != "status --machine-readable\n" {
		t.Errorf("called %q", called)
	}
}

func TestStatusOfNothing(t *testing.T) {
	c := fake(t, `touch "$T/called"; exit 1`)
	if err := os.Remove(filepath.Join(c.Dir, "Vagrantfile")); err != nil {
		t.Fatal(err)
	}
	got, err := c.Status(t.Context())
	if err != nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := os.Stat(filepath.Join(c.Dir, "called")); err == nil {
		t.Error("Vagrant was asked")
	}
}

// go-vagrant stops reading at 64 KiB, and Vagrant then hangs for ever.
func TestStatusLongLine(t *testing.T) {
	c := fake(t, `head -c 204800 /dev/zero | tr '\0' x | sed 's/^/1,,ui,warn,/'; echo; echo 1,docker1,state,running`)
	got, err := c.Status(t.Context())
	if err != nil || got["docker1"] != Running {
		t.Errorf("%v, %v", got, err)
	}
}

func TestStatusFails(t *testing.T) {
	c := fake(t, `echo '1,,error-exit,Vagrant::Errors::VagrantfileSyntaxError,There is a syntax error.'; exit 1`)
	_, err := c.Status(t.Context())
	if err == nil || err.Error() != "vagrant status failed: There is a syntax error." {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err = fake(t, `exec sleep 600`).Status(ctx)
	if err == nil || err.Error() != "vagrant status failed: context deadline exceeded" {
		t.Errorf("error %v", err)
	}
}

func TestEndpoint(t *testing.T) {
	c := fake(t, `echo "$*" >"$T/called"; echo '1,docker1,metadata,provider,virtualbox'; echo '1,docker1,ssh-config,Host docker1\n  HostName 127.0.0.1\n  User vagrant\n  Port 2222\n  UserKnownHostsFile /dev/null\n  StrictHostKeyChecking no\n  PasswordAuthentication no\n  IdentityFile "/home/a user/key"\n  IdentityFile /home/other/key\n  IdentitiesOnly yes\n  LogLevel FATAL\n'`)
	n := config.Node{Name: "docker1", Role: config.Manager, IP: netip.MustParseAddr("192.168.33.11")}
	got, err := c.Endpoint(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	want := remote.Endpoint{Name: "docker1", Role: "manager", LabIP: n.IP, Host: "127.0.0.1", Port: 2222, User: "vagrant", KeyFile: "/home/a user/key"}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	_, err = fake(t, `echo '1,docker1,metadata,provider,virtualbox'`).Endpoint(t.Context(), n)
	if err == nil || err.Error() != "vagrant ssh-config failed: no address and key for docker1 in the answer" {
		t.Errorf("error %v", err)
	}
}

// A VM of another host's libvirt is reached through that host.
func TestEndpointThroughTheHypervisor(t *testing.T) {
	c := fake(t, `echo "1,docker1,ssh-config,Host docker1\n  HostName 192.168.244.35\n  User vagrant\n  Port 22\n  IdentityFile /key\n  ProxyCommand ssh 'two.example' -l 'class' -W %h:%p\n"`)
	got, err := c.Endpoint(t.Context(), config.Node{Name: "docker1", Role: config.Manager})
	if err != nil {
		t.Fatal(err)
	}
	if want := "ssh 'two.example' -l 'class' -W 192.168.244.35:22"; got.Proxy != want || got.KeyFile != "/key" {
		t.Errorf("key %q, proxy %q, want %q", got.KeyFile, got.Proxy, want)
	}
}

func TestDestroy(t *testing.T) {
	c := fake(t, `echo "$*" >"$T/called"`)
	if err := c.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if called, _ := os.ReadFile(filepath.Join(c.Dir, "called")); string(called) != "destroy --machine-readable --force\n" {
		t.Errorf("called %q", called)
	}
	err := fake(t, `echo '1,docker1,ui,error,The VM is stuck.'; exit 1`).Destroy(t.Context())
	if err == nil || err.Error() != "vagrant destroy failed: The VM is stuck." {
		t.Errorf("error %v", err)
	}
}

func TestNoVagrant(t *testing.T) {
	c := fake(t, "")
	t.Setenv("PATH", t.TempDir())
	_, err := c.Status(t.Context())
	if err == nil || err.Error() != `vagrant status failed: exec: "vagrant": executable file not found in $PATH` {
		t.Errorf("error %v", err)
	}
}

func TestEndpointOff(t *testing.T) {
	n := config.Node{Name: "docker2", Role: config.Worker, IP: netip.MustParseAddr("192.168.33.12")}
	c, l := twoVMs(t)
	l.state["id-2"] = "shut off"
	_, err := c.Endpoint(t.Context(), n)
	checkOff(t, err, "docker2: its VM is powered off", "`labctl create` starts it")
	l.state["id-2"] = "paused"
	_, err = c.Endpoint(t.Context(), n)
	checkOff(t, err, "docker2: its VM is paused", "`labctl create` starts it")
	delete(l.state, "id-2")
	_, err = c.Endpoint(t.Context(), n)
	checkOff(t, err, "docker2: there is no VM", "`labctl create` makes the VMs that are missing")

	const notReady = `case $1 in status) echo 1,docker2,state,%s ;; *) echo '1,,error-exit,Vagrant::Errors::SSHNotReady,The provider for this Vagrant-managed machine is reporting that it\nis not yet ready for SSH.'; exit 1; esac`
	_, err = fake(t, fmt.Sprintf(notReady, "poweroff")).Endpoint(t.Context(), n)
	checkOff(t, err, "docker2: its VM is powered off", "`labctl create` starts it")
	_, err = fake(t, fmt.Sprintf(notReady, "running")).Endpoint(t.Context(), n)
	var said *Error
	if !errors.As(err, &said) || !said.NotReady() {
		t.Errorf("error %v", err)
	}
}

func checkOff(t *testing.T, err error, text, hint string) {
	t.Helper()
	h, ok := err.(interface{ Hint() string })
	if !ok || err.Error() != text || h.Hint() != hint {
		t.Errorf("error %v, want %q and hint %q", err, text, hint)
	}
}

package vagrant

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// boxes is a Vagrant that notes what it is told, and adds a box.
const boxes = `echo "$*" >>"$T/called"
ADDING`

func TestAddBox(t *testing.T) {
	const add = "box --machine-readable add --name labctl/debian12-bb /a b.box\n"
	for _, tt := range []struct {
		name, folder, adding string
		changed              bool
		called, err          string
	}{
		{"known", "labctl-VAGRANTSLASH-debian12-bb/0/libvirt", "", false, "", ""},
		{"known to a later Vagrant", "labctl-VAGRANTSLASH-debian12-bb/0/amd64/libvirt", "", false, "", ""},
		{"new", "labctl-VAGRANTSLASH-debian12-aa/0/libvirt", ":", true, add, ""},
		{"half unpacked", "labctl-VAGRANTSLASH-debian12-bb/0/libvirt", ":", true, add, ""},
		{"of another provider", "labctl-VAGRANTSLASH-debian12-bb/0/virtualbox", ":", true, add, ""},
		{"known after all", "", "echo '1,,error-exit,Vagrant::Errors::BoxAlreadyExists,The box already exists.'; exit 1", false, add, ""},
		{"no room", "", "echo '1,,error-exit,Vagrant::Errors::X,No space left on device'; exit 1", false, add, "vagrant box add failed: No space left on device"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := fake(t, strings.Replace(boxes, "ADDING", tt.adding, 1))
			t.Setenv("VAGRANT_HOME", t.TempDir())
			if tt.folder != "" {
				dir := filepath.Join(Home(), "boxes", tt.folder)
				write := func(name string) error { return os.WriteFile(filepath.Join(dir, name), nil, 0o644) }
				err := errors.Join(os.MkdirAll(dir, 0o755), write("metadata.json"))
				if tt.name != "half unpacked" {
					err = errors.Join(err, write("box.img"))
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			changed, err := c.AddBox(t.Context(), "labctl/debian12-bb", "/a b.box")
			message := ""
			if err != nil {
				message = err.Error()
			}
			called, _ := os.ReadFile(filepath.Join(c.Dir, "called"))
			if changed != tt.changed || message != tt.err || string(called) != tt.called {
				t.Errorf("changed %v, error %q, called %q", changed, message, called)
			}
		})
	}
}

func TestAddBoxInterrupted(t *testing.T) {
	t.Setenv("VAGRANT_HOME", t.TempDir())
	c := fake(t, strings.Replace(boxes, "ADDING", `trap 'touch "$T/interrupted"; exit 1' INT; touch "$T/adding"; while :; do sleep 0.05; done`, 1))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for ctx.Err() == nil {
			if _, err := os.Stat(filepath.Join(c.Dir, "adding")); err == nil {
				cancel()
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	if _, err := c.AddBox(ctx, "labctl/debian12-bb", "/b.box"); err == nil || err.Error() != "vagrant box add failed: context canceled" {
		t.Errorf("error %v", err)
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(c.Dir, "interrupted")); err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("Vagrant was not interrupted")
		}
	}
}

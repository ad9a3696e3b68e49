package vagrant

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// boxes is a Vagrant that knows one box and notes what it is told.
const boxes = `echo "$*" >>"$T/called"
case "$*" in
"box --machine-readable list") echo '1,,box-name,labctl/debian12-aa'; echo '1,,box-provider,libvirt'; echo '1,,box-version,0' ;;
*) ADDING ;;
esac`

func TestAddBox(t *testing.T) {
	for _, tt := range []struct {
		name, box, adding string
		changed           bool
		called, err       string
	}{
		{"known", "labctl/debian12-aa", "", false, "box --machine-readable list\n", ""},
		{"new", "labctl/debian12-bb", ":", true, "box --machine-readable list\nbox --machine-readable add --name labctl/debian12-bb /a b.box\n", ""},
		{"added meanwhile", "labctl/debian12-bb", "echo '1,,error-exit,Vagrant::Errors::BoxAlreadyExists,The box already exists.'; exit 1", false,
			"box --machine-readable list\nbox --machine-readable add --name labctl/debian12-bb /a b.box\n", ""},
		{"no room", "labctl/debian12-bb", "echo '1,,error-exit,Vagrant::Errors::X,No space left on device'; exit 1", false,
			"box --machine-readable list\nbox --machine-readable add --name labctl/debian12-bb /a b.box\n", "vagrant box add failed: No space left on device"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := fake(t, strings.Replace(boxes, "ADDING", tt.adding+"\n:", 1))
			changed, err := c.AddBox(t.Context(), tt.box, "/a b.box")
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

package box

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"labctl/internal/remote"
)

// TestRealBuild makes a box with Debian's packages: LABCTL_BOX_CACHE names
// the cache folder to use. It needs root and takes half a minute.
func TestRealBuild(t *testing.T) {
	cache := os.Getenv("LABCTL_BOX_CACHE")
	if cache == "" {
		t.Skip("LABCTL_BOX_CACHE is not set")
	}
	o := Options{CacheDir: cache, Force: true, Progress: func(s string) { t.Log(s) }, Host: remote.Host{}}
	before := mounts(t)
	b, err := Build(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", b)
	if after := mounts(t); after != before {
		t.Errorf("the build left mounts or loop devices behind:\n%s\nbefore:\n%s", after, before)
	}
	found, ok, err := Find(o)
	if err != nil || !ok || found.Path != b.Path {
		t.Errorf("Find after Build: %+v %v %v", found, ok, err)
	}
	list, err := exec.Command("tar", "-tf", b.Path).Output()
	if want := "metadata.json\nbox.img\n"; err != nil || string(list) != want {
		t.Errorf("box holds %q (%v), want %q", list, err, want)
	}
}

func mounts(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	loops, err := exec.Command("losetup", "--list", "--noheadings", "--output", "BACK-FILE").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data)) + "\n" + string(loops)
}

// TestRealInterrupt ends a real build in the middle: nothing may be left.
func TestRealInterrupt(t *testing.T) {
	if os.Getenv("LABCTL_BOX_CACHE") == "" {
		t.Skip("LABCTL_BOX_CACHE is not set")
	}
	for _, at := range []string{"extracting archives", "installing remaining packages inside the chroot", "compress the disk"} {
		t.Run(at, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			o := Options{CacheDir: t.TempDir(), Host: remote.Host{}, Progress: func(s string) {
				if s == at {
					// A moment later, in the midst of that step.
					time.AfterFunc(time.Second/2, cancel)
				}
			}}
			before := mounts(t)
			start := time.Now()
			_, err := Build(ctx, o)
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("error %v, want context.Canceled", err)
			}
			t.Logf("ended after %v: %v", time.Since(start), err)
			if after := mounts(t); after != before {
				t.Errorf("mounts or loop devices left behind:\n%s\nbefore:\n%s", after, before)
			}
			entries, err := os.ReadDir(filepath.Join(o.CacheDir, "boxes"))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if e.Name() != "build.log" && e.Name() != "lock" {
					t.Errorf("%s left behind", e.Name())
				}
			}
			if out, _ := exec.Command("pgrep", "-af", o.CacheDir).Output(); len(out) > 0 {
				t.Errorf("processes left behind:\n%s", out)
			}
		})
	}
}

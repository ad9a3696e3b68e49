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

	"github.com/google/go-cmp/cmp"

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

// finish makes a node's disk of the plain box: what a finished node has, for
// baking to look at.
func finish(t *testing.T, plain Box, file string) error {
	t.Helper()
	out, err := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-eu", "-c", `
		tar -C "$3" -xf "$1" box.img
		qemu-img convert -O raw "$3/box.img" "$2"
		mkdir "$3/mnt"
		mount -o loop,offset=1048576 "$2" "$3/mnt"
		mkdir -p "$3/mnt/var/lib/docker/image/overlay2" "$3/mnt/var/lib/docker/overlay2/0a/diff" "$3/mnt/var/lib/docker/swarm" "$3/mnt/var/lib/labctl"
		echo 0123 >"$3/mnt/var/lib/labctl/docker.mark"
		echo SECRET-OF-THIS-NODE | tee "$3/mnt/var/lib/docker/swarm/key" "$3/mnt/etc/ssh/ssh_host_ed25519_key" "$3/mnt/home/vagrant/.bash_history" >/dev/null
		mknod "$3/mnt/var/lib/docker/overlay2/0a/diff/whiteout" c 0 0
		dd if=/dev/urandom of="$3/mnt/var/tmp/fill" bs=1M count=64 status=none
		umount "$3/mnt"`, "finish", plain.Path, file, t.TempDir()).CombinedOutput()
	if err != nil {
		t.Logf("%s", out)
	}
	return err
}

// TestRealBake bakes the plain box of TestRealBuild's cache, with a few things
// of a finished node in it.
func TestRealBake(t *testing.T) {
	cache := os.Getenv("LABCTL_BOX_CACHE")
	if cache == "" {
		t.Skip("LABCTL_BOX_CACHE is not set")
	}
	o := Options{CacheDir: cache, Progress: func(s string) { t.Log(s) }, Host: remote.Host{}}
	plain, err := Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	before := mounts(t)
	o.Force = true
	start := time.Now()
	baked, err := Bake(t.Context(), BakeOptions{Options: o, Contents: "test", Disk: func(_ context.Context, file string) error { return finish(t, plain, file) }})
	if err != nil {
		t.Fatal(err)
	}
	sizes := map[string]int64{}
	for _, b := range []Box{plain, baked} {
		info, err := os.Stat(b.Path)
		if err != nil {
			t.Fatal(err)
		}
		sizes[b.Name] = info.Size()
	}
	t.Logf("%v: %v", time.Since(start), sizes)
	if d := sizes[baked.Name] - sizes[plain.Name]; d > 8<<20 {
		t.Errorf("the box grew by %d bytes, though all that filled the disk was temporary", d)
	}
	if after := mounts(t); after != before {
		t.Errorf("mounts or loop devices left behind:\n%s\nbefore:\n%s", after, before)
	}
	look, err := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-eu", "-c", `
		tar -C "$2" -xf "$1" box.img
		qemu-img convert -O raw "$2/box.img" "$2/raw"
		! grep -q SECRET-OF-THIS-NODE "$2/raw"
		mkdir "$2/mnt"
		mount -o loop,ro,offset=1048576 "$2/raw" "$2/mnt"
		cd "$2/mnt"
		cat var/lib/labctl/docker.mark
		stat -c '%F %n' var/lib/docker/overlay2/0a/diff/whiteout
		stat -c '%u %a %n' home/vagrant/.ssh/authorized_keys
		ls etc/ssh boot/extlinux
		ls -A var/lib/docker`, "look", baked.Path, t.TempDir()).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, look)
	}
	want := `0123
character special file var/lib/docker/overlay2/0a/diff/whiteout
1000 600 home/vagrant/.ssh/authorized_keys
boot/extlinux:
extlinux.conf
ldlinux.c32
ldlinux.sys

etc/ssh:
moduli
ssh_config
ssh_config.d
sshd_config
sshd_config.d
image
overlay2
`
	if diff := cmp.Diff(want, string(look)); diff != "" {
		t.Errorf("the baked disk (-want +got):\n%s", diff)
	}
}

// TestRealBakeInterrupt ends a real baking in the middle.
func TestRealBakeInterrupt(t *testing.T) {
	cache := os.Getenv("LABCTL_BOX_CACHE")
	if cache == "" {
		t.Skip("LABCTL_BOX_CACHE is not set")
	}
	plain, err := Build(t.Context(), Options{CacheDir: cache, Host: remote.Host{}})
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{"open the node's disk", "make the disk", "compress the disk"} {
		t.Run(at, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			o := Options{CacheDir: t.TempDir(), Host: remote.Host{}, Progress: func(s string) {
				if s == at {
					time.AfterFunc(time.Second/5, cancel)
				}
			}}
			if err := os.MkdirAll(boxDir(o), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Link(plain.Path, filepath.Join(boxDir(o), filepath.Base(plain.Path))); err != nil {
				t.Skip(err) // another file system
			}
			before := mounts(t)
			_, err := Bake(ctx, BakeOptions{Options: o, Contents: "test", Disk: func(_ context.Context, file string) error { return finish(t, plain, file) }})
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("error %v, want context.Canceled", err)
			}
			if after := mounts(t); after != before {
				t.Errorf("mounts or loop devices left behind:\n%s\nbefore:\n%s", after, before)
			}
			entries, err := os.ReadDir(boxDir(o))
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, e := range entries {
				names = append(names, e.Name())
			}
			if diff := cmp.Diff([]string{"build.log", filepath.Base(plain.Path), "lock"}, names); diff != "" {
				t.Errorf("cache (-want +got):\n%s", diff)
			}
		})
	}
}

// TestRealInstall installs Docker's packages of a bundle, which
// LABCTL_BOX_DEBS names, in the plain box of TestRealBuild's cache.
func TestRealInstall(t *testing.T) {
	cache, debs := os.Getenv("LABCTL_BOX_CACHE"), os.Getenv("LABCTL_BOX_DEBS")
	if cache == "" || debs == "" {
		t.Skip("LABCTL_BOX_CACHE and LABCTL_BOX_DEBS are not set")
	}
	start := time.Now()
	o := Options{CacheDir: cache, Progress: func(s string) { t.Log(time.Since(start).Round(time.Second/10), s) }, Host: remote.Host{}}
	if _, err := Build(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	before := mounts(t)
	o.Force = true
	start = time.Now()
	made, err := Install(t.Context(), InstallOptions{Options: o, Contents: "test", Packages: debs, Files: map[string]string{"etc/docker/daemon.json": "{}\n"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%v: %+v", time.Since(start), made)
	t.Cleanup(func() { _ = os.Remove(made.Path) })
	if after := mounts(t); after != before {
		t.Errorf("mounts or loop devices left behind:\n%s\nbefore:\n%s", after, before)
	}
	look, err := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-eu", "-c", `
		tar -C "$2" -xf "$1" box.img
		qemu-img convert -O raw "$2/box.img" "$2/raw"
		mkdir "$2/mnt"
		mount -o loop,ro,offset=1048576 "$2/raw" "$2/mnt"
		cd "$2/mnt"
		cat etc/docker/daemon.json
		chroot . dpkg-query -W -f '${db:Status-Status} ${Package}\n' docker.io containerd runc
		chroot . dpkg --audit
		chroot . systemctl is-enabled docker.service docker.socket containerd.service
		ls -A mnt etc/machine-id usr/sbin/policy-rc.d var/lib/docker 2>&1 || :`, "look", made.Path, t.TempDir()).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, look)
	}
	want := `{}
installed containerd
installed docker.io
installed runc
enabled
enabled
enabled
ls: cannot access 'usr/sbin/policy-rc.d': No such file or directory
ls: cannot access 'var/lib/docker': No such file or directory
etc/machine-id

mnt:
`
	if diff := cmp.Diff(want, string(look)); diff != "" {
		t.Errorf("the disk (-want +got):\n%s", diff)
	}
}

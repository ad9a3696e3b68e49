package box

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/apt"
	"labctl/internal/remote"
)

// bakery is a host that runs only a baking's script.
type bakery func(c remote.Command) (remote.Result, error)

func (f bakery) Run(_ context.Context, c remote.Command) (remote.Result, error) { return f(c) }

// newBakery returns a builder whose cache has a plain box, and what it said.
func newBakery(t *testing.T, host remote.Runner) (builder, *[]string) {
	t.Helper()
	b, progress := newBuilder(t, &fakeHost{})
	b.Host = host
	b.Release = "bookworm"
	tg, err := newTarget(b.Options, apt.System{})
	if err != nil {
		t.Fatal(err)
	}
	prefix, err := tg.prefix()
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(boxDir(b.Options), prefix+"0123456789ab.box"), "plain")
	return b, progress
}

func TestBake(t *testing.T) {
	content, disks, runs := "first", 0, 0
	var work string
	b, progress := newBakery(t, bakery(func(c remote.Command) (remote.Result, error) {
		runs++
		want := []string{
			"unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child",
			"sh", "-eu", work + "/bake/bake.sh", work, "8",
		}
		if diff := cmp.Diff(want, c.Argv); diff != "" {
			t.Errorf("command (-want +got):\n%s", diff)
		}
		for _, name := range []string{"bake/clean.sh", "scripts/pack.sh", "scripts/unname.sh", "vagrant.pub", "image/etc/hosts", "node.raw"} {
			if _, err := os.Stat(filepath.Join(work, name)); err != nil {
				t.Error(err)
			}
		}
		// The node's disk holds its keys.
		if info, err := os.Stat(work); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("work folder: %v %v, want mode 700", info.Mode(), err)
		}
		write(t, filepath.Join(work, "box.box"), content)
		return remote.Result{Argv: c.Argv}, nil
	}))
	o := BakeOptions{Contents: "docker", Disk: func(_ context.Context, file string) error {
		disks++
		work = filepath.Dir(file)
		write(t, file, "disk")
		return nil
	}}
	plain := cached(t, b)

	got, err := b.bake(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	const hash = "a7937b64b8ca" // sha256sum of "first"
	if got.Name != "labctl/debian12-docker-"+hash || got.Hash != hash || !got.Built {
		t.Errorf("%+v", got)
	}
	if diff := cmp.Diff(append([]string{filepath.Base(got.Path), "build.log"}, append(plain, "lock")...), cached(t, b)); diff != "" {
		t.Errorf("cache (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"copy the node's disk"}, *progress); diff != "" {
		t.Errorf("progress (-want +got):\n%s", diff)
	}
	// The second time it is there, and the node is left alone.
	again, err := b.bake(t.Context(), o)
	if err != nil || again.Built || again.Path != got.Path || disks != 1 || runs != 1 {
		t.Errorf("second time: %+v %v, %d disks copied, %d runs", again, err, disks, runs)
	}
	// Anew, it takes the old one's place.
	content, b.Force = "second", true
	anew, err := b.bake(t.Context(), o)
	if err != nil || !anew.Built || anew.Name == got.Name {
		t.Errorf("forced: %+v %v", anew, err)
	}
	if diff := cmp.Diff(append([]string{filepath.Base(anew.Path), "build.log"}, append(plain, "lock")...), cached(t, b)); diff != "" {
		t.Errorf("cache (-want +got):\n%s", diff)
	}
}

// Whatever ends a baking, the cache is as it was.
func TestBakeFails(t *testing.T) {
	broken := errors.New("docker2: no space left on device")
	for _, tt := range []struct {
		name string
		disk error
		run  func(t *testing.T, c remote.Command, cancel func()) (remote.Result, error)
		want string
	}{
		{name: "the copy fails", disk: broken, want: "docker2: no space left on device"},
		{
			name: "no finished node",
			run: func(t *testing.T, c remote.Command, _ func()) (remote.Result, error) {
				say(t, c, "progress: open the node's disk\n", "E: the disk has no Docker with an image in it\n")
				return remote.Result{Argv: c.Argv, ExitCode: 1}, nil
			},
			want: "box: build failed: the disk has no Docker with an image in it",
		},
		{
			name: "interrupted",
			run: func(_ *testing.T, c remote.Command, cancel func()) (remote.Result, error) {
				cancel()
				return remote.Result{Argv: c.Argv, ExitCode: -1}, context.Canceled
			},
			want: "box: build interrupted: context canceled",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			b, _ := newBakery(t, bakery(func(c remote.Command) (remote.Result, error) { return tt.run(t, c, cancel) }))
			plain := cached(t, b)
			_, err := b.bake(ctx, BakeOptions{Contents: "docker", Disk: func(_ context.Context, file string) error {
				write(t, file, "half")
				return tt.disk
			}})
			if err == nil || err.Error() != tt.want {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if diff := cmp.Diff(append([]string{"build.log"}, append(plain, "lock")...), cached(t, b)); diff != "" {
				t.Errorf("left behind (-want +got):\n%s", diff)
			}
		})
	}

	t.Run("without a plain box", func(t *testing.T) {
		b, _ := newBakery(t, bakery(nil))
		plain := cached(t, b)
		if err := os.Remove(filepath.Join(boxDir(b.Options), plain[0])); err != nil {
			t.Fatal(err)
		}
		_, err := b.bake(t.Context(), BakeOptions{Contents: "docker"})
		if want := "box: the plain box from which it is to be made is not in the cache any more: `labctl box build`, then a new lab"; err == nil || err.Error() != want {
			t.Errorf("error %v, want %q", err, want)
		}
	})
	t.Run("not root", func(t *testing.T) {
		b, _ := newBakery(t, bakery(nil))
		b.euid = 1000
		if _, err := b.bake(t.Context(), BakeOptions{Contents: "docker"}); !errors.Is(err, RootError{}) {
			t.Errorf("error %v", err)
		}
	})
}

func TestInstall(t *testing.T) {
	debs, runs := t.TempDir(), 0
	var plain string
	b, progress := newBakery(t, bakery(func(c remote.Command) (remote.Result, error) {
		runs++
		work := c.Argv[len(c.Argv)-2]
		want := []string{
			"unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child",
			"sh", "-eu", work + "/bake/install.sh", work, "8",
		}
		if diff := cmp.Diff(want, c.Argv); diff != "" {
			t.Errorf("command (-want +got):\n%s", diff)
		}
		for name, to := range map[string]string{"plain.box": plain, "debs": debs} {
			if got, err := os.Readlink(filepath.Join(work, name)); err != nil || got != to {
				t.Errorf("%s is %q, %v, want %s", name, got, err, to)
			}
		}
		if text, err := os.ReadFile(filepath.Join(work, "files/etc/docker/daemon.json")); err != nil || string(text) != "{}" {
			t.Errorf("daemon.json: %q, %v", text, err)
		}
		if text, err := os.ReadFile(filepath.Join(work, "finish.sh")); err != nil || string(text) != "true" {
			t.Errorf("finish.sh: %q, %v", text, err)
		}
		say(t, c, "progress: install the packages\n", "")
		write(t, filepath.Join(work, "box.box"), "first")
		return remote.Result{Argv: c.Argv}, nil
	}))
	names := cached(t, b)
	plain = filepath.Join(boxDir(b.Options), names[0])
	o := InstallOptions{Contents: "docker", Packages: debs, Files: map[string]string{"etc/docker/daemon.json": "{}"}, Finish: "true"}
	got, err := b.install(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	const hash = "a7937b64b8ca" // sha256sum of "first"
	if got.Name != "labctl/debian12-docker-"+hash || !got.Built || filepath.Base(got.Path)[:len("docker-debian12-")] != "docker-debian12-" {
		t.Errorf("%+v", got)
	}
	if diff := cmp.Diff([]string{"build.log", names[0], filepath.Base(got.Path), "lock"}, cached(t, b)); diff != "" {
		t.Errorf("cache (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"install the packages"}, *progress); diff != "" {
		t.Errorf("progress (-want +got):\n%s", diff)
	}
	again, err := b.install(t.Context(), o)
	if err != nil || again.Built || again.Path != got.Path || runs != 1 {
		t.Errorf("second time: %+v %v, %d runs", again, err, runs)
	}
	// A box that is baked of a node with the same contents is another one.
	if found, ok, err := FindBaked(b.Options, "docker"); ok || err != nil {
		t.Errorf("as a baked box: %+v %v", found, err)
	}
	if found, ok, err := FindInstalled(b.Options, "docker"); !ok || err != nil || found.Path != got.Path {
		t.Errorf("found: %+v %v %v", found, ok, err)
	}
}

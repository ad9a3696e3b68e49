//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"labctl/internal/box"
	"labctl/internal/config"
	"labctl/internal/engine"
	"labctl/internal/provision"
	"labctl/internal/remote"
)

// bench is a run of the benchmark.
type bench struct {
	say    func(format string, args ...any)
	work   string   // folder of all that the run makes
	binary string   // labctl
	env    []string // of labctl and Vagrant
	log    *os.File // the output of all programs
	mounts string   // of this machine, before

	box     box.Box
	debs    []string // files that the plain way sends
	choice  engine.Choice
	canBake bool
	engines []string // the network namespaces of the engines that ran

	result Result
}

func (b *bench) sample(s Sample) {
	b.result.Samples = append(b.result.Samples, s)
	b.say("  %s", seconds(s.Seconds))
}

// folder makes a folder for one side of one round.
func (b *bench) folder(name string) (string, error) {
	dir := filepath.Join(b.work, name)
	return dir, os.Mkdir(dir, 0o755)
}

// prepare does what is not measured: it builds labctl, sees that box and
// packages are there, and gives Vagrant the box. All that follows goes on in a
// cache and a Vagrant folder of the run's own, which hold links to them.
func (b *bench) prepare(ctx context.Context, labctl string) error {
	if os.Geteuid() != 0 {
		return errors.New("the benchmark needs root for the embedded engine")
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	b.mounts = string(mounts)
	if b.work, err = os.MkdirTemp("", "labctl-bench-"); err != nil {
		return err
	}
	if b.log, err = os.Create(filepath.Join(b.work, "log")); err != nil {
		return err
	}
	if err := b.build(ctx, labctl); err != nil {
		return err
	}
	b.say("box and packages")
	for _, args := range [][]string{{"box", "build"}, {"bundle", "build"}} {
		if _, err := runProgram(ctx, b.log, b.work, os.Environ(), createWithin, append([]string{b.binary}, args...)...); err != nil {
			return err
		}
	}
	if err := b.linkCache(); err != nil {
		return err
	}
	home := filepath.Join(b.work, "vagrant.d")
	b.env = append(os.Environ(), "XDG_CACHE_HOME="+filepath.Join(b.work, "cache"), "VAGRANT_HOME="+home,
		"VAGRANT_CHECKPOINT_DISABLE=1", "VAGRANT_NO_COLOR=1", "LC_ALL=C.UTF-8")
	if _, err := runProgram(ctx, b.log, b.work, b.env, shortWithin, "vagrant", "box", "add", "--provider", "libvirt", "--name", b.box.Name, b.box.Path); err != nil {
		return err
	}
	l := config.Default()
	l.Provider = config.Embedded
	// What KVM can do here is found out once, for both: the plain Vagrantfile is
	// told, and labctl remembers it.
	if b.choice, err = engine.Detect(ctx, l, remote.Host{}, filepath.Join(b.work, "cache", "labctl")); err != nil {
		return err
	}
	// labctl's help of a command that it does not have is that of the whole.
	b.canBake = b.helps(ctx, "bake", "labctl bake")
	b.result = Result{Schema: 1, Date: time.Now().UTC().Truncate(time.Second), Machine: thisMachine(string(b.choice.Accel)), Versions: hostVersions(ctx)}
	said, err := b.labctl(ctx, b.work, shortWithin, "--version")
	if err != nil {
		return err
	}
	b.result.Versions["labctl"] = strings.TrimPrefix(strings.TrimSpace(string(said.stdout)), "labctl ")
	b.result.Versions["box"] = b.box.Name
	for _, deb := range b.debs {
		if name, version, _ := strings.Cut(filepath.Base(deb), "_"); name == "docker.io" {
			b.result.Versions["docker"], _, _ = strings.Cut(version, "_")
		}
	}
	return nil
}

// build takes the labctl that is given, or builds it as `make build` does. The
// run has a copy of its own: the given one may be built anew meanwhile.
func (b *bench) build(ctx context.Context, given string) error {
	b.binary = filepath.Join(b.work, "labctl")
	if given != "" {
		data, err := os.ReadFile(given)
		if err != nil {
			return err
		}
		return os.WriteFile(b.binary, data, 0o755)
	}
	b.say("building labctl")
	commit := "devel"
	if out, err := exec.CommandContext(ctx, "git", "describe", "--tags", "--always", "--dirty").Output(); err == nil {
		commit = strings.TrimSpace(string(out))
	}
	_, err := runProgram(ctx, b.log, ".", os.Environ(), createWithin, "go", "build", "-trimpath", "-ldflags", "-X labctl/internal/cli.version="+commit, "-o", b.binary, "./cmd/labctl")
	return err
}

// helps says whether the help of a command of labctl has the words.
func (b *bench) helps(ctx context.Context, command, words string) bool {
	f, err := b.labctl(ctx, b.work, shortWithin, command, "--help")
	return err == nil && strings.Contains(string(f.stdout), words)
}

// linkCache makes a cache with the box and the bundle, so that what a run adds
// (baked boxes) goes away with it.
func (b *bench) linkCache() error {
	user, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	from, to := filepath.Join(user, "labctl"), filepath.Join(b.work, "cache", "labctl")
	o := box.Options{CacheDir: from, Host: remote.Host{}}
	var ok bool
	if b.box, ok, err = box.Find(o); err != nil || !ok {
		return errors.Join(err, errors.New("there is no box after labctl box build"))
	}
	bundle, err := provision.FindBundle(from, "", "")
	if err != nil || bundle == nil {
		return errors.Join(err, errors.New("there is no bundle after labctl bundle build"))
	}
	boxes, debs := filepath.Join(to, "boxes"), filepath.Join(to, filepath.Base(bundle.Dir))
	if err := errors.Join(os.MkdirAll(boxes, 0o755), os.MkdirAll(debs, 0o755), link(b.box.Path, filepath.Join(boxes, filepath.Base(b.box.Path)))); err != nil {
		return err
	}
	files, err := os.ReadDir(bundle.Dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		file := filepath.Join(debs, f.Name())
		if err := link(filepath.Join(bundle.Dir, f.Name()), file); err != nil {
			return err
		}
		if name, _, _ := strings.Cut(f.Name(), "_"); slices.Contains(plainPackages(), name) {
			b.debs = append(b.debs, file)
		}
	}
	if len(b.debs) != len(plainPackages()) {
		return fmt.Errorf("the bundle has %d of the packages %s", len(b.debs), strings.Join(plainPackages(), ", "))
	}
	return nil
}

// forgetMade removes the boxes that labctl has made from the plain one: a cold
// create has nothing to begin with but what the plain way has.
func (b *bench) forgetMade() error {
	var errs []error
	for _, pattern := range []string{"baked-*.box", "docker-*.box"} {
		found, err := filepath.Glob(filepath.Join(b.work, "cache", "labctl", "boxes", pattern))
		errs = append(errs, err)
		for _, file := range found {
			errs = append(errs, os.Remove(file))
		}
	}
	return errors.Join(errs...)
}

// plainEnv is what the plain Vagrantfile asks for.
func (b *bench) plainEnv() []string {
	env := append(slices.Clone(b.env), "VAGRANT_DEFAULT_PROVIDER=libvirt", "BENCH_BOX="+b.box.Name)
	if b.choice.Accel == config.AccelKVM {
		if b.choice.CPU == "host" {
			return append(env, "BENCH_DRIVER=kvm", "BENCH_CPU_MODE=host-passthrough")
		}
		return append(env, "BENCH_DRIVER=kvm", "BENCH_CPU_MODE=custom", "BENCH_CPU_MODEL="+b.choice.CPU)
	}
	return append(env, "BENCH_DRIVER=qemu", "BENCH_CPU_MODE=custom", "BENCH_CPU_MODEL="+b.choice.CPU)
}

// plainEngine is the plain way's own engine.
type plainEngine struct {
	e   engine.Embedded
	pid string
}

func (b *bench) startEngine(ctx context.Context, dir string) (*plainEngine, error) {
	p := &plainEngine{e: engine.Embedded{Dir: dir}}
	if _, err := p.e.Start(ctx); err != nil {
		return nil, errors.Join(err, p.stop(ctx))
	}
	st, err := p.e.Status()
	p.pid = fmt.Sprint(st.PID)
	b.engines = append(b.engines, st.NetNS)
	return p, err
}

// enter is the command line that runs argv inside the engine, in dir.
func (p *plainEngine) enter(dir string, argv ...string) []string {
	return append([]string{"nsenter", "-t", p.pid, "-m", "-n", "--", "sh", "-c", `cd "$1" && shift && exec "$@"`, "sh", dir}, argv...)
}

// stop ends the engine and every VM in it, also when ctx has ended.
func (p *plainEngine) stop(ctx context.Context) error {
	return p.e.Stop(context.WithoutCancel(ctx))
}

// keepLog copies the log's end to where a person sees it, before it goes.
func (b *bench) keepLog(to io.Writer) {
	data, err := os.ReadFile(b.log.Name())
	if err != nil {
		return
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	_, _ = fmt.Fprintf(to, "the end of the log:\n%s\n", strings.Join(lines[max(0, len(lines)-40):], "\n"))
}

// remove removes all that the run has made, and finds out whether it did.
func (b *bench) remove() error {
	if b.work == "" {
		return nil
	}
	if b.log != nil {
		_ = b.log.Close()
	}
	err := os.RemoveAll(b.work)
	if left := processesOf(b.work, b.engines); len(left) > 0 {
		err = errors.Join(err, fmt.Errorf("left behind: %s", strings.Join(left, ", ")))
	}
	if mounts, merr := os.ReadFile("/proc/self/mounts"); merr == nil && string(mounts) != b.mounts {
		err = errors.Join(err, errors.New("the mounts of this machine have changed"))
	}
	return err
}

// processesOf lists the processes whose command line names a folder, or that
// live in one of the network namespaces.
func processesOf(dir string, engines []string) []string {
	procs, _ := filepath.Glob("/proc/[0-9]*")
	var out []string
	for _, p := range procs {
		line, _ := os.ReadFile(filepath.Join(p, "cmdline"))
		ns, _ := os.Readlink(filepath.Join(p, "ns", "net"))
		if strings.Contains(string(line), dir) || ns != "" && slices.Contains(engines, ns) {
			program, _, _ := strings.Cut(string(line), "\x00")
			out = append(out, filepath.Base(p)+" "+program)
		}
	}
	return out
}

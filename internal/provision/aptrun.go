package provision

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"labctl/internal/apt"
	"labctl/internal/remote"
)

// privateApt is an apt with a state of its own.
type privateApt struct {
	dir  string
	host remote.Runner
	log  io.Writer
}

// newPrivateApt makes one in dir. It believes that nothing is installed.
func newPrivateApt(dir string, settings apt.Settings, o BundleOptions) (*privateApt, error) {
	for _, d := range []string{"state/lists/partial", "cache/archives/partial", "none", "debs"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	conf := []apt.Setting{
		{Key: "Dir::State", Value: dir + "/state"},
		{Key: "Dir::State::status", Value: dir + "/status"},
		{Key: "Dir::Cache", Value: dir + "/cache"},
		{Key: "Dir::Etc::main", Value: "/dev/null"},
		{Key: "Dir::Etc::parts", Value: dir + "/none"},
		{Key: "Dir::Etc::sourcelist", Value: dir + "/sources.list"},
		{Key: "Dir::Etc::sourceparts", Value: dir + "/none"},
		{Key: "Dir::Etc::preferences", Value: dir + "/preferences"},
		{Key: "Dir::Etc::preferencesparts", Value: dir + "/none"},
		{Key: "APT::Install-Recommends", Value: "false"},
	}
	if os.Geteuid() == 0 {
		// apt would drop to a user who may not enter this private folder.
		conf = append(conf, apt.Setting{Key: "APT::Sandbox::User", Value: "root"})
	}
	for name, text := range map[string]string{
		"status":       "",
		"apt.conf":     settings.Conf(conf...),
		"sources.list": settings.List(),
		// Should somebody else's archive carry these packages too.
		"preferences": "Package: *\nPin: release o=Debian\nPin-Priority: 900\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	return &privateApt{dir: dir, host: o.Host, log: o.Log}, nil
}

func (a *privateApt) run(ctx context.Context, dir string, argv ...string) (string, error) {
	res, err := remote.Check(ctx, a.host, "host", remote.Command{
		Argv:   argv,
		Env:    []string{"APT_CONFIG=" + filepath.Join(a.dir, "apt.conf"), "LC_ALL=C"},
		Dir:    dir,
		Stderr: a.log,
	})
	var exit *remote.ExitError
	if errors.As(err, &exit) {
		for line := range strings.Lines(res.Stderr) {
			if reason, ok := strings.CutPrefix(line, "E: "); ok {
				return "", &AptError{Reason: strings.TrimSpace(reason), Err: exit}
			}
		}
	}
	return res.Stdout, err
}

// AptError is apt's own first word on why it failed.
type AptError struct {
	Reason string
	Err    *remote.ExitError // with all of apt's output
}

func (e *AptError) Error() string { return e.Err.Node + ": apt: " + e.Reason }

// Unwrap returns the failed command.
func (e *AptError) Unwrap() error { return e.Err }

// resolve asks the mirror for the closure of the needed packages.
func (a *privateApt) resolve(ctx context.Context, o BundleOptions) (Manifest, error) {
	m := Manifest{Schema: manifestSchema, Distribution: "debian", Created: time.Now().UTC()}
	o.Progress("reading the package lists")
	if _, err := a.run(ctx, "", "apt-get", "-q", "update"); err != nil {
		return m, err
	}
	want := slices.Clone(needed)
	for _, name := range neededIfKnown {
		known, err := a.run(ctx, "", "apt-cache", "pkgnames", name)
		if err != nil {
			return m, err
		}
		if slices.Contains(strings.Fields(known), name) {
			want = append(want, name)
		}
	}
	if o.Version != "" {
		want[slices.Index(want, "docker.io")] += "=" + o.Version + "*"
	}
	o.Progress("working out what Docker needs")
	closure, err := a.run(ctx, "", append([]string{"apt-get", "-q", "--simulate", "install"}, want...)...)
	if err != nil {
		return m, err
	}
	base, err := a.run(ctx, "", "apt-get", "-q", "--simulate", "install", "?essential", "?priority(^required$)")
	if err != nil {
		return m, err
	}
	all := slices.Concat(parseInst(closure), parseInst(base))
	if len(all) == 0 {
		return m, errors.New("apt-get --simulate install names no packages")
	}
	shown, err := a.run(ctx, "", append([]string{"apt-cache", "show"}, all...)...)
	if err != nil {
		return m, err
	}
	packages, err := parsePackages(shown)
	if err != nil {
		return m, err
	}
	inBase := map[string]bool{}
	for _, id := range parseInst(base) {
		inBase[id] = true
		m.Base = append(append(m.Base, packages[id].Name), packages[id].Provides...)
	}
	slices.Sort(m.Base)
	m.Base = slices.Compact(m.Base)
	for _, id := range parseInst(closure) {
		p, ok := packages[id]
		if !ok {
			return m, fmt.Errorf("apt-cache show says nothing of %s", id)
		}
		if !inBase[id] {
			m.Packages = append(m.Packages, p)
		}
	}
	return m, nil
}

// download fetches the files of b, whose folder appears only once all are
// there and right.
func (a *privateApt) download(ctx context.Context, b *Bundle, o BundleOptions) error {
	o.Progress(fmt.Sprintf("downloading %d packages, %d MB", len(b.Manifest.Packages), b.Size()/1e6))
	debs := filepath.Join(a.dir, "debs")
	argv := []string{"apt-get", "-q", "download"}
	for _, p := range b.Manifest.Packages {
		argv = append(argv, p.Name+"="+p.Version)
	}
	if _, err := a.run(ctx, debs, argv...); err != nil {
		return err
	}
	o.Progress("checking the packages")
	// Against the hashes that apt knows, then against our own.
	fresh := &Bundle{Dir: debs, Manifest: b.Manifest}
	if err := fresh.Verify(); err != nil {
		return err
	}
	o.Progress("repacking the large packages")
	if err := repack(ctx, a.host, fresh); err != nil {
		return err
	}
	if err := fresh.Verify(); err != nil {
		return err
	}
	if err := fresh.write(); err != nil {
		return err
	}
	b.Manifest = fresh.Manifest
	// What is there under that name failed Verify.
	if err := os.RemoveAll(b.Dir); err != nil {
		return err
	}
	return os.Rename(debs, b.Dir)
}

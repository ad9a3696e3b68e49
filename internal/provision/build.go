package provision

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"labctl/internal/apt"
	"labctl/internal/remote"
)

// BundleOptions says what bundle to build, and where.
type BundleOptions struct {
	CacheDir string        // made if missing; several labs may share it
	Release  string        // Debian code name; "" as the host's
	Mirror   string        // URL of a Debian mirror; "" as the host's apt settings
	Version  string        // beginning of docker.io's version; "" for the newest
	Host     remote.Runner // runs apt on this machine
	Progress func(string)  // told what is being done; nil for none
	Log      io.Writer     // gets apt's own output; nil for none
	// Force asks the mirror even if there is a good bundle already. Files
	// are fetched again only if the mirror has other versions.
	Force bool

	osRelease string // "" for this machine's
}

// BuildBundle returns a bundle that passed Verify, from the cache if it is
// there. It needs a host with Debian's apt, but neither root nor a change of
// the host's own apt: it works on an apt state of its own, as if nothing were
// installed, so that the bundle fits every Debian of that release.
func BuildBundle(ctx context.Context, o BundleOptions) (*Bundle, error) {
	b, err := buildBundle(ctx, o)
	if err != nil {
		var be *BundleError
		if errors.As(err, &be) {
			return nil, err
		}
		return nil, fmt.Errorf("build bundle: %w", err)
	}
	return b, nil
}

func buildBundle(ctx context.Context, o BundleOptions) (*Bundle, error) {
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	system, err := apt.ReadSystem(cmp.Or(o.osRelease, apt.OSRelease))
	if err != nil {
		return nil, err
	}
	arch, err := debianArch(ctx, o.Host)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.CacheDir, 0o755); err != nil {
		return nil, err
	}
	unlock, err := apt.Lock(ctx, filepath.Join(o.CacheDir, "bundle.lock"), func() {
		o.Progress("waiting for another labctl that builds a bundle")
	})
	if err != nil {
		return nil, err
	}
	defer unlock()

	cached, err := FindBundle(o.CacheDir, cmp.Or(o.Release, system.Codename), arch)
	var broken *BundleError
	if errors.As(err, &broken) {
		// Unreadable, so of no use to anybody; it would be in the way.
		err = os.RemoveAll(broken.Dir)
	}
	if err != nil {
		return nil, err
	}
	if cached != nil && !o.Force && cached.matches(o.Version) && cached.Verify() == nil {
		return cached, nil
	}

	if arch == "" {
		return nil, fmt.Errorf("this machine runs %s: %w", cmp.Or(system.Pretty, system.ID, "an unknown system"), ErrNotDebian)
	}
	release, err := system.Release(o.Release)
	if err != nil {
		return nil, err
	}
	settings, err := apt.Read(ctx, apt.Options{System: system, Release: release, Mirror: o.Mirror, Host: o.Host})
	if err != nil {
		return nil, err
	}
	if err := removeLeftovers(o.CacheDir); err != nil {
		return nil, err
	}
	// Beside the result, so that the rename at the end stays on one disk.
	tmp, err := os.MkdirTemp(o.CacheDir, ".bundle-*.tmp")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	private, err := newPrivateApt(tmp, settings, o)
	if err != nil {
		return nil, err
	}
	manifest, err := private.resolve(ctx, o)
	if err != nil {
		return nil, err
	}
	manifest.Release, manifest.Arch = release, arch
	b := &Bundle{Dir: filepath.Join(o.CacheDir, "bundle-"+manifest.id()), Manifest: manifest}
	if same, err := readBundle(b.Dir); err == nil && same.Verify() == nil {
		// FindBundle takes the newest, and this is the one asked for last.
		same.Manifest.Created = manifest.Created
		return same, same.write()
	}
	if err := private.download(ctx, b, o); err != nil {
		return nil, err
	}
	b.Built = true
	return b, nil
}

// ErrNotDebian is a machine without Debian's tools.
var ErrNotDebian = errors.New("a bundle is made of Debian's packages with Debian's apt; docker.source = \"apt\" needs no bundle")

// debianArch asks dpkg what this machine is; "" if there is no dpkg.
func debianArch(ctx context.Context, host remote.Runner) (string, error) {
	res, err := remote.Check(ctx, host, "host", remote.Command{Argv: []string{"dpkg", "--print-architecture"}})
	if errors.Is(err, exec.ErrNotFound) {
		return "", nil
	}
	return strings.TrimSpace(res.Stdout), err
}

// removeLeftovers removes what a killed labctl left; the caller holds the
// lock, so nobody works there.
func removeLeftovers(cacheDir string) error {
	entries, err := os.ReadDir(cacheDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".bundle-") {
			if err := os.RemoveAll(filepath.Join(cacheDir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// matches tells whether the bundle has the asked version of Docker, where
// 20.10 asks for 20.10.24 but not for 20.100.
func (b *Bundle) matches(version string) bool {
	rest, ok := strings.CutPrefix(b.Version("docker.io"), version)
	return ok && (version == "" || rest == "" || !isDigit(rest[0]))
}

// id names the content: release, architecture and every version.
func (m Manifest) id() string {
	h := sha256.New()
	for _, p := range m.Packages {
		_, _ = fmt.Fprintf(h, "%s=%s %s\n", p.Name, p.Version, p.SHA256)
	}
	return fmt.Sprintf("%s-%s-%.6x", m.Release, m.Arch, h.Sum(nil))
}

// Package provision makes a node able to run Docker: it prepares a fresh VM,
// installs Docker from the offline bundle or with apt, and proves it with a
// container. It also builds that bundle, a folder of Debian packages that any
// number of labs share. All work on a node is done by the scripts of
// provision/, run as root over a remote.Runner.
package provision

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// manifestSchema is the version of the manifest's format.
const manifestSchema = 1

const manifestFile = "manifest.json"

// needed are the packages that a node must have for Docker, Swarm and the
// scenarios. docker.io only recommends apparmor, but without it every
// container fails; busybox-static becomes the scenario image; iproute2 is
// what diagnose asks.
var needed = []string{
	"apparmor", "busybox-static", "ca-certificates", "containerd", "docker.io",
	"iproute2", "iptables", "kmod", "runc", "tini",
}

// neededIfKnown are needed too, by releases that have such a package: in
// Debian 13 Docker's command line was split from docker.io.
var neededIfKnown = []string{"docker-cli"}

// Manifest says what a bundle holds.
type Manifest struct {
	Schema       int       `json:"schema"`
	Distribution string    `json:"distribution"` // "debian"
	Release      string    `json:"release"`      // code name, such as "bookworm"
	Arch         string    `json:"arch"`         // as dpkg names it, such as "amd64"
	Created      time.Time `json:"created"`
	Packages     []Package `json:"packages"` // by name
	// Base names what every node of that release has already: the packages
	// that dpkg marks essential or required, what those depend on, and the
	// names that they provide.
	Base []string `json:"base"`
}

// Package is one .deb file of a bundle.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Arch    string `json:"arch"` // the bundle's own or "all"
	File    string `json:"file"` // name within the bundle's folder
	Size    int64  `json:"size"` // bytes
	SHA256  string `json:"sha256"`
	// DebianSHA256 is that of Debian's own file, if it was repacked.
	DebianSHA256 string   `json:"debian_sha256,omitempty"`
	InstalledKB  int64    `json:"installed_kb"`       // KiB on disk once installed
	Depends      []string `json:"depends,omitempty"`  // each "name (>= version) | other"
	Provides     []string `json:"provides,omitempty"` // names only
}

// Bundle is a folder of .deb files with a manifest.
type Bundle struct {
	Dir      string
	Manifest Manifest
	Built    bool // whether this very run made it
}

// Size returns the bytes of all .deb files.
func (b *Bundle) Size() int64 {
	var n int64
	for _, p := range b.Manifest.Packages {
		n += p.Size
	}
	return n
}

// Version returns the bundled version of the package, "" if it has none.
func (b *Bundle) Version(name string) string {
	for _, p := range b.Manifest.Packages {
		if p.Name == name {
			return p.Version
		}
	}
	return ""
}

// BundleError is a bundle that cannot be used. Each problem names the package.
type BundleError struct {
	Dir      string
	Problems []string
}

func (e *BundleError) Error() string {
	return fmt.Sprintf("bundle %s: %s; run labctl bundle build", e.Dir, strings.Join(e.Problems, "; "))
}

// FindBundle returns the newest bundle in the cache folder for the release
// and architecture, where "" stands for any. It is nil if there is none; what
// a bundle holds is not looked at, see Verify.
func FindBundle(cacheDir, release, arch string) (*Bundle, error) {
	entries, err := os.ReadDir(cacheDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find bundle: %w", err)
	}
	var found *Bundle
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), "bundle-") {
			continue
		}
		b, err := readBundle(filepath.Join(cacheDir, e.Name()))
		if err != nil {
			return nil, err
		}
		m := b.Manifest
		if (release != "" && m.Release != release) || (arch != "" && m.Arch != arch) {
			continue
		}
		if found == nil || m.Created.After(found.Manifest.Created) {
			found = b
		}
	}
	return found, nil
}

func readBundle(dir string) (*Bundle, error) {
	text, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if err != nil {
		return nil, &BundleError{Dir: dir, Problems: []string{"cannot read " + manifestFile + ": " + err.Error()}}
	}
	b := &Bundle{Dir: dir}
	if err := json.Unmarshal(text, &b.Manifest); err != nil {
		return nil, &BundleError{Dir: dir, Problems: []string{"cannot read " + manifestFile + ": " + err.Error()}}
	}
	if s := b.Manifest.Schema; s != manifestSchema {
		return nil, &BundleError{Dir: dir, Problems: []string{fmt.Sprintf("%s has schema %d, this labctl knows %d", manifestFile, s, manifestSchema)}}
	}
	return b, nil
}

// Verify checks every file against the manifest, and the manifest against
// itself: hashes, architectures, and that each dependency is there. The error
// is a *BundleError that holds every problem.
func (b *Bundle) Verify() error {
	problems := b.closureProblems()
	listed := map[string]bool{}
	for _, p := range b.Manifest.Packages {
		listed[p.File] = true
		if s := b.fileProblem(p); s != "" {
			problems = append(problems, s)
		}
	}
	files, err := os.ReadDir(b.Dir)
	if err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	for _, f := range files {
		if name := f.Name(); strings.HasSuffix(name, ".deb") && !listed[name] {
			problems = append(problems, "holds "+name+", which "+manifestFile+" does not list")
		}
	}
	if len(problems) > 0 {
		return &BundleError{Dir: b.Dir, Problems: problems}
	}
	return nil
}

// fileProblem says what is wrong with the file of p, "" for nothing.
func (b *Bundle) fileProblem(p Package) string {
	if p.Arch != b.Manifest.Arch && p.Arch != "all" {
		return fmt.Sprintf("%s is for %s, not for %s", p.Name, p.Arch, b.Manifest.Arch)
	}
	// The manifest may come from elsewhere: no name may lead out of the folder.
	if p.File != filepath.Base(p.File) || !strings.HasSuffix(p.File, ".deb") {
		return fmt.Sprintf("%s has the unusable file name %q", p.Name, p.File)
	}
	if p.InstalledKB < 0 || p.InstalledKB > 1<<30 {
		return fmt.Sprintf("%s takes %d KiB, says %s", p.Name, p.InstalledKB, manifestFile)
	}
	sum, size, err := hashFile(filepath.Join(b.Dir, p.File))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("lacks %s: no file %s, needed by %s", p.Name, p.File, b.neededBy(p.Name))
	case err != nil:
		return fmt.Sprintf("cannot read %s: %v", p.Name, err)
	case sum != p.SHA256 || size != p.Size:
		return fmt.Sprintf("%s is damaged: %s has SHA-256 %s and %d bytes, not %s and %d", p.Name, p.File, sum, size, p.SHA256, p.Size)
	}
	return ""
}

// closureProblems names each package that is needed and not in the manifest.
func (b *Bundle) closureProblems() []string {
	have := map[string]bool{}
	for _, name := range b.Manifest.Base {
		have[name] = true
	}
	for _, p := range b.Manifest.Packages {
		have[p.Name] = true
		for _, name := range p.Provides {
			have[name] = true
		}
	}
	var problems []string
	for _, name := range needed {
		if !have[name] {
			problems = append(problems, fmt.Sprintf("lacks %s: needed by %s", name, b.neededBy(name)))
			have[name] = true // said once
		}
	}
	for _, p := range b.Manifest.Packages {
		for _, dep := range p.Depends {
			names := alternatives(dep)
			if slices.ContainsFunc(names, func(n string) bool { return have[n] }) {
				continue
			}
			problems = append(problems, fmt.Sprintf("lacks %s: needed by %s", strings.Join(names, " or "), b.neededBy(names[0])))
			have[names[0]] = true
		}
	}
	return problems
}

// neededBy names the packages that depend on name, or labctl itself.
func (b *Bundle) neededBy(name string) string {
	var by []string
	for _, p := range b.Manifest.Packages {
		if slices.ContainsFunc(p.Depends, func(d string) bool { return slices.Contains(alternatives(d), name) }) {
			by = append(by, p.Name)
		}
	}
	if len(by) == 0 {
		return "labctl"
	}
	return strings.Join(by, ", ")
}

// alternatives returns the names in a dependency such as "a (>= 1) | b:any".
func alternatives(dep string) []string {
	var names []string
	for alt := range strings.SplitSeq(dep, "|") {
		name, _, _ := strings.Cut(strings.TrimSpace(alt), " ")
		name, _, _ = strings.Cut(name, ":")
		names = append(names, name)
	}
	return names
}

// hashFile returns the SHA-256 in hexadecimal and the size in bytes.
func hashFile(path string) (sum string, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	size, err = io.Copy(h, f)
	if err != nil {
		return "", 0, err
	}
	return hex.EncodeToString(h.Sum(nil)), size, nil
}

// write stores the manifest in the bundle's folder, whole or not at all.
func (b *Bundle) write() error {
	slices.SortFunc(b.Manifest.Packages, func(x, y Package) int { return cmp.Compare(x.Name, y.Name) })
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false) // dependencies are full of ">="
	enc.SetIndent("", "  ")
	if err := enc.Encode(b.Manifest); err != nil {
		return fmt.Errorf("write %s: %w", manifestFile, err)
	}
	file := filepath.Join(b.Dir, manifestFile)
	if err := os.WriteFile(file+".new", text.Bytes(), 0o644); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// Package apt tells how Debian's archives are reached from this host: what
// the host's own apt is set to, or a mirror that lab.toml names. Box and
// bundle are made of packages from there.
package apt

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"labctl/internal/remote"
)

// Keyring is what Debian's archives are checked with; no key of anybody
// else's can sign what a node gets. The package debian-archive-keyring has it.
const Keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// Options say which archives are wanted.
type Options struct {
	System  System // this host
	Release string // code name of the wanted release, as System.Release gives it
	Mirror  string // URL of a mirror; "" means those of the host's apt
	// Host runs apt's programs, none of which changes anything.
	Host remote.Runner
}

// Settings are the archives and the way to them.
type Settings struct {
	Sources []Source
	fetch   string // lines of apt.conf from the host
}

// Source is one archive's component main.
type Source struct{ URI, Suite string }

// indexTargets are the arguments of apt-get that list the host's sources, one
// a line, as debianSources reads them.
var indexTargets = []string{
	"apt-get", "indextargets",
	"--format", "$(REPO_URI)|$(RELEASE)|$(CODENAME)|$(ORIGIN)|$(COMPONENT)",
	"Created-By: Packages",
}

// Read returns the settings. Without a mirror the host must be a Debian: see
// NotDebianError.
func Read(ctx context.Context, o Options) (Settings, error) {
	if err := o.System.CanServe(o.Mirror); err != nil {
		return Settings{}, err
	}
	sources := mirrorSources(o.Mirror, o.Release)
	if o.Mirror == "" {
		targets, err := ask(ctx, o.Host, indexTargets...)
		if err != nil {
			return Settings{}, err
		}
		if sources = debianSources(targets, o.System.Codename, o.Release); len(sources) == 0 {
			return Settings{}, noSourcesError{}
		}
	}
	for i := range sources {
		uri, err := resolveMirrorFile(sources[i].URI)
		if err != nil {
			return Settings{}, err
		}
		if strings.ContainsAny(uri, " \t\n[]#") {
			return Settings{}, fmt.Errorf("mirror %q is not a URL", uri)
		}
		sources[i].URI = uri
	}
	dump, err := ask(ctx, o.Host, "apt-config", "dump")
	if err != nil {
		return Settings{}, err
	}
	return Settings{Sources: sources, fetch: fetchSettings(dump)}, nil
}

// noSourcesError is a Debian whose apt has no archive of Debian's.
type noSourcesError struct{}

func (noSourcesError) Error() string { return "apt's sources on this host name no Debian archive" }

// Hint says what to set.
func (noSourcesError) Hint() string { return "set box.mirror in lab.toml" }

func ask(ctx context.Context, host remote.Runner, argv ...string) (string, error) {
	res, err := remote.Check(ctx, host, "host", remote.Command{Argv: argv, Env: []string{"LC_ALL=C"}})
	return res.Stdout, err
}

// debianSources picks Debian's own archives from the output of indexTargets
// and turns them to the wanted release. host is the code name of the host's.
func debianSources(targets, host, release string) []Source {
	suites := map[string]string{}
	for _, suffix := range []string{"", "-updates", "-security"} {
		for _, name := range []string{host, "stable", "oldstable"} {
			suites[name+suffix] = release + suffix
		}
	}
	var out []Source
	for line := range strings.Lines(targets) {
		f := strings.Split(strings.TrimSpace(line), "|")
		if len(f) != 5 || f[4] != "main" {
			continue
		}
		uri, suite, codename, origin := strings.TrimSuffix(f[0], "/"), f[1], f[2], f[3]
		if codename != "" {
			suite = codename
		}
		if !isDebian(origin, uri) || suites[suite] == "" || strings.HasPrefix(uri, "cdrom:") {
			continue
		}
		if s := (Source{uri, suites[suite]}); !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// isDebian goes by what the archive says of itself. apt does not know that
// before its first update; then the usual names of mirrors' folders must do.
func isDebian(origin, uri string) bool {
	if known := strings.Trim(origin, "$()") != "ORIGIN" && origin != ""; known {
		return origin == "Debian"
	}
	base := path.Base(uri)
	return base == "debian" || base == "debian-security" || strings.HasPrefix(uri, "mirror+")
}

// mirrorSources are the archives of the mirror that lab.toml names. Security
// updates lie elsewhere on most mirrors; the point releases contain them.
func mirrorSources(mirror, release string) []Source {
	mirror = strings.TrimSuffix(mirror, "/")
	return []Source{{mirror, release}, {mirror, release + "-updates"}}
}

// resolveMirrorFile replaces "mirror+file:/etc/…", as cloud images of Debian
// have it, by the first mirror of that file: the file is not in the box.
func resolveMirrorFile(uri string) (string, error) {
	file, ok := strings.CutPrefix(uri, "mirror+file:")
	if !ok {
		return uri, nil
	}
	file = path.Clean("/" + strings.TrimLeft(file, "/"))
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("list of mirrors: %w", err)
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if w := strings.Fields(lines.Text()); len(w) > 0 && !strings.HasPrefix(w[0], "#") {
			return strings.TrimSuffix(w[0], "/"), nil
		}
	}
	if err := lines.Err(); err != nil {
		return "", fmt.Errorf("list of mirrors: %w", err)
	}
	return "", fmt.Errorf("list of mirrors %s is empty", file)
}

// List is the sources as a sources.list.
func (s Settings) List() string {
	var b strings.Builder
	for _, x := range s.Sources {
		fmt.Fprintf(&b, "deb [signed-by=%s] %s %s main\n", Keyring, x.URI, x.Suite)
	}
	return b.String()
}

// Setting is one line of apt.conf.
type Setting struct{ Key, Value string }

// Conf is an apt.conf that reaches the archives as the host's apt does,
// with extra settings before it. It may hold the password of a proxy: write
// it with mode 0600.
func (s Settings) Conf(extra ...Setting) string {
	var b strings.Builder
	for _, x := range append(slices.Clone(extra),
		Setting{"Acquire::Languages", "none"},
		Setting{"Acquire::Retries", "3"},
		Setting{"Dir::Etc::netrc", "/etc/apt/auth.conf"},
		Setting{"Dir::Etc::netrcparts", "/etc/apt/auth.conf.d"},
		Setting{"APT::Update::Error-Mode", "any"},
	) {
		fmt.Fprintf(&b, "%s %q;\n", x.Key, x.Value)
	}
	return b.String() + s.fetch
}

// fetchSettings picks, of the output of apt-config dump, what concerns
// fetching alone: no hooks, no pins, nothing that changes what is taken.
func fetchSettings(dump string) string {
	var b strings.Builder
	for line := range strings.Lines(dump) {
		for _, prefix := range []string{"Acquire::http", "Acquire::ftp", "Acquire::Check-", "Acquire::ForceIP", "Acquire::Max-"} {
			// A key without a value only opens a list.
			if strings.HasPrefix(line, prefix) && !strings.HasSuffix(strings.TrimSpace(line), ` "";`) {
				b.WriteString(line)
			}
		}
	}
	return b.String()
}

package box

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

const (
	osReleaseFile = "/etc/os-release"
	// keyring is what Debian's archives are checked with; no key of anybody
	// else's can sign what goes into the box.
	keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
)

// osRelease is what the host says about itself.
type osRelease struct {
	id, codename, pretty string
}

func (r osRelease) debian() bool { return r.id == "debian" && r.codename != "" }

func (r osRelease) name() string {
	if r.pretty != "" {
		return r.pretty
	}
	return "not Debian"
}

// readOSRelease reads an os-release file; a missing one gives the zero value.
func readOSRelease(file string) (osRelease, error) {
	data, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return osRelease{}, fmt.Errorf("box: %w", err)
	}
	var r osRelease
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		value = strings.Trim(value, `"'`)
		switch key {
		case "ID":
			r.id = value
		case "VERSION_CODENAME":
			r.codename = value
		case "PRETTY_NAME":
			r.pretty = value
		}
	}
	return r, nil
}

// indexTargets are the arguments of apt-get that list the host's sources, one
// a line, as parseTargets reads them.
var indexTargets = []string{
	"apt-get", "indextargets",
	"--format", "$(REPO_URI)|$(RELEASE)|$(CODENAME)|$(ORIGIN)|$(COMPONENT)",
	"Created-By: Packages",
}

// source is one archive: a line of sources.list.
type source struct{ uri, suite string }

// debianSources picks Debian's own archives from the output of indexTargets
// and turns them to the wanted release. host is the code name of the host's.
func debianSources(targets, host, release string) []source {
	suites := map[string]string{}
	for _, suffix := range []string{"", "-updates", "-security"} {
		for _, name := range []string{host, "stable", "oldstable"} {
			suites[name+suffix] = release + suffix
		}
	}
	var out []source
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
		if s := (source{uri, suites[suite]}); !slices.Contains(out, s) {
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
func mirrorSources(mirror, release string) []source {
	mirror = strings.TrimSuffix(mirror, "/")
	return []source{{mirror, release}, {mirror, release + "-updates"}}
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
		return "", fmt.Errorf("box: list of mirrors: %w", err)
	}
	defer func() { _ = f.Close() }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if w := strings.Fields(lines.Text()); len(w) > 0 && !strings.HasPrefix(w[0], "#") {
			return strings.TrimSuffix(w[0], "/"), nil
		}
	}
	return "", fmt.Errorf("box: list of mirrors %s is empty", file)
}

// sourcesList writes sources.list for the build and for the box.
func sourcesList(sources []source) (string, error) {
	var b strings.Builder
	for _, s := range sources {
		uri, err := resolveMirrorFile(s.uri)
		if err != nil {
			return "", err
		}
		if strings.ContainsAny(uri, " \t\n[]#") {
			return "", fmt.Errorf("box: mirror %q is not a URL", uri)
		}
		fmt.Fprintf(&b, "deb [signed-by=%s] %s %s main\n", keyring, uri, s.suite)
	}
	return b.String(), nil
}

// aptConf makes the build's apt reach its mirrors as the host's apt does. Of
// the host's settings (dump is the output of apt-config dump) it keeps those
// for fetching alone: no hooks, no pins, nothing that changes what is taken.
func aptConf(dump string) string {
	var b strings.Builder
	for _, kv := range [][2]string{
		{"Acquire::Languages", "none"},
		{"Acquire::Retries", "3"},
		{"Dir::Etc::netrc", "/etc/apt/auth.conf"},
		{"Dir::Etc::netrcparts", "/etc/apt/auth.conf.d"},
		// Its own user may not enter the cache folder.
		{"APT::Sandbox::User", "root"},
		{"APT::Update::Error-Mode", "any"},
	} {
		fmt.Fprintf(&b, "%s %q;\n", kv[0], kv[1])
	}
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

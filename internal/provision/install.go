package provision

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"labctl/internal/config"
	"labctl/internal/remote"
)

const stepInstall = "install Docker"

// Options says what Docker a node shall have.
type Options struct {
	Node string // name for errors
	// Source auto takes Bundle if there is one that fits the node, else apt.
	Source         config.Source
	Bundle         *Bundle // nil for none; the caller has seen it pass Verify
	Version        string  // beginning of the version; "" for what the source has
	RegistryMirror string  // URL, "" for none
	Proxy          string  // URL for dockerd and apt, "" for none; may hold a password
	// Peers are all nodes' lab addresses, which are reached without Proxy.
	Peers map[string]netip.Addr
	// Theirs says that the node had Docker before labctl came: its version and
	// its settings stay.
	Theirs bool
	// LockWait is how long a held dpkg lock is waited for; 0 means 3 minutes.
	LockWait time.Duration
	// StartWait is how long dockerd may take to answer; 0 means 2 minutes.
	StartWait time.Duration
	// Begin is called before anything is changed on the node; nil for nothing.
	Begin func() error
	// Progress is told what is being done, from two goroutines; nil for none.
	Progress func(detail string)
}

// facts are what probe.sh says of a node.
type facts struct {
	done                        bool
	rpm                         bool // dnf and rpm instead of apt and dpkg
	distribution, release, arch string
	room                        map[string]room   // by folder, see probe.sh
	packages                    map[string]string // installed name ▸ version
}

// room is what df says of a place.
type room struct {
	freeKB int64
	mount  string
}

// bootstrap unpacks what comes on standard input and runs install.sh in it.
// It is the only shell of labctl on a command line: it holds nothing of the
// lab. The folder goes away however this ends, since it holds the proxy's
// password.
const bootstrap = `umask 077
d=$(mktemp -d /var/tmp/labctl.XXXXXX)
trap 'rm -rf "$d"' EXIT
trap 'exit 129' HUP INT TERM
tar -xf - -C "$d" --no-same-owner
sh -eu "$d/install.sh" "$d" </dev/null`

// Install makes Docker run on the node, with the scenario image
// labctl/toolbox, and proves it with a container unless told not to. On a node
// where it has been done it is one quick command, and changed is false. Errors
// are of type *Error.
func Install(ctx context.Context, r remote.Runner, o Options) (changed bool, err error) {
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	if o.Source == config.SourceBundle && o.Bundle == nil {
		return false, refuse(o.Node, stepInstall, "docker.source is \"bundle\", but there is no bundle: run labctl bundle build")
	}
	parts, err := o.parts()
	if err != nil {
		return false, err
	}
	mark := o.mark(parts)
	f, err := probe(ctx, r, o.Node, mark)
	if err != nil {
		return false, err
	}
	if f.done {
		return false, o.checkRoom(f, map[string]int64{"data": leastKB})
	}
	source, err := o.resolve(f)
	if err != nil {
		return false, err
	}
	var debs []Package
	if source == config.SourceBundle {
		debs = o.Bundle.lackedBy(f.packages)
		if o.Theirs {
			debs = slices.DeleteFunc(debs, func(p Package) bool { return p.Name != "busybox-static" })
		}
	}
	if err := o.checkRoom(f, wants(source, f, debs)); err != nil {
		return false, err
	}
	if o.Begin != nil {
		if err := o.Begin(); err != nil {
			return false, err
		}
	}
	parts = append(parts, part{name: "env", text: o.env(source, mark)})
	s := &stream{parts: parts, debs: debs, progress: o.Progress}
	if o.Bundle != nil {
		s.dir = o.Bundle.Dir
	}
	stdin := s.open()
	defer func() { _ = stdin.Close() }()
	n := &news{progress: o.Progress}
	res, err := r.Run(ctx, remote.Command{Argv: []string{"sudo", "-n", "sh", "-euc", bootstrap}, Stdin: stdin, Stdout: n})
	if err := failure(o.Node, stepInstall, res, err); err != nil {
		return n.changed, err
	}
	return n.changed, nil
}

// probe asks the node what it has.
func probe(ctx context.Context, r remote.Runner, node, mark string) (facts, error) {
	text, err := script("probe.sh")
	if err != nil {
		return facts{}, err
	}
	res, err := r.Run(ctx, remote.Command{
		Argv:  []string{"sudo", "-n", "sh", "-eu", "-s", "--", mark},
		Stdin: strings.NewReader(text),
	})
	if err := failure(node, stepInstall, res, err); err != nil {
		return facts{}, err
	}
	f := facts{packages: map[string]string{}, room: map[string]room{}}
	for line := range strings.Lines(res.Stdout) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch key {
		case "done":
			f.done = true
		case "family":
			f.rpm = value == "rpm"
		case "distribution":
			f.distribution = value
		case "release":
			f.release = value
		case "arch":
			f.arch = value
		case "room":
			what, rest, _ := strings.Cut(value, " ")
			free, mount, _ := strings.Cut(rest, " ")
			if kb, err := strconv.ParseInt(free, 10, 64); err == nil { // else it is not known
				f.room[what] = room{kb, mount}
			}
		case "package":
			name, version, _ := strings.Cut(value, " ")
			f.packages[name] = version
		}
	}
	return f, nil
}

// resolve turns source auto into what fits the node, and refuses a bundle
// that does not.
func (o Options) resolve(f facts) (config.Source, error) {
	if f.rpm {
		if o.Source == config.SourceApt || o.Source == config.SourceBundle {
			return "", refuse(o.Node, stepInstall, "docker.source is %q, and the node runs %s, for which only Docker's own packages are known: set docker.source = \"upstream\"", o.Source, f.distribution)
		}
		return config.SourceUpstream, nil
	}
	if o.Source == config.SourceApt || o.Source == config.SourceUpstream || o.Bundle == nil {
		if o.Source == config.SourceUpstream {
			return o.Source, nil
		}
		return config.SourceApt, nil
	}
	m := o.Bundle.Manifest
	var why string
	switch {
	case m.Distribution != f.distribution || m.Release != f.release || m.Arch != f.arch:
		why = fmt.Sprintf("the bundle is for %s %s (%s), the node runs %s %s (%s)",
			m.Distribution, m.Release, m.Arch, f.distribution, f.release, f.arch)
	case !o.Bundle.matches(o.Version):
		why = fmt.Sprintf("the bundle has docker.io %s, lab.toml asks for %s", o.Bundle.Version("docker.io"), o.Version)
	default:
		return config.SourceBundle, nil
	}
	if o.Source == config.SourceBundle {
		return "", refuse(o.Node, stepInstall, "%s: build a bundle that fits, or set docker.source = \"apt\"", why)
	}
	o.Progress(why + ": installing with apt")
	return config.SourceApt, nil
}

// lackedBy returns the packages that the node lacks or has in an older
// version.
func (b *Bundle) lackedBy(installed map[string]string) []Package {
	var out []Package
	for _, p := range b.Manifest.Packages {
		if v, ok := installed[p.Name]; !ok || compareVersions(v, p.Version) < 0 {
			out = append(out, p)
		}
	}
	return out
}

// parts are the files that install.sh needs, packages and settings apart.
func (o Options) parts() ([]part, error) {
	install, err := script("install.sh")
	if err != nil {
		return nil, err
	}
	toolbox, err := script("toolbox.sh")
	if err != nil {
		return nil, err
	}
	daemon, err := DaemonJSON(o.RegistryMirror)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.Node, err)
	}
	containerd, err := asset(containerdTOML)
	if err != nil {
		return nil, err
	}
	return []part{{"install.sh", install}, {"toolbox.sh", toolbox}, {"daemon.json", daemon}, {containerdTOML, containerd}}, nil
}

// DaemonJSON is dockerd's settings, as /etc/docker/daemon.json says them, with
// a registry mirror or "". Swarm refuses live-restore; logs are bounded, since
// a lab's disk is small and its web servers are chatty.
func DaemonJSON(mirror string) (string, error) {
	settings := map[string]any{
		"live-restore": false,
		"log-driver":   "json-file",
		"log-opts":     map[string]string{"max-size": "10m", "max-file": "3"},
	}
	if mirror != "" {
		settings["registry-mirrors"] = []string{mirror}
	}
	text, err := json.MarshalIndent(settings, "", "  ")
	if err != nil {
		return "", fmt.Errorf("daemon.json: %w", err)
	}
	return string(text) + "\n", nil
}

// containerdTOML is containerd's settings, in provision/.
const containerdTOML = "containerd.toml"

// SettingsFiles is where a new node keeps its settings: dockerd's, what labctl
// wrote last of them, from which install.sh tells whether somebody has changed
// them, and containerd's.
func SettingsFiles(daemonJSON string) (map[string]string, error) {
	containerd, err := asset(containerdTOML)
	return map[string]string{
		"etc/docker/daemon.json":     daemonJSON,
		"var/lib/labctl/daemon.json": daemonJSON,
		"etc/containerd/config.toml": containerd,
	}, err
}

// BoxScript finishes a box that has the packages and SettingsFiles: it makes the
// scenario image, and leaves it where install.sh looks for it. If Docker can run
// in the box while that is made, it loads the image, runs a container, and leaves
// the mark by which Install knows that nothing is left to do for these options.
func (o Options) BoxScript() (string, error) {
	parts, err := o.parts()
	if err != nil {
		return "", err
	}
	toolbox, err := script("toolbox.sh")
	if err != nil {
		return "", err
	}
	preload, err := asset("preload.sh")
	return "set -- /var/lib/labctl " + o.mark(parts) + "\n" + toolbox + preload, err
}

// noProxy lists what is reached without the proxy: the nodes and loopback.
func (o Options) noProxy() string {
	out := []string{"localhost", "127.0.0.1", "::1"}
	for _, name := range slices.Sorted(maps.Keys(o.Peers)) {
		out = append(out, name, o.Peers[name].String())
	}
	return strings.Join(out, ",")
}

// mark is the fingerprint of all that decides what Install does. A new bundle
// does not: what runs is not upgraded behind the trainee's back.
func (o Options) mark(parts []part) string {
	h := sha256.New()
	for _, p := range parts {
		_, _ = fmt.Fprintf(h, "%s %d\n%s", p.name, len(p.text), p.text)
	}
	_, _ = fmt.Fprintf(h, "%q %q", o.Version, o.Proxy)
	if o.Proxy != "" { // else a further node would change it for nothing
		_, _ = io.WriteString(h, o.noProxy())
	}
	if o.Source == config.SourceUpstream {
		_, _ = io.WriteString(h, " upstream")
	}
	if o.Theirs {
		_, _ = io.WriteString(h, " theirs")
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// env is the settings as a piece of shell.
func (o Options) env(source config.Source, mark string) string {
	var b strings.Builder
	for _, kv := range [][2]string{
		{"SOURCE", string(source)},
		{"THEIRS", map[bool]string{true: "1"}[o.Theirs]},
		{"VERSION", o.Version},
		{"PROXY", o.Proxy},
		{"NO_PROXY", o.noProxy()},
		{"MIRROR", o.RegistryMirror},
		{"MARK", mark},
		{"LOCK_WAIT", seconds(o.LockWait, 3*time.Minute)},
		{"START_WAIT", seconds(o.StartWait, 2*time.Minute)},
	} {
		fmt.Fprintf(&b, "%s='%s'\n", kv[0], strings.ReplaceAll(kv[1], "'", `'\''`))
	}
	return b.String()
}

func seconds(d, otherwise time.Duration) string {
	if d == 0 {
		d = otherwise
	}
	return strconv.Itoa(int(d.Seconds()))
}

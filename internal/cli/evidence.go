package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/client"

	labassets "labctl"
	"labctl/internal/artifact"
	"labctl/internal/box"
	"labctl/internal/config"
	"labctl/internal/lab"
	"labctl/internal/provision"
	"labctl/internal/remote"
	"labctl/internal/ui"
)

const (
	// evidenceWithin bounds the collection, which must not keep a person
	// waiting for a lab that is broken.
	evidenceWithin = 2 * time.Minute
	// factsWithin bounds what nodes are asked that are not collected from.
	factsWithin = 5 * time.Second
)

// collect asks the nodes for their evidence, or only what Docker says there.
func (s *session) collect(ctx context.Context, dockerOnly bool) {
	s.collected = true
	s.run.Secret(keySecrets(s.e)...)
	if s.unreachable != nil {
		s.run.Missing("nodes", s.unreachable.Error())
		return
	}
	ctx, cancel := context.WithTimeout(ctx, evidenceWithin)
	defer cancel()
	var nodes []artifact.Node
	for _, n := range s.e.Lab.Nodes {
		nodes = append(nodes, s.node(n))
	}
	var mu sync.Mutex
	last := map[string]string{}
	s.facts = artifact.Collect(ctx, s.run, nodes, artifact.CollectOptions{
		DockerOnly: dockerOnly,
		Progress: func(node, detail string) {
			mu.Lock()
			last[node] = detail
			mu.Unlock()
			s.e.Event(ui.Event{Node: node, Step: "evidence", State: ui.Progress, Detail: detail})
		},
	})
	for _, n := range nodes {
		s.e.Event(ui.Event{Node: n.Name, Step: "evidence", State: ui.Done, Detail: last[n.Name]})
	}
}

// node is a node as far as it is connected, or how to connect to it.
func (s *session) node(n config.Node) artifact.Node {
	node := artifact.Node{Name: n.Name}
	if c := s.e.Runner(n.Name); c != nil {
		node.Runner = c
		if api, err := s.e.API(n); err == nil {
			node.API = api
		}
	} else if s.connect {
		node.Connect = func(ctx context.Context) (remote.Runner, *client.Client, error) {
			c, err := s.e.Connect(ctx, n, func(reason string) {
				s.e.Event(ui.Event{Node: n.Name, Step: "evidence", State: ui.Progress, Detail: reason})
			})
			if err != nil {
				return nil, nil, err
			}
			api, err := s.e.API(n)
			if err != nil {
				return c, nil, nil // recorded by the collection
			}
			return c, api, nil
		}
	}
	return node
}

// askNodes learns the versions on the nodes that are connected, of which no
// evidence is taken.
func (s *session) askNodes(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, factsWithin)
	defer cancel()
	s.facts = make([]artifact.NodeFacts, len(s.e.Lab.Nodes))
	var wg sync.WaitGroup
	for i, n := range s.e.Lab.Nodes {
		api, err := s.e.API(n)
		if err != nil {
			continue // nobody is connected to it
		}
		wg.Go(func() {
			if res, err := api.Info(ctx, client.InfoOptions{}); err == nil {
				s.facts[i] = artifact.FactsOf(res.Info)
			}
		})
	}
	wg.Wait()
}

// collectHost keeps what this machine has of the lab, and what belongs to the
// error with which the command ended.
func (s *session) collectHost(err error) {
	s.run.Secret(keySecrets(s.e)...)
	h := artifact.Host{StateDir: s.e.StateDir(), LabFile: s.a.configFile}
	var failed *box.BuildError
	if errors.As(err, &failed) && failed.Log != "" {
		h.More = map[string]string{"box-build.log": failed.Log}
	}
	if s.a.configFile == "lab.toml" {
		h.Default = labassets.LabToml()
	}
	artifact.CollectHost(s.run, h)
}

// askVersions begins to ask for the versions of the host's programs, beside
// what the command does: Vagrant takes a second or two for the answer.
func (s *session) askVersions() {
	if s.versions != nil {
		return
	}
	var ctx context.Context
	ctx, s.stopVersions = context.WithCancel(context.Background())
	s.versions = make(chan map[string]string, 1)
	provider := cmp.Or(s.e.State.Provider, s.e.Choice.Provider)
	go func() { s.versions <- artifact.Versions(ctx, s.e.Host, string(provider)) }()
}

// info is what the manifest says of the command, which ended with err.
func (s *session) info(ctx context.Context, err error) artifact.Info {
	e := s.e
	info := artifact.Info{
		OK: err == nil, Verdict: s.verdict, Err: err, Version: e.Version, Tools: map[string]string{},
		Lab: &artifact.LabInfo{
			Name: e.Lab.Name, Provider: string(e.State.Provider), Acceleration: string(e.State.Accel), Subnet: e.Lab.Subnet.String(),
		},
	}
	select {
	case info.Tools = <-s.versions: // each question has a deadline
	case <-ctx.Done():
	}
	s.stopVersions()
	var engines []string
	for i, n := range e.Lab.Nodes {
		node := artifact.NodeInfo{Name: n.Name, Role: string(n.Role), LabIP: n.IP.String()}
		if s.facts != nil {
			node.NodeFacts = s.facts[i]
		}
		if v := node.Docker; v != "" && !slices.Contains(engines, v) {
			engines = append(engines, v)
		}
		info.Nodes = append(info.Nodes, node)
	}
	for name, value := range map[string]string{"docker": strings.Join(engines, ", "), "box": boxName(e), "bundle": bundleName(e)} {
		if value != "" {
			info.Tools[name] = value
		}
	}
	return info
}

var boxLine = regexp.MustCompile(`(?m)^ *config\.vm\.box = '([^'\n]+)'`)

// boxName is the box of which the VMs are made, "" before there is one.
func boxName(e *lab.Env) string {
	data, _ := os.ReadFile(filepath.Join(e.StateDir(), "Vagrantfile"))
	if m := boxLine.FindSubmatch(data); m != nil {
		return string(m[1])
	}
	return ""
}

// bundleName is the bundle from which Docker is installed, "" for none.
func bundleName(e *lab.Env) string {
	if s := e.Lab.Docker.Source; s != config.SourceAuto && s != config.SourceBundle {
		return ""
	}
	b, err := provision.FindBundle(e.Cache, e.Lab.Box.Release, "")
	if err != nil || b == nil {
		return ""
	}
	return filepath.Base(b.Dir)
}

// secrets are the passwords that lab.toml and this process's environment hold.
func secrets(e *lab.Env) []string {
	urls := []string{e.Lab.Docker.Proxy, e.Lab.Docker.RegistryMirror, e.Lab.Box.URL, e.Lab.Box.Mirror}
	for _, name := range []string{"http_proxy", "https_proxy", "ftp_proxy", "all_proxy"} {
		urls = append(urls, os.Getenv(name), os.Getenv(strings.ToUpper(name)))
	}
	var out []string
	for _, raw := range urls {
		if u, err := url.Parse(raw); err == nil {
			if password, ok := u.User.Password(); ok {
				out = append(out, password)
			}
		}
		_, rest, ok := strings.Cut(raw, "://")
		if !ok {
			rest = raw // a proxy can do without
		}
		if m := userInfo.FindStringSubmatch(rest); m != nil {
			out = append(out, m[1]) // as it is written
		}
	}
	return append(out, keySecrets(e)...)
}

// userInfo finds the password in a URL after its scheme.
var userInfo = regexp.MustCompile(`^[^/:@]*:(.+)@`)

// keySecrets are the private keys that lead to the lab's nodes, as far as they
// are made.
func keySecrets(e *lab.Env) []string {
	var out []string
	state := os.DirFS(e.StateDir())
	for _, pattern := range []string{"keys/*", ".vagrant/machines/*/*/private_key"} {
		files, _ := fs.Glob(state, pattern) // the patterns are sound
		for _, file := range files {
			// A public key there is no secret.
			if data, err := fs.ReadFile(state, file); err == nil && bytes.Contains(data, []byte("PRIVATE KEY")) {
				out = append(out, string(data))
			}
		}
	}
	return out
}

// artifactsRoot is the folder of all runs of a lab whose lab.toml is in dir.
func artifactsRoot(l *config.Lab, dir string) string {
	if filepath.IsAbs(l.Artifacts) {
		return l.Artifacts
	}
	return filepath.Join(dir, l.Artifacts)
}

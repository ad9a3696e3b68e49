package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"labctl/internal/artifact"
	"labctl/internal/lab"
	"labctl/internal/ui"
)

// session is one command that changes or judges the lab: what a person sees
// of it, and the folder of evidence that it leaves.
type session struct {
	a       *app
	e       *lab.Env
	ui      ui.UI
	command string
	run     *artifact.Run // nil until the command is where the lab lives
	verdict string        // of a scenario
	closers []io.Closer

	collected bool
}

// begin starts the display. Evidence goes to a run folder if the lab can be
// reached from here, else (before the embedded engine is entered) only to the
// host log, which the run folder will get a copy of.
func (a *app) begin(e *lab.Env, command string, evidence bool) (*session, error) {
	// Before the embedded engine is entered no node has anything to show.
	u, err := a.show(e, evidence)
	if err != nil {
		return nil, err
	}
	s := &session{a: a, e: e, ui: u, command: command}
	e.Sink = u
	if evidence {
		return s, s.record(command)
	}
	f, err := os.OpenFile(hostLog(e), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	s.log(f)
	return s, nil
}

func hostLog(e *lab.Env) string { return filepath.Join(e.StateDir(), "host.log") }

// record makes the run folder and has everything written there.
func (s *session) record(command string) error {
	root := s.e.Lab.Artifacts
	if !filepath.IsAbs(root) {
		root = filepath.Join(s.e.Dir, root)
	}
	run, err := artifact.New(root, command, time.Now())
	if err != nil {
		return err
	}
	s.run = run
	run.Secret(secrets(s.e)...)
	if data, err := os.ReadFile(hostLog(s.e)); err == nil {
		if err := run.Write("host.log", data); err != nil {
			return err
		}
	}
	var files []io.WriteCloser
	for _, name := range []string{"labctl.log", "vagrant.log", "events.jsonl"} {
		f, err := run.Create(name)
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	s.log(files[0])
	s.closers = append(s.closers, files[1], files[2])
	s.e.VagrantLog = files[1]
	s.e.Sink = &recorder{next: s.ui, enc: json.NewEncoder(files[2])}
	return nil
}

// secrets are the values that lab.toml itself holds.
func secrets(e *lab.Env) []string {
	var out []string
	for _, raw := range []string{e.Lab.Docker.Proxy, e.Lab.Docker.RegistryMirror, e.Lab.Box.URL, e.Lab.Box.Mirror} {
		if u, err := url.Parse(raw); err == nil {
			if password, ok := u.User.Password(); ok {
				out = append(out, password)
			}
		}
	}
	return out
}

func (s *session) log(w io.WriteCloser) {
	s.closers = append(s.closers, w)
	l := logrus.New()
	l.SetLevel(logrus.DebugLevel)
	l.SetFormatter(&logrus.TextFormatter{DisableColors: true, FullTimestamp: true})
	l.SetOutput(w)
	if s.a.verbose {
		l.SetOutput(io.MultiWriter(w, s.ui))
	}
	s.e.Log = l
	l.WithFields(logrus.Fields{"version": s.e.Version, "lab": s.e.Lab.Name, "provider": s.e.State.Provider}).Info("labctl starts")
}

// recorder keeps the events, from which a report draws its timeline.
type recorder struct {
	next ui.Sink
	mu   sync.Mutex
	enc  *json.Encoder
}

func (r *recorder) Event(ev ui.Event) {
	r.mu.Lock()
	// A disk that is full must not stop the lab, and shows elsewhere.
	_ = r.enc.Encode(ev)
	r.mu.Unlock()
	r.next.Event(ev)
}

// evidenceWithin bounds the collection, which must not keep a person waiting
// for a lab that is broken.
const evidenceWithin = 2 * time.Minute

// end closes the display, collects the nodes' evidence if that is asked for
// or the command failed, and writes the manifest. It returns err, to which it
// adds what went wrong with the evidence.
func (s *session) end(ctx context.Context, err error, collect bool) error {
	if s.run == nil && err != nil {
		// What failed before there was a run folder gets one now, with the
		// host log in it.
		s.closeFiles()
		err = errors.Join(err, s.record(s.command))
	}
	switch {
	case s.run == nil || s.collected || !collect && err == nil:
	case ctx.Err() != nil:
		s.run.Missing("nodes", "not collected: interrupted")
	default:
		s.collect(ctx)
	}
	s.ui.Close()
	if err != nil && s.e.Log != nil {
		s.e.Log.WithError(err).Error("failed")
	}
	s.closeFiles()
	if s.run == nil {
		return err
	}
	info := artifact.Info{OK: err == nil, Verdict: s.verdict, Err: err, Version: s.e.Version, Tools: map[string]string{}}
	for _, n := range s.e.Lab.Nodes {
		info.Nodes = append(info.Nodes, artifact.NodeInfo{Name: n.Name, Role: string(n.Role), LabIP: n.IP.String()})
	}
	if cerr := s.run.Close(info); cerr != nil {
		err = errors.Join(err, fmt.Errorf("artifacts: %w", cerr))
	}
	dir := s.run.Dir()
	if wd, werr := os.Getwd(); werr == nil {
		if rel, rerr := filepath.Rel(wd, dir); rerr == nil && len(rel) < len(dir) {
			dir = rel
		}
	}
	_, _ = fmt.Fprintf(s.a.streams.Err, "evidence: %s\n", dir)
	return err
}

// closeFiles closes the logs. Their errors are not worth a failed command.
func (s *session) closeFiles() {
	for _, c := range s.closers {
		_ = c.Close()
	}
	s.closers = nil
}

func (s *session) collect(ctx context.Context) {
	s.collected = true
	ctx, cancel := context.WithTimeout(ctx, evidenceWithin)
	defer cancel()
	var nodes []artifact.Node
	for _, n := range s.e.Lab.Nodes {
		node := artifact.Node{Name: n.Name}
		if c := s.e.Runner(n.Name); c != nil {
			node.Runner = c
		}
		if api, err := s.e.API(n); err == nil {
			node.API = api
		}
		nodes = append(nodes, node)
	}
	var mu sync.Mutex
	last := map[string]string{}
	artifact.Collect(ctx, s.run, nodes, artifact.CollectOptions{
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
	if data, err := os.ReadFile(filepath.Join(s.e.StateDir(), "Vagrantfile")); err == nil {
		s.keep("host/Vagrantfile", data)
	}
	if data, err := os.ReadFile(s.a.configFile); err == nil {
		s.keep("host/lab.toml", data)
	}
	consoles, _ := filepath.Glob(filepath.Join(s.e.StateDir(), "console", "*.log"))
	for _, file := range consoles {
		if data, err := os.ReadFile(file); err == nil {
			s.keep("host/console/"+filepath.Base(file), data)
		}
	}
}

func (s *session) keep(name string, data []byte) {
	if err := s.run.Write(name, data); err != nil {
		s.run.Missing(name, err.Error())
	}
}

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"labctl/internal/artifact"
	"labctl/internal/lab"
	"labctl/internal/report"
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
	events  *recorder     // nil as run is
	verdict string        // of a scenario
	closers []io.Closer

	// versions gives those of the host's programs, once; nil: not asked.
	versions     chan map[string]string
	stopVersions context.CancelFunc

	connect     bool  // collecting connects to nodes to which nobody is connected
	unreachable error // why no node can be asked at all; nil: ask
	collected   bool
	facts       []artifact.NodeFacts // in the order of the lab's nodes; nil: not asked
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
	run, err := artifact.New(artifactsRoot(s.e.Lab, s.e.Dir), command, time.Now())
	if err != nil {
		return err
	}
	s.run = run
	run.Secret(secrets(s.e)...)
	s.askVersions()
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
	s.events = &recorder{next: s.ui, enc: json.NewEncoder(files[2])}
	s.e.Sink = s.events
	return nil
}

func (s *session) log(w io.WriteCloser) {
	s.closers = append(s.closers, w)
	l := logrus.New()
	l.SetLevel(logrus.DebugLevel)
	l.SetFormatter(&logrus.TextFormatter{DisableColors: true, FullTimestamp: true})
	l.SetOutput(w)
	if s.a.verbose {
		var shown io.Writer = s.ui
		if s.run != nil {
			shown = s.run.Filter(s.ui)
		}
		l.SetOutput(io.MultiWriter(w, shown))
	}
	s.e.Log = l
	l.WithFields(logrus.Fields{"version": s.e.Version, "lab": s.e.Lab.Name, "provider": s.e.State.Provider}).Info("labctl starts")
}

// recorder keeps the events, from which a report draws its timeline.
type recorder struct {
	next ui.Sink
	mu   sync.Mutex
	enc  *json.Encoder
	done bool // some step changed something
}

func (r *recorder) Event(ev ui.Event) {
	r.mu.Lock()
	// A disk that is full must not stop the lab, and shows elsewhere.
	_ = r.enc.Encode(ev)
	r.done = r.done || ev.State == ui.Done
	r.mu.Unlock()
	r.next.Event(ev)
}

// changed says whether the command has changed anything so far.
func (s *session) changed() bool {
	if s.events == nil {
		return false
	}
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	return s.events.done
}

// evidence is what a command that succeeded takes of the nodes.
type evidence int

const (
	factsOnly  evidence = iota // versions, for the manifest
	dockerOnly                 // what Docker says
	everything
)

// ofChange is the evidence of a command that changes the lab. A lab on which
// nothing was done is as its last evidence says; of one that was made nobody
// looks for a fault, which a node's whole system is asked for.
func (s *session) ofChange() evidence {
	if s.changed() {
		return dockerOnly
	}
	return factsOnly
}

// end closes the display, takes evidence of the nodes, all of it if the command
// failed, what the host has in any case, and writes the manifest. It returns
// err, to which it adds what went wrong with the evidence.
func (s *session) end(ctx context.Context, err error, take evidence) error {
	if err != nil {
		take = everything
	}
	if s.run == nil && err != nil {
		// What failed before there was a run folder gets one now, with the
		// host log in it.
		s.closeFiles()
		err = errors.Join(err, s.record(s.command))
	}
	switch {
	case s.run == nil || s.collected:
	case ctx.Err() != nil:
		s.run.Missing("nodes", "not collected: interrupted")
	case take == factsOnly:
		s.askNodes(ctx)
	default:
		s.collect(ctx, take == dockerOnly)
	}
	if s.run != nil {
		s.collectHost(err)
	}
	s.ui.Close()
	s.e.LogCounts()
	if err != nil && s.e.Log != nil {
		s.e.Log.WithError(err).Error("failed")
	}
	s.closeFiles()
	if s.run == nil {
		return err
	}
	if cerr := s.run.Close(s.info(ctx, err)); cerr != nil {
		err = errors.Join(err, fmt.Errorf("artifacts: %w", cerr))
	}
	_, _ = fmt.Fprintf(s.a.streams.Err, "evidence: %s\n", shortPath(s.run.Dir()))
	if rerr := report.Write(s.run.Dir()); rerr != nil {
		// The evidence is there, and `labctl report` can try again.
		_, _ = fmt.Fprintf(s.a.streams.Err, "warning: no report: %v\n", rerr)
	} else {
		_, _ = fmt.Fprintf(s.a.streams.Err, "report: %s\n", filepath.Join(shortPath(s.run.Dir()), "report.html"))
	}
	return err
}

// shortPath is a path as seen from the working folder, if that is shorter.
func shortPath(path string) string {
	if wd, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(wd, path); err == nil && len(rel) < len(path) {
			return rel
		}
	}
	return path
}

// closeFiles closes the logs. Their errors are not worth a failed command.
func (s *session) closeFiles() {
	for _, c := range s.closers {
		_ = c.Close()
	}
	s.closers = nil
}

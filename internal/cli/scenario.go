package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"labctl/internal/lab"
	"labctl/internal/scenario"
	"labctl/internal/ui"
)

// scenarioFlags are the options of the ways to take a document.
type scenarioFlags struct {
	set       []string
	lang      string
	allowHost bool
	keep      bool
	step      bool
	to        string
	json      bool
}

func (a *app) scenarioCommand() *cobra.Command {
	var f scenarioFlags
	cmd := &cobra.Command{
		Use:   "scenario NAME|FILE.md",
		Short: "Run a training scenario on the lab and judge it",
		Long:  "Run a training scenario on the lab and judge it. NAME is one of `labctl scenario list`; a path to a document works in its place.",
		Args:  cobra.ExactArgs(1),
		RunE:  func(cmd *cobra.Command, args []string) error { return a.scenario(cmd.Context(), args[0], f) },
	}
	all := cmd.PersistentFlags()
	all.StringArrayVar(&f.set, "set", nil, "override a parameter: KEY=VALUE; may be given several times")
	all.StringVar(&f.lang, "lang", "", "the language of the documents that labctl brings: en, ja; default: as LC_ALL or LANG say")
	all.BoolVar(&f.allowHost, "allow-host", false, "let a document that labctl did not bring run its @host blocks on this machine")
	cmd.Flags().BoolVar(&f.keep, "keep", false, "leave what the scenario made: no cleanup")
	cmd.Flags().BoolVar(&f.step, "step", false, "show each block before it runs, and wait for Enter")
	cmd.Flags().StringVar(&f.to, "to", "", "stop where the chapter of this heading or number begins, with everything standing")

	way := func(use, short string, args cobra.PositionalArgs, do func(context.Context, []string) error) *cobra.Command {
		return &cobra.Command{Use: use, Short: short, Args: args,
			RunE: func(cmd *cobra.Command, args []string) error { return do(cmd.Context(), args) }}
	}
	one := func(use, short string, do func(context.Context, string, scenarioFlags) error) *cobra.Command {
		return way(use, short, cobra.ExactArgs(1), func(ctx context.Context, args []string) error { return do(ctx, args[0], f) })
	}
	learn := one("learn NAME|FILE.md", "Take it yourself: you type, labctl shows the chapters and watches the checks", a.scenarioLearn)
	learn.Flags().BoolVar(&f.keep, "keep", false, "leave what was made at the end, without asking")
	check := one("check NAME|FILE.md", "Ask the checks once, on the lab as it is: a score", a.scenarioCheck)
	check.Flags().BoolVar(&f.json, "json", false, "print JSON")
	list := way("list", "List the scenarios that labctl brings", cobra.NoArgs,
		func(context.Context, []string) error { return a.scenarioList(f) })
	list.Flags().BoolVar(&f.json, "json", false, "print JSON")
	var forget bool
	cleanup := way("cleanup", "Undo and remove what runs have left that were killed or kept", cobra.NoArgs,
		func(ctx context.Context, _ []string) error { return a.scenarioCleanup(ctx, forget) })
	cleanup.Flags().BoolVar(&forget, "forget", false, "forget what stands instead of removing it")
	cmd.AddCommand(
		learn, check,
		one("test NAME|FILE.md", "For authors: prove that every check can fail, and that nothing is left behind", a.scenarioTest),
		way("all", "Run all that labctl brings, one after the other", cobra.NoArgs,
			func(ctx context.Context, _ []string) error { return a.scenarioAll(ctx, f) }),
		list,
		one("show NAME|FILE.md", "Print a scenario's document",
			func(_ context.Context, arg string, f scenarioFlags) error { return a.scenarioShow(arg, f) }),
		way("lint FILE.md...", "Check documents without running them", cobra.MinimumNArgs(1),
			func(_ context.Context, args []string) error { return a.scenarioLint(args, f) }),
		way("new NAME", "Write a document to start from", cobra.ExactArgs(1),
			func(_ context.Context, args []string) error { return a.scenarioNew(args[0]) }),
		cleanup,
	)
	return cmd
}

// scenario runs one document.
func (a *app) scenario(ctx context.Context, arg string, f scenarioFlags) error {
	doc, err := a.document(ctx, arg, f)
	if err != nil {
		return err
	}
	st, err := a.stage(ctx, "scenario "+arg, doc.name)
	if err != nil {
		return err
	}
	defer st.close()
	r, err := st.run(ctx, doc, f)
	if err != nil {
		return err
	}
	return r.code()
}

// outcome is how a run ended, for the exit code.
type outcome struct{ *scenario.Result }

func (o outcome) code() error {
	switch {
	case o.Interrupted:
		return exitError(exitInterrupted)
	case o.Passed, o.Stopped != "":
		return nil
	case o.Failure == nil: // a person left blocks out: not judged
		return exitError(exitInterrupted)
	}
	return exitError(exitCheck)
}

// run runs a document in a session of its own.
func (st *stage) run(ctx context.Context, doc *document, f scenarioFlags) (out outcome, err error) {
	a := st.a
	if f.step && a.progress == "auto" {
		a.progress = "plain" // a board and a prompt do not share a terminal
	}
	if doc.asksFromHost() {
		if err := st.e.CheckReach(ctx); err != nil {
			return out, err
		}
	}
	s, err := a.begin(st.e, "scenario-"+doc.name, true)
	if err != nil {
		return out, err
	}
	defer func() {
		// The code is for the caller; here it only says that it failed.
		failure := err
		if err == nil {
			failure = out.code()
		}
		ended := s.end(ctx, failure, everything)
		if !errors.As(ended, new(exitError)) {
			err = ended
		}
	}()
	o, err := st.options(doc, f)
	if err != nil {
		return out, err
	}
	o.Event, o.Output = st.e.Event, ui.Above(s.ui, a.streams.Out)
	o.Keep, o.To, o.Standing = f.keep, f.to, func(ctx context.Context) { s.collect(ctx, false) }
	for _, w := range doc.warnings {
		st.e.Log.Warn(w.String())
	}
	if f.step {
		o.Before = a.stepper(doc.d, o)
	}
	var cause bytes.Buffer
	o.Failed = func(ctx context.Context, _ *scenario.Failure) {
		st.e.Event(ui.Event{Step: "diagnose", State: ui.Started})
		ctx, cancel := context.WithTimeout(ctx, causeWithin)
		defer cancel()
		s.likelyCause(ctx, &cause)
		st.e.Event(ui.Event{Step: "diagnose", State: ui.Done})
	}
	r, err := scenario.Run(ctx, doc.d, o)
	if r == nil {
		s.collected = true // nothing ran that the nodes could tell of
		return out, asUsage(err)
	}
	out.Result = r
	if err := s.keepResult(doc.d, r); err != nil {
		return out, err
	}
	a.verdict(o.Output, doc, r, cause.String())
	return out, nil
}

// causeWithin bounds the look for a failure's cause.
const causeWithin = time.Minute

// asUsage marks what is wrong with a document or with what it was given.
func asUsage(err error) error {
	var problems *scenario.Problems
	if errors.As(err, &problems) {
		return &usageError{err}
	}
	return err
}

// keepResult writes the run's own record.
func (s *session) keepResult(d *scenario.Document, r *scenario.Result) error {
	s.verdict = r.Word()
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(s.run.Write("result.json", append(data, '\n')), s.run.Write("transcript.md", r.Transcript(d)))
}

// verdict prints how a run ended, and what is thought to be the cause.
func (a *app) verdict(w io.Writer, doc *document, r *scenario.Result, cause string) {
	if r.Failure != nil {
		_, _ = fmt.Fprintf(w, "\n%s\n%s", r.Failure.Answers(), cause)
	}
	for _, f := range r.CleanupFailures {
		_, _ = fmt.Fprintf(w, "cleanup failed: %s\n", f.Error())
	}
	held, checks := r.Held()
	_, _ = fmt.Fprintf(w, "\n%s: %s %s: %d of %d checks held, %v\n", r.Word(), r.ID, r.Title, held, checks, r.Duration.Round(time.Second))
	switch {
	case len(r.CleanupFailures) > 0:
		_, _ = fmt.Fprintln(w, "not everything was removed: `labctl scenario cleanup` tries again")
	case r.Stopped != "":
		_, _ = fmt.Fprintf(w, "stopped before %q; go on with `labctl scenario learn %s`, remove what stands with `labctl scenario cleanup`\n", r.Stopped, doc.arg)
	case r.Kept:
		_, _ = fmt.Fprintln(w, "everything was kept: `labctl scenario cleanup` removes it")
	}
}

// stage is a lab on which a document is taken.
type stage struct {
	a     *app
	e     *lab.Env
	nodes []scenario.Node
	lock  *lab.Lock
}

func (st *stage) close() {
	if st.lock != nil {
		st.lock.Release()
	}
	st.e.Close()
}

// stage connects to all nodes and takes the lab's lock for a document of that
// name. It is refused while an earlier run's faults stand, or its own work.
func (a *app) stage(ctx context.Context, command, name string) (*stage, error) {
	e, _, err := a.connected(ctx)
	if err != nil {
		return nil, err
	}
	st := &stage{a: a, e: e}
	for _, n := range e.Lab.Nodes {
		st.nodes = append(st.nodes, scenario.Node{Name: n.Name, Role: n.Role, LabIP: n.IP, Runner: e.Runner(n.Name)})
	}
	if st.lock, err = lab.TakeLock(e.StateDir(), command); err == nil {
		err = st.refuseLeftovers(name)
	}
	if err != nil {
		st.close()
		return nil, err
	}
	tellFaults(a.streams.Err, e) // no check tells the truth on a broken lab
	a.takesSecond.Store(true)
	return st, nil
}

// options are those that every way shares.
func (st *stage) options(doc *document, f scenarioFlags) (scenario.Options, error) {
	set, err := parseSet(f.set)
	self, _ := os.Executable() // where that is unknown, $LABCTL is not set
	return scenario.Options{
		Lab: st.e.Lab.Name, Nodes: st.nodes, Host: st.e.Host, Labctl: self, LabFile: st.a.configFile, Set: set, Config: st.e.Lab.Scenario[doc.name],
		Journal: st.journal(doc.name), Abort: st.a.second,
	}, err
}

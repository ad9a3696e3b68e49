package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	labassets "labctl"
	"labctl/internal/lab"
	"labctl/internal/scenario"
	"labctl/internal/ui"
)

// scenarioFlags are the options of a run.
type scenarioFlags struct {
	set       []string
	keep      bool
	allowHost bool
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
	cmd.Flags().StringArrayVar(&f.set, "set", nil, "override a parameter: KEY=VALUE; may be given several times")
	cmd.Flags().BoolVar(&f.keep, "keep", false, "leave what the scenario made: no cleanup")
	cmd.Flags().BoolVar(&f.allowHost, "allow-host", false, "let a document that labctl did not bring run its @host blocks on this machine")
	cmd.AddCommand(
		&cobra.Command{
			Use: "list", Short: "List the scenarios that labctl brings", Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error { return a.scenarioList() },
		},
		&cobra.Command{
			Use: "show NAME|FILE.md", Short: "Print a scenario's document", Args: cobra.ExactArgs(1),
			RunE: func(_ *cobra.Command, args []string) error { return a.scenarioShow(args[0]) },
		},
		&cobra.Command{
			Use: "lint FILE.md...", Short: "Check documents without running them", Args: cobra.MinimumNArgs(1),
			RunE: func(_ *cobra.Command, args []string) error { return a.scenarioLint(args) },
		},
	)
	return cmd
}

// document is a scenario's text and where it came from.
type document struct {
	name    string // as in lab.toml's [scenario.NAME]
	file    string // for messages
	source  []byte
	outside bool // not one that labctl brings
}

// find reads the document of a name or path.
func find(arg string) (document, error) {
	if strings.HasSuffix(arg, ".md") || strings.ContainsAny(arg, `/\`) {
		src, err := os.ReadFile(arg)
		if err != nil {
			return document{}, &usageError{err}
		}
		return document{name: strings.TrimSuffix(path.Base(arg), ".md"), file: arg, source: src, outside: true}, nil
	}
	src, err := labassets.Files.ReadFile("scenarios/" + arg + ".md")
	if errors.Is(err, fs.ErrNotExist) {
		names, lerr := shipped()
		if lerr != nil {
			return document{}, lerr
		}
		return document{}, &usageError{fmt.Errorf("no scenario %q: there is %s; a path to a document works too", arg, strings.Join(names, ", "))}
	}
	return document{name: arg, file: arg + ".md", source: src}, err
}

// shipped lists the names of the scenarios in the binary.
func shipped() ([]string, error) {
	files, err := fs.Glob(labassets.Files, "scenarios/*.md")
	if err != nil {
		return nil, err
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(path.Base(f), ".md")
	}
	return files, nil
}

func (a *app) scenarioList() error {
	names, err := shipped()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(a.streams.Out, 0, 0, 2, ' ', 0)
	for _, name := range names {
		doc, err := find(name)
		if err != nil {
			return err
		}
		d, _, err := scenario.Load(doc.file, doc.source)
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%d min\n", name, d.Head.ID, d.Title(), d.Head.Minutes)
	}
	return w.Flush()
}

func (a *app) scenarioShow(arg string) error {
	doc, err := find(arg)
	if err != nil {
		return err
	}
	_, err = a.streams.Out.Write(doc.source)
	return err
}

func (a *app) scenarioLint(args []string) error {
	var errs []error
	for _, arg := range args {
		doc, err := find(arg)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		_, warnings, err := scenario.Load(doc.file, doc.source)
		for _, w := range warnings {
			w.Warning = false // said first, as everywhere
			_, _ = fmt.Fprintf(a.streams.Err, "warning: %s\n", w)
		}
		if err != nil {
			errs = append(errs, &usageError{err})
			continue
		}
		a.printf("%s: ok\n", doc.file)
	}
	return errors.Join(errs...)
}

// parseSet reads the KEY=VALUE words of --set.
func parseSet(words []string) (map[string]string, error) {
	out := map[string]string{}
	for _, w := range words {
		k, v, ok := strings.Cut(w, "=")
		if !ok || k == "" {
			return nil, &usageError{fmt.Errorf("--set %s: want KEY=VALUE", w)}
		}
		out[k] = v
	}
	return out, nil
}

// hostConsentError is a document from outside that would run on this machine.
type hostConsentError struct {
	file  string
	lines []string
}

func (e *hostConsentError) Error() string {
	return fmt.Sprintf("%s has blocks that run on this machine, not on a node: line %s", e.file, strings.Join(e.lines, ", "))
}

func (e *hostConsentError) Hint() string {
	return "read them; if you trust them, add --allow-host"
}

func (a *app) scenario(ctx context.Context, arg string, f scenarioFlags) (err error) {
	set, err := parseSet(f.set)
	if err != nil {
		return err
	}
	doc, err := find(arg)
	if err != nil {
		return err
	}
	// Refused before anything is touched.
	d, warnings, err := scenario.Load(doc.file, doc.source)
	if err != nil {
		return &usageError{err}
	}
	if doc.outside && !f.allowHost {
		refusal := &hostConsentError{file: doc.file}
		for _, b := range d.Blocks {
			if b.Place == "host" {
				refusal.lines = append(refusal.lines, fmt.Sprint(b.Line))
			}
		}
		if refusal.lines != nil {
			return &usageError{refusal}
		}
	}
	e, _, err := a.connected(ctx)
	if err != nil {
		return err
	}
	defer e.Close()
	lock, err := lab.TakeLock(e.StateDir(), "scenario "+arg)
	if err != nil {
		return err
	}
	defer lock.Release()
	s, err := a.begin(e, "scenario-"+doc.name, true)
	if err != nil {
		return err
	}
	defer func() { err = s.end(ctx, err, true) }()
	for _, w := range warnings {
		e.Log.Warn(w.String())
	}

	o := scenario.Options{
		Lab: e.Lab.Name, Host: e.Host, Set: set, Config: e.Lab.Scenario[doc.name], Keep: f.keep,
		Event: e.Sink.Event, Output: ui.Above(s.ui, a.streams.Out),
	}
	for _, n := range e.Lab.Nodes {
		o.Nodes = append(o.Nodes, scenario.Node{Name: n.Name, Role: n.Role, LabIP: n.IP, Runner: e.Runner(n.Name)})
	}
	r, err := scenario.Run(ctx, d, o)
	if r == nil {
		var problems *scenario.Problems
		if errors.As(err, &problems) {
			err = &usageError{err}
		}
		return err
	}
	if werr := s.keepResult(d, r); werr != nil {
		err = errors.Join(err, werr)
	}
	if err != nil {
		return err
	}
	a.verdict(o.Output, d, r)
	if !r.Passed {
		return exitError(exitCheck)
	}
	return nil
}

// keepResult writes the run's own record.
func (s *session) keepResult(d *scenario.Document, r *scenario.Result) error {
	s.verdict = "FAIL"
	if r.Passed {
		s.verdict = "PASS"
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(s.run.Write("result.json", append(data, '\n')), s.run.Write("transcript.md", r.Transcript(d)))
}

// verdict prints how a run ended.
func (a *app) verdict(w io.Writer, d *scenario.Document, r *scenario.Result) {
	if r.Failure != nil {
		_, _ = fmt.Fprintf(w, "\n%s\n", r.Failure.Answers())
	}
	for _, f := range r.CleanupFailures {
		_, _ = fmt.Fprintf(w, "cleanup failed: %s\n", f.Error())
	}
	word := "FAIL"
	if r.Passed {
		word = "PASS"
	}
	checks, held := 0, 0
	for _, b := range r.Blocks {
		if b.Kind == scenario.Check {
			checks++
			if b.Verdict == scenario.Passed {
				held++
			}
		}
	}
	_, _ = fmt.Fprintf(w, "\n%s: %s %s: %d of %d checks held, %v\n", word, d.Head.ID, d.Title(), held, checks, r.Duration.Round(time.Second))
}

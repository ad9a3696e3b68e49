package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"labctl/internal/lab"
	"labctl/internal/remote"
	"labctl/internal/scenario"
	"labctl/internal/ui"
)

// stepper asks before each block of a run.
func (a *app) stepper(d *scenario.Document, o scenario.Options) func(context.Context, *scenario.Block) scenario.Action {
	typed := lines(context.Background(), a.streams.In)
	style := a.style()
	last := 1 // the first line that has not been shown
	return func(ctx context.Context, b *scenario.Block) scenario.Action {
		style.Where = func(string) string { return "on " + strings.Join(scenario.Targets(b.Place, o.Nodes), " and ") }
		style.Hide = func(other *scenario.Block) (string, bool) { return "", other != b }
		_, _ = fmt.Fprintf(o.Output, "\n%s\n", d.Page(last, b.EndLine, style))
		last = b.EndLine + 1
		for {
			_, _ = fmt.Fprint(a.streams.Err, "Enter runs it, s skips it, q stops: ")
			select {
			case <-ctx.Done():
				_, _ = fmt.Fprintln(a.streams.Err)
				return scenario.Quit
			case line, ok := <-typed:
				switch strings.TrimSpace(line) {
				case "":
					if ok {
						return scenario.Go
					}
					_, _ = fmt.Fprintln(a.streams.Err)
					return scenario.Quit // no more input: nobody is there to agree
				case "s":
					return scenario.Skip
				case "q":
					return scenario.Quit
				}
			}
		}
	}
}

// style fits the terminal on standard output.
func (a *app) style() scenario.Style {
	s := scenario.Style{Width: 100}
	if f, ok := a.streams.Out.(*os.File); ok && isTerminal(f) {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			s.Width = min(w, 100)
		}
		s.Color = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	}
	return s
}

func (a *app) scenarioLearn(ctx context.Context, arg string, f scenarioFlags) (err error) {
	doc, err := a.document(ctx, arg, f)
	if err != nil {
		return err
	}
	st, err := a.stage(ctx, "scenario learn "+arg, "")
	if err != nil {
		return err
	}
	defer st.close()
	o, err := st.options(doc, f)
	if err != nil {
		return err
	}
	if o.From, err = st.earlier(doc); err != nil {
		return err
	}
	if a.progress == "auto" {
		a.progress = "plain"
	}
	s, err := a.begin(st.e, "learn-"+doc.name, true)
	if err != nil {
		return err
	}
	defer func() { err = s.end(ctx, err, factsOnly) }()
	o.Output, o.Keep = a.streams.Out, f.keep
	r, err := scenario.Learn(ctx, doc.d, o, scenario.Lesson{Out: a.streams.Out, Lines: lines(ctx, a.streams.In), Style: a.style()})
	if r == nil {
		return asUsage(err)
	}
	if kerr := s.keepResult(doc.d, r); kerr != nil {
		return kerr
	}
	for _, f := range r.CleanupFailures {
		a.printf("cleanup failed: %s\n", f.Error())
	}
	switch {
	case errors.Is(err, scenario.ErrQuit), r.Interrupted:
		a.printf("\nWhat you made stands: `labctl scenario learn %s` goes on from here, `labctl scenario cleanup` removes it.\n", arg)
		if !errors.Is(err, scenario.ErrQuit) {
			return exitError(exitInterrupted)
		}
		return nil
	case err != nil:
		return err
	}
	held, checks := r.Held()
	a.printf("\n%s: %s %s: %d of %d checks held\n", r.Word(), r.ID, r.Title, held, checks)
	return outcome{r}.code()
}

// checkWithin is how long a node may take to answer before it counts as gone.
const checkWithin = 20 * time.Second

// gone is a node that cannot be reached.
type gone struct{ err error }

func (g gone) Run(context.Context, remote.Command) (remote.Result, error) {
	return remote.Result{ExitCode: -1}, g.err
}

// anyStage is a stage on a lab in whatever state: a node that does not answer
// fails the blocks on it, not all the rest.
func (a *app) anyStage(ctx context.Context) (*stage, error) {
	e, err := a.attach(ctx)
	if err != nil {
		return nil, err
	}
	if !e.Exists() || e.State.Provider == "" {
		return nil, &errNoLab{e.Dir}
	}
	if a.outside(e) {
		return nil, errEngineOff{}
	}
	connecting, cancel := context.WithTimeout(ctx, checkWithin)
	defer cancel()
	cerr := e.ConnectAll(connecting, e.Lab.Nodes)
	if ctx.Err() != nil {
		e.Close()
		return nil, context.Cause(ctx)
	}
	st := &stage{a: a, e: e}
	for _, n := range e.Lab.Nodes {
		node := scenario.Node{Name: n.Name, Role: n.Role, LabIP: n.IP, Runner: gone{cerr}}
		if c := e.Runner(n.Name); c != nil {
			node.Runner = c
		}
		st.nodes = append(st.nodes, node)
	}
	return st, nil
}

func (a *app) scenarioCheck(ctx context.Context, arg string, f scenarioFlags) (err error) {
	doc, err := a.document(ctx, arg, f)
	if err != nil {
		return err
	}
	st, err := a.anyStage(ctx)
	if err != nil {
		return err
	}
	defer st.close()
	if err := st.tellLeftovers(); err != nil {
		return err
	}
	o, err := st.options(doc, f)
	if err != nil {
		return err
	}
	// Values of another version of the document would not fit: do without.
	o.From, _ = st.earlier(doc)
	s, err := a.begin(st.e, "scenario-check-"+doc.name, true)
	if err != nil {
		return err
	}
	defer func() {
		// The score is told already; here the code only says that it is low.
		if ended := s.end(ctx, err, everything); !errors.As(ended, new(exitError)) {
			err = ended
		}
	}()
	r, err := scenario.Score(ctx, doc.d, o)
	if r == nil {
		s.collected = true // nothing ran that the nodes could tell of
		return asUsage(err)
	}
	if err := s.keepResult(doc.d, r); err != nil {
		return err
	}
	if r.Interrupted {
		return err
	}
	s.ui.Close()
	if f.json {
		if err := a.printJSON(r); err != nil {
			return err
		}
		return outcome{r}.code()
	}
	w := tabwriter.NewWriter(a.streams.Out, 0, 0, 2, ' ', 0)
	for _, b := range r.Blocks {
		if b.Kind != scenario.Check {
			continue
		}
		word := map[bool]string{true: "holds", false: "does not hold"}[b.Verdict == scenario.Passed]
		note := b.Hint()
		if b.Given && note == "" {
			note = "(given: not counted)"
		}
		line := word + "\t" + b.Name + "\t" + b.Chapter
		if note != "" {
			line += "\t" + scenario.Visible(note)
		}
		_, _ = fmt.Fprintln(w, line)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	held, checks := r.Held()
	a.printf("\n%s %s: %d of %d checks hold\n", r.ID, r.Title, held, checks)
	return outcome{r}.code()
}

func (a *app) scenarioTest(ctx context.Context, arg string, f scenarioFlags) (err error) {
	doc, err := a.document(ctx, arg, f)
	if err != nil {
		return err
	}
	a.warn(doc.warnings)
	st, err := a.stage(ctx, "scenario test "+arg, doc.name)
	if err != nil {
		return err
	}
	defer st.close()
	o, err := st.options(doc, f)
	if err != nil {
		return err
	}
	s, err := a.begin(st.e, "scenario-test-"+doc.name, true)
	if err != nil {
		return err
	}
	defer func() { err = s.end(ctx, err, factsOnly) }()
	o.Event, o.Output = st.e.Event, ui.Above(s.ui, a.streams.Out)
	p, err := scenario.Test(ctx, doc.d, o, func(line string) {
		_, _ = fmt.Fprintf(o.Output, "test: %s\n", scenario.Visible(line))
	})
	if p == nil {
		return asUsage(err)
	}
	for _, r := range p.Runs {
		if kerr := s.keepResult(doc.d, r); kerr != nil {
			return kerr
		}
		a.verdict(o.Output, doc, r, "")
	}
	if err != nil {
		if ctx.Err() != nil {
			return exitError(exitInterrupted)
		}
		return err
	}
	for _, d := range p.Defects {
		_, _ = fmt.Fprintf(o.Output, "defect: %s\n", d)
	}
	if !p.Sound() {
		s.verdict = "FAIL"
		_, _ = fmt.Fprintf(o.Output, "\nFAIL: %s does not stand the test: %d defect(s), %d of 2 runs passed\n", doc.file, len(p.Defects), p.Passed())
		return exitError(exitCheck)
	}
	_, _ = fmt.Fprintf(o.Output, "\nPASS: %s stands the test: all %d checks were seen to fail and to hold, two runs passed, nothing was left behind\n", doc.file, len(p.Red))
	return nil
}

func (a *app) scenarioAll(ctx context.Context, f scenarioFlags) error {
	docs, err := shippedDocuments(f.lang)
	if err != nil {
		return err
	}
	st, err := a.stage(ctx, "scenario all", "")
	if err != nil {
		return err
	}
	defer st.close()
	var rows []string
	var worst error
	for _, doc := range docs {
		word, note := "", ""
		var r outcome
		err := st.refuseLeftovers(doc.name)
		if err == nil {
			r, err = st.run(ctx, doc, f)
		}
		var small *scenario.TooSmallError
		switch {
		case errors.As(err, &small):
			word, note = "skipped", "needs more nodes: "+small.Error()
		case err != nil:
			word, note, worst = "ERROR", err.Error(), err
		default:
			word = r.Word()
			held, checks := r.Held()
			note = fmt.Sprintf("%d of %d checks, %v", held, checks, r.Duration.Round(time.Second))
			if code := r.code(); code != nil && worst == nil {
				worst = code
			}
		}
		rows = append(rows, fmt.Sprintf("%s\t%s\t%s\t%s\n", word, doc.d.Head.ID, doc.name, note))
		if ctx.Err() != nil || st.refuseLeftovers("") != nil {
			break // interrupted, or a fault stands that nobody could undo
		}
	}
	a.printf("\n")
	w := tabwriter.NewWriter(a.streams.Out, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		_, _ = fmt.Fprint(w, row)
	}
	for _, doc := range docs[len(rows):] {
		_, _ = fmt.Fprintf(w, "not run\t%s\t%s\t\n", doc.d.Head.ID, doc.name)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return worst
}

func (a *app) scenarioCleanup(ctx context.Context, forget bool) (err error) {
	st, err := a.anyStage(ctx)
	if err != nil {
		return err
	}
	defer st.close()
	if st.lock, err = lab.TakeLock(st.e.StateDir(), "scenario cleanup"); err != nil {
		return err
	}
	journals, err := scenario.Journals(st.journals())
	if err != nil {
		return err
	}
	if len(journals) == 0 {
		a.printf("nothing stands: no run has left anything\n")
		return nil
	}
	if forget {
		for _, j := range journals {
			a.printf("%s: what its run left is forgotten\n", j.File)
			err = errors.Join(err, j.Forget())
		}
		return err
	}
	s, err := a.begin(st.e, "scenario-cleanup", true)
	if err != nil {
		return err
	}
	defer func() { err = s.end(ctx, err, factsOnly) }()
	o, err := st.options(&document{}, scenarioFlags{})
	if err != nil {
		return err
	}
	o.Event, o.Output, o.Abort = st.e.Event, ui.Above(s.ui, a.streams.Out), ctx.Done()
	failed := false
	for _, j := range slices.Backward(journals) {
		r, err := scenario.Clean(ctx, j, o)
		if err != nil {
			return err
		}
		for _, f := range r.CleanupFailures {
			_, _ = fmt.Fprintf(o.Output, "cleanup failed: %s\n", f.Error())
		}
		failed = failed || len(r.CleanupFailures) > 0
		_, _ = fmt.Fprintf(o.Output, "%s: %s\n", j.File, map[bool]string{true: "what its run left is gone", false: "something still stands"}[len(r.CleanupFailures) == 0])
	}
	if failed {
		return &stillStands{}
	}
	return nil
}

type stillStands struct{}

func (*stillStands) Error() string { return "not everything could be undone and removed" }
func (*stillStands) Hint() string {
	return "when the nodes answer again, `labctl scenario cleanup` once more; or `labctl scenario cleanup --forget`"
}

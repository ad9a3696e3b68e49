package cli

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"labctl/internal/artifact"
	"labctl/internal/lab"
)

func (a *app) collectCommand() *cobra.Command {
	var archive, asJSON bool
	cmd := &cobra.Command{
		Use:   "collect",
		Short: "Take the evidence of the lab as it is into a folder of artifacts",
		Long: "Take the evidence of the lab as it is into a folder of artifacts.\n\n" +
			"Every node is asked for its networks, logs and versions, and all that Docker knows; the host adds its own\n" +
			"files. Passwords, tokens and keys are taken out. It changes nothing. What does not answer is recorded as\n" +
			"missing, and costs its deadline once.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.collect(cmd.Context(), archive, asJSON) },
	}
	cmd.Flags().BoolVar(&archive, "archive", false, "pack the folder into one .tar.gz file beside it as well")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) artifactsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "artifacts", Short: "The folders of evidence that commands have left", Args: cobra.NoArgs, RunE: help}
	var asJSON, dryRun bool
	var keep int
	asks := func(c *cobra.Command) *cobra.Command {
		c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
		return c
	}
	prune := asks(&cobra.Command{
		Use: "prune", Short: "Remove all runs but the newest --keep N", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.artifactsPrune(keep, dryRun, asJSON) },
	})
	prune.Flags().IntVar(&keep, "keep", 0, "how many of the newest runs stay; must be given")
	prune.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be removed, and remove nothing")
	// Checked by hand: cobra's own check gives an error without a type.
	prune.PreRunE = func(c *cobra.Command, _ []string) error {
		switch {
		case !c.Flags().Changed("keep"):
			return misused(c, fmt.Errorf("--keep N is missing: how many of the newest runs stay"))
		case keep < 0:
			return misused(c, fmt.Errorf("--keep %d: it cannot be negative", keep))
		}
		return nil
	}
	cmd.AddCommand(
		asks(&cobra.Command{
			Use: "list", Short: "List the runs, the oldest first", Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error { return a.artifactsList(asJSON) },
		}),
		asks(&cobra.Command{
			Use: "show [RUN]", Short: "Show one run: verdict, versions, files, what is missing", Args: cobra.MaximumNArgs(1),
			Long: "Show one run: verdict, versions, files, what is missing. RUN is a name of `labctl artifacts list`, or how only one\nbegins, or latest, which is the default; a path to a run's folder works too.",
			RunE: func(_ *cobra.Command, args []string) error { return a.artifactsShow(args, asJSON) },
		}),
		&cobra.Command{
			Use: "archive [RUN]", Short: "Pack a run's folder into one .tar.gz file beside it", Args: cobra.MaximumNArgs(1),
			RunE: func(_ *cobra.Command, args []string) error { return a.artifactsArchive(args) },
		},
		prune,
	)
	return cmd
}

// anyLab opens the lab in whatever state it is. unreachable says why no node
// of it can be asked; the error is of what not even its folder is known by.
func (a *app) anyLab(ctx context.Context) (e *lab.Env, unreachable, err error) {
	e, err = a.open()
	if e == nil {
		return nil, nil, err
	}
	if err != nil { // a damaged state.json
		e.State = &lab.State{}
		return e, err, nil
	}
	if err := a.enter(ctx, e); err != nil {
		return e, err, nil
	}
	switch {
	case e.State.Provider == "":
		return e, &errNoLab{e.Dir}, nil
	case a.outside(e):
		return e, errEngineOff{}, nil
	}
	return e, e.Choose(ctx), nil
}

func (a *app) collect(ctx context.Context, archive, asJSON bool) error {
	e, unreachable, err := a.anyLab(ctx)
	if err != nil {
		return err
	}
	defer e.Close()
	s, err := a.begin(e, "collect", true)
	if err != nil {
		return err
	}
	s.connect, s.unreachable = true, unreachable
	if err := s.end(ctx, nil, everything); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	run, err := artifact.Find("", s.run.Dir())
	if err != nil {
		return err
	}
	row := rowOf(run)
	if archive {
		if row.Archive, err = artifact.Archive(run.Dir); err != nil {
			return err
		}
	}
	a.warnMissing(run)
	if asJSON {
		return a.printJSON(struct {
			runRow
			Missing []artifact.Missing `json:"missing"`
		}{row, run.Manifest.Missing})
	}
	if archive {
		a.printf("%s\n", shortPath(row.Archive))
		return nil
	}
	a.printf("%s\n", shortPath(run.Dir))
	return nil
}

// warnMissing names what could not be collected, as far as a person reads it:
// what lacks as a whole comes before single files.
func (a *app) warnMissing(run artifact.Entry) {
	const most = 10
	all := slices.Clone(run.Manifest.Missing)
	slices.SortStableFunc(all, func(x, y artifact.Missing) int {
		return cmp.Compare(strings.Count(x.Name, "/"), strings.Count(y.Name, "/"))
	})
	for i, m := range all {
		if i == most {
			_, _ = fmt.Fprintf(a.streams.Err, "warning: missing: %d more, see `labctl artifacts show`\n", len(all)-most)
			return
		}
		_, _ = fmt.Fprintf(a.streams.Err, "warning: missing: %s: %s\n", m.Name, m.Reason)
	}
}

// runsRoot is the folder of this lab's runs.
func (a *app) runsRoot() (string, error) {
	l, _, err := a.load()
	if err != nil {
		return "", err
	}
	dir, err := a.dir()
	return artifactsRoot(l, dir), err
}

// runRow is a run in few words.
type runRow struct {
	Run      string     `json:"run"`
	Dir      string     `json:"dir"`
	Result   string     `json:"result"` // PASS, FAIL, ok, failed, unfinished or damaged
	Command  string     `json:"command,omitempty"`
	Started  *time.Time `json:"started,omitempty"`
	Finished *time.Time `json:"finished,omitempty"`
	Files    int        `json:"files"`
	Bytes    int64      `json:"bytes"` // of the files
	Lacks    int        `json:"lacks"` // how much is missing
	Archive  string     `json:"archive,omitempty"`
}

func rowOf(e artifact.Entry) runRow {
	row := runRow{Run: e.Name, Dir: e.Dir, Result: result(e)}
	if m := e.Manifest; m != nil {
		row.Command, row.Started, row.Finished, row.Lacks = m.Command, &m.Started, &m.Finished, len(m.Missing)
		row.Files = len(m.Files)
		for _, f := range m.Files {
			row.Bytes += f.Size
		}
	}
	if file := e.Dir + ".tar.gz"; exists(file) {
		row.Archive = file
	}
	return row
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// result is one word for how a run ended.
func result(e artifact.Entry) string {
	switch m := e.Manifest; {
	case e.Err != nil:
		return "damaged"
	case m == nil:
		return "unfinished"
	case m.Verdict != "":
		return m.Verdict
	case m.OK:
		return "ok"
	}
	return "failed"
}

func (a *app) artifactsList(asJSON bool) error {
	root, err := a.runsRoot()
	if err != nil {
		return err
	}
	runs, err := artifact.List(root)
	if err != nil {
		return err
	}
	rows := []runRow{}
	for _, e := range runs {
		rows = append(rows, rowOf(e))
	}
	if asJSON {
		return a.printJSON(rows)
	}
	if len(rows) == 0 {
		_, _ = fmt.Fprintf(a.streams.Err, "there is no run in %s\n", shortPath(root))
		return nil
	}
	w := tabwriter.NewWriter(a.streams.Out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "RUN\tRESULT\tTOOK\tFILES\tSIZE\tMISSING")
	for _, r := range rows {
		took := "-"
		if r.Started != nil {
			took = r.Finished.Sub(*r.Started).Round(time.Second).String()
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%d\n", r.Run, r.Result, took, r.Files, size(r.Bytes), r.Lacks)
	}
	return w.Flush()
}

// size is a number of bytes for people.
func size(n int64) string {
	switch {
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%.0f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%d B", n)
}

// findRun returns the run that args name, the latest for none.
func (a *app) findRun(args []string) (artifact.Entry, error) {
	root, err := a.runsRoot()
	if err != nil {
		return artifact.Entry{}, err
	}
	return artifact.Find(root, strings.Join(args, ""))
}

func (a *app) artifactsArchive(args []string) error {
	run, err := a.findRun(args)
	if err != nil {
		return err
	}
	file, err := artifact.Archive(run.Dir)
	if err != nil {
		return err
	}
	a.printf("%s\n", shortPath(file))
	return nil
}

func (a *app) artifactsPrune(keep int, dryRun, asJSON bool) error {
	root, err := a.runsRoot()
	if err != nil {
		return err
	}
	all, err := artifact.List(root)
	if err != nil {
		return err
	}
	gone := artifact.Prunable(all, keep, time.Now())
	if !dryRun && len(all) > 0 {
		if err := artifact.Prune(root, gone); err != nil {
			return err
		}
	}
	names := []string{}
	for _, e := range gone {
		names = append(names, e.Name)
	}
	if asJSON {
		return a.printJSON(struct {
			Removed []string `json:"removed"`
			Kept    int      `json:"kept"`
			DryRun  bool     `json:"dry_run"`
		}{names, len(all) - len(names), dryRun})
	}
	word := map[bool]string{true: "would remove", false: "removed"}[dryRun]
	for _, name := range names {
		a.printf("%s %s\n", word, name)
	}
	_, _ = fmt.Fprintf(a.streams.Err, "%s %d of %s: %d stay\n", word, len(names), count(len(all), "run"), len(all)-len(names))
	return nil
}

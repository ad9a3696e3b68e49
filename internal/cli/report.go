package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"labctl/internal/artifact"
	"labctl/internal/report"
)

type reportFlags struct {
	open, json bool
	junit      string
}

func (a *app) reportCommand() *cobra.Command {
	var f reportFlags
	cmd := &cobra.Command{
		Use:   "report [RUN]",
		Short: "Make a run's report again, from its folder alone",
		Long: "Make a run's report again, from its folder alone, and print where it is.\n\n" +
			"RUN is the name of a run, as `labctl artifacts list` shows it, or enough of its beginning; the path of a run's folder,\n" +
			"wherever that came from; or latest, which it is if nothing is said.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.makeReport(cmd.Context(), append(args, "latest")[0], f)
		},
	}
	cmd.Flags().BoolVar(&f.open, "open", false, "show it in the browser")
	cmd.Flags().BoolVar(&f.json, "json", false, "print report.json")
	cmd.Flags().StringVar(&f.junit, "junit", "", "also write JUnit XML to this file, for CI systems")
	cmd.AddCommand(a.compareCommand())
	return cmd
}

func (a *app) makeReport(ctx context.Context, run string, f reportFlags) error {
	dir, r, err := a.loadRun(run)
	if err != nil {
		return err
	}
	// What is asked for as JSON or JUnit needs no page: not of an archive, and
	// not if the folder cannot be written to.
	toPrint := f.json || f.junit != ""
	switch {
	case dir == "" && (f.open || !toPrint):
		return &usageError{fmt.Errorf("%s is an archive, in which no report can be put; unpack it first: tar -xzf %s", run, run)}
	case dir != "":
		if err := r.Write(dir); err != nil && (f.open || !toPrint) {
			return err
		}
	}
	if f.junit != "" {
		data, err := r.JUnit()
		if err == nil {
			err = os.WriteFile(f.junit, data, 0o644)
		}
		if err != nil {
			return err
		}
	}
	page := filepath.Join(dir, report.HTMLName)
	switch {
	case f.json:
		data, err := r.JSON()
		if err != nil {
			return err
		}
		a.printf("%s", data)
	case dir != "":
		a.printf("%s\n", page)
	}
	if f.open {
		return show(ctx, page)
	}
	return nil
}

func (a *app) compareCommand() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "compare RUN...",
		Short: "Put several runs side by side: trainees, days, Docker versions",
		Long: "Put several runs side by side: trainees, days, Docker versions.\n\n" +
			"A RUN is what it is for `labctl report`, or an archive, NAME.tar.gz. With -o it writes a page, too.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.compareRuns(args, out) },
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "also write a page for the browser to this file")
	return cmd
}

func (a *app) compareRuns(runs []string, out string) error {
	var c report.Comparison
	var problems []error
	for _, run := range runs {
		dir, r, err := a.loadRun(run)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		c.Runs = append(c.Runs, report.Compared{Report: r, Label: runLabel(run, r), Href: hrefOf(out, dir)})
	}
	if err := errors.Join(problems...); err != nil {
		return err
	}
	if out != "" {
		page, err := c.HTML()
		if err == nil {
			err = os.WriteFile(out, page, 0o644)
		}
		if err != nil {
			return err
		}
	}
	return c.Text(a.streams.Out)
}

// runLabel is how a run is called in a comparison: by its path as it was
// given, for that tells whose it is, or by its name.
func runLabel(arg string, r *report.Report) string {
	parent := filepath.Dir(filepath.Clean(arg))
	if filepath.Base(parent) == "artifacts" {
		parent = filepath.Dir(parent)
	}
	if base := filepath.Base(parent); base != "." && base != ".." && base != string(filepath.Separator) {
		return base + "/" + r.Run
	}
	return r.Run
}

// hrefOf leads from the page out to the report in dir, if there is one.
func hrefOf(out, dir string) string {
	page := filepath.Join(dir, report.HTMLName)
	if _, err := os.Stat(page); err != nil || out == "" || dir == "" {
		return ""
	}
	from, err := filepath.Abs(filepath.Dir(out))
	if err != nil {
		return ""
	}
	to, err := filepath.Abs(page)
	if err != nil {
		return ""
	}
	rel, err := filepath.Rel(from, to)
	if err != nil {
		return "" // on another drive
	}
	return "./" + filepath.ToSlash(rel)
}

// loadRun reads a run: dir is its folder, "" for an archive.
func (a *app) loadRun(run string) (dir string, r *report.Report, err error) {
	if strings.HasSuffix(run, report.ArchiveSuffix) {
		r, err = report.LoadArchive(run)
		return "", r, err
	}
	if dir, err = a.runDir(run); err != nil {
		return "", nil, err
	}
	r, err = report.Load(dir)
	return dir, r, err
}

// runDir finds a run's folder. A path needs no lab.toml.
func (a *app) runDir(run string) (string, error) {
	if filepath.Base(run) != run || run == "." || run == ".." {
		return filepath.Clean(run), nil
	}
	root, err := a.artifactsDir()
	if err != nil {
		return "", err
	}
	e, err := artifact.Find(root, run)
	return e.Dir, err
}

// artifactsDir is where lab.toml puts the runs' folders.
func (a *app) artifactsDir() (string, error) {
	l, _, err := a.load()
	if err != nil {
		return "", err
	}
	dir, err := a.dir()
	if err != nil || filepath.IsAbs(l.Artifacts) {
		return l.Artifacts, err
	}
	return filepath.Join(dir, l.Artifacts), nil
}

// show opens a file with the program that the system has for it.
func show(ctx context.Context, file string) error {
	argv := []string{"xdg-open", file}
	switch runtime.GOOS {
	case "darwin":
		argv = []string{"open", file}
	case "windows":
		argv = []string{"rundll32", "url.dll,FileProtocolHandler", file}
	}
	if err := exec.CommandContext(ctx, argv[0], argv[1:]...).Run(); err != nil {
		return fmt.Errorf("open %s with %s: %w", file, argv[0], err)
	}
	return nil
}

package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"labctl/internal/artifact"
)

func (a *app) artifactsShow(args []string, asJSON bool) error {
	run, err := a.findRun(args)
	if err != nil {
		return err
	}
	changed := artifact.Changed(run)
	if asJSON {
		return a.printJSON(struct {
			runRow
			Changed  []string           `json:"changed"` // since the run
			Manifest *artifact.Manifest `json:"manifest"`
		}{rowOf(run), append([]string{}, changed...), run.Manifest})
	}
	w := tabwriter.NewWriter(a.streams.Out, 0, 0, 2, ' ', 0)
	say := func(name, format string, values ...any) {
		if text := fmt.Sprintf(format, values...); text != "" {
			_, _ = fmt.Fprintf(w, "%s\t%s\n", name, text)
		}
	}
	row, m := rowOf(run), run.Manifest
	say("run", "%s", run.Name)
	say("path", "%s", shortPath(run.Dir))
	if row.Archive != "" {
		say("archive", "%s", shortPath(row.Archive))
	}
	say("result", "%s", row.Result)
	if run.Err != nil {
		say("error", "%v", run.Err)
	}
	if m == nil {
		return w.Flush()
	}
	say("command", "%s", m.Command)
	say("error", "%s", strings.ReplaceAll(m.Error, "\n", "; "))
	say("started", "%s, took %v", m.Started.Format("2006-01-02 15:04:05 UTC"), m.Finished.Sub(m.Started).Round(time.Second))
	say("labctl", "%s", m.Labctl)
	if m.Lab != nil {
		say("lab", "%s", join(m.Lab.Name, m.Lab.Provider, m.Lab.Acceleration, m.Lab.Subnet))
	}
	for _, tool := range slices.Sorted(maps.Keys(m.Tools)) {
		say(tool, "%s", m.Tools[tool])
	}
	for _, n := range m.Nodes {
		engine, kernel := "", ""
		if n.Docker != "" {
			engine = "Docker " + n.Docker
		}
		if n.Kernel != "" {
			kernel = "kernel " + n.Kernel
		}
		say("node", "%s", join(n.Name, n.Role, n.LabIP, engine, kernel, n.OS, n.Error))
	}
	say("files", "%d, %s", row.Files, size(row.Bytes))
	for _, f := range m.Files {
		say("", "%s  %s", f.Name, size(f.Size))
	}
	for _, x := range m.Missing {
		say("missing", "%s: %s", x.Name, x.Reason)
	}
	for _, name := range changed {
		say("changed", "%s", name)
	}
	return w.Flush()
}

// join puts commas between those words that are there.
func join(words ...string) string {
	return strings.Join(slices.DeleteFunc(words, func(s string) bool { return s == "" }), ", ")
}

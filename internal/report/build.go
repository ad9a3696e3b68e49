package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"labctl/internal/artifact"
	"labctl/internal/scenario"
)

// manifest is what is needed of manifest.json. It is lenient: an artifact.Manifest
// of another version of labctl must do, too.
type manifest struct {
	Schema   int               `json:"schema"`
	Command  string            `json:"command"`
	Started  time.Time         `json:"started"`
	Finished time.Time         `json:"finished"`
	OK       bool              `json:"ok"`
	Verdict  string            `json:"verdict"`
	Error    string            `json:"error"`
	Labctl   string            `json:"labctl"`
	Tools    map[string]string `json:"tools"`
	Lab      labInfo           `json:"lab"`
	Nodes    []manifestNode    `json:"nodes"`
	Files    []rawFile         `json:"files"`
	Missing  []Missing         `json:"missing"`
}

type labInfo struct {
	Name         string `json:"name"`
	Provider     string `json:"provider"`
	Acceleration string `json:"acceleration"`
	Subnet       string `json:"subnet"`
}

type manifestNode struct {
	Name   string `json:"name"`
	Role   string `json:"role"`
	LabIP  string `json:"lab_ip"`
	Docker string `json:"docker"`
	Kernel string `json:"kernel"`
	OS     string `json:"os"`
	Error  string `json:"error"`
}

type rawFile struct {
	Name rawName `json:"name"`
	Size int64   `json:"size"`
}

// rawName is a name as it is on disk: bytes, so that cleanAll leaves it alone.
type rawName []byte

func (n *rawName) UnmarshalText(text []byte) error {
	*n = slices.Clone(text)
	return nil
}

// build makes the report of a folder called run.
func build(run string, f *folder) *Report {
	r := &Report{
		Schema: Schema, Run: clean(run), Versions: []Version{}, Nodes: []Node{}, Networks: []Network{}, Services: []Service{},
		Replicas: []Replica{}, Steps: []Step{}, Answers: []Answers{}, Pings: []Pings{}, Faults: []Fault{}, Findings: []Finding{},
		Files: []File{}, Missing: []Missing{},
	}
	var m manifest
	closed := f.json(manifestName, &m)
	switch {
	case closed && m.Schema > artifact.Schema:
		f.note("%s has the schema %d, and this labctl knows those up to %d: the report may lack something", manifestName, m.Schema, artifact.Schema)
	case closed && m.Schema < 1:
		f.note("%s does not say which schema it has", manifestName)
	case !closed:
		f.note("there is no %s that can be read: the command was killed, or is still at work", manifestName)
	}
	r.manifest(f, &m, closed)

	var res *scenario.Result
	if f.has(resultName) {
		res = &scenario.Result{}
		if !f.json(resultName, res) {
			res = nil
		}
	}
	events := readEvents(f)
	if r.Started.IsZero() {
		r.begins(res, events)
	}
	if res != nil {
		r.scenario(f, res)
	}
	r.Steps = steps(events, res, r.Started)
	r.lab(f)
	r.findings(f)
	r.versions(&m)
	r.judge(&m, closed, res, events)
	r.Notes = append([]string{}, f.notes...)
	return r
}

func (r *Report) manifest(f *folder, m *manifest, closed bool) {
	r.Command, r.Labctl = m.Command, m.Labctl
	if r.Command == "" {
		// The folder is called <time>-<command>.
		if _, name, ok := strings.Cut(r.Run, "Z-"); ok {
			r.Command = name
		}
	}
	r.Started = m.Started.UTC()
	if d := m.Finished.Sub(m.Started); !m.Started.IsZero() && d > 0 {
		r.Seconds = seconds(d)
	}
	r.Lab, r.Subnet = m.Lab.Name, m.Lab.Subnet
	r.Provider = strings.Join(nonEmpty(m.Lab.Provider, m.Lab.Acceleration), ", ")
	for _, n := range m.Nodes {
		r.Nodes = append(r.Nodes, Node{Name: n.Name, Role: n.Role, LabIP: n.LabIP, Docker: n.Docker, Kernel: n.Kernel, OS: line(n.OS, 60), Error: n.Error})
	}
	r.Missing = append(r.Missing, m.Missing...)
	for _, x := range m.Files {
		if name := string(x.Name); !ours(name) {
			r.Files = append(r.Files, f.file(name, x.Size))
		}
	}
	if !closed {
		r.Files = append(r.Files, slices.DeleteFunc(f.list(), func(x File) bool { return ours(x.Name) })...)
	}
	for _, x := range r.Files {
		if x.href == "" {
			f.note("%s is listed in %s, but it is not there", x.Name, manifestName)
		}
	}
}

// ours tells the files that the report itself consists of.
func ours(name string) bool {
	return name == HTMLName || name == JSONName || name == manifestName ||
		strings.HasPrefix(name, "."+HTMLName+"-") || strings.HasPrefix(name, "."+JSONName+"-")
}

// begins finds out when a run began whose manifest does not say so.
func (r *Report) begins(res *scenario.Result, events []event) {
	switch {
	case len(events) > 0:
		r.Started = events[0].Time.UTC()
		r.Seconds = seconds(events[len(events)-1].Time.Sub(events[0].Time))
	case res != nil:
		r.Started = res.Start.UTC()
		r.Seconds = seconds(res.Duration)
	}
}

// judge finds the verdict and its sentence.
func (r *Report) judge(m *manifest, closed bool, res *scenario.Result, events []event) {
	r.OK = closed && m.OK
	r.Verdict = m.Verdict
	// What a scenario failed at stands in its result; "exit code 3" does not help.
	if !strings.HasPrefix(m.Error, "exit code ") {
		r.Error = m.Error
	}
	switch {
	case res != nil:
		r.Verdict = cmp.Or(r.Verdict, res.Word())
		r.OK = r.OK || !closed && res.Passed
	case !closed:
		r.Verdict = VerdictUnfinished
	case r.Verdict == "" && m.OK:
		r.Verdict = VerdictOK
	case r.Verdict == "":
		r.Verdict = VerdictFailed
	}
	r.Summary = r.sentence(res, events)
}

func (r *Report) sentence(res *scenario.Result, events []event) string {
	if res != nil {
		s := fmt.Sprintf("%d of %s held", r.Scenario.Held, count(r.Scenario.Checks, "check"))
		switch {
		case res.Failure != nil:
			s += "; " + failureInWords(res)
		case res.Interrupted:
			s += "; interrupted"
		case res.Stopped != "":
			s += fmt.Sprintf("; stopped before %q, as asked", res.Stopped)
		}
		return line(strings.Join(append([]string{s}, r.told()...), "; "), 400)
	}
	var failed []string
	for _, s := range r.Steps {
		if s.State == "failed" {
			failed = append(failed, s.where()+": "+s.Name)
		}
	}
	switch {
	case r.Verdict == VerdictUnfinished && len(events) > 0:
		last := events[len(events)-1]
		return line(fmt.Sprintf("it ended while at work; the last that was heard: %s: %s %s", cmp.Or(last.Node, "lab"), last.Step, last.State), 400)
	case r.Verdict == VerdictUnfinished:
		return "it ended while at work"
	case len(r.Findings) > 0 && strings.HasPrefix(r.Command, "diagnose"):
		return fmt.Sprintf("%s: %s", count(len(r.Findings), "finding"), line(r.Findings[0].Symptom, 200))
	case len(failed) > 0:
		return line("failed at "+strings.Join(failed, ", "), 400)
	case r.Error != "":
		return line(r.Error, 400)
	case r.OK && r.Command == "create":
		return fmt.Sprintf("the lab is ready: %s", count(len(r.Nodes), "node"))
	case r.OK && r.Command == "collect":
		return fmt.Sprintf("%s of %s; %d could not be had", count(len(r.Files), "file"), count(len(r.Nodes), "node"), len(r.Missing))
	case r.OK && strings.HasPrefix(r.Command, "diagnose"):
		return "nothing wrong was found"
	case r.OK:
		return "it ended as it should"
	}
	return "it failed"
}

// failureInWords is what the block that failed says to a trainee, and where.
func failureInWords(res *scenario.Result) string {
	x := res.Failure
	for i := range res.Blocks {
		if b := &res.Blocks[i]; b.Name == x.Block {
			if hint := b.Hint(); hint != "" && hint != x.Reason {
				return fmt.Sprintf("%s (%s on %s)", hint, x.Block, x.Node)
			}
		}
	}
	return x.Error()
}

// told are the charts of a scenario in words.
func (r *Report) told() []string {
	var out []string
	for _, a := range r.Answers {
		total := 0
		replicas, nodes := map[string]bool{}, map[string]bool{}
		for _, x := range a.Rows {
			if total += x.Answers; x.Answers > 0 {
				replicas[x.Replica], nodes[x.Node] = true, true
			}
		}
		out = append(out, fmt.Sprintf("%s from %s on %s", count(total, "answer"), count(len(replicas), "replica"), count(len(nodes), "node")))
	}
	for _, p := range r.Pings {
		arrived := 0
		for _, x := range p.Rows {
			if x.Verdict == "ok" {
				arrived++
			}
		}
		out = append(out, fmt.Sprintf("%d of %s came back", arrived, count(len(p.Rows), "ping")))
	}
	found, mended, slowest := 0, 0, 0.0
	for _, f := range r.Faults {
		if f.MendedAfter != nil {
			mended++
		}
		if f.FoundAfter != nil {
			found++
			slowest = max(slowest, *f.FoundAfter)
		}
	}
	switch {
	case found > 0:
		out = append(out, fmt.Sprintf("%d of %s found by diagnose, each within %s", found, count(len(r.Faults), "fault"), dur(slowest)))
	case mended > 0:
		out = append(out, fmt.Sprintf("%d of %s mended", mended, count(len(r.Faults), "fault")))
	}
	return out
}

// versions collects who runs what, the same version once.
func (r *Report) versions(m *manifest) {
	add := func(what, value, node string) {
		if value == "" {
			return
		}
		i := slices.IndexFunc(r.Versions, func(v Version) bool { return v.What == what && v.Value == value })
		if i < 0 {
			r.Versions = append(r.Versions, Version{What: what, Value: value})
			i = len(r.Versions) - 1
		}
		if node != "" {
			r.Versions[i].Nodes = append(r.Versions[i].Nodes, node)
		}
	}
	for _, what := range []func(Node) (string, string){
		func(n Node) (string, string) { return "Docker", n.Docker },
		func(n Node) (string, string) { return "system", n.OS },
		func(n Node) (string, string) { return "kernel", n.Kernel },
	} {
		for _, n := range r.Nodes {
			name, value := what(n)
			add(name, value, n.Name)
		}
	}
	add("provider", r.Provider, "")
	add("labctl", r.Labctl, "")
	for _, tool := range slices.Sorted(maps.Keys(m.Tools)) {
		if tool != "labctl" && tool != "docker" { // that of the nodes is there already
			add(tool, m.Tools[tool], "")
		}
	}
}

// seconds is a duration in seconds, to the millisecond; never negative.
func seconds(d time.Duration) float64 { return float64(max(0, d.Milliseconds())) / 1000 }

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

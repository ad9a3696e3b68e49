package report

import (
	"cmp"
	"path"
	"path/filepath"
	"time"

	"labctl/internal/scenario"
)

// maxOutput is how much of what one block printed on one node is shown: its
// end. All of it is in result.json. When all blocks together have printed
// maxOutputs, only lastOutput is.
const (
	maxOutput  = 32 << 10
	maxOutputs = 4 << 20
	lastOutput = 1 << 10
)

// output takes in what a block printed.
func (r *Report) output(s string) string {
	s = clip(s, max(lastOutput, min(maxOutput, r.room)))
	r.room -= len(s)
	return s
}

// scenario takes in what a scenario left.
func (r *Report) scenario(f *folder, res *scenario.Result) {
	r.room = maxOutputs
	r.Lab = cmp.Or(res.Lab, r.Lab)
	s := &Scenario{ID: res.ID, Title: res.Title, File: path.Base(filepath.ToSlash(res.File)), Params: res.Params, Seconds: seconds(res.Duration), Chapters: []Chapter{}}
	if res.File == "" {
		s.File = "" // not "."
	}
	s.Held, s.Checks = res.Held()
	page := blocksOf(f, len(res.Blocks))
	for i, b := range res.Blocks {
		last := len(s.Chapters) - 1
		if last < 0 || s.Chapters[last].Title != b.Chapter {
			s.Chapters = append(s.Chapters, Chapter{Title: b.Chapter, Blocks: []Block{}})
			last++
		}
		c := &s.Chapters[last]
		c.Blocks = append(c.Blocks, r.block(b, page[i]))
		c.Seconds = roundMS(c.Seconds + seconds(b.Duration))
		c.Verdict = worse(c.Verdict, string(b.Verdict))
	}
	r.Scenario = s
	if x := res.Failure; x != nil {
		r.Failure = &Failure{
			Block: x.Block, Chapter: x.Chapter, Node: x.Node, Reason: x.Reason, Command: clip(x.Command, maxOutput),
			Output: clip(x.Output, maxOutput), Tries: x.Tries, Deadline: time.Duration(x.Deadline).String(),
		}
	}
	for _, c := range s.Chapters {
		for _, b := range c.Blocks {
			for _, n := range b.Nodes {
				r.tables(c, b, n, res.Saved)
			}
		}
	}
	r.faults()
}

// blocksOf returns what the transcript, which is the page itself, says of the
// blocks: text and script. Without it, or if it is another page's, the blocks
// are empty.
func blocksOf(f *folder, n int) []*scenario.Block {
	out := make([]*scenario.Block, n)
	for i := range out {
		out[i] = &scenario.Block{}
	}
	data, ok := f.read(transcriptName)
	if !ok {
		return out
	}
	// What lint or a later labctl objects to does not matter here.
	d, _ := scenario.Parse(transcriptName, data)
	if d == nil || len(d.Blocks) != n {
		f.note("%s does not fit %s: the blocks are shown without their commands", transcriptName, resultName)
		return out
	}
	for i, b := range d.Blocks {
		cleanAll(b)
		out[i] = b
	}
	return out
}

func (r *Report) block(b scenario.BlockResult, page *scenario.Block) Block {
	out := Block{
		Name: b.Name, Line: b.Line, Kind: string(b.Kind), Place: b.Place, ID: b.ID, For: page.For, Given: b.Given,
		Text: page.Description, Script: clip(page.Script, maxOutput), Verdict: string(b.Verdict), Reason: b.Reason,
		Seconds: seconds(b.Duration), Nodes: []Output{},
	}
	if !b.Start.IsZero() {
		out.Start = seconds(b.Start.Sub(r.Started))
	}
	for _, n := range b.Nodes {
		out.Nodes = append(out.Nodes, Output{
			Node: n.Node, Verdict: string(n.Verdict), Reason: n.Reason, Tries: n.Tries, ExitCode: n.ExitCode,
			Seconds: seconds(n.Duration), Stdout: r.output(n.Stdout), Stderr: r.output(n.Stderr),
		})
	}
	return out
}

// worse returns the verdict that tells more of two.
func worse(a, b string) string {
	rank := map[string]int{"": -1, "skipped": 0, "passed": 1, "interrupted": 2, "failed": 3}
	if rank[cmp.Or(b, "skipped")] > rank[a] {
		return b
	}
	return a
}

package scenario

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"labctl/internal/remote"
)

// Proof is what Test found.
type Proof struct {
	Runs []*Result `json:"runs"` // the first, and, unless that failed, the second
	// Defects are what is wrong with the document although it runs.
	Defects []Problem `json:"defects,omitempty"`
	// Red tells for each check that was seen to fail what it said then, by
	// block index. A check that no value could be had for says so.
	Red map[int]string `json:"red"`
}

// Passed counts the runs that passed.
func (p *Proof) Passed() int {
	n := 0
	for _, r := range p.Runs {
		if r.Passed {
			n++
		}
	}
	return n
}

// Sound tells whether the document stood the test.
func (p *Proof) Sound() bool {
	return p.Passed() == 2 && len(p.Defects) == 0
}

// Test is for a document's author. It runs the document twice and sees each
// check fail first: a check that stands below steps of its chapter before one
// of these, any other before the first step of the page or else after the
// cleanups. Checks that are given must hold instead. And it compares what the
// lab holds before the runs and after each.
func Test(ctx context.Context, d *Document, o Options, say func(string)) (*Proof, error) {
	p := &prover{proof: &Proof{Red: map[int]string{}}, say: say, asked: map[int]bool{}, held: map[int]bool{}}
	o.Keep, o.To, o.From = false, "", nil
	before, err := inventory(ctx, o.Nodes)
	if err != nil {
		return nil, err
	}
	r, err := newRun(d, o)
	if err != nil {
		return nil, err
	}
	r.o.Before = func(ctx context.Context, b *Block) Action {
		if makes(b.Kind) || b.Kind == Undo {
			p.red(ctx, r, b)
		}
		return Go
	}
	res, err := r.whole(ctx)
	p.proof.Runs = append(p.proof.Runs, res)
	if err != nil {
		return p.proof, err
	}
	if err := p.leftovers(ctx, d, o, before, "the run"); err != nil {
		return p.proof, err
	}
	if !res.Passed {
		return p.proof, nil
	}
	p.afterwards(ctx, r)
	if ctx.Err() != nil {
		return p.proof, context.Cause(ctx)
	}
	say("second run")
	res, err = Run(ctx, d, o)
	if err != nil {
		return p.proof, err
	}
	p.proof.Runs = append(p.proof.Runs, res)
	return p.proof, p.leftovers(ctx, d, o, before, "the second run")
}

type prover struct {
	proof *Proof
	say   func(string)
	asked map[int]bool // given checks that were asked early
	held  map[int]bool // checks that held when they were to fail
	begun bool         // something was made
}

func (p *prover) defect(d *Document, b *Block, format string, args ...any) {
	q := Problem{File: d.File, Line: b.Line, Reason: fmt.Sprintf(format, args...)}
	p.proof.Defects = append(p.proof.Defects, q)
	p.say("defect: " + q.String())
}

// red asks, before the block next makes something, the checks below it whose
// failing is to be seen now.
func (p *prover) red(ctx context.Context, r *run, next *Block) {
	for _, b := range r.doc.Blocks[next.Index+1:] {
		if b.Kind != Check || ctx.Err() != nil {
			continue
		}
		mine := b.Chapter == next.Chapter
		if !mine && (p.begun || r.doc.makesAbove(b)) {
			continue
		}
		_, seen := p.proof.Red[b.Index]
		switch {
		case b.Given && mine && !p.asked[b.Index]:
			p.asked[b.Index] = true
			if hint := p.try(ctx, r, b); hint != "" && ctx.Err() == nil {
				p.defect(r.doc, b, "the check is given, but it does not hold before the steps above it: %s", hint)
			}
		case !b.Given && !seen:
			p.mustFail(ctx, r, b)
		}
	}
	p.begun = true
}

// makesAbove tells whether something is made above b in its own chapter.
func (d *Document) makesAbove(b *Block) bool {
	return slices.ContainsFunc(d.Blocks[:b.Index], func(c *Block) bool {
		return c.Chapter == b.Chapter && (makes(c.Kind) || c.Kind == Undo)
	})
}

// mustFail tries a check and remembers if it failed.
func (p *prover) mustFail(ctx context.Context, r *run, b *Block) {
	if name, from := r.doc.unsaved(b, r.saved); from != nil && from.Kind != Check {
		return // later, when that value is there
	} else if from != nil {
		// It depends on a check that does not hold yet.
		p.proof.Red[b.Index] = fmt.Sprintf("$%s is not there before the check in line %d holds", name, from.Line)
	} else if hint := p.try(ctx, r, b); hint != "" && ctx.Err() == nil {
		p.proof.Red[b.Index] = hint
	} else {
		p.held[b.Index] = true
		return
	}
	p.say(fmt.Sprintf("%s fails before its steps, as it must: %s", r.doc.Name(b), p.proof.Red[b.Index]))
}

// try asks a check once and leaves no trace of it in the run.
func (p *prover) try(ctx context.Context, r *run, b *Block) string {
	saved := maps.Clone(r.saved)
	was := r.res.Blocks[b.Index]
	hint := r.ask(ctx, b).Hint()
	r.res.Blocks[b.Index] = was
	clear(r.saved)
	maps.Copy(r.saved, saved)
	return hint
}

// afterwards asks the checks that have not been seen to fail once more, now
// that everything has been taken away. They get what steps saved, but what a
// check saves must come from the lab anew.
func (p *prover) afterwards(ctx context.Context, r *run) {
	for _, b := range r.doc.Blocks {
		if b.Kind == Check {
			delete(r.saved, b.Save)
		}
	}
	for _, b := range r.doc.Blocks {
		if _, seen := p.proof.Red[b.Index]; b.Kind != Check || b.Given || seen || ctx.Err() != nil {
			continue
		}
		if p.held[b.Index] && r.doc.makesAbove(b) {
			p.defect(r.doc, b, "the check holds already before the steps of its chapter: "+markGiven)
			continue
		}
		p.mustFail(ctx, r, b)
		if _, seen := p.proof.Red[b.Index]; !seen && ctx.Err() == nil {
			p.defect(r.doc, b, "the check was never seen to fail, not even with nothing there: "+markGiven)
		}
	}
}

const markGiven = "if that is as it should be, mark it `check given`"

// settle is how long the lab may take to forget what was removed.
const (
	settle      = 60 * time.Second
	settleEvery = 3 * time.Second
)

func (p *prover) leftovers(ctx context.Context, d *Document, o Options, before []string, after string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	deadline := time.Now().Add(settle)
	for {
		now, err := inventory(ctx, o.Nodes)
		if err != nil {
			return err
		}
		diff := difference(before, now)
		if len(diff) == 0 {
			return nil
		}
		if time.Until(deadline) < settleEvery {
			for _, line := range diff {
				p.defect(d, &Block{Line: max(d.Head.Line, 1)}, "%s did not leave the lab as it was: %s", after, line)
			}
			return nil
		}
		p.say("not yet as it was: " + diff[0])
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(settleEvery):
		}
	}
}

// inventoryScript lists what a node holds, a line each. docker_gwbridge is
// made by the engine itself, when it first needs it.
const inventoryScript = `# what the node holds
docker network ls --format 'network {{.Name}} ({{.Driver}})' | grep -v '^network docker_gwbridge ' || true
docker volume ls --format 'volume {{.Name}}'
docker image ls --no-trunc --format 'image {{.Repository}}:{{.Tag}} {{.ID}}'
docker ps --all --format 'container {{.Names}} of {{.Image}}'
if [ "$(docker info --format '{{.Swarm.ControlAvailable}}')" = true ]; then
  docker service ls --format 'service {{.Name}} {{.Replicas}} of {{.Image}}'
  docker node ls --format 'node {{.Hostname}} {{.Status}} {{.Availability}}'
  docker secret ls --format 'secret {{.Name}}'
  docker config ls --format 'config {{.Name}}'
fi
`

// inventory lists what all nodes hold, each line with its node's name.
func inventory(ctx context.Context, nodes []Node) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, DefaultTimeout)
	defer cancel()
	lines := make([][]string, len(nodes))
	errs := make([]error, len(nodes))
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() {
			res, err := remote.Check(ctx, n.Runner, n.Name, remote.Script(inventoryScript))
			errs[i] = err
			for line := range strings.Lines(res.Stdout) {
				lines[i] = append(lines[i], n.Name+": "+strings.TrimSpace(line))
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("list what the lab holds: %w", err)
		}
	}
	all := slices.Concat(lines...)
	slices.Sort(all)
	return all, nil
}

// difference names what is in one list only.
func difference(before, now []string) []string {
	var out []string
	for _, l := range now {
		if !slices.Contains(before, l) {
			out = append(out, "new: "+l)
		}
	}
	for _, l := range before {
		if !slices.Contains(now, l) {
			out = append(out, "missing: "+l)
		}
	}
	return out
}

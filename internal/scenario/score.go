package scenario

import (
	"context"
	"fmt"
)

// Score asks every check of the document once, on the lab as it is, and runs
// nothing else. What cannot be asked, since a value that it needs was never
// saved, counts as not held. With Options.From the values of that run are
// there. Result.Passed tells whether all of them held, the given ones
// included.
func Score(ctx context.Context, d *Document, o Options) (*Result, error) {
	r, err := newRun(d, o)
	if err != nil {
		return nil, err
	}
	if o.From != nil {
		r.adopt(o.From)
	}
	for _, b := range d.Blocks {
		if b.Kind != Check {
			r.res.Blocks[b.Index].Reason = "only the checks are asked"
			continue
		}
		res := r.ask(ctx, b)
		if ctx.Err() != nil {
			r.res.Interrupted = true
			r.finish()
			return r.res, fmt.Errorf("%s: interrupted: %w", d.File, context.Cause(ctx))
		}
		for _, n := range res.Nodes {
			if n.Verdict == Failed && r.res.Failure == nil {
				r.res.Failure = r.failure(b, n)
			}
		}
	}
	r.finish()
	return r.res, nil
}

// ask runs a check once on each of its nodes, and keeps its result and what
// it saves.
func (r *run) ask(ctx context.Context, b *Block) *BlockResult {
	res := r.sideBySide(ctx, b, r.once)
	r.res.Blocks[b.Index] = res
	if res.Verdict == Passed && b.Save != "" {
		r.saved[b.Save] = savedValue(b, res.Nodes)
	}
	return &r.res.Blocks[b.Index]
}

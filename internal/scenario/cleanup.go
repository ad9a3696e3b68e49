package scenario

import (
	"context"
	"slices"
)

// cleanups undoes the faults that still stand, then runs the cleanups, each
// last first. The faults come first since a broken lab may not be able to
// clean up.
func (r *run) cleanups(ctx context.Context) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	if r.o.Abort != nil {
		go func() {
			select {
			case <-r.o.Abort:
				cancel()
			case <-ctx.Done():
			}
		}()
	}
	var due []*Block
	for _, kind := range []Kind{Undo, Cleanup} {
		for _, b := range slices.Backward(r.doc.Blocks) {
			if b.Kind == kind && r.isDue(b) {
				due = append(due, b)
			}
		}
	}
	for _, b := range due {
		if ctx.Err() != nil {
			r.res.Blocks[b.Index].Verdict, r.res.Blocks[b.Index].Reason = Skipped, "cleanups were interrupted"
			r.res.CleanupFailures = append(r.res.CleanupFailures, r.failure(b, NodeResult{Node: "@" + b.Place, Reason: "cleanup was interrupted and did not run"}))
			continue
		}
		f := r.block(ctx, b)
		if i := slices.IndexFunc(r.res.Blocks[b.Index].Nodes, func(n NodeResult) bool { return n.Verdict == Interrupted }); f == nil && i >= 0 {
			f = r.failure(b, r.res.Blocks[b.Index].Nodes[i])
		}
		if f != nil {
			r.res.CleanupFailures = append(r.res.CleanupFailures, f)
		}
	}
	r.closeJournal()
}

// isDue tells whether a cleanup, or an undo at the end, has something to do;
// where it has not, the block's result says why.
func (r *run) isDue(b *Block) bool {
	skip := func(reason string) bool {
		r.res.Blocks[b.Index].Reason = reason
		return false
	}
	if b.Kind == Undo {
		return !r.undone[b.For] && (r.began(b.For) || skip("its fault was not reached"))
	}
	if r.o.Keep {
		return skip("kept, as asked")
	}
	if r.cleaned[b.Index] {
		return skip("done before")
	}
	if !slices.ContainsFunc(r.doc.covers(b), func(c *Block) bool { return r.started[c.Index] }) {
		return skip("nothing was made that it removes")
	}
	if name, from := r.doc.unsaved(b, r.saved); from != nil {
		return skip("$" + name + " was never saved: nothing to remove")
	}
	return true
}

func (r *run) began(id string) bool {
	return slices.ContainsFunc(r.doc.Blocks, func(b *Block) bool { return b.ID == id && r.started[b.Index] })
}

// covers lists the blocks whose traces a cleanup removes: the one it names,
// or else all of the stretch above it, up to the cleanup before that.
func (d *Document) covers(b *Block) []*Block {
	var out []*Block
	for _, c := range slices.Backward(d.Blocks[:b.Index]) {
		switch {
		case b.For != "":
			if c.ID == b.For {
				return []*Block{c}
			}
		case c.Kind == Cleanup && len(out) > 0:
			return out
		case makes(c.Kind):
			out = append(out, c)
		}
	}
	return out
}

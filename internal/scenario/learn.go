package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Lesson is what a trainee sees and types while learning.
type Lesson struct {
	Out   io.Writer
	Lines <-chan string // what is typed, line by line; closed at the end of input
	Style Style         // Hide, Hints and Where are the lesson's own
	// Every is the pause between two looks at a check; 0 means the check's own.
	Every time.Duration
}

const learnHelp = `hint      what helps with this chapter
solution  the commands that do what this chapter asks
run       type them for me
page      show this chapter again
q         leave; what you made stays
Enter     look again at once
`

// Learn leads a trainee through the document: it shows a chapter, watches its
// checks while the trainee types on the nodes, and opens the next one when
// they hold. Faults and their undoing are labctl's own work. Whoever leaves
// finds everything standing, but no fault; with Options.From they go on from
// there. After the last chapter the cleanups run if the trainee wants them.
// The error is ErrQuit, or tells why ctx ended.
func Learn(ctx context.Context, d *Document, o Options, l Lesson) (*Result, error) {
	r, err := newRun(d, o)
	if err != nil {
		return nil, err
	}
	if o.From != nil {
		r.adopt(o.From)
	}
	t := &teacher{run: r, Lesson: l}
	err = t.teach(ctx)
	if err != nil {
		r.o.Keep, r.res.Kept = true, true
	}
	r.cleanups(ctx)
	if errors.As(err, &r.res.Failure) {
		err = nil
	}
	r.res.Interrupted = err != nil
	if len(r.res.CleanupFailures) > 0 && r.res.Failure == nil {
		r.res.Failure = r.res.CleanupFailures[0]
	}
	r.finish()
	return r.res, err
}

type teacher struct {
	*run
	Lesson
	ran      map[int]bool // steps that were run for the trainee
	from, to int          // the blocks that the trainee is at
}

func (t *teacher) say(format string, args ...any) { _, _ = fmt.Fprintf(t.Out, format+"\n", args...) }

func (t *teacher) teach(ctx context.Context) error {
	t.ran = map[int]bool{}
	t.say("%s %s\nType on the nodes in another terminal, say `labctl ssh %s`. Here you can type:\n\n%s",
		t.doc.Head.ID, t.doc.Title(), t.o.Nodes[0].Name, learnHelp)
	first := -1
	if t.chapter > 0 {
		first = t.chapter
		t.say("You go on from where you were.")
		for _, b := range t.doc.Blocks {
			if b.Kind == Check && b.Chapter < first {
				t.res.Blocks[b.Index].Verdict, t.res.Blocks[b.Index].Reason = Passed, "held earlier"
			}
		}
	}
	for c := first; c < len(t.doc.Chapters); c++ {
		t.chapter = c
		if err := t.teachChapter(ctx, c); err != nil {
			return err
		}
	}
	return t.end(ctx)
}

// in lists the blocks of a chapter.
func (d *Document) in(chapter int) []*Block {
	return slices.DeleteFunc(slices.Clone(d.Blocks), func(b *Block) bool { return b.Chapter != chapter })
}

func (t *teacher) teachChapter(ctx context.Context, c int) error {
	t.page(c, false)
	blocks := t.doc.in(c)
	open := false // something for the trainee to do, and no check for it yet
	t.from, t.to = 0, len(t.doc.Blocks)
	for _, b := range blocks {
		switch b.Kind {
		case Step, Solve:
			if err := t.begin(b); err != nil { // as far as labctl can know
				return err
			}
			open = true
		case Fault, Undo:
			if b.Kind == Undo && t.undone[b.For] {
				continue
			}
			if f := t.block(ctx, b); f != nil && ctx.Err() == nil {
				return f
			}
		case Check:
			t.to = b.Index
			if err := t.await(ctx, b); err != nil {
				return err
			}
			t.from, t.to = b.Index, len(t.doc.Blocks)
			open = false
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if !open {
		return nil
	}
	t.say("\nNothing checks this one: press Enter when you have done it.")
	for {
		line, err := t.typed(ctx)
		if err != nil {
			return err
		}
		if line == "" {
			return nil
		}
		if err := t.command(ctx, line); err != nil {
			return err
		}
	}
}

// await watches a check until it holds.
func (t *teacher) await(ctx context.Context, b *Block) error {
	t.say("\nWatching: %s", orSelf(b.short(), t.doc.Name(b)))
	told := ""
	for {
		res, line, err := t.look(ctx, b)
		if err != nil {
			return err
		}
		if res == nil {
			if err := t.command(ctx, line); err != nil {
				return err
			}
			continue
		}
		t.res.Blocks[b.Index] = *res
		if res.Verdict == Passed {
			t.took(b, res)
			t.say("It holds.")
			for _, n := range res.Nodes {
				for line := range strings.Lines(strings.TrimSpace(n.Stdout)) {
					t.say("  %s | %s", n.Node, strings.TrimRight(line, "\n"))
				}
			}
			return nil
		}
		if hint := res.Hint(); hint != told {
			t.say("Not yet: %s", hint)
			told = hint
		}
		pause := time.After(b.every())
		if t.Every > 0 {
			pause = time.After(t.Every)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case line, ok := <-t.Lines:
			if !ok {
				return ErrQuit
			}
			if line = strings.TrimSpace(line); line == "" {
				told = "" // whoever asks gets an answer
			} else if err := t.command(ctx, line); err != nil {
				return err
			}
		case <-pause:
		}
	}
}

// look asks a check once. What is typed meanwhile ends the look.
func (t *teacher) look(ctx context.Context, b *Block) (*BlockResult, string, error) {
	own, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan BlockResult, 1)
	go func() { done <- t.sideBySide(own, b, t.once) }()
	for {
		select {
		case res := <-done:
			if ctx.Err() != nil {
				return nil, "", context.Cause(ctx)
			}
			return &res, "", nil
		case line, ok := <-t.Lines:
			if line = strings.TrimSpace(line); ok && line == "" {
				continue // it is looking
			}
			cancel()
			<-done
			if !ok {
				return nil, "", ErrQuit
			}
			return nil, line, nil
		}
	}
}

// typed waits for a line.
func (t *teacher) typed(ctx context.Context) (string, error) {
	select {
	case <-ctx.Done():
		return "", context.Cause(ctx)
	case line, ok := <-t.Lines:
		if !ok {
			return "", ErrQuit
		}
		return strings.TrimSpace(line), nil
	}
}

func (t *teacher) command(ctx context.Context, line string) error {
	switch line {
	case "q", "quit", "exit":
		return ErrQuit
	case "page":
		t.page(t.chapter, false)
	case "hint":
		t.hints()
	case "solution":
		t.solution()
	case "run":
		t.runChapter(ctx)
	default:
		t.say("%q is not known here. You can type:\n\n%s", line, learnHelp)
	}
	return nil
}

// todo lists the steps and solutions that lead to the check that is watched:
// those of a check that holds are done, those below may spoil what is watched.
func (t *teacher) todo() []*Block {
	return slices.DeleteFunc(t.doc.in(t.chapter), func(b *Block) bool {
		return b.Kind != Step && b.Kind != Solve || b.Index < t.from || b.Index >= t.to
	})
}

func (t *teacher) solution() {
	for _, b := range t.todo() {
		t.say("\n  %s:\n%s", t.where(b.Place), indent(b.Script, "    "))
	}
	if len(t.todo()) == 0 {
		t.say("This check asks nothing new of you: it looks at what was done before.")
		return
	}
	if vars := t.exports(t.chapter); vars != "" {
		t.say("\nwith\n\n    export %s", vars)
	}
	t.say("\n`run` types this for you.")
}

// runChapter runs what the chapter asks of the trainee, up to the first
// command that fails.
func (t *teacher) runChapter(ctx context.Context) {
	if len(t.todo()) == 0 {
		t.solution()
		return
	}
	for _, b := range t.todo() {
		if t.ran[b.Index] || ctx.Err() != nil {
			continue
		}
		t.say("\n  %s:\n%s", t.where(b.Place), indent(b.Script, "    "))
		if f := t.block(ctx, b); f != nil {
			t.say("%s: %s", f.Node, f.Reason)
			return
		}
		t.ran[b.Index] = true
	}
	t.say("Done.")
}

// end congratulates, and asks whether to tidy up.
func (t *teacher) end(ctx context.Context) error {
	held, checks := t.res.Held()
	t.say("\nThat was the last chapter: %d of %d checks held.", held, checks)
	if !slices.ContainsFunc(t.doc.Blocks, func(b *Block) bool { return b.Kind == Cleanup }) || t.o.Keep {
		return nil
	}
	t.say("Enter removes what was made; k keeps it.")
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case line := <-t.Lines: // at the end of input: remove
		if strings.TrimSpace(line) == "k" {
			t.o.Keep, t.res.Kept = true, true
		}
	}
	return nil
}

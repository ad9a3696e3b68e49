// Package scenario reads, judges and runs scenario documents: Markdown pages
// whose marked fences are executed on the nodes of a lab. Parse and Lint are
// pure; Run touches the nodes only through the remote.Runner values that it
// is given. docs/scenarios.md is the reference of the format.
package scenario

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/mattn/go-runewidth"
)

// Document is one parsed scenario.
type Document struct {
	File     string    `json:"file"` // as given to Parse; named in every problem
	Head     Head      `json:"head"`
	Chapters []Chapter `json:"chapters"`
	Blocks   []*Block  `json:"blocks"` // in the order of the page
	Source   []byte    `json:"-"`

	headUnread bool // missing or no TOML: what depends on it cannot be judged
}

// Title is the head's title.
func (d *Document) Title() string { return d.Head.Title }

// Head is the `toml scenario` fence: the only place for settings.
type Head struct {
	Format  int     `json:"format"` // always 1
	ID      string  `json:"id"`
	Title   string  `json:"title"`
	Minutes int     `json:"minutes,omitempty"` // 0: not said
	Needs   Needs   `json:"needs"`
	Params  []Param `json:"params,omitempty"` // in the order of the page
	Line    int     `json:"line"`             // of the opening fence
}

// Needs is the least that a lab must have. The zero value needs no node.
type Needs struct {
	Managers int `json:"managers"`
	Workers  int `json:"workers"`
	// Total counts the nodes of both roles; 0 if their sum is enough.
	Total int `json:"total,omitempty"`
}

// Param is one parameter of the head.
type Param struct {
	Name    string `json:"name"`    // as written, lower case
	Default string `json:"default"` // as text
	Int     bool   `json:"int,omitempty"`
	Min     *int64 `json:"min,omitempty"` // nil: no limit
	Max     *int64 `json:"max,omitempty"`
	Help    string `json:"help,omitempty"`
	Line    int    `json:"line"`
}

// Var is the environment variable of the parameter.
func (p Param) Var() string { return strings.ToUpper(p.Name) }

// Chapter is a `##` heading and what follows it.
type Chapter struct {
	Title string `json:"title"`
	Line  int    `json:"line"`
}

// Kind is what a block is for.
type Kind string

// The kinds of blocks. A block without a word for it is a Step.
const (
	Step    Kind = "step"
	Check   Kind = "check"
	Solve   Kind = "solve"
	Fault   Kind = "fault"
	Undo    Kind = "undo"
	Cleanup Kind = "cleanup"
)

// Block is one fence that is executed.
type Block struct {
	Index       int    `json:"index"` // position in Document.Blocks
	Line        int    `json:"line"`  // of the opening fence, from 1
	EndLine     int    `json:"end_line"`
	Place       string `json:"place"` // without the @
	Kind        Kind   `json:"kind"`
	ID          string `json:"id,omitempty"`
	For         string `json:"for,omitempty"`     // undo, cleanup: the id that it belongs to
	Save        string `json:"save,omitempty"`    // variable that standard output becomes
	Within      Span   `json:"within,omitempty"`  // check: deadline of all tries
	Every       Span   `json:"every,omitempty"`   // check: pause between tries
	Timeout     Span   `json:"timeout,omitempty"` // of one try
	Fails       bool   `json:"fails,omitempty"`   // any exit code but 0 is wanted
	Exit        *int   `json:"exit,omitempty"`    // this exit code is wanted
	Shows       string `json:"shows,omitempty"`   // the output must contain it
	Given       bool   `json:"given,omitempty"`   // check: holds before the trainee did anything
	Chapter     int    `json:"chapter"`           // index into Chapters; -1 before the first
	Description string `json:"description,omitempty"`
	Folded      bool   `json:"folded,omitempty"` // inside <details>
	Script      string `json:"script"`

	info  string // the words of its fence, as written
	prose string // what stands between the block or heading before and this one
}

// What a block gets where it does not say otherwise. Docker's command line
// takes two seconds a call on an emulated node, so they are generous.
const (
	DefaultTimeout = 2 * time.Minute  // one try of any block
	DefaultWithin  = 30 * time.Second // all tries of a check
	DefaultEvery   = 2 * time.Second
)

// hopeless is the exit code by which a check says that trying again is idle.
const hopeless = 99

func (b *Block) timeout() time.Duration { return b.Timeout.or(DefaultTimeout) }
func (b *Block) within() time.Duration  { return b.Within.or(DefaultWithin) }
func (b *Block) every() time.Duration   { return b.Every.or(DefaultEvery) }

// Name is what the block is called in messages: "lb.md:45 check".
func (d *Document) Name(b *Block) string {
	return fmt.Sprintf("%s:%d %s", filepath.Base(d.File), b.Line, b.Kind)
}

// Chapter is the title of the chapter that b stands in, "" before the first.
func (d *Document) Chapter(b *Block) string {
	if b.Chapter < 0 || b.Chapter >= len(d.Chapters) {
		return ""
	}
	return d.Chapters[b.Chapter].Title
}

// short is the first sentence of the description, cut to a line.
func (b *Block) short() string {
	s := b.Description
	for _, end := range []string{". ", "? ", ": ", "。"} {
		if before, _, found := strings.Cut(s, end); found {
			s = before + strings.TrimRight(end, ": ")
		}
	}
	return runewidth.Truncate(strings.TrimRight(s, ": "), 100, "…")
}

// Span is a duration that reads as text, such as "1m30s", in JSON.
type Span time.Duration

// MarshalText gives the form that time.ParseDuration reads.
func (s Span) MarshalText() ([]byte, error) { return []byte(time.Duration(s).String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (s *Span) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	*s = Span(d)
	return err
}

func (s Span) or(d time.Duration) time.Duration {
	if s == 0 {
		return d
	}
	return time.Duration(s)
}

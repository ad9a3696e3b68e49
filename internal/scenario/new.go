package scenario

import (
	_ "embed"
	"fmt"
	"strings"
)

//go:embed template/new.md
var newDocument string

// New is the text of a first document with the given id, for its author to
// change. An id is made of small letters, digits and hyphens.
func New(id string) ([]byte, error) {
	if !idForm.MatchString(id) {
		return nil, fmt.Errorf("%q: a document's name is made of small letters, digits and hyphens", id)
	}
	title := strings.ToUpper(id[:1]) + strings.ReplaceAll(id[1:], "-", " ")
	return []byte(strings.NewReplacer("TITLE", title, "ID", id).Replace(newDocument)), nil
}

// SameBlocks says where a translation differs from its original in what
// counts: the head, but for titles and help texts, and the blocks, to the
// letter. nil if it does not.
func SameBlocks(original, translation *Document) error {
	a, b := original.Head, translation.Head
	if a.ID != b.ID || a.Minutes != b.Minutes || a.Needs != b.Needs || len(a.Params) != len(b.Params) {
		return fmt.Errorf("%s: the head is not that of %s", translation.File, original.File)
	}
	for i := range a.Params {
		p, q := a.Params[i], b.Params[i]
		if p.Name != q.Name || p.Default != q.Default || p.Int != q.Int || !sameLimit(p.Min, q.Min) || !sameLimit(p.Max, q.Max) {
			return fmt.Errorf("%s:%d: parameter %s is not that of %s:%d", translation.File, q.Line, q.Name, original.File, p.Line)
		}
	}
	if len(original.Chapters) != len(translation.Chapters) {
		return fmt.Errorf("%s has %d chapters, %s has %d", translation.File, len(translation.Chapters), original.File, len(original.Chapters))
	}
	if len(original.Blocks) != len(translation.Blocks) {
		return fmt.Errorf("%s has %d blocks, %s has %d", translation.File, len(translation.Blocks), original.File, len(original.Blocks))
	}
	for i, x := range original.Blocks {
		y := translation.Blocks[i]
		if x.info != y.info || x.Script != y.Script || x.Chapter != y.Chapter || x.Folded != y.Folded {
			return fmt.Errorf("%s:%d: the block is not that of %s:%d", translation.File, y.Line, original.File, x.Line)
		}
	}
	return nil
}

func sameLimit(a, b *int64) bool { return a == nil && b == nil || a != nil && b != nil && *a == *b }

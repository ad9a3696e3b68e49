package docs

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/fault"
)

// TestFaultKinds wants docs/faults.md to list the kinds that there are, and
// every option in the row of its kind.
func TestFaultKinds(t *testing.T) {
	table := section(t, read(t, "docs/faults.md"), "The kinds")
	var known []string
	for _, k := range fault.Kinds() {
		known = append(known, string(k.Kind))
		i := strings.Index(table, "\n| `"+string(k.Kind)+"` |")
		if i < 0 {
			continue // told below
		}
		row, _, _ := strings.Cut(table[i+1:], "\n")
		for _, p := range k.Params {
			if !strings.Contains(row, "`--"+p.Name+"`") {
				t.Errorf("docs/faults.md: the row of %s does not name --%s", k.Kind, p.Name)
			}
		}
	}
	if d := cmp.Diff(known, slices.DeleteFunc(firstCells(table), func(c string) bool { return c == "kind" })); d != "" {
		t.Errorf("docs/faults.md, The kinds (- labctl, + the page):\n%s", d)
	}
}

package docs

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestFindings compares the findings that docs/diagnose.md lists with those
// that the code has.
func TestFindings(t *testing.T) {
	ids := func(file, pattern string) (out []string) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(data), -1) {
			out = append(out, m[1])
		}
		slices.Sort(out)
		return out
	}
	code := ids("../../internal/diagnose/kinds.go", `(?m)^\t\w+ += "([a-z-]+)"$`)
	page := ids("../../docs/diagnose.md", "(?m)^\\| `([a-z-]+)` \\|")
	if len(code) < 40 {
		t.Fatalf("only %d kinds of findings in the code", len(code))
	}
	if diff := cmp.Diff(code, page); diff != "" {
		t.Errorf("findings in the code (-) and in docs/diagnose.md (+):\n%s", diff)
	}
}

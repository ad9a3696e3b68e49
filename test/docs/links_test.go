package docs

import (
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/text"
)

// page is what a Git host makes of a page: where it leads, and the names of
// its headings.
type page struct{ links, anchors []string }

func parsePage(t *testing.T, name string) page {
	t.Helper()
	src := []byte(read(t, name))
	var p page
	doc := goldmark.DefaultParser().Parse(text.NewReader(src))
	err := ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if entering {
			switch n := n.(type) {
			case *ast.Link:
				p.links = append(p.links, string(n.Destination))
			case *ast.Heading:
				p.anchors = append(p.anchors, slug(string(n.Lines().Value(src))))
			}
		}
		return ast.WalkContinue, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// slug is the anchor that a Git host gives a heading.
func slug(heading string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(strings.TrimSpace(heading)) {
		switch {
		case unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-' || r == '_':
			b.WriteRune(r)
		case r == ' ':
			b.WriteByte('-')
		}
	}
	return b.String()
}

// TestLinks follows every link that stays in the repository.
func TestLinks(t *testing.T) {
	followed := 0
	for _, name := range pages(t) {
		for _, link := range parsePage(t, name).links {
			u, err := url.Parse(link)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if u.Scheme != "" {
				continue
			}
			followed++
			to := name
			if u.Path != "" {
				to = path.Join(path.Dir(name), u.Path)
			}
			if _, err := os.Stat(filepath.Join(root, to)); err != nil {
				t.Errorf("%s: link %s: %v", name, link, err)
				continue
			}
			if u.Fragment != "" && !slices.Contains(parsePage(t, to).anchors, u.Fragment) {
				t.Errorf("%s: link %s: %s has no such heading", name, link, to)
			}
		}
	}
	if followed < 30 {
		t.Errorf("only %d links were found: does the test still see them?", followed)
	}
}

// TestDecisions wants the pages of docs/adr numbered without a gap, of one
// form, and listed in order.
func TestDecisions(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "docs/adr/0*.md"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no decisions: %v", err)
	}
	slices.Sort(files)
	listed := parsePage(t, "docs/adr/README.md").links
	if len(listed) != len(files) {
		t.Errorf("docs/adr/README.md lists %d decisions of %d", len(listed), len(files))
	}
	for i, f := range files {
		name := filepath.Base(f)
		if want := i + 1; !regexp.MustCompile(`^0*` + strconv.Itoa(want) + `-[a-z-]+\.md$`).MatchString(name) {
			t.Errorf("%s should be number %d", name, want)
		}
		if i < len(listed) && listed[i] != name {
			t.Errorf("docs/adr/README.md: number %d is %s, want %s", i+1, listed[i], name)
		}
		anchors := parsePage(t, "docs/adr/"+name).anchors
		if len(anchors) != 4 || !slices.Equal(anchors[1:], []string{"context", "decision", "consequences"}) {
			t.Errorf("%s: its headings are %q, want a title, context, decision, consequences", name, anchors)
		}
	}
}

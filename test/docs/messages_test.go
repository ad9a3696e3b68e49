package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestMessages looks up every message that docs/troubleshooting.md quotes: each
// word of it must come from a text in the code, or be a value such as a name,
// a number or a path.
func TestMessages(t *testing.T) {
	texts := programTexts(t)
	lines := 0
	for _, fence := range regexp.MustCompile("(?ms)^```text\n(.*?)^```").FindAllStringSubmatch(read(t, "docs/troubleshooting.md"), -1) {
		for line := range strings.Lines(fence[1]) {
			line = strings.TrimSpace(line)
			for _, mark := range []string{"error: ", "hint: "} {
				line = strings.TrimPrefix(line, mark)
			}
			lines++
			if left := unexplained(line, texts); left != nil {
				t.Errorf("docs/troubleshooting.md quotes\n  %s\nbut no text in the code has the words %q", line, left)
			}
		}
	}
	if lines < 40 {
		t.Errorf("only %d quoted lines were found: does the test still see them?", lines)
	}
}

// TestUnexplained proves that the search can fail.
func TestUnexplained(t *testing.T) {
	texts := []programText{newText("the lab is in use: %s"), newText("`labctl %s` (pid %d) holds it since %s")}
	if left := unexplained("the lab is in use: `labctl create` (pid 7588) holds it since 08:06:00", texts); left != nil {
		t.Errorf("a real message has unexplained words %q", left)
	}
	if left := unexplained("the lab is taken: `labctl create` (pid 7588) holds it since 08:06:00", texts); !slices.Equal(left, []string{"the", "lab", "is", "taken"}) {
		t.Errorf("unexplained words of a wrong message: %q", left)
	}
}

// programText is a text of the code, cut where values are put in.
type programText []string

var placeholder = regexp.MustCompile(`%[-+# 0-9.*\[\]]*[a-zA-Z]|\$[A-Za-z_0-9]+|\$\([^)]*\)|\$\{[^}]*\}`)

func newText(s string) programText {
	var out programText
	for _, piece := range placeholder.Split(s, -1) {
		if strings.TrimSpace(piece) != "" {
			out = append(out, piece)
		}
	}
	return out
}

// size is the number of characters that are not values.
func (p programText) size() int {
	n := 0
	for _, piece := range p {
		n += len(piece)
	}
	return n
}

// programTexts returns the string literals of all Go files but tests, and the
// reasons with which the scripts of provision/ fail.
func programTexts(t *testing.T) []programText {
	t.Helper()
	var out []programText
	add := func(s string) {
		for line := range strings.Lines(s) {
			// Shorter ones would explain anything.
			if p := newText(line); p.size() >= 4 {
				out = append(out, p)
			}
		}
	}
	eachGoFile(t, parser.SkipObjectResolution, func(name string, f *ast.File) {
		if strings.HasSuffix(name, "_test.go") {
			return
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.KeyValueExpr: // a Step{Name: "boot"}, which errors begin with
				if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Name" {
					out = append(out, newText(unquote(n.Value)+": "))
				}
			case *ast.BasicLit:
				add(unquote(n))
			}
			return true
		})
	})
	err := fs.WalkDir(os.DirFS(root), "provision", func(p string, d fs.DirEntry, err error) error {
		if err != nil || path.Ext(p) != ".sh" {
			return err
		}
		data, err := os.ReadFile(filepath.Join(root, p))
		for _, m := range regexp.MustCompile(`fail "((?:[^"\\$]|\\.|\$[0-9A-Za-z{])*)`).FindAllStringSubmatch(string(data), -1) {
			add(strings.ReplaceAll(m[1], `\"`, `"`))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// unquote returns the value of a string literal, "" of anything else.
func unquote(e ast.Expr) string {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return ""
	}
	s, _ := strconv.Unquote(lit.Value)
	return s
}

// value is a word that no text of the code holds: what has a digit or a slash
// in it, what stands in quotes, or a name.
var (
	value  = regexp.MustCompile(`[0-9/]|^(virtualbox|libvirt|embedded|create|debian|Ubuntu|LTS|docker|ps|up|tini|dnsmasq|host|pending)$`)
	quoted = regexp.MustCompile(`"[^"]*"`)
)

// foreign are ends of messages that other programs give.
var foreign = []string{
	"error: failed to connect to the hypervisor", "connection refused", "permission denied",
	"WARNING: The vboxdrv kernel module is not loaded.", "Waiting for domain to get an IP address...",
	"The box 'debian/bookworm64' could not be found or",
	"The repository 'file:/nonexistent bookworm Release' does not have a Release file.",
}

// unexplained returns the words of line that neither a text nor a value
// accounts for.
func unexplained(line string, texts []programText) []string {
	covered := make([]bool, len(line))
	for _, f := range foreign {
		cover(covered, line, programText{f})
	}
	for _, p := range texts {
		cover(covered, line, p)
	}
	for _, m := range quoted.FindAllStringIndex(line, -1) {
		for i := m[0]; i < m[1]; i++ {
			covered[i] = true
		}
	}
	var left []string
	for _, m := range regexp.MustCompile(`[^\s(),:;`+"`"+`]+`).FindAllStringIndex(line, -1) {
		word := line[m[0]:m[1]]
		if slices.Contains(covered[m[0]:m[1]], false) && !value.MatchString(word) {
			left = append(left, word)
		}
	}
	return left
}

// cover marks the pieces of p in line, if all of them are there in order.
func cover(covered []bool, line string, p programText) {
	var at []int
	from := 0
	for _, piece := range p {
		piece = strings.TrimSpace(piece)
		i := strings.Index(line[from:], piece)
		if i < 0 {
			return
		}
		at = append(at, from+i)
		from += i + len(piece)
	}
	for i, piece := range p {
		for k := range len(strings.TrimSpace(piece)) {
			covered[at[i]+k] = true
		}
	}
}

// Package docs checks the pages for people (README.md, CONTRIBUTING.md,
// docs/) against the code that they speak of.
package docs

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/cli"
	"labctl/internal/config"
	"labctl/internal/lab"
)

// root is the repository, seen from this package.
const root = "../.."

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// firstCells returns what stands between the backticks of the first cell of
// each table row of text, in order.
func firstCells(text string) []string {
	var out []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(text, -1) {
		out = append(out, m[1])
	}
	return out
}

// section returns the text from the heading to the next one of its level.
func section(t *testing.T, text, heading string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("no section %q", heading)
	}
	rest, _, _ = strings.Cut(rest, "\n## ")
	return rest
}

// TestCommands compares README.md's table with what labctl says of itself.
func TestCommands(t *testing.T) {
	var documented []string
	for _, c := range firstCells(section(t, read(t, "README.md"), "Commands")) {
		documented = append(documented, strings.ReplaceAll(c, `\|`, "|"))
	}
	known := commands(t)
	slices.Sort(documented)
	slices.Sort(known)
	if d := cmp.Diff(known, documented); d != "" {
		t.Errorf("README.md, Commands (- labctl, + README.md):\n%s", d)
	}
}

var (
	subcommand = regexp.MustCompile(`(?m)^  ([a-z-]+) `)
	usageLine  = regexp.MustCompile(`(?m)^  (labctl.*)$`)
)

// commands returns the usage line of every command that does something.
func commands(t *testing.T, parents ...string) []string {
	t.Helper()
	var out bytes.Buffer
	args := append(append([]string{"labctl"}, parents...), "--help")
	if code := cli.Run(t.Context(), args, cli.Streams{In: strings.NewReader(""), Out: &out, Err: &out}); code != 0 {
		t.Fatalf("%v: exit code %d: %s", args, code, &out)
	}
	usage, rest, _ := strings.Cut(out.String(), "\nAvailable Commands:\n")
	list, _, _ := strings.Cut(rest, "\n\n")
	var found []string
	line := strings.TrimSuffix(usageLine.FindStringSubmatch(usage)[1], " [flags]")
	// A command that only holds others has no arguments of its own.
	if list == "" || strings.ContainsAny(line, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		found = append(found, line)
	}
	for _, m := range subcommand.FindAllStringSubmatch(list, -1) {
		if m[1] != "help" {
			found = append(found, commands(t, append(slices.Clone(parents), m[1])...)...)
		}
	}
	return found
}

// TestLabTomlKeys compares the tables of docs/lab-toml.md with the keys that
// the parser names when it meets one that it does not know.
func TestLabTomlKeys(t *testing.T) {
	page := read(t, "docs/lab-toml.md")
	for _, c := range []struct{ heading, table string }{
		{"The lab", ""}, {"Nodes", "[[nodes]]"}, {"Box", "[box]"}, {"SSH", "[ssh]"}, {"Libvirt", "[libvirt]"}, {"Docker", "[docker]"}, {"Swarm", "[swarm]"},
	} {
		documented := firstCells(section(t, page, c.heading))
		known := knownKeys(t, c.table)
		if c.table == "" {
			documented = append(documented, "box", "ssh", "libvirt", "nodes", "docker", "swarm", "scenario") // sections of their own
		}
		slices.Sort(documented)
		slices.Sort(known)
		if d := cmp.Diff(known, documented); d != "" {
			t.Errorf("docs/lab-toml.md, %s (- the parser, + the page):\n%s", c.heading, d)
		}
	}
}

func knownKeys(t *testing.T, table string) []string {
	t.Helper()
	_, _, err := config.Parse("lab.toml", []byte(table+"\nqqqqqqqqqqqqqqqqqqqq = 1\n"))
	problems, ok := err.(*config.Errors)
	if !ok {
		t.Fatalf("%s with an unknown key: %v", table, err)
	}
	for _, p := range problems.Problems {
		if list, ok := strings.CutPrefix(p.Hint, "known here: "); ok {
			return strings.Split(list, ", ")
		}
	}
	t.Fatalf("%s with an unknown key: %v names no known ones", table, err)
	return nil
}

// TestLabTomlDefaults writes every documented default into a lab.toml, which
// must change nothing.
func TestLabTomlDefaults(t *testing.T) {
	page := read(t, "docs/lab-toml.md")
	row := regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\| `([^`]+)` \\|")
	var file strings.Builder
	for _, c := range []struct{ heading, table string }{{"The lab", ""}, {"Box", "[box]"}, {"Docker", "[docker]"}, {"Swarm", "[swarm]"}} {
		rows := row.FindAllStringSubmatch(section(t, page, c.heading), -1)
		if len(rows) == 0 {
			t.Errorf("docs/lab-toml.md, %s: no defaults found", c.heading)
		}
		fmt.Fprintln(&file, c.table)
		for _, m := range rows {
			fmt.Fprintf(&file, "%s = %s\n", m[1], m[2])
		}
	}
	got, _, err := config.Parse("lab.toml", []byte(file.String()))
	if err != nil {
		t.Fatalf("%v\nin:\n%s", err, &file)
	}
	same := cmp.Comparer(func(a, b fmt.Stringer) bool { return a.String() == b.String() })
	if d := cmp.Diff(config.Default(), got, same); d != "" {
		t.Errorf("documented defaults change the lab (- default, + documented):\n%s", d)
	}
}

// TestLabTomlExamples parses every toml fence of README.md and the reference.
func TestLabTomlExamples(t *testing.T) {
	for _, name := range []string{"README.md", "docs/lab-toml.md"} {
		text := read(t, name)
		fences := regexp.MustCompile("(?ms)^```toml\n(.*?)^```\n(?:\n`labctl validate` answers[^\n]*\n\n```text\n(.*?)^```)?").FindAllStringSubmatch(text, -1)
		if len(fences) == 0 {
			t.Errorf("%s: no examples found", name)
		}
		for _, m := range fences {
			_, _, err := config.Parse("lab.toml", []byte(m[1]))
			got := ""
			if err != nil {
				got = "error: " + strings.ReplaceAll(err.Error(), "\n", "\n       ") + "\n"
			}
			if d := cmp.Diff(m[2], got); d != "" {
				t.Errorf("%s: this example:\n%s\n(- the page, + the parser):\n%s", name, m[1], d)
			}
		}
	}
}

// TestDependencies wants a line for every module that the code imports or
// runs as a tool, and no line for others.
func TestDependencies(t *testing.T) {
	mod := read(t, "go.mod")
	var modules []string
	for _, m := range regexp.MustCompile(`(?m)^\t(\S+) v\S+`).FindAllStringSubmatch(mod, -1) {
		modules = append(modules, m[1])
	}
	used := map[string]bool{}
	use := func(pkg string) {
		best := ""
		for _, m := range modules {
			if (pkg == m || strings.HasPrefix(pkg, m+"/")) && len(m) > len(best) {
				best = m
			}
		}
		if best == "" {
			t.Errorf("no module in go.mod for %s", pkg)
		}
		used[best] = true
	}
	_, tools, _ := strings.Cut(mod, "\ntool (\n")
	for _, m := range regexp.MustCompile(`(?m)^\t(\S+)$`).FindAllStringSubmatch(tools, -1) {
		use(m[1])
	}
	eachGoFile(t, parser.ImportsOnly, func(_ string, f *ast.File) {
		for _, i := range f.Imports {
			if pkg, _ := strconv.Unquote(i.Path.Value); strings.Contains(strings.Split(pkg, "/")[0], ".") {
				use(pkg)
			}
		}
	})
	documented := firstCells(section(t, read(t, "docs/dependencies.md"), "Go modules"))
	var want []string
	for m := range used {
		want = append(want, m)
	}
	slices.Sort(want)
	slices.Sort(documented)
	if d := cmp.Diff(want, documented); d != "" {
		t.Errorf("docs/dependencies.md, Go modules (- the code, + the page):\n%s", d)
	}
}

// TestPackages compares deps.sh with the table of Debian packages.
func TestPackages(t *testing.T) {
	var want []string
	for _, m := range regexp.MustCompile(`(?ms)packages="(?:\$packages )?(.*?)"`).FindAllStringSubmatch(read(t, "deps.sh"), -1) {
		want = append(want, strings.Fields(m[1])...)
	}
	documented := firstCells(section(t, read(t, "docs/dependencies.md"), "Debian packages"))
	slices.Sort(want)
	slices.Sort(documented)
	if d := cmp.Diff(want, documented); d != "" {
		t.Errorf("docs/dependencies.md, Debian packages (- deps.sh, + the page):\n%s", d)
	}
}

// TestMakeTargets compares CONTRIBUTING.md's table with the Makefile, and
// looks for targets that other pages speak of.
func TestMakeTargets(t *testing.T) {
	var want, documented []string
	for _, m := range regexp.MustCompile(`(?m)^([a-z]+):.*## `).FindAllStringSubmatch(read(t, "Makefile"), -1) {
		if m[1] != "help" {
			want = append(want, "make "+m[1])
		}
	}
	documented = firstCells(section(t, read(t, "CONTRIBUTING.md"), "Make targets"))
	slices.Sort(want)
	slices.Sort(documented)
	if d := cmp.Diff(want, documented); d != "" {
		t.Errorf("CONTRIBUTING.md, Make targets (- Makefile, + the page):\n%s", d)
	}
	for _, page := range pages(t) {
		for _, m := range regexp.MustCompile("(?m)(?:`|^)(make [a-z]+)(?:`| *#|$)").FindAllStringSubmatch(read(t, page), -1) {
			if !slices.Contains(want, m[1]) {
				t.Errorf("%s: %q is no target of the Makefile", page, m[1])
			}
		}
	}
}

// TestRooms wants a row in CONTRIBUTING.md for every package, and no other.
func TestRooms(t *testing.T) {
	dirs, err := os.ReadDir(filepath.Join(root, "internal"))
	if err != nil {
		t.Fatal(err)
	}
	var want, documented []string
	for _, d := range dirs {
		want = append(want, "internal/"+d.Name())
	}
	for _, c := range firstCells(section(t, read(t, "CONTRIBUTING.md"), "How the house is laid out")) {
		if strings.HasPrefix(c, "internal/") {
			documented = append(documented, c)
		} else if _, err := os.Stat(filepath.Join(root, c)); err != nil {
			t.Errorf("CONTRIBUTING.md: %v", err)
		}
	}
	if d := cmp.Diff(want, documented, cmp.Transformer("sorted", func(s []string) []string { return slices.Sorted(slices.Values(s)) })); d != "" {
		t.Errorf("CONTRIBUTING.md, rooms (- internal/, + the page):\n%s", d)
	}
}

// TestState compares what state.json holds with what ADR 0008 says of it.
func TestState(t *testing.T) {
	var want []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[lab.State]()) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "schema" {
			want = append(want, name)
		}
	}
	var documented []string
	for _, m := range regexp.MustCompile("(?m)^\\| (`.*?`) \\|").FindAllStringSubmatch(read(t, "docs/adr/0008-steps-and-state.md"), -1) {
		for _, name := range strings.Split(m[1], ", ") {
			documented = append(documented, strings.Trim(name, "`"))
		}
	}
	if d := cmp.Diff(want, documented); d != "" {
		t.Errorf("docs/adr/0008 (- lab.State, + the page):\n%s", d)
	}
}

// pages returns all pages for people, relative to the repository.
func pages(t *testing.T) []string {
	t.Helper()
	out := []string{"README.md", "CONTRIBUTING.md"}
	err := fs.WalkDir(os.DirFS(root), "docs", func(p string, d fs.DirEntry, err error) error {
		if err == nil && path.Ext(p) == ".md" {
			out = append(out, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// eachGoFile parses every Go file of the repository, for whatever platform.
func eachGoFile(t *testing.T, mode parser.Mode, each func(name string, f *ast.File)) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(root), ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && p != "." && strings.HasPrefix(d.Name(), "."):
			return fs.SkipDir
		case path.Ext(p) != ".go":
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, p), nil, mode)
		if err == nil {
			each(p, f)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

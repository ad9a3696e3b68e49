package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestFieldCases looks up every test that docs/field-cases.md names.
func TestFieldCases(t *testing.T) {
	rows := 0
	for line := range strings.Lines(read(t, "docs/field-cases.md")) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if !strings.HasPrefix(line, "| ") || len(cells) != 3 || strings.Contains(line, "| tests |") {
			continue
		}
		rows++
		named := regexp.MustCompile("`([^` ]+) ([^`]+)`").FindAllStringSubmatch(cells[2], -1)
		if named == nil {
			t.Errorf("no test stands beside %q", cells[0])
		}
		for _, m := range named {
			if !hasTest(t, m[1], m[2]) {
				t.Errorf("%s: there is no test %s in %s", strings.TrimSpace(cells[0]), m[2], m[1])
			}
		}
	}
	if rows < 30 {
		t.Errorf("only %d rows were found", rows)
	}
	if hasTest(t, "internal/swarm", "TestNothing") || hasTest(t, "test/script", "nothing") {
		t.Error("a test was found that is not there")
	}
}

// hasTest looks for a script, or a test or fuzz target of a package.
func hasTest(t *testing.T, place, name string) bool {
	t.Helper()
	dir := filepath.Join(root, place)
	if _, err := os.Stat(filepath.Join(dir, "testdata/script", name+".txtar")); err == nil {
		return true
	}
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil || files == nil {
		t.Fatalf("%s has no tests: %v", place, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(data), "\nfunc "+name+"(") {
			return true
		}
	}
	return false
}

// TestNoJoinLineIsRead: labctl does not run `docker swarm` to read its text.
func TestNoJoinLineIsRead(t *testing.T) {
	// What a person is told to type after a lost quorum, for whom nothing is read.
	const remedy = "docker swarm init --force-new-cluster --advertise-addr "
	texts := programTexts(t)
	for _, p := range texts {
		for _, piece := range p {
			if piece != remedy && regexp.MustCompile(`docker swarm (init|join|join-token)\b`).MatchString(piece) {
				t.Errorf("a text of the code is %q", piece)
			}
		}
	}
	if len(texts) < 500 {
		t.Errorf("only %d texts were found", len(texts))
	}
}

// TestServicesAskNoRegistry: a scenario's services take the image that is on
// the nodes.
func TestServicesAskNoRegistry(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "scenarios/*.md"))
	if err != nil {
		t.Fatal(err)
	}
	services := 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range regexp.MustCompile("(?ms)^```sh @(.*?)^```").FindAllString(string(data), -1) {
			block = strings.ReplaceAll(block, "\\\n", " ")
			for _, command := range regexp.MustCompile(`(?m)docker service (create|update .*--image)\b.*$`).FindAllString(block, -1) {
				services++
				if !strings.Contains(command, "--no-resolve-image") {
					t.Errorf("%s: %s", file, command)
				}
			}
		}
	}
	if services < 5 {
		t.Errorf("only %d services were found", services)
	}
}

package scenario

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func loadClean(t *testing.T, file string) *Document {
	t.Helper()
	src, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	d, warnings, err := Load(file, src)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range warnings {
		t.Error(w)
	}
	return d
}

// Every document that labctl brings is sound, free of warnings, and there in
// Japanese with the same blocks.
func TestShippedDocuments(t *testing.T) {
	files, err := filepath.Glob("../../scenarios/*.md")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			d := loadClean(t, file)
			ja := loadClean(t, filepath.Join("../../scenarios/ja", filepath.Base(file)))
			if err := SameBlocks(d, ja); err != nil {
				t.Error(err)
			}
			if ja.Title() == d.Title() {
				t.Errorf("%s: the title is not translated", ja.File)
			}
		})
	}
	ja, err := filepath.Glob("../../scenarios/ja/*.md")
	if err != nil || len(ja) != len(files) {
		t.Errorf("%d Japanese documents, %d English ones", len(ja), len(files))
	}
}

func TestSameBlocksTellsTheDifference(t *testing.T) {
	one := page(t, "@manager id=a|true", "@manager check|look")
	for name, tt := range map[string]struct {
		other *Document
		want  string
	}{
		"script":  {page(t, "@manager id=a|true", "@manager check|luck"), "x.md:21: the block is not that of x.md:21"},
		"setting": {page(t, "@manager id=b|true", "@manager check|look"), "x.md:15: the block is not that of x.md:15"},
		"number":  {page(t, "@manager check|look"), "x.md has 1 blocks, x.md has 2"},
		"same":    {page(t, "@manager id=a|true", "@manager check|look"), ""},
	} {
		got := ""
		if err := SameBlocks(one, tt.other); err != nil {
			got = err.Error()
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestNewDocumentIsSound(t *testing.T) {
	src, err := New("my-first")
	if err != nil {
		t.Fatal(err)
	}
	if got := problemsOf(t, string(src)); got != "" {
		t.Error(got)
	}
	d, err := Parse("d.md", src)
	if err != nil || d.Title() != "My first" || d.Head.ID != "my-first" {
		t.Errorf("title %q, id %q, %v", d.Title(), d.Head.ID, err)
	}
	for _, name := range []string{"", "My", "a b", "-a", "../a"} {
		if _, err := New(name); err == nil {
			t.Errorf("%q was taken", name)
		}
	}
}

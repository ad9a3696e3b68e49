package artifact

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// folder makes the folder of a run by hand; manifest is "" for an unfinished
// one.
func folder(t *testing.T, root, name, manifest string) {
	t.Helper()
	dir := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Join(dir, "nodes/docker1"), 0o700); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"labctl.log": "log\n", "nodes/docker1/uname.txt": "Linux\n"}
	if manifest != "" {
		files["manifest.json"] = manifest
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

const sound = `{"schema":1,"command":"create","ok":true}`

// someRuns is an artifacts folder with what can lie in one.
func someRuns(t *testing.T) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "artifacts")
	for name, manifest := range map[string]string{
		"20240506T070809Z-create":      sound,
		"20240506T070809Z-create-2":    sound,
		"20240506T070809Z-create-10":   sound,
		"20240507T000000Z-scenario-lb": sound,
		"20240508T000000Z-create":      `{"schema":2}`,
		"20240509T000000Z-create":      `{"sche`,
		"20240510T000000Z-create":      "",
		"20240511T000000Z-diagnose":    sound,
		"notes":                        sound,
		"20240512T000000Z-Mine":        sound,
		".pruned-20240101T000000Z-x":   sound,
		".pruned-mine":                 sound,
	} {
		folder(t, root, name, manifest)
	}
	// A folder of that name in which nothing is a run's, a file, an archive.
	must(t, os.Mkdir(filepath.Join(root, "20240513T000000Z-create"), 0o700))
	must(t, os.WriteFile(filepath.Join(root, "20240513T000000Z-create/thesis.tex"), nil, 0o600))
	must(t, os.WriteFile(filepath.Join(root, "20240514T000000Z-create"), nil, 0o600))
	must(t, os.WriteFile(filepath.Join(root, "20240506T070809Z-create.tar.gz"), nil, 0o600))
	if runtime.GOOS != "windows" {
		outside := filepath.Join(filepath.Dir(root), "20240515T000000Z-create")
		folder(t, filepath.Dir(root), filepath.Base(outside), sound)
		must(t, os.Symlink(outside, filepath.Join(root, filepath.Base(outside))))
		must(t, os.Symlink(outside, filepath.Join(root, "20240506T070809Z-create/link")))
	}
	return root
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func names(entries []Entry) []string {
	out := []string{}
	for _, e := range entries {
		out = append(out, e.Name)
	}
	return out
}

func TestList(t *testing.T) {
	root := someRuns(t)
	all, err := List(root)
	must(t, err)
	want := []string{
		"20240506T070809Z-create", "20240506T070809Z-create-2", "20240506T070809Z-create-10", "20240507T000000Z-scenario-lb",
		"20240508T000000Z-create", "20240509T000000Z-create", "20240510T000000Z-create", "20240511T000000Z-diagnose",
	}
	if d := cmp.Diff(want, names(all)); d != "" {
		t.Errorf("runs (-want +got):\n%s", d)
	}
	for i, want := range map[int]string{
		4: "manifest.json: its schema is 2, this labctl knows 1", 5: "manifest.json: unexpected end of JSON input",
	} {
		if all[i].Err == nil || all[i].Err.Error() != want || all[i].Manifest != nil {
			t.Errorf("%s: %v, want %s", all[i].Name, all[i].Err, want)
		}
	}
	if e := all[6]; e.Err != nil || e.Manifest != nil {
		t.Errorf("the unfinished run: %+v", e)
	}
	if all, err := List(filepath.Join(root, "none")); all != nil || err != nil {
		t.Errorf("List = %v, %v", all, err)
	}
}

func TestFind(t *testing.T) {
	root := someRuns(t)
	inside := filepath.Join(root, "20240507T000000Z-scenario-lb")
	for name, want := range map[string]string{
		"":                            "20240511T000000Z-diagnose",
		"latest":                      "20240511T000000Z-diagnose",
		"20240506T070809Z-create":     "20240506T070809Z-create",
		"20240507":                    "20240507T000000Z-scenario-lb",
		inside:                        "20240507T000000Z-scenario-lb",
		inside + "/":                  "20240507T000000Z-scenario-lb",
		"20240506T":                   `error: several runs begin with 20240506T: 20240506T070809Z-create, 20240506T070809Z-create-2, 20240506T070809Z-create-10`,
		"2023":                        `error: there is no run "2023" in ROOT`,
		"..":                          `error: there is no run ".." in ROOT`,
		filepath.Join(root, "notyet"): `error: there is no run "ROOT/notyet" in ROOT`,
	} {
		e, err := Find(root, name)
		got := e.Name
		if err != nil {
			got = "error: " + strings.ReplaceAll(err.Error(), root, "ROOT")
			if !errors.As(err, new(*NoRunError)) {
				t.Errorf("Find(%q): %T", name, err)
			}
		}
		if got != want {
			t.Errorf("Find(%q) = %q, want %q", name, got, want)
		}
	}
	must(t, pointLatest(root, "20240506T070809Z-create-2"))
	for _, name := range []string{"latest", filepath.Join(root, "latest")} {
		if e, err := Find(root, name); e.Name != "20240506T070809Z-create-2" && runtime.GOOS != "windows" || err != nil {
			t.Errorf("Find(%q) = %q, %v", name, e.Name, err)
		}
	}
	// One that is gone, or leads elsewhere, is none.
	must(t, os.Remove(filepath.Join(root, "latest")))
	must(t, os.WriteFile(filepath.Join(root, "latest"), []byte("../20240515T000000Z-create\n"), 0o600))
	if e, err := Find(root, "latest"); e.Name != "20240511T000000Z-diagnose" || err != nil {
		t.Errorf("Find = %q, %v", e.Name, err)
	}
	_, err := Find(t.TempDir(), "")
	if err == nil || !strings.HasPrefix(err.Error(), "there is no run in ") {
		t.Errorf("Find in an empty folder = %v", err)
	}
}

// tree lists all that lies in a folder, links as links.
func tree(t *testing.T, root string) []string {
	t.Helper()
	var out []string
	must(t, filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(root, p)
		out = append(out, filepath.ToSlash(rel))
		return err
	}))
	return out
}

func TestPrune(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the folder to prune has links")
	}
	root := someRuns(t)
	must(t, pointLatest(root, "20240506T070809Z-create-2"))
	before := tree(t, filepath.Dir(root))
	all, err := List(root)
	must(t, err)
	// The unfinished run is a minute old: it may go on.
	if d := cmp.Diff([]string{}, names(Prunable(all, 8, time.Now()))); d != "" {
		t.Errorf("prunable of 8 (-want +got):\n%s", d)
	}
	if got := names(Prunable(all, 0, time.Now())); len(got) != 7 || slices.Contains(got, "20240510T000000Z-create") {
		t.Errorf("prunable: %q", got)
	}
	if got := names(Prunable(all, 0, time.Now().Add(25*time.Hour))); len(got) != 8 {
		t.Errorf("prunable a day later: %q", got)
	}
	if d := cmp.Diff(before, tree(t, filepath.Dir(root))); d != "" {
		t.Errorf("to ask has changed something:\n%s", d)
	}

	gone := Prunable(all, 3, time.Now())
	must(t, Prune(root, gone))
	var want []string
	for _, name := range before {
		cut := strings.TrimPrefix(name, "artifacts/")
		if slices.ContainsFunc(append(names(gone), ".pruned-20240101T000000Z-x"), func(run string) bool { return cut == run || strings.HasPrefix(cut, run+"/") }) {
			continue
		}
		want = append(want, name)
	}
	if d := cmp.Diff(want, tree(t, filepath.Dir(root))); d != "" {
		t.Errorf("what is left (-want +got):\n%s", d)
	}
	left, err := List(root)
	must(t, err)
	if d := cmp.Diff(names(all)[5:], names(left)); d != "" {
		t.Errorf("runs left (-want +got):\n%s", d)
	}
	// It pointed at one that went.
	if to, err := os.Readlink(filepath.Join(root, "latest")); to != "20240511T000000Z-diagnose" || err != nil {
		t.Errorf("latest -> %q, %v", to, err)
	}
	// Without any finished run it points nowhere.
	must(t, Prune(root, left))
	if _, err := os.Lstat(filepath.Join(root, "latest")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("latest is still there: %v", err)
	}
	// What somebody removed meanwhile is told.
	err = Prune(root, left[:1])
	if err == nil || !strings.HasPrefix(err.Error(), "remove run 20240509T000000Z-create: ") {
		t.Errorf("Prune = %v", err)
	}
}

func TestChanged(t *testing.T) {
	r := newRun(t, "create")
	for _, name := range []string{"a.txt", "b.txt", "nodes/docker1/c.txt", "d.txt"} {
		write(t, r, name, "x\n")
	}
	must(t, r.Close(Info{}))
	e, err := Find("", r.Dir())
	must(t, err)
	if got := Changed(e); got != nil {
		t.Errorf("changed: %q", got)
	}
	must(t, os.WriteFile(filepath.Join(r.Dir(), "b.txt"), []byte("y\n"), 0o600))
	must(t, os.Remove(filepath.Join(r.Dir(), "nodes/docker1/c.txt")))
	must(t, os.WriteFile(filepath.Join(r.Dir(), "report.html"), nil, 0o600))
	if d := cmp.Diff([]string{"b.txt", "nodes/docker1/c.txt"}, Changed(e)); d != "" {
		t.Errorf("changed (-want +got):\n%s", d)
	}
}

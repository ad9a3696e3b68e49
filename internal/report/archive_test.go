package report

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func pack(t *testing.T, entries ...tar.Header) string {
	t.Helper()
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	w := tar.NewWriter(zip)
	for _, h := range entries {
		body := strings.Repeat("x", int(min(h.Size, 10)))
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		h.Mode, h.Size = 0o600, int64(len(body))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "run.tar.gz")
	if err := os.WriteFile(file, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// An archive may come from anybody: nothing of it gets outside of the folder
// into which it is unpacked.
func TestHostileArchive(t *testing.T) {
	tmp := filepath.Join(t.TempDir(), "tmp")
	if err := os.Mkdir(tmp, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", tmp)
	file := pack(t, tar.Header{Name: "run/labctl.log"}, tar.Header{Name: "../escape"}, tar.Header{Name: "/" + filepath.ToSlash(filepath.Dir(tmp)) + "/escape"},
		tar.Header{Name: "run/../../escape"}, tar.Header{Name: "run/link", Typeflag: tar.TypeSymlink, Linkname: "../.."}, tar.Header{Name: "run/link/escape"},
		tar.Header{Name: "run/hard", Typeflag: tar.TypeLink, Linkname: "run/labctl.log"}, tar.Header{Name: "run/pipe", Typeflag: tar.TypeFifo},
		tar.Header{Name: `run\..\escape`}, tar.Header{Name: "escape"})
	r, err := LoadArchive(file)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range r.Files {
		names = append(names, f.Name)
	}
	if d := cmp.Diff([]string{"labctl.log", "link/escape"}, names); d != "" || r.Run != "run" {
		t.Errorf("run %q, files (-want +got):\n%s", r.Run, d)
	}
	for _, dir := range []string{tmp, filepath.Dir(tmp)} {
		list, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			if e.Name() != "tmp" {
				t.Errorf("left behind: %s", e.Name())
			}
		}
	}
}

func TestBadArchives(t *testing.T) {
	two := pack(t, tar.Header{Name: "a/labctl.log"}, tar.Header{Name: "b/labctl.log"})
	none := pack(t, tar.Header{Name: "labctl.log"})
	other := pack(t, tar.Header{Name: "a/letter.txt"})
	cut := pack(t, tar.Header{Name: "a/labctl.log"})
	if err := os.Truncate(cut, 40); err != nil {
		t.Fatal(err)
	}
	text := filepath.Join(t.TempDir(), "x.tar.gz")
	if err := os.WriteFile(text, []byte("hello, this is no archive"), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		two:   "unpack " + two + `: it holds more than one folder: "a" and "b"`,
		none:  "unpack " + none + ": it holds no run's folder",
		other: other + " is no run's folder: it has neither manifest.json nor result.json nor events.jsonl",
		cut:   "unpack " + cut + ": unexpected EOF",
		text:  "unpack " + text + ": gzip: invalid header",
	} {
		if _, err := LoadArchive(file); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

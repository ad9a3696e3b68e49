package artifact

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// packed returns the entries of an archive as lines, and all of its text.
func packed(t *testing.T, data []byte) (lines []string, text string) {
	t.Helper()
	zip, err := gzip.NewReader(bytes.NewReader(data))
	must(t, err)
	if zip.Name != "" || !zip.ModTime.IsZero() || zip.Comment != "" {
		t.Errorf("the header says %+v", zip.Header)
	}
	in := tar.NewReader(zip)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return lines, text
		}
		must(t, err)
		body, err := io.ReadAll(in)
		must(t, err)
		text += string(body)
		lines = append(lines, fmt.Sprintf("%s %c %o %d:%d%s%s %s %d", h.Name, h.Typeflag, h.Mode, h.Uid, h.Gid, h.Uname, h.Gname, h.ModTime.UTC().Format(time.RFC3339), len(body)))
	}
}

func TestArchive(t *testing.T) {
	r := newRun(t, "scenario lb")
	long := "nodes/docker1/docker/logs/service-" + strings.Repeat("x", 120) + ".log"
	for _, name := range []string{"transcript.md", long, "nodes/docker1/a.txt", "nodes/docker1.txt"} {
		write(t, r, name, "text of "+name+"\n")
	}
	must(t, r.Close(Info{Finished: begun}))
	if runtime.GOOS != "windows" {
		must(t, os.Symlink("/etc/passwd", filepath.Join(r.Dir(), "link")))
		must(t, os.Symlink("/etc", filepath.Join(r.Dir(), "nodes/etc")))
	}
	file, err := Archive(r.Dir())
	must(t, err)
	if file != r.Dir()+".tar.gz" {
		t.Errorf("the archive is %s", file)
	}
	first, err := os.ReadFile(file)
	must(t, err)
	lines, _ := packed(t, first)
	want := []string{}
	for _, f := range []struct {
		name string
		size int64
	}{{"manifest.json", -1}, {"nodes/docker1/a.txt", 28}, {long, int64(9 + len(long))}, {"nodes/docker1.txt", 26}, {"transcript.md", 22}} {
		if f.size < 0 {
			info, err := os.Stat(filepath.Join(r.Dir(), f.name))
			must(t, err)
			f.size = info.Size()
		}
		want = append(want, fmt.Sprintf("20240506T070809Z-scenario-lb/%s 0 600 0:0 2024-05-06T07:08:09Z %d", f.name, f.size))
	}
	if d := cmp.Diff(want, lines); d != "" {
		t.Errorf("entries (-want +got):\n%s", d)
	}

	// The same bytes again, whatever happened to the files' times and modes.
	must(t, os.Chtimes(filepath.Join(r.Dir(), "transcript.md"), time.Now(), time.Now().Add(-time.Hour)))
	must(t, os.Chmod(filepath.Join(r.Dir(), "transcript.md"), 0o644))
	_, err = Archive(r.Dir() + "/")
	must(t, err)
	again, err := os.ReadFile(file)
	must(t, err)
	if !bytes.Equal(first, again) {
		t.Error("the same folder gave other bytes")
	}
	if info, err := os.Stat(file); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}

	// One that fails leaves the old one, and nothing else.
	if runtime.GOOS != "windows" && os.Geteuid() != 0 {
		must(t, os.Chmod(filepath.Join(r.Dir(), "nodes/docker1.txt"), 0))
		if _, err := Archive(r.Dir()); err == nil || !strings.HasPrefix(err.Error(), "archive 20240506T070809Z-scenario-lb: ") {
			t.Errorf("Archive = %v", err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(r.Dir()), ".2*")); left != nil {
		t.Errorf("left behind: %q", left)
	}
	if _, err := Archive(r.Dir() + "x"); err == nil || !strings.HasPrefix(err.Error(), "archive: ") {
		t.Errorf("Archive of nothing = %v", err)
	}
}

// A run that was killed has not been redacted as a whole.
func TestArchiveOfAnUnfinishedRun(t *testing.T) {
	root := t.TempDir()
	folder(t, root, "20240506T070809Z-create", "")
	dir := filepath.Join(root, "20240506T070809Z-create")
	must(t, os.WriteFile(filepath.Join(dir, "labctl.log"), []byte("join "+token[:50]+"\n"+token[50:]+"\n"), 0o600))
	file, err := Archive(dir)
	must(t, err)
	data, err := os.ReadFile(file)
	must(t, err)
	if lines, text := packed(t, data); len(lines) != 2 || text != "join [redacted]\nLinux\n" {
		t.Errorf("%q in %q", text, lines)
	}
}

package artifact

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/client"

	"labctl/internal/remote"
)

// sparse is a file of which the archive says that it is mostly holes: 512 bytes
// of it stand for size bytes.
func sparse(t *testing.T, name, size string) []byte {
	t.Helper()
	block := func(h tar.Header, body string) []byte {
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		h.Size = int64(len(body))
		must(t, w.WriteHeader(&h))
		_, err := w.Write([]byte(body))
		must(t, err)
		must(t, w.Flush())
		return out.Bytes()
	}
	// The records of PAX are written by hand: archive/tar writes none of these.
	records := ""
	for _, kv := range [][2]string{{"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"}, {"GNU.sparse.name", name}, {"GNU.sparse.realsize", size}} {
		line := " " + kv[0] + "=" + kv[1] + "\n"
		n := len(line) + 2
		records += string(rune('0'+n/10)) + string(rune('0'+n%10)) + line
	}
	head := block(tar.Header{Name: "PaxHeaders/x", Typeflag: tar.TypeReg}, records)
	head[156] = tar.TypeXHeader
	sum(head[:512])
	// One piece of data of no length at the end.
	return append(head, block(tar.Header{Name: "GNUSparseFile/x", Typeflag: tar.TypeReg}, "1\n"+size+"\n0\n"+strings.Repeat("\x00", 512-len(size)-5))...)
}

// sum writes the checksum of a tar header.
func sum(head []byte) {
	copy(head[148:156], "        ")
	total := 0
	for _, b := range head {
		total += int(b)
	}
	for i := 5; i >= 0; i-- {
		head[148+i] = byte('0' + total%8)
		total /= 8
	}
	copy(head[154:156], "\x00 ")
}

// A few bytes that stand for very many fill neither memory nor disk.
func TestSparseFiles(t *testing.T) {
	data := sparse(t, "hole.txt", "4000000000000")
	for range 3 {
		data = append(data, sparse(t, "hole"+string(rune('a'+len(data)/1536%26))+".txt", "7000000")...)
	}
	r := newRun(t, "create")
	u := unpacking{run: r, dir: "nodes/docker1", facts: &NodeFacts{}, room: 20 << 20}
	if err := u.all(bytes.NewReader(data)); err == nil || err.Error() != "sent more than 64 MiB" {
		t.Errorf("unpack = %v", err)
	}
	files, missing := closed(t, r)
	total := 0
	for _, f := range files {
		info, err := os.Stat(filepath.Join(r.Dir(), strings.Fields(f)[0]))
		must(t, err)
		total += int(info.Size())
	}
	if total > 20<<20 || len(files) != 2 || len(missing) != 1 || missing[0] != "nodes/docker1/hole.txt: cut off after 8 MiB of 4000000000000 bytes" {
		t.Errorf("%d bytes in %q, missing %q", total, files, missing)
	}
}

// FuzzUnpack: whatever a node sends, it ends as regular files of bounded size
// below its own folder.
func FuzzUnpack(f *testing.F) {
	add := func(h tar.Header, body string) {
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		h.Size = int64(len(body))
		_ = w.WriteHeader(&h)
		_, _ = w.Write([]byte(body))
		_ = w.Close()
		f.Add(out.Bytes())
	}
	for _, name := range []string{"a.txt", "../x", "/x", `..\x`, "a/../../x", "a//b", "missing.tsv", "uname.txt", "C:x", "a\nb", "a./b"} {
		add(tar.Header{Name: name}, "Linux docker1 6.1\tx\n")
	}
	add(tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "/etc"}, "")
	add(tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "../../x"}, "")
	add(tar.Header{Name: strings.Repeat("long/", 60) + "x", Format: tar.FormatPAX}, "x")
	f.Fuzz(func(t *testing.T, data []byte) {
		root := t.TempDir()
		r, err := New(root, "create", begun)
		must(t, err)
		u := unpacking{run: r, dir: "nodes/docker1", facts: &NodeFacts{}}
		_ = u.all(bytes.NewReader(data))
		must(t, r.Close(Info{}))
		small := map[string]string{}
		count := 0
		must(t, filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || d.Name() == "latest" {
				return err
			}
			info, err := d.Info()
			rel, _ := filepath.Rel(r.Dir(), p)
			rel = filepath.ToSlash(rel)
			if other, ok := small[strings.ToLower(rel)]; ok {
				t.Errorf("%q and %q are one file elsewhere", rel, other)
			}
			small[strings.ToLower(rel)] = rel
			switch {
			case rel == manifestName:
			case !strings.HasPrefix(rel, "nodes/docker1/") || !plainName.MatchString(rel):
				t.Errorf("wrote %q", rel)
			case !info.Mode().IsRegular() || info.Mode().Perm() != 0o600 || info.Size() > maxFile:
				t.Errorf("%q: %v, %d bytes", rel, info.Mode(), info.Size())
			default:
				count++
			}
			return err
		}))
		if count != u.count {
			t.Errorf("%d files, said %d", count, u.count)
		}
	})
}

// A node to which nobody is connected is connected to within a deadline of its
// own, while the others are asked.
func TestConnect(t *testing.T) {
	alive := func(context.Context) (remote.Runner, *client.Client, error) {
		data := archive(t, file("uname.txt", "Linux docker1 6.1.0-9 #1 SMP"), file("os-release.txt", "ID=debian\nPRETTY_NAME=\"Debian 12\"\n"))
		return sends(data, 0, nil), nil, nil
	}
	hangs := func(ctx context.Context) (remote.Runner, *client.Client, error) {
		<-ctx.Done()
		return nil, nil, errors.New("docker2: dial: i/o timeout")
	}
	off := func(context.Context) (remote.Runner, *client.Client, error) {
		return nil, nil, errors.New("vagrant ssh-config failed: not ready; the proxy was http://u:passw0rd@h")
	}
	r := newRun(t, "collect")
	begin := time.Now()
	facts := Collect(t.Context(), r, []Node{
		{Name: "docker1", Connect: alive}, {Name: "docker2", Connect: hangs}, {Name: "docker3", Connect: off},
	}, CollectOptions{Connect: 300 * time.Millisecond})
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	want := []NodeFacts{
		{Kernel: "6.1.0-9", OS: "Debian 12"},
		{Error: "no connection within 300ms"},
		{Error: "vagrant ssh-config failed: not ready; the proxy was http://u:passw0rd@h"},
	}
	if d := cmp.Diff(want, facts); d != "" {
		t.Errorf("facts (-want +got):\n%s", d)
	}
	must(t, r.Close(Info{Nodes: []NodeInfo{{Name: "docker3", NodeFacts: facts[2]}}}))
	e, err := Find("", r.Dir())
	must(t, err)
	wantMissing := []Missing{
		{"nodes/docker1/docker", "no connection to the Docker engine"},
		{"nodes/docker2", "no connection within 300ms"},
		{"nodes/docker3", "vagrant ssh-config failed: not ready; the proxy was http://u:[redacted]@h"},
	}
	if d := cmp.Diff(wantMissing, e.Manifest.Missing); d != "" {
		t.Errorf("missing (-want +got):\n%s", d)
	}
	if got := e.Manifest.Nodes[0].Error; got != wantMissing[2].Reason {
		t.Errorf("the manifest says %q", got)
	}
}

// Names that differ only in large and small letters are one file elsewhere.
func TestCaseOfNames(t *testing.T) {
	r := newRun(t, "create")
	write(t, r, "nodes/docker1/a.txt", "x")
	write(t, r, "nodes/docker1/a.txt", "y")
	want := "write artifact nodes/Docker1/A.txt: differs from nodes/docker1/a.txt only in large and small letters"
	if err := r.Write("nodes/Docker1/A.txt", nil); err == nil || err.Error() != want {
		t.Errorf("Write = %v", err)
	}
	if files, _ := closed(t, r); !slices.Equal(files, []string{"nodes/docker1/a.txt 1"}) {
		t.Errorf("files: %q", files)
	}
}

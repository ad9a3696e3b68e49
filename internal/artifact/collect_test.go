package artifact

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"labctl/internal/remote"

	"github.com/google/go-cmp/cmp"
)

// runner is a node of a test.
type runner func(ctx context.Context, c remote.Command) (remote.Result, error)

func (f runner) Run(ctx context.Context, c remote.Command) (remote.Result, error) { return f(ctx, c) }

// sends is a node that answers with data, and then with code and err.
func sends(data []byte, code int, err error) runner {
	return func(_ context.Context, c remote.Command) (remote.Result, error) {
		_, _ = c.Stdout.Write(data)
		return remote.Result{Argv: c.Argv, Stderr: "sh: oops\nmore\n", ExitCode: code}, err
	}
}

type entry struct {
	tar.Header
	body string
}

func file(name, body string) entry { return entry{tar.Header{Name: name}, body} }

func archive(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		if e.Size == 0 {
			e.Size = int64(len(e.body))
		}
		e.Mode = 0o777
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// closed closes the run and returns its files, with their sizes, and what is
// missing.
func closed(t *testing.T, r *Run) (files, missing []string) {
	t.Helper()
	if err := r.Close(Info{}); err != nil {
		t.Fatal(err)
	}
	var m Manifest
	if err := json.Unmarshal([]byte(read(t, filepath.Join(r.Dir(), "manifest.json"))), &m); err != nil {
		t.Fatal(err)
	}
	for _, f := range m.Files {
		files = append(files, fmt.Sprintf("%s %d", f.Name, f.Size))
	}
	for _, x := range m.Missing {
		missing = append(missing, x.Name+": "+x.Reason)
	}
	return files, missing
}

// closedNoDocker is closed without the lines that say that no node's Docker
// could be asked.
func closedNoDocker(t *testing.T, r *Run) (files, missing []string) {
	t.Helper()
	files, missing = closed(t, r)
	return files, slices.DeleteFunc(missing, func(s string) bool {
		return strings.HasSuffix(s, "/docker: no connection to the Docker engine")
	})
}

func TestHostileArchive(t *testing.T) {
	r := newRun(t, "create")
	parent := filepath.Dir(filepath.Dir(r.Dir()))
	data := archive(t,
		file("./good.txt", "good "+token),
		file("../escape.txt", "x"),
		file("a/../../../escape.txt", "x"),
		file("/tmp/labctl-escape.txt", "x"),
		file(".", "x"),
		file(`..\escape.txt`, "x"),
		entry{tar.Header{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "/etc"}, ""},
		file("link/passwd", "not /etc/passwd"),
		entry{tar.Header{Name: "hard", Typeflag: tar.TypeLink, Linkname: "good.txt"}, ""},
		entry{tar.Header{Name: "pipe", Typeflag: tar.TypeFifo}, ""},
		file("good.txt/below-a-file", "x"),
		file("GOOD.txt", "x"),
		file("good.txt", "x"),
		file("\u00e9.txt", "x"), file("end.", "x"), file("dir./x", "x"), file("a:b", "x"), file(strings.Repeat("n", 201), "x"),
		entry{tar.Header{Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}, ""},
		entry{tar.Header{Name: "disk", Typeflag: tar.TypeBlock, Devmajor: 8}, ""},
		file("huge.txt", strings.Repeat("x", maxFile+1)),
		file("missing.tsv", "boot.txt\texit code 1: not yet\nno tab\n../../x\t"+strings.Repeat("y", 1000)+"\n"),
		file("last.txt", "last"),
	)
	Collect(t.Context(), r, []Node{{Name: "docker1", Runner: sends(data, 0, nil)}}, CollectOptions{})
	files, missing := closedNoDocker(t, r)
	want := []string{
		"nodes/docker1/good.txt 15", fmt.Sprintf("nodes/docker1/huge.txt %d", maxFile),
		"nodes/docker1/last.txt 4", "nodes/docker1/link/passwd 15",
	}
	if d := cmp.Diff(want, files); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
	for i, m := range missing {
		if strings.Contains(m, "below-a-file") { // the rest is the system's wording
			missing[i] = m[:strings.LastIndex(m, "below-a-file")]
		}
	}
	slices.Sort(missing)
	for _, name := range []string{"é.txt", "end.", "dir./x", "a:b", strings.Repeat("n", 201)} {
		i := slices.Index(missing, fmt.Sprintf("nodes/docker1: refused %q: not a name that every system can have", name))
		if i < 0 {
			t.Errorf("%q was not refused", name)
			continue
		}
		missing = slices.Delete(missing, i, i+1)
	}
	want = []string{
		"nodes/docker1/../../x: " + strings.Repeat("y", 400) + "...",
		"nodes/docker1/boot.txt: exit code 1: not yet",
		"nodes/docker1/huge.txt: cut off after 8 MiB of 8388609 bytes",
		`nodes/docker1: refused ".": not a name below the node's folder`,
		`nodes/docker1: refused "../escape.txt": not a name below the node's folder`,
		`nodes/docker1: refused "..\\escape.txt": not a name that every system can have`,
		`nodes/docker1: refused "/tmp/labctl-escape.txt": not a name below the node's folder`,
		`nodes/docker1: refused "GOOD.txt": sent before, in large or small letters`,
		`nodes/docker1: refused "a/../../../escape.txt": not a name below the node's folder`,
		`nodes/docker1: refused "disk": not a regular file`,
		`nodes/docker1: refused "good.txt": sent before, in large or small letters`,
		`nodes/docker1: refused "good.txt/below-a-file": write artifact nodes/docker1/good.txt/`,
		`nodes/docker1: refused "hard": not a regular file`,
		`nodes/docker1: refused "link": not a regular file`,
		`nodes/docker1: refused "null": not a regular file`,
		`nodes/docker1: refused "pipe": not a regular file`,
	}

	if d := cmp.Diff(want, missing); d != "" {
		t.Errorf("missing (-want +got):\n%s", d)
	}
	err := filepath.WalkDir(parent, func(p string, d fs.DirEntry, err error) error {
		if strings.Contains(p, "escape") {
			t.Errorf("%s has escaped", p)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestFloods(t *testing.T) {
	var many []entry
	for i := range maxFiles + 10 {
		many = append(many, file(fmt.Sprintf("f%d", i), "x"))
	}
	endless := runner(func(ctx context.Context, c remote.Command) (remote.Result, error) {
		_, _ = c.Stdout.Write(archive(t, file("first.txt", "x"))[:1024])
		for ctx.Err() == nil {
			_, _ = c.Stdout.Write(make([]byte, 1<<20))
		}
		return remote.Result{}, ctx.Err()
	})
	whole := archive(t, file("a.txt", "a"), file("b.txt", strings.Repeat("b", 2000)))
	r := newRun(t, "create")
	Collect(t.Context(), r, []Node{
		{Name: "many", Runner: sends(archive(t, many...), 0, nil)},
		{Name: "endless", Runner: endless},
		{Name: "cut", Runner: sends(whole[:2000], 0, nil)},
		{Name: "garbage", Runner: sends(bytes.Repeat([]byte("garbage"), 1000), 0, nil)},
		{Name: "empty", Runner: sends(nil, 0, nil)},
		{Name: "broken", Runner: sends(archive(t, file("x.txt", "x")), 2, nil)},
		{Name: "lost", Runner: sends(whole, 0, errors.New("connection lost"))},
		{Name: "none"},
	}, CollectOptions{})
	files, missing := closedNoDocker(t, r)
	files = slices.DeleteFunc(files, func(s string) bool { return strings.HasPrefix(s, "nodes/many/") })
	want := []string{
		"nodes/broken/x.txt 1", "nodes/cut/a.txt 1", "nodes/cut/b.txt 464", "nodes/endless/first.txt 1",
		"nodes/lost/a.txt 1", "nodes/lost/b.txt 2000",
	}
	if d := cmp.Diff(want, files); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
	want = []string{
		"nodes/broken: the collecting script ended with exit code 2: sh: oops",
		"nodes/cut: the evidence is cut short in b.txt: unexpected EOF",
		"nodes/empty: the collecting script sent nothing",
		"nodes/endless: sent more than 64 MiB",
		"nodes/garbage: the evidence is cut short: archive/tar: invalid tar header",
		"nodes/lost: connection lost",
		"nodes/many: sent more than 500 files",
		"nodes/none: no connection",
	}
	if d := cmp.Diff(want, missing); d != "" {
		t.Errorf("missing (-want +got):\n%s", d)
	}
}

// A dead node costs its deadline once, and the others nothing.
func TestDeadNode(t *testing.T) {
	calls := 0
	dead := runner(func(ctx context.Context, _ remote.Command) (remote.Result, error) {
		calls++
		<-ctx.Done()
		return remote.Result{}, fmt.Errorf("docker2: sh: %w", ctx.Err())
	})
	var argv []string
	alive := runner(func(ctx context.Context, c remote.Command) (remote.Result, error) {
		argv = c.Argv
		return sends(archive(t, file("uname.txt", "Linux")), 0, nil)(ctx, c)
	})
	var mu sync.Mutex
	var progress []string
	r := newRun(t, "create")
	Collect(t.Context(), r, []Node{{Name: "docker1", Runner: alive}, {Name: "docker2", Runner: dead}}, CollectOptions{
		PerItem: 3 * time.Second, PerNode: 200 * time.Millisecond,
		Progress: func(node, detail string) {
			mu.Lock()
			defer mu.Unlock()
			progress = append(progress, node+": "+detail)
		},
	})
	files, missing := closed(t, r)
	if d := cmp.Diff([]string{"nodes/docker1/uname.txt 5"}, files); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
	want := []string{
		"nodes/docker1/docker: no connection to the Docker engine",
		"nodes/docker2: no answer within 200ms",
		"nodes/docker2/docker: no connection to the Docker engine",
	}
	if d := cmp.Diff(want, missing); d != "" || calls != 1 {
		t.Errorf("asked %d times; missing (-want +got):\n%s", calls, d)
	}
	if d := cmp.Diff([]string{"sh", "-c", start, "collect", "3", "1"}, argv); d != "" {
		t.Errorf("argv (-want +got):\n%s", d)
	}
	slices.Sort(progress)
	want = []string{
		"docker1: 1 files of evidence", "docker1: gathering evidence",
		"docker2: 0 files of evidence, incomplete: no answer within 200ms", "docker2: gathering evidence",
	}
	if d := cmp.Diff(want, progress); d != "" {
		t.Errorf("progress (-want +got):\n%s", d)
	}
}

// The script itself, run on this host with fake programs and no sudo.
func TestScript(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the script is for nodes, which run Linux")
	}
	bin := t.TempDir()
	tools := map[string]string{}
	for _, n := range []string{"systemctl", "journalctl", "iptables-save", "ss", "ip", "dmesg", "dpkg-query", "df", "nft", "nsenter", "bridge", "ps"} {
		tools[n] = "#!/bin/sh\necho " + n + "\n"
	}
	tools["dmesg"] = "#!/bin/sh\necho 'dmesg: read kernel buffer failed: Operation not permitted' >&2\nexit 1\n"
	tools["iptables-save"] = "#!/bin/sh\necho half\nexec sleep 60\n"
	tools["ip"] = "#!/bin/sh\necho '[]'\necho warning >&2\n"
	tools["nft"] = "#!/bin/sh\necho rules\necho 'a proxy: http://u:passw0rd@proxy:3128' >&2\n"
	tools["sudo"] = "#!/bin/sh\nexit 1\n"
	tools["ss"] = "#!/bin/sh\necho 'timeout: failed to run ss' >&2\nexit 127\n" // as timeout does without ss
	for n, text := range tools {
		if err := os.WriteFile(filepath.Join(bin, n), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	local := runner(func(ctx context.Context, c remote.Command) (remote.Result, error) {
		cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
		cmd.Env = append(os.Environ(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
		cmd.Stdin, cmd.Stdout = c.Stdin, c.Stdout
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		err := cmd.Run()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = nil
		}
		return remote.Result{Argv: c.Argv, Stderr: stderr.String(), ExitCode: cmd.ProcessState.ExitCode()}, err
	})
	before, _ := filepath.Glob("/dev/shm/labctl-collect.*")
	r := newRun(t, "create")
	Collect(t.Context(), r, []Node{{Name: "docker1", Runner: local}}, CollectOptions{PerItem: time.Second})
	if after, _ := filepath.Glob("/dev/shm/labctl-collect.*"); len(after) > len(before) {
		t.Errorf("left behind: %v", after)
	}
	files, missing := closedNoDocker(t, r)

	var names []string
	for _, f := range files {
		name, _, _ := strings.Cut(f, " ")
		// Not every machine that tests has these.
		if !slices.Contains([]string{"docker-daemon.json", "memory.txt", "modules.txt", "resolv.conf.txt"}, filepath.Base(name)) {
			names = append(names, name)
		}
	}
	want := []string{
		"clock.txt", "disk.txt", "dmesg.txt", "docker-unit.txt", "failed-units.txt", "hosts.txt", "ip-addr.json",
		"ip-link.json", "ip-neigh.json", "ip-route-all.txt", "ip-route.json", "iptables.txt", "ipvs.txt", "journal-docker.txt",
		"namespaces.txt", "nft.txt", "os-release.txt", "packages.txt", "processes.txt",
		"sockets.txt", "uname.txt", "vxlan.txt",
	}
	for i := range want {
		want[i] = "nodes/docker1/" + want[i]
	}
	if d := cmp.Diff(want, names); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}

	want = []string{
		"nodes/docker1/dmesg.txt: exit code 1: dmesg: read kernel buffer failed: Operation not permitted",
		"nodes/docker1/iptables.txt: no answer within 1s",
		"nodes/docker1/sockets.txt: not there: ss",
	}
	if d := cmp.Diff(want, missing); d != "" {
		t.Errorf("missing (-want +got):\n%s", d)
	}
	for name, want := range map[string]string{
		"nft.txt":      "rules\na proxy: http://u:[redacted]@proxy:3128\n",
		"ip-addr.json": "[]\n",
		"iptables.txt": "# the node itself\nhalf\n",
	} {
		if got := read(t, filepath.Join(r.Dir(), "nodes/docker1", name)); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// When a node's time is over, what there is must arrive.
func TestScriptTimeIsOver(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the script is for nodes, which run Linux")
	}
	cmd := exec.Command("sh", "-s", "--", "1", "0")
	cmd.Stdin = strings.NewReader(collectScript)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	r := newRun(t, "create")
	u := unpacking{run: r, dir: "nodes/docker1", facts: &NodeFacts{}}
	// Some files need no time, and come in any case.
	if err := u.all(bytes.NewReader(out)); u.count > 5 || err != nil {
		t.Errorf("unpacked %d files, %v", u.count, err)
	}
	_, missing := closed(t, r)
	if len(missing) < 18 {
		t.Errorf("%d missing: %q", len(missing), missing)
	}
	for _, m := range missing {
		if !strings.HasSuffix(m, ": not begun: the time was over") {
			t.Errorf("missing: %s", m)
		}
	}
}

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/ui"
)

// ownCache gives labctl a cache folder for this test alone, with what the
// user's has of plain boxes and bundles: a baked box there would be taken by
// every later lab.
func ownCache(t *testing.T) (boxes string) {
	t.Helper()
	user, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", dir)
	boxes = filepath.Join(dir, "labctl", "boxes")
	if err := os.MkdirAll(boxes, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{"boxes/debian*.box", "bundle-*"} {
		found, _ := filepath.Glob(filepath.Join(user, "labctl", pattern))
		for _, from := range found {
			to := filepath.Join(dir, "labctl", filepath.FromSlash(filepath.Dir(pattern)), filepath.Base(from))
			if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
	}
	return boxes
}

// baked lists the baked boxes, and what a baking has left half-made.
func baked(t *testing.T, boxes string) []string {
	t.Helper()
	entries, err := os.ReadDir(boxes)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "baked-") || strings.HasPrefix(e.Name(), ".") {
			out = append(out, e.Name())
		}
	}
	return out
}

// identities are what no two machines may share, one a line, each with the
// name of its node in front.
func (l *lab) identities() []string {
	l.t.Helper()
	r := l.ok(shortWithin, "exec", "@all", "--", "sudo", "sh", "-c",
		`cat /etc/machine-id; cat /etc/ssh/ssh_host_*_key.pub; docker info -f '{{.ID}}{{println}}{{.Swarm.NodeID}}'; cat /var/lib/containerd/io.containerd.grpc.v1.introspection/uuid 2>/dev/null; ls /var/log/journal`)
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	slices.Sort(lines) // the nodes answer side by side
	return lines
}

// TestBake makes a box of a node, and a lab from that box; then one from the
// box in which this machine has installed Docker's packages and the scenario
// image.
func TestBake(t *testing.T) {
	needVMs(t)
	before := lookAtHost(t)
	boxes := ownCache(t)
	l := newLab(t, "provider = \"embedded\"\n")
	cold := l.ok(createWithin, "create", "--no-cache")
	first := l.identities()

	r := l.run(shortWithin, func(e ui.Event) bool { return e.Step == "bake" && e.Detail == "copy the node's disk" }, "bake")
	if r.code != 130 {
		t.Errorf("interrupted: exit code %d, want 130\n%s", r.code, r.err)
	}
	if left := baked(t, boxes); left != nil {
		t.Errorf("an interrupted baking left %q", left)
	}
	if st := l.status(); !st.Ready || st.Nodes[1].VM != "running" {
		t.Errorf("after an interrupted baking: %+v", st)
	}

	// A node in use is none to bake.
	l.ok(shortWithin, "exec", "docker2", "--", "docker", "run", "-d", "--name", "busy", "labctl/toolbox", "sleep", "600")
	r = l.run(shortWithin, nil, "bake")
	if want := "error: docker2: examine: bake: there are containers: busy\n"; r.code != 1 || !strings.Contains(r.err, want) {
		t.Errorf("with a container: exit code %d\n%s\nwant %q", r.code, r.err, want)
	}
	l.ok(shortWithin, "exec", "docker2", "--", "docker", "rm", "-f", "busy")

	r = l.ok(2*shortWithin, "bake")
	if diff := cmp.Diff([]string{"docker2 connect: kept", "docker2 examine: kept", "docker2 bake: done", "add box: done"}, r.steps()); diff != "" {
		t.Errorf("steps of bake (-want +got):\n%s", diff)
	}
	name, path, _ := strings.Cut(strings.TrimSpace(r.out), "\t")
	t.Cleanup(func() { _ = exec.Command("vagrant", "box", "remove", "--force", name).Run() })
	t.Logf("bake took %v; %s", r.took, r.err)
	if files := baked(t, boxes); len(files) != 1 || filepath.Join(boxes, files[0]) != path {
		t.Errorf("the cache has %q, bake says %q", files, r.out)
	}
	if st := l.status(); !st.Ready {
		t.Errorf("after baking: %+v", st)
	}
	if diff := cmp.Diff(first, l.identities()); diff != "" {
		t.Errorf("baking changed the lab (-before +after):\n%s", diff)
	}
	if r := l.ok(shortWithin, "bake"); !strings.Contains(r.err, ": it is there already; --force bakes it anew\n") {
		t.Errorf("a second bake says\n%s", r.err)
	}
	// The lab keeps the box with which it was made.
	for _, s := range l.ok(shortWithin, "create").steps() {
		if !strings.HasSuffix(s, ": kept") {
			t.Errorf("create after bake: step %q, want kept", s)
		}
	}
	l.ok(shortWithin, "destroy", "--force")
	if now := lookAtHost(t); now != before {
		t.Errorf("the host has changed: %s", cmp.Diff(before, now, cmp.AllowUnexported(host{})))
	}

	warm := l.ok(createWithin, "create")
	t.Logf("create took %v cold, %v warm; the lab was ready after %v and %v", cold.took, warm.took, cold.ready(), warm.ready())
	steps := strings.Join(warm.steps(), "\n")
	for _, want := range []string{"docker1 install docker: kept", "docker2 install docker: kept", "docker1 swarm init: done", "docker2 swarm join: done"} {
		if !strings.Contains(steps, want) {
			t.Errorf("no event %q in\n%s", want, steps)
		}
	}
	// What is left of it is waiting for the dockerd that the VM starts itself.
	for _, n := range []string{"docker1", "docker2"} {
		if c, w := cold.elapsed(n, "install docker"), warm.elapsed(n, "install docker"); w <= 0 || w > c/4 {
			t.Errorf("install docker on %s took %v cold and %v warm: nothing gained", n, c, w)
		}
	}
	if warm.ready() <= 0 || warm.ready() > cold.ready()*3/4 {
		t.Errorf("the lab was ready after %v cold and %v warm: nothing gained", cold.ready(), warm.ready())
	}
	if st := l.status(); !st.Ready || len(st.Nodes) != 2 {
		t.Errorf("status %+v", st)
	}
	owner := map[string]string{} // of an identity: a node of one of the labs
	alone := func(lab string, lines []string) {
		t.Helper()
		if len(lines) < 2*6 {
			t.Errorf("identities of %s: %q", lab, lines)
		}
		for _, line := range lines {
			node, id, _ := strings.Cut(line, ": ")
			node += " of " + lab
			if other := owner[id]; other != "" && other != node {
				t.Errorf("%s and %s share %s", other, node, id)
			}
			owner[id] = node
		}
	}
	alone("the first lab", first)
	alone("the warm lab", l.identities())
	for _, s := range l.ok(shortWithin, "create").steps() {
		if !strings.HasSuffix(s, ": kept") {
			t.Errorf("a second create: step %q, want kept", s)
		}
	}
	l.ok(shortWithin, "destroy", "--force")

	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	inBox := l.ok(createWithin, "create")
	t.Logf("create took %v with Docker's packages in the box; the lab was ready after %v", inBox.took, inBox.ready())
	made, err := filepath.Glob(filepath.Join(boxes, "docker-*.box"))
	if err != nil || len(made) != 1 {
		t.Fatalf("boxes with packages: %q, %v", made, err)
	}
	parts := strings.Split(strings.TrimSuffix(filepath.Base(made[0]), ".box"), "-") // docker, the system, inputs, content
	t.Cleanup(func() {
		_ = exec.Command("vagrant", "box", "remove", "--force", "labctl/"+parts[1]+"-docker-"+parts[len(parts)-1]).Run()
	})
	if steps := inBox.steps(); !slices.Contains(steps, "docker box: done") {
		t.Errorf("no box was made: %q", steps)
	}
	// A container of it has run in the box, so that the nodes have none to try.
	for _, n := range []string{"docker1", "docker2"} {
		if steps := inBox.steps(); !slices.Contains(steps, n+" install docker: kept") {
			t.Errorf("%s had to install Docker: %q", n, steps)
		}
	}
	for _, e := range inBox.events {
		if e.Node != "" && (strings.Contains(e.Detail, "packages") || strings.Contains(e.Detail, "scenario image")) {
			t.Errorf("%s: %s: %s, though it is in the box", e.Node, e.Step, e.Detail)
		}
	}
	for _, n := range []string{"docker1", "docker2"} {
		if c, w := cold.elapsed(n, "install docker"), inBox.elapsed(n, "install docker"); w <= 0 || w > c*3/4 {
			t.Errorf("install docker on %s took %v without the box and %v with it: nothing gained", n, c, w)
		}
	}
	alone("the lab with packages in its box", l.identities())
	if st := l.status(); !st.Ready || len(st.Nodes) != 2 {
		t.Errorf("status %+v", st)
	}
	for _, s := range l.ok(shortWithin, "create").steps() {
		if !strings.HasSuffix(s, ": kept") {
			t.Errorf("a second create: step %q, want kept", s)
		}
	}
}

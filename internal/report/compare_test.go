package report

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCompare(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	if err := os.CopyFS(dir, os.DirFS("testdata/runs/lb")); err != nil {
		t.Fatal(err)
	}
	failed(t, dir)
	bad, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	c := Comparison{Runs: []Compared{
		{Report: load(t, "lb"), Label: "trainee1/lb", Href: "./trainee1/lb/report.html"},
		{Report: bad, Label: "trainee2/lb"},
		{Report: load(t, "create"), Label: "create"},
	}}
	var out strings.Builder
	if err := c.Text(&out); err != nil {
		t.Fatal(err)
	}
	want := `   RUN          WHAT                             VERDICT  CHECKS  TOOK   NODES  DOCKER          LABCTL
1  trainee1/lb  4-1 Load balancing across hosts  PASS     5 of 5  1m09s  2      20.10.24+dfsg1  (devel)
2  trainee2/lb  4-1 Load balancing across hosts  FAIL     4 of 5  1m09s  2      20.10.24+dfsg1  (devel)
3  create       labctl create                    OK       -       1m29s  2      -               (devel)

  PART                       1      2             3
  The cluster                3.9 s  3.9 s         -
  An overlay network         1.0 s  1.0 s         -
  The service                36 s   36 s          -
  The nodes know each other  1.3 s  1.3 s         -
  The requests               1.2 s  1.2 s failed  -
  Clean up                   22 s   22 s          -
  render                     -      -             0.2 s
  boot                       -      -             29 s
  connect                    -      -             2.7 s
  prepare                    -      -             4.0 s
  install docker             -      -             51 s
  swarm init                 -      -             0.9 s
  swarm join                 -      -             1.2 s
  verify                     -      -             0.3 s
`
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Errorf("the tables (-want +got):\n%s", d)
	}
	page, err := c.HTML()
	if err != nil {
		t.Fatal(err)
	}
	foreign, links, text := markup(t, page)
	if d := cmp.Diff([]string{"data:,", "#main", "./trainee1/lb/report.html"}, links); d != "" || foreign != nil {
		t.Errorf("foreign markup %q, links (-want +got):\n%s", foreign, d)
	}
	text = strings.Join(strings.Fields(text), " ")
	for _, s := range []string{"3 runs compared", "2 trainee2/lb 4-1 Load balancing across hosts FAIL 4 of 5 1m09s 20.10.24+dfsg1 docker1, docker2",
		"The requests 1.2 s 1.2 s failed –", "2 trainee2/lb FAIL 4 of 5 checks held; 192.168.33.11: test01.3", "answered none of 8 requests"} {
		if !strings.Contains(text, s) {
			t.Errorf("the page does not say: %s\nit says: %s", s, text[strings.Index(text, "Skip to"):])
		}
	}
}

package scenario

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"labctl/internal/remote"

	"github.com/google/go-cmp/cmp"
)

func TestOutputKeepsLinesWhole(t *testing.T) {
	f := &fakes{do: map[string]doing{"act": func(_ context.Context, node string, c remote.Command) (remote.Result, error) {
		for i := range 200 {
			_, _ = fmt.Fprintf(c.Stdout, "%s ", node)
			_, _ = fmt.Fprintf(c.Stdout, "%d\n", i)
		}
		_, _ = fmt.Fprint(c.Stderr, "end")
		return remote.Result{}, nil
	}}}
	var out bytes.Buffer
	mustRun(t, f, page(t, "@all|act", "@manager check|true"), func(o *Options) { o.Output = &out })
	counts := map[string]int{}
	for line := range strings.Lines(out.String()) {
		var a, b, c string
		_, _ = fmt.Sscanf(line, "%s | %s %s", &a, &b, &c)
		counts[a+" "+b]++
	}
	want := map[string]int{"docker1 docker1": 200, "docker2 docker2": 200, "docker1 end": 1, "docker2 end": 1}
	if diff := cmp.Diff(want, counts); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestTranscriptAndJSON(t *testing.T) {
	f := &fakes{do: map[string]doing{"look": says(1, "a ``` fence\n<b>\n"), "act": says(0, "made\n")}}
	d := page(t, "@manager|act", "@all check within=3ms every=3ms|look", "@manager cleanup|clean", "@host|late")
	res := mustRun(t, f, d, nil)
	// What differs from run to run is set.
	res.Start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	res.Duration = 1500 * time.Millisecond
	for i := range res.Blocks {
		b := &res.Blocks[i]
		b.Start, b.Duration = res.Start, 0
		for j := range b.Nodes {
			b.Nodes[j].Duration = 200 * time.Millisecond
		}
	}
	golden(t, "transcript.md", res.Transcript(d))
	j, err := json.MarshalIndent(res, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "result.json", append(j, '\n'))
}

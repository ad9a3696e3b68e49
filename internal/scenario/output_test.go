package scenario

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"labctl/internal/remote"

	"github.com/google/go-cmp/cmp"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	unsafe "github.com/yuin/goldmark/renderer/html"
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

// Where Markdown is rendered, each output is one code block inside a details
// of its own, wherever its block stands, and the failing one is open.
func TestTranscriptRenders(t *testing.T) {
	src := head + "\n1. On the manager, in a list:\n\n   ```sh @manager\n   list\n   ```\n\n   and on\n\n" +
		"> On the manager, in a quotation:\n>\n> ```sh @manager\n> quote\n> ```\n\n" +
		"<details><summary>x</summary>\n\nOn the manager:\n\n```sh @manager solve\nfolded\n```\n\n</details>\n\n" +
		"On the manager:\n```sh @manager check within=3ms every=3ms\nlook\n```\nGoodbye.\n"
	d, _, err := Load("x.md", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	f := &fakes{do: map[string]doing{"list": says(0, "in a list\n\n- no item\n"), "quote": says(0, "> in a quotation"),
		"folded": says(0, "</details> <script>\x1b[31m"), "look": says(1, "```\n~~~\n## no heading")}}
	res := mustRun(t, f, d, nil)
	var html bytes.Buffer
	if err := goldmark.New(goldmark.WithExtensions(extension.GFM), goldmark.WithRendererOptions(unsafe.WithUnsafe())).
		Convert(res.Transcript(d), &html); err != nil {
		t.Fatal(err)
	}
	got := html.String()
	for _, want := range []string{"in a list\n\n- no item\n", "&gt; in a quotation\n", "&lt;/details&gt; &lt;script&gt;[31m\n", "```\n~~~\n## no heading\n"} {
		if !strings.Contains(got, "<pre><code class=\"language-text\">"+want+"</code></pre>") {
			t.Errorf("no block of %q in\n%s", want, got)
		}
	}
	depth, deepest, open := 0, 0, 0
	for _, tag := range regexp.MustCompile(`</?(details|pre|li|blockquote)[^>]*>`).FindAllString(got, -1) {
		switch {
		case strings.HasPrefix(tag, "<details"):
			depth++
			deepest = max(deepest, depth)
			if strings.Contains(tag, "open") {
				open++
			}
		case tag == "</details>":
			depth--
		case tag == "</li>" || tag == "</blockquote>":
			if depth != 0 {
				t.Errorf("%s inside of details", tag)
			}
		}
	}
	if depth != 0 || deepest != 2 || open != 1 || !strings.Contains(got, "<p>Goodbye.</p>") {
		t.Errorf("depth %d, deepest %d, %d open in\n%s", depth, deepest, open, got)
	}

	// What fails inside a <details> of the page opens that, too.
	f = &fakes{do: map[string]doing{"folded": says(1, "")}}
	text := string(mustRun(t, f, d, nil).Transcript(d))
	if !strings.Contains(text, "<details open><summary>x</summary>") || !strings.Contains(text, "<details open><summary>FAILED on docker1") {
		t.Error(text)
	}
}

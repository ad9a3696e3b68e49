package scenario

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mattn/go-runewidth"
)

func TestPage(t *testing.T) {
	src := "# Title\n\nOne *two* **three** `four five` [six](http://x) and `$A*$B*`, which goes\non.\n\n- an item that is rather long and needs\n  two lines\n- next\n\n" +
		"> quoted\n\n| a | b |\n|---|---|\n\n<!-- not\nthis -->\n\n```text\n  as it\n\n is\n```\n\n<details><summary>More & more</summary>\n\nhidden *hint*\n\n```text\nhidden\n```\n\n</details>\n\n日本語の文章は、どこででも改行できる。\nただし句点の前では改行しない。\n"
	d, _ := Parse("p.md", []byte(src))
	plain := d.Page(1, 100, Style{Width: 30})
	want := `# Title

One two three ` + "`four five`" + ` six
and ` + "`$A*$B*`" + `, which goes on.

- an item that is rather long
  and needs two lines
- next

> quoted

| a | b |
|---|---|

      as it

     is

(hint: More & more)

日本語の文章は、どこででも改行
できる。ただし句点の前では改行
しない。
`
	if diff := cmp.Diff(want, plain); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for line := range strings.Lines(plain) {
		if w := runewidth.StringWidth(strings.TrimRight(line, "\n")); w > 30 {
			t.Errorf("%d columns: %q", w, line)
		}
	}
	colored := d.Page(3, 4, Style{Width: 30, Color: true})
	if want := "One \x1b[3mtwo\x1b[23m \x1b[1mthree\x1b[22m \x1b[36mfour five\x1b[39m six\nand \x1b[36m$A*$B*\x1b[39m, which goes on.\n"; colored != want {
		t.Errorf("colored %q", colored)
	}
	hints := d.Page(24, 33, Style{Width: 30, Hints: true})
	if want := "More & more\n\nhidden hint\n\n    hidden\n"; hints != want {
		t.Errorf("hints %q", hints)
	}
}

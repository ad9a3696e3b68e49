package report

import (
	"context"
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	cdpage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/google/go-cmp/cmp"
)

var screenshot = flag.String("screenshot", "", "write a picture of scenario 4-1's report to this file")

//go:embed testdata/measure.js
var measure string

// chromium finds a browser, or skips the test. LABCTL_E2E=required, as
// make test has it, does not let it be skipped.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if file, err := exec.LookPath(name); err == nil {
			return file
		}
	}
	const why = "no chromium in PATH: `./deps.sh test` installs it on Debian"
	if os.Getenv("LABCTL_E2E") == "required" {
		t.Fatal(why)
	}
	t.Skip(why)
	return ""
}

// browser starts a browser that can reach nothing but files.
func browser(t *testing.T) context.Context {
	t.Helper()
	opts := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath(chromium(t)), chromedp.DisableGPU, chromedp.WindowSize(1280, 900),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND"), chromedp.Flag("disable-component-update", true),
		chromedp.UserDataDir(t.TempDir()))
	if os.Getuid() == 0 {
		opts = append(opts, chromedp.NoSandbox)
	}
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(stop)
	ctx, stop = chromedp.NewExecAllocator(ctx, opts...)
	t.Cleanup(stop)
	ctx, stop = chromedp.NewContext(ctx)
	t.Cleanup(stop)
	return ctx
}

// watched collects what a page must not do.
type watched struct {
	mu   sync.Mutex
	said []string
}

func (w *watched) listen(ev any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch ev := ev.(type) {
	case *runtime.EventConsoleAPICalled:
		w.said = append(w.said, "console: "+string(ev.Type))
	case *runtime.EventExceptionThrown:
		w.said = append(w.said, "exception: "+ev.ExceptionDetails.Text)
	case *log.EventEntryAdded:
		w.said = append(w.said, "log: "+ev.Entry.Text+" "+ev.Entry.URL)
	case *network.EventRequestWillBeSent:
		if u := ev.Request.URL; !strings.HasPrefix(u, "data:") {
			w.said = append(w.said, "request: "+filepath.Base(u))
		}
	case *cdpage.EventJavascriptDialogOpening:
		w.said = append(w.said, "dialog: "+ev.Message)
	}
}

func (w *watched) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.said)
}

// measured is what testdata/measure.js tells of a page.
type measured struct {
	Charts []struct {
		ID, Name            string
		Marks, Empty, Texts int
	}
	Wide    int      // pixels that the page is wider than the window
	Wider   []string // elements that reach out of the window, outside of scroll boxes
	Covered []string // texts of charts that lie on one another
	Faults  []string // what a screen reader stumbles over
	Pale    []string // texts with less contrast than 4.5
	Texts   int      // texts that were looked at
	Targets []string // what Tab must reach
	Back    string   // the page's background
}

func TestBrowser(t *testing.T) {
	ctx := browser(t)
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/runs")); err != nil {
		t.Fatal(err)
	}
	hostile(t, filepath.Join(dir, "hostile"))
	if err := os.CopyFS(filepath.Join(dir, "failed"), os.DirFS("testdata/runs/lb")); err != nil {
		t.Fatal(err)
	}
	failed(t, filepath.Join(dir, "failed"))
	pages := map[string]string{}
	var c Comparison
	for _, name := range []string{"lb", "ping", "subnet", "create", "failed", "hostile"} {
		run := filepath.Join(dir, name)
		if err := Write(run); err != nil {
			t.Fatal(err)
		}
		r, err := Load(run)
		if err != nil {
			t.Fatal(err)
		}
		c.Runs = append(c.Runs, Compared{Report: r, Label: name + "/20261125T102747Z-scenario-" + name, Href: "./" + name + "/" + HTMLName})
		pages[name] = filepath.Join(run, HTMLName)
	}
	data, err := c.HTML()
	if err != nil {
		t.Fatal(err)
	}
	pages["compare"] = filepath.Join(dir, "compare.html")
	if err := os.WriteFile(pages["compare"], data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := chromedp.Do(ctx); err != nil { // starts it
		t.Fatal(err)
	}
	for _, x := range []struct {
		name   string
		charts []string // "name: marks"
	}{
		// Two addresses by four replicas; the host, two nodes, four replicas, two networks; twelve blocks.
		{"lb", []string{"Who answered: 8", "The lab: host, nodes, replicas and networks: 9", "What took how long, by chapter: 12"}},
		{"ping", []string{"Round-trip times: 6", "The lab: host, nodes, replicas and networks: 9", "What took how long, by chapter: 11"}},
		{"subnet", []string{"How soon each fault was found: 9", "The lab: host, nodes, replicas and networks: 5", "What took how long, by chapter: 23"}},
		{"create", []string{"The lab: host, nodes, replicas and networks: 3", "What took how long, by node: 10"}},
		{"failed", []string{"Who answered: 7", "The lab: host, nodes, replicas and networks: 9", "What took how long, by chapter: 12"}},
		{"hostile", nil},
		{"compare", nil},
	} {
		t.Run(x.name, func(t *testing.T) {
			tab, stop := chromedp.NewContext(ctx)
			defer stop()
			checkPage(t, tab, pages[x.name], x.charts)
		})
	}
	if *screenshot != "" {
		picture(t, ctx, pages["lb"], *screenshot)
	}
}

func checkPage(t *testing.T, ctx context.Context, file string, charts []string) {
	var w watched
	if err := chromedp.Listen(ctx, w.listen); err != nil {
		t.Fatal(err)
	}
	at := (&url.URL{Scheme: "file", Path: file}).String()
	if err := chromedp.Do(ctx, look(1280, "light", ""), chromedp.Navigate(at)); err != nil {
		t.Fatal(err)
	}
	m := tell(t, ctx)
	if charts != nil {
		var drawn []string
		for _, c := range m.Charts {
			drawn = append(drawn, fmt.Sprintf("%s: %d", c.Name, c.Marks))
		}
		if d := cmp.Diff(charts, drawn); d != "" {
			t.Errorf("charts (-want +drawn):\n%s", d)
		}
	}
	for _, c := range m.Charts {
		if c.Empty > 0 || c.Texts == 0 {
			t.Errorf("chart %s: %d marks without a size, %d texts", c.ID, c.Empty, c.Texts)
		}
	}
	if len(m.Faults) > 0 {
		t.Errorf("for a screen reader: %v", m.Faults)
	}
	unfold(t, ctx)
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{1280, 375} {
			if err := chromedp.Do(ctx, look(width, scheme, "")); err != nil {
				t.Fatal(err)
			}
			m := tell(t, ctx)
			if m.Wide > 0 {
				t.Errorf("%s, %d pixels: the page is %d too wide: %v", scheme, width, m.Wide, m.Wider)
			}
			if len(m.Covered) > 0 {
				t.Errorf("%s, %d pixels: texts lie on one another: %v", scheme, width, m.Covered)
			}
			if len(m.Pale) > 0 || m.Texts < 20 {
				t.Errorf("%s, %d pixels: of %d texts these are hard to read:\n%s", scheme, width, m.Texts, strings.Join(m.Pale, "\n"))
			}
			if dark := scheme == "dark"; dark != (m.Back != "rgb(255, 255, 255)") {
				t.Errorf("%s: the background is %s", scheme, m.Back)
			}
		}
	}
	checkTab(t, ctx)
	checkPrint(t, ctx)
	if d := cmp.Diff([]string{"request: " + filepath.Base(file)}, w.all()); d != "" {
		t.Errorf("the page did something (-want +got):\n%s", d)
	}
}

// look sets the width of the window, the colours that its user likes, and the
// medium, "" for the screen.
func look(width int64, scheme, medium string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Media: medium, Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
		if err == nil {
			_, err = chromedp.EmulateViewport(width, 900)(ctx, t)
		}
		return err
	})
}

func tell(t *testing.T, ctx context.Context) measured {
	t.Helper()
	var m measured
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](measure))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// unfold opens all that is folded.
func unfold(t *testing.T, ctx context.Context) {
	t.Helper()
	if _, err := chromedp.Run(ctx, chromedp.Evaluate[int](`[...document.querySelectorAll("details")].map(d => d.open = true).length`)); err != nil {
		t.Fatal(err)
	}
}

// checkTab presses Tab until it comes around. Nothing is folded, so that every
// link can be reached.
func checkTab(t *testing.T, ctx context.Context) {
	t.Helper()
	if err := chromedp.Do(ctx, look(1280, "light", "")); err != nil {
		t.Fatal(err)
	}
	targets := tell(t, ctx).Targets
	if len(targets) < 5 {
		t.Fatalf("only %d targets: %v", len(targets), targets)
	}
	var reached []string
	for range targets {
		if err := chromedp.Do(ctx, chromedp.KeyEvent(kb.Tab)); err != nil {
			t.Fatal(err)
		}
		at, err := chromedp.Run(ctx, chromedp.Evaluate[string]("focused()"))
		if err != nil {
			t.Fatal(err)
		}
		reached = append(reached, at)
	}
	if d := cmp.Diff(targets, reached); d != "" {
		t.Errorf("Tab (-the page's targets in order +what it reached):\n%s", d)
	}
}

// checkPrint looks at the page as a printer gets it, although dark colours are
// liked.
func checkPrint(t *testing.T, ctx context.Context) {
	t.Helper()
	if err := chromedp.Do(ctx, look(794, "dark", "print")); err != nil {
		t.Fatal(err)
	}
	style := func(of, what string) string {
		t.Helper()
		v, err := chromedp.Run(ctx, chromedp.Evaluate[string](fmt.Sprintf("getComputedStyle(document.querySelector(%q)).%s", of, what)))
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	skip, back := style(".skip", "display"), style("body", "backgroundColor")
	pdf, err := chromedp.Run(ctx, chromedp.PrintToPDF())
	if err != nil {
		t.Fatal(err)
	}
	if skip != "none" || back != "rgb(255, 255, 255)" || !strings.HasPrefix(string(pdf), "%PDF") {
		t.Errorf("in print the skip link is shown as %q, the background is %s, the file has %d bytes", skip, back, len(pdf))
	}
}

// picture makes docs/img/report.png.
func picture(t *testing.T, ctx context.Context, file, to string) {
	t.Helper()
	tab, stop := chromedp.NewContext(ctx)
	defer stop()
	err := chromedp.Do(tab, look(1180, "light", ""), chromedp.EmulateViewport(1180, 1030), chromedp.Navigate((&url.URL{Scheme: "file", Path: file}).String()))
	if err != nil {
		t.Fatal(err)
	}
	png, err := chromedp.Run(tab, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatal(err)
	}
	if len(png) > 150<<10 {
		t.Errorf("the picture has %d KiB", len(png)>>10)
	}
	if err := os.WriteFile(to, png, 0o644); err != nil {
		t.Fatal(err)
	}
}

package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"labctl/internal/scenario"
)

func TestOutcomeCodes(t *testing.T) {
	failure := &scenario.Failure{}
	for name, tt := range map[string]struct {
		r    scenario.Result
		want int
	}{
		"pass":        {scenario.Result{Passed: true}, exitOK},
		"stopped":     {scenario.Result{Stopped: "there"}, exitOK},
		"failed":      {scenario.Result{Failure: failure}, exitCheck},
		"interrupted": {scenario.Result{Interrupted: true, Failure: failure}, exitInterrupted},
		"skipped":     {scenario.Result{}, exitInterrupted},
	} {
		got := exitOK
		if code := new(exitError); errors.As(outcome{&tt.r}.code(), code) {
			got = int(*code)
		}
		if got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
}

func TestLanguage(t *testing.T) {
	for _, tt := range []struct{ flag, all, lang, want, err string }{
		{"", "", "", "", ""},
		{"", "", "ja_JP.UTF-8", "ja", ""},
		{"", "", "ja", "ja", ""},
		{"", "C", "ja_JP.UTF-8", "", ""},
		{"", "ja_JP", "de_DE.UTF-8", "ja", ""},
		{"", "", "de_DE@euro", "", ""},
		{"en", "ja_JP", "", "", ""},
		{"ja", "C", "", "ja", ""},
		{"de", "", "", "", "--lang de: there is en, ja"},
	} {
		got, err := language(tt.flag, func(name string) string {
			return map[string]string{"LC_ALL": tt.all, "LANG": tt.lang}[name]
		})
		said := ""
		if err != nil {
			said = err.Error()
		}
		if got != tt.want || said != tt.err {
			t.Errorf("%+v: got %q, %q", tt, got, said)
		}
	}
}

// Consent is to one text, and no other.
func TestConsentIsRemembered(t *testing.T) {
	home := t.TempDir()
	for _, name := range []string{"HOME", "XDG_CONFIG_HOME", "AppData"} {
		t.Setenv(name, home)
	}
	src := []byte("```toml scenario\nformat = 1\nid = \"x\"\ntitle = \"X\"\n```\nOn the host:\n```sh @host check\ntrue\n```\n")
	d, _, err := scenario.Load("x.md", src)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	a := &app{streams: Streams{In: strings.NewReader("y\n"), Out: &out, Err: &out}}
	doc := &document{file: "x.md", source: src, outside: true, d: d}
	const refused = "x.md has blocks that run on this machine, not on a node: line 7"
	if err := a.consent(context.Background(), doc, false); err == nil || err.Error() != refused {
		t.Errorf("without a terminal: %v", err)
	}
	if err := a.consent(context.Background(), doc, true); err != nil {
		t.Errorf("allowed: %v", err)
	}
	known, err := allowedFile()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(known), 0o700),
		os.WriteFile(known, fmt.Appendf(nil, "%x  x.md\n", sha256.Sum256(src)), 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := a.consent(context.Background(), doc, false); err != nil {
		t.Errorf("remembered: %v", err)
	}
	doc.source = append(slices.Clone(src), ' ')
	if err := a.consent(context.Background(), doc, false); err == nil || err.Error() != refused {
		t.Errorf("changed: %v", err)
	}
	if out.Len() > 0 {
		t.Errorf("said %q", out.String())
	}
}

func TestLines(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var got []string
	for line := range lines(ctx, strings.NewReader("one\n\nthree")) {
		got = append(got, line)
	}
	if want := []string{"one", "", "three"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

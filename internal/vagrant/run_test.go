package vagrant

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func TestReadMachine(t *testing.T) {
	text := "1,docker1,ui,info,a%!(VAGRANT_COMMA) b\\nc\\rd\r\n" +
		"\n" +
		"no message\n" +
		"x,docker1,ui,info,no time\n" +
		"12,short\n" +
		"1,,state\n" +
		"1,docker1,ui,info," + strings.Repeat("x", 200<<10) + "\n" +
		"1,docker2,action,up,end" // the last line has no end
	var got []message
	var stray []string
	readMachine(iotest.OneByteReader(strings.NewReader(text)), func(m message) { got = append(got, m) }, func(s string) { stray = append(stray, s) })
	want := []message{
		{"docker1", "ui", []string{"info", "a, b\nc\rd"}},
		{"", "state", nil},
		{"docker1", "ui", []string{"info", strings.Repeat("x", 200<<10)}},
		{"docker2", "action", []string{"up", "end"}},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(message{})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"no message", "x,docker1,ui,info,no time", "12,short"}, stray); diff != "" {
		t.Error(diff)
	}
}

// FuzzReadMachine: whatever Vagrant prints, no message is made up or lost.
func FuzzReadMachine(f *testing.F) {
	for _, name := range []string{"up", "failed"} {
		data, err := os.ReadFile("testdata/" + name + ".log")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Add("1,,ui\n,,,\n1,a,b,%!(VAGRANT_COMMA),\\n")
	f.Fuzz(func(t *testing.T, text string) {
		messages, strays := 0, 0
		readMachine(strings.NewReader(text), func(m message) {
			messages++
			if strings.ContainsAny(m.target+m.kind, ",\n") {
				t.Errorf("message %+v", m)
			}
			for _, d := range m.data {
				if strings.Contains(d, "%!(VAGRANT_COMMA)") {
					t.Errorf("an escape is left in %q", d)
				}
			}
		}, func(string) { strays++ })
		lines := 0
		for line := range strings.Lines(text) {
			if strings.TrimRight(line, "\r\n") != "" {
				lines++
			}
		}
		if messages+strays != lines {
			t.Errorf("%d lines became %d messages and %d others", lines, messages, strays)
		}
	})
}

func TestFailureWords(t *testing.T) {
	var f failureWords
	for i := range 25 {
		f.stray(fmt.Sprint("line ", i))
	}
	if got := f.String(); !strings.HasPrefix(got, "line 5\n") || !strings.HasSuffix(got, "\nline 24") {
		t.Errorf("the last 20 lines: %q", got)
	}
	f.take(message{"docker1", "ui", []string{"error", "shown"}})
	f.take(message{"docker1", "ui", []string{"info", "not this"}})
	if got := f.String(); got != "shown" {
		t.Error(got)
	}
	f.take(message{"", "error-exit", []string{"Class", "exit"}})
	if got := f.String(); got != "exit" {
		t.Error(got)
	}
}

func TestReadMachineError(t *testing.T) {
	// A reader that fails must not leave Vagrant blocked: all is taken.
	broken := io.MultiReader(strings.NewReader("1,,a\n"), iotest.ErrReader(io.ErrUnexpectedEOF))
	n := 0
	readMachine(broken, func(message) { n++ }, func(string) {})
	if n != 1 {
		t.Errorf("%d messages", n)
	}
}

package ui

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPlain(t *testing.T) {
	var out bytes.Buffer
	c := newClock()
	p := newPlain(&out, c.now)
	event := func(node, step string, state State, detail string) {
		p.Event(Event{Node: node, Step: step, State: state, Detail: detail})
	}
	event("", "preflight", Started, "")
	event("", "preflight", Kept, "")
	c.add(12 * time.Second)
	event("docker1", "install docker", Started, "")
	event("docker2", "install docker", Started, "from the bundle")
	say(p, "half a ")
	c.add(time.Second)
	event("docker1", "install docker", Progress, "waiting for the dpkg lock\nheld by apt-get")
	c.add(time.Second)
	say(p, "line\n")
	c.add(37 * time.Second)
	p.flush()
	event("docker1", "install docker", Done, "20.10.24")
	event("docker2", "install docker", Failed, "dpkg: exit code 1")
	event("docker2", "join", Skipped, "")
	event("docker1", "join", Skipped, "docker2 failed")
	p.Event(Event{Node: "docker1", Step: "evidence", State: Done, Elapsed: 75 * time.Second})
	say(p, "no end")
	p.Close()
	event("docker1", "late", Started, "")
	want := `[   0s] lab: preflight: started
[   0s] lab: preflight: kept (0s)
[  12s] docker1: install docker: started
[  12s] docker2: install docker: started: from the bundle
half a line
[  51s] docker1: install docker: waiting for the dpkg lock held by apt-get
[  51s] docker1: install docker: done (39s): 20.10.24
[  51s] docker2: install docker: failed (39s): dpkg: exit code 1
[  51s] docker2: join: skipped
[  51s] docker1: join: skipped (docker2 failed)
[  51s] docker1: evidence: done (1m15s)
no end
`
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Errorf("output (-want +got):\n%s", d)
	}
}

// A detail that changes every 100 ms must not flood the log, one that stays
// is said once, and the newest reason is said although no event follows it.
func TestPlainProgressIsSparse(t *testing.T) {
	var out bytes.Buffer
	c := newClock()
	p := newPlain(&out, c.now)
	progress := func(detail string) {
		p.Event(Event{Node: "docker1", Step: "boot", State: Progress, Detail: detail})
	}
	progress("no address")
	for i := range 100 {
		c.add(100 * time.Millisecond)
		progress(fmt.Sprintf("ping %d", i))
	}
	progress("SSH refused")
	for range 60 {
		c.add(time.Second)
		progress("SSH refused")
		p.flush()
	}
	progress("other")
	c.add(time.Second)
	progress("third")
	progress("other") // came back before the third could be printed
	c.add(time.Minute)
	p.flush()
	want := `[   0s] docker1: boot: no address
[   5s] docker1: boot: ping 49
[  10s] docker1: boot: ping 99
[  15s] docker1: boot: SSH refused
[  70s] docker1: boot: other
`
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Errorf("output (-want +got):\n%s", d)
	}
}

func TestJSON(t *testing.T) {
	var out bytes.Buffer
	c := newClock()
	j := newJSON(&out, c.now)
	j.Event(Event{Node: "docker1", Step: "boot", State: Progress, Detail: "a\n<b>", Elapsed: time.Second})
	say(j, "one\ntw")
	j.Event(Event{Time: c.now().In(time.FixedZone("", 3600)), Step: "boot", State: Done})
	j.Close()
	j.Event(Event{Step: "late"})
	want := `{"time":"2024-05-06T07:08:09Z","node":"docker1","step":"boot","state":"progress","detail":"a\n<b>","elapsed_ns":1000000000}
{"time":"2024-05-06T07:08:09Z","text":"one"}
{"time":"2024-05-06T07:08:09Z","step":"boot","state":"done"}
{"time":"2024-05-06T07:08:09Z","text":"tw"}
`
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Errorf("output (-want +got):\n%s", d)
	}
}

func TestChoose(t *testing.T) {
	for _, tt := range []struct {
		mode     Mode
		terminal bool
		env      string
		want     Mode
	}{
		{Auto, true, "TERM=xterm", Board},
		{"", true, "TERM=xterm", Board},
		{Auto, false, "TERM=xterm", Plain},
		{Auto, true, "TERM=dumb", Plain},
		{Auto, true, "CI=true", Plain},
		{Auto, true, "NO_COLOR=1", Plain},
		{Board, false, "CI=true", Board},
		{JSON, true, "TERM=xterm", JSON},
		{Plain, true, "TERM=xterm", Plain},
	} {
		name, value, _ := strings.Cut(tt.env, "=")
		got := choose(tt.mode, tt.terminal, func(s string) string {
			if s == name {
				return value
			}
			return ""
		})
		if got != tt.want {
			t.Errorf("choose(%q, %v, %s) = %q, want %q", tt.mode, tt.terminal, tt.env, got, tt.want)
		}
	}
}

func TestParseMode(t *testing.T) {
	if m, err := ParseMode(""); m != Auto || err != nil {
		t.Errorf(`ParseMode("") = %q, %v`, m, err)
	}
	if m, err := ParseMode("json"); m != JSON || err != nil {
		t.Errorf(`ParseMode("json") = %q, %v`, m, err)
	}
	_, err := ParseMode("fancy")
	if want := `unknown progress mode "fancy": must be auto, board, plain or json`; err == nil || err.Error() != want {
		t.Errorf("ParseMode: error %v, want %s", err, want)
	}
}

func TestSpeaksUTF8(t *testing.T) {
	for _, tt := range []struct {
		goos, name, value string
		want              bool
	}{
		{"linux", "LANG", "ja_JP.UTF-8", true},
		{"linux", "LC_ALL", "C.utf8", true},
		{"linux", "LANG", "C", false},
		{"linux", "OTHER", "", false},
		{"windows", "OTHER", "", true},
		{"darwin", "OTHER", "", true},
	} {
		got := speaksUTF8(tt.goos, func(s string) string {
			if s == tt.name {
				return tt.value
			}
			return ""
		})
		if got != tt.want {
			t.Errorf("speaksUTF8(%s, %s=%s) = %v", tt.goos, tt.name, tt.value, got)
		}
	}
}

// New's own choices, and its goroutines' end.
func TestNewForPipes(t *testing.T) {
	for _, mode := range []Mode{Auto, Plain, JSON} {
		var mu sync.Mutex
		var out bytes.Buffer
		w := writerFunc(func(p []byte) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			return out.Write(p)
		})
		u := New(w, mode, []string{"docker1"})
		var stdout bytes.Buffer
		say(Above(u, &stdout), "result")
		u.Event(Event{Node: "docker1", Step: "boot", State: Started})
		u.Close()
		u.Close()
		if stdout.String() != "result" {
			t.Errorf("%s: Above changed what goes to a pipe: %q", mode, stdout.String())
		}
		switch got := out.String(); mode {
		case JSON:
			var e Event
			if err := json.Unmarshal([]byte(got), &e); err != nil || e.Node != "docker1" || e.Time.IsZero() {
				t.Errorf("json: %q: %v", got, err)
			}
		default:
			if want := "[   0s] docker1: boot: started\n"; got != want {
				t.Errorf("%s: %q, want %q", mode, got, want)
			}
		}
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

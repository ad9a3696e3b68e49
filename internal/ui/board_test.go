package ui

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type boardTest struct {
	*testing.T
	screen  *screen
	clock   *clock
	refresh chan any
	b       *board
}

func startBoard(t *testing.T, width, height int, nodes ...string) *boardTest {
	bt := &boardTest{T: t, screen: newScreen(width, height), clock: newClock(), refresh: make(chan any)}
	bt.b = newBoard(bt.screen, nodes, boardOptions{now: bt.clock.now, width: width, height: height, refresh: bt.refresh})
	t.Cleanup(bt.b.Close)
	return bt
}

// draw returns when the board shows the present state: the third request is
// taken only after the first has been drawn, and drawing again changes nothing.
func (bt *boardTest) draw() {
	for range 3 {
		bt.refresh <- nil
	}
}

func (bt *boardTest) event(node, step string, state State, detail string) {
	bt.b.Event(Event{Node: node, Step: step, State: state, Detail: detail})
}

func (bt *boardTest) want(want string) {
	bt.Helper()
	want = strings.Trim(strings.ReplaceAll(want, "\n\t\t", "\n"), "\n\t")
	if d := cmp.Diff(want, bt.screen.String()); d != "" {
		bt.Errorf("screen (-want +got):\n%s", d)
	}
}

func TestBoardFollowsSteps(t *testing.T) {
	bt := startBoard(t, 80, 24, "docker1", "docker2")
	bt.draw()
	bt.want(`
		· docker1          waiting
		· docker2          waiting`)

	bt.event("", "preflight", Started, "")
	bt.clock.add(2 * time.Second)
	bt.event("", "preflight", Done, "")
	bt.event("docker1", "boot", Started, "")
	bt.event("docker2", "boot", Started, "")
	bt.clock.add(66 * time.Second)
	bt.event("docker2", "boot", Progress, "waiting for SSH on 192.168.33.12:22,\nconnection refused")
	bt.draw()
	bt.want(`
		✓ lab          2s  preflight: done
		⠙ docker1   1m06s  boot
		⠙ docker2   1m06s  boot: waiting for SSH on 192.168.33.12:22, connection refus…`)

	bt.event("docker1", "boot", Done, "")
	bt.event("docker2", "boot", Failed, "no address after 66s\nlast seen: running")
	bt.event("docker2", "install docker", Skipped, "boot failed")
	bt.event("docker1", "install docker", Started, "")
	bt.clock.add(4 * time.Second)
	bt.event("docker1", "install docker", Kept, "20.10.24")
	bt.draw()
	bt.want(`
		✓ lab          2s  preflight: done
		✓ docker1      4s  install docker: kept (20.10.24)
		✗ docker2   1m06s  boot: no address after 66s`)

	bt.b.Close()
	bt.want(`
		✓ lab          2s  done
		✓ docker1   1m10s  done
		✗ docker2   1m06s  boot: no address after 66s`)
}

func TestBoardRetriedStepIsNoFailure(t *testing.T) {
	bt := startBoard(t, 80, 24, "docker1")
	bt.event("docker1", "join", Failed, "timeout")
	bt.event("docker1", "join", Started, "")
	bt.clock.add(3 * time.Second)
	bt.event("docker1", "join", Done, "")
	bt.b.Close()
	bt.want("✓ docker1      3s  done")
}

func TestBoardEnds(t *testing.T) {
	bt := startBoard(t, 80, 24, "unchanged", "interrupted", "skipped", "untouched")
	bt.event("unchanged", "boot", Started, "")
	bt.event("interrupted", "boot", Started, "")
	bt.event("interrupted", "boot", Progress, "waiting for an address")
	bt.clock.add(time.Second)
	bt.event("unchanged", "boot", Kept, "")
	bt.event("skipped", "boot", Skipped, "")
	bt.b.Close()
	bt.b.Close()
	bt.want(`
		✓ unchanged        1s  done: nothing had to be changed
		- interrupted      1s  boot: not finished
		- skipped          0s  boot: skipped
		· untouched            nothing done`)
}

func TestBoardShowsStepThatStillRuns(t *testing.T) {
	bt := startBoard(t, 80, 24, "docker1")
	bt.event("docker1", "images", Started, "")
	bt.clock.add(9 * time.Second)
	bt.event("docker1", "clock", Started, "")
	bt.event("docker1", "clock", Done, "")
	bt.draw()
	bt.want("⠋ docker1      9s  images")
}

func TestBoardFitsNarrowTerminal(t *testing.T) {
	for _, width := range []int{80, 40, 20} {
		bt := startBoard(t, width, 24, "docker1", "docker2")
		bt.event("docker1", "install docker", Progress, strings.Repeat("日本語 waiting ", 20))
		for range 5 {
			bt.clock.add(time.Second)
			bt.draw()
		}
		rows := strings.Split(bt.screen.String(), "\n")
		if len(rows) != 2 {
			t.Errorf("width %d: %d rows, want 2:\n%s", width, len(rows), bt.screen)
		}
		if !strings.HasSuffix(rows[0], "…") {
			t.Errorf("width %d: no sign of the cut in %q", width, rows[0])
		}
	}
}

func TestBoardTextAbove(t *testing.T) {
	bt := startBoard(t, 40, 24, "docker1", "docker2")
	bt.event("docker1", "lb", Started, "")
	bt.draw()
	say(bt.b, "replicas: 1/4\nrepl")
	bt.draw()
	say(bt.b, "icas: 4/4\r\n 10%\r 90%\r100%\n\x1b[2J\x1b]0;title\x07\x1b[31mred\x1b[0m\x1b[5A\n")
	say(bt.b, strings.Repeat("x", 45)+"\n")
	say(bt.b, "no end of line")
	bt.draw()
	bt.clock.add(time.Second)
	bt.draw()
	want := "replicas: 1/4\nreplicas: 4/4\n100%\nred\n" + strings.Repeat("x", 40) + "\nxxxxx\n"
	bt.want(want + "⠹ docker1      1s  lb\n· docker2          waiting")
	bt.b.Close()
	say(bt.b, "after the end\n")
	bt.want(want + "no end of line\n- docker1      1s  lb: not finished\n· docker2          nothing done\nafter the end")
}

// Two streams that end in the middle of a line do not mix.
func TestBoardTwoStreamsAbove(t *testing.T) {
	bt := startBoard(t, 80, 24, "docker1")
	one, two := bt.b.lineWriter(), bt.b.lineWriter()
	say(one, "one ")
	say(two, "two ")
	say(one, "is whole\n")
	say(two, "has no end")
	bt.draw()
	bt.b.Close()
	bt.want("one is whole\ntwo has no end\n· docker1          nothing done")
}

func TestBoardWithoutNodesStillPrints(t *testing.T) {
	bt := startBoard(t, 80, 24)
	say(bt.b, "hello"+"\n")
	bt.draw()
	bt.want("hello")
	bt.b.Close()
	bt.want("hello")
}

// A board higher than the terminal shows what fits, leaves no copies of itself
// behind, and at the end all of it stands.
func TestBoardHigherThanTerminal(t *testing.T) {
	bt := startBoard(t, 80, 7, "node1", "node2", "node3", "node4", "node5", "node6", "node7", "node8")
	bt.event("", "boot", Done, "")
	bt.event("node8", "boot", Failed, "no address")
	for range 5 {
		bt.draw()
	}
	bt.want(`
		✓ lab        0s  boot: done
		· node1          waiting
		· node2          waiting
		· node3          waiting
		· node4          waiting
		·                and 4 more, 1 failed`)
	bt.b.Close()
	bt.want(`
		✓ lab        0s  done
		· node1          nothing done
		· node2          nothing done
		· node3          nothing done
		· node4          nothing done
		· node5          nothing done
		· node6          nothing done
		· node7          nothing done
		✗ node8      0s  boot: no address`)
}

func TestBoardASCIIAndColor(t *testing.T) {
	now := newClock().now()
	tr := &track{name: "docker1"}
	tr.take(Event{Step: "boot", State: Failed, Detail: "a long reason that does not fit", Time: now})
	got := tr.line(now, look{width: 40, names: 7, ascii: true, color: true}, false)
	if want := "\x1b[31mx\x1b[0m docker1      0s  boot: a long reaso..."; got != want {
		t.Errorf("line is\n%q, want\n%q", got, want)
	}
}

type brokenTerminal struct{}

func (brokenTerminal) Write([]byte) (int, error) { return 0, errors.New("input/output error") }

// A terminal that was closed must not stop the work.
func TestBoardSurvivesBrokenTerminal(t *testing.T) {
	refresh := make(chan any)
	b := newBoard(brokenTerminal{}, []string{"docker1"}, boardOptions{now: newClock().now, refresh: refresh})
	refresh <- nil
	for range 100 {
		b.Event(Event{Node: "docker1", Step: "boot", State: Progress, Detail: "waiting"})
		b.Event(Event{Node: "late", Step: "boot", State: Done})
		say(b, "text"+"\n")
	}
	b.Close()
}

func TestBoardManyGoroutines(t *testing.T) {
	s, c := newScreen(80, 24), newClock()
	b := newBoard(s, []string{"a", "b"}, boardOptions{now: c.now})
	var wg sync.WaitGroup
	for _, n := range []string{"", "a", "b", "c"} {
		wg.Go(func() {
			for i := range 200 {
				b.Event(Event{Node: n, Step: "boot", State: Progress, Detail: fmt.Sprint(i)})
				if i%50 == 0 {
					say(b, label(n)+" line\n")
				}
			}
			b.Event(Event{Node: n, Step: "boot", State: Done})
		})
	}
	wg.Wait()
	b.Close()
	got := s.String()
	if n := strings.Count(got, " line\n"); n != 16 {
		t.Errorf("%d text lines, want 16:\n%s", n, got)
	}
	_, final, _ := strings.Cut(got, "✓ lab")
	if d := cmp.Diff("      0s  done\n✓ a        0s  done\n✓ b        0s  done\n✓ c        0s  done", final); d != "" {
		t.Errorf("final board (-want +got):\n%s", d)
	}
}

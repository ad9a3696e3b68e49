package artifact

import (
	"strings"
	"testing"
)

func TestReadLog(t *testing.T) {
	huge := frame(1, "x")[:4] + "\xff\xff\xff\xff"
	for _, tt := range []struct {
		name, in string
		tty      bool
		want     string
		fail     string
	}{
		{"both streams", frame(1, "a\n") + frame(2, "b\n"), false, "a\nb\n", ""},
		{"nothing", "", false, "", ""},
		{"terminal", "a\r\nb", true, "a\r\nb", ""},
		{"the engine's own words", frame(1, "a\n") + frame(3, "Error: x\n") + frame(1, "b\n") + frame(3, "y"), false, "a\nb\n", "Error: x"},
		{"cut in a head", frame(1, "a\n") + "\x01\x00", false, "a\n", "unexpected EOF"},
		{"cut in a frame", frame(1, "abc")[:9], false, "a", "unexpected EOF"},
		{"a size of 4 GiB", huge + "abc", false, "abc", "unexpected EOF"},
		{"too much of the engine's words", frame(3, strings.Repeat("e", 2000)), false, "", strings.Repeat("e", 1024)},
		{"no log", "HTTP/1.1 200 OK\r\n", false, "", "not a log of the Docker engine: frame of the kind 72"},
	} {
		got, err := readLog(strings.NewReader(tt.in), tt.tty)
		fail := ""
		if err != nil {
			fail = err.Error()
		}
		if string(got) != tt.want || fail != tt.fail {
			t.Errorf("%s: %q, error %q; want %q, %q", tt.name, got, fail, tt.want, tt.fail)
		}
	}
	for _, tty := range []bool{false, true} {
		endless := strings.Repeat(frame(1, strings.Repeat("x", 1<<20)), 20)
		if got, err := readLog(strings.NewReader(endless), tty); len(got) > maxFile+1<<20 || len(got) <= maxFile || err != nil {
			t.Errorf("took %d bytes of 20 MiB: %v", len(got), err)
		}
	}
}

func FuzzReadLog(f *testing.F) {
	f.Add([]byte(frame(1, "a\n") + frame(3, "x")))
	f.Add([]byte("\x01\x00\x00\x00\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		text, _ := readLog(strings.NewReader(string(data)), false)
		if len(text) > len(data) {
			t.Errorf("%d bytes from %d", len(text), len(data))
		}
		newCluster(nil, nil, nil).arrange(text)
	})
}

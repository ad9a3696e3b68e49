package provision

import (
	"cmp"
	"testing"
)

func TestCompareVersions(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"1.0-1", "1.0-1", 0},
		{"1.0-1", "1.0-2", -1},
		{"1.0-10", "1.0-9", 1},
		{"1.0", "1.0-1", -1},
		{"1.0", "1.0-0", 0},
		{"1:1.0", "2.0", 1},
		{"0:2.0", "2.0", 0},
		{"1.0~rc1-1", "1.0-1", -1},
		{"1.0~~", "1.0~", -1},
		{"20.10.24+dfsg1-1+b3", "20.10.24+dfsg1-1+deb12u1+b6", -1},
		{"1.0a", "1.0+", -1},
		{"1.0a", "1.0", 1},
		{"2.36-9+deb12u14", "2.36-9+deb12u9", 1},
		{"00001.2", "1.02", 0},
		{"99999999999999999999999", "100000000000000000000000", -1},
		{"6.1-rc", "6.1", 0 + 1},
		{"", "", 0},
	} {
		if got := cmp.Compare(compareVersions(c.a, c.b), 0); got != c.want {
			t.Errorf("compareVersions(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
		if got := cmp.Compare(compareVersions(c.b, c.a), 0); got != -c.want {
			t.Errorf("compareVersions(%q, %q) = %d, want %d", c.b, c.a, got, -c.want)
		}
	}
}

func FuzzCompareVersions(f *testing.F) {
	f.Add("1:1.0~rc1-1", "1.0-1+deb12u1")
	f.Add("a", "~")
	f.Fuzz(func(t *testing.T, a, b string) {
		if x, y := cmp.Compare(compareVersions(a, b), 0), cmp.Compare(compareVersions(b, a), 0); x != -y {
			t.Errorf("compareVersions(%q, %q) = %d, but the other way round %d", a, b, x, y)
		}
		if x := compareVersions(a, a); x != 0 {
			t.Errorf("compareVersions(%q, %q) = %d", a, a, x)
		}
	})
}

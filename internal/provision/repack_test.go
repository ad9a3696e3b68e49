package provision

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func ar(members ...string) string {
	out := arMagic
	for i := 0; i < len(members); i += 2 {
		out += fmt.Sprintf("%-16s%-12d%-6d%-6d%-8s%-10d`\n%s", members[i], 1700000000, 0, 0, "100644", len(members[i+1]), members[i+1])
		if len(members[i+1])%2 == 1 {
			out += "\n"
		}
	}
	return out
}

func TestSwapData(t *testing.T) {
	for _, c := range []struct{ name, deb, want, err string }{
		{"odd control", ar("debian-binary", "2.0\n", "control.tar.xz", "abc", "data.tar.xz", "old data"),
			ar("debian-binary", "2.0\n", "control.tar.xz", "abc", "data.tar.zst", "new"), ""},
		{"no archive", "junk", "junk", "not a .deb file"},
		{"cut", arMagic + "debian-bin", arMagic + "debian-bin", "no data.tar in it"},
		{"without data", ar("debian-binary", "2.0\n"), ar("debian-binary", "2.0\n"), "no data.tar in it"},
		{"bad size", arMagic + fmt.Sprintf("%-48s%-10s`\n", "control", "-7"), arMagic + fmt.Sprintf("%-48s%-10s`\n", "control", "-7"), `member with the size "-7        "`},
	} {
		t.Run(c.name, func(t *testing.T) {
			deb := filepath.Join(t.TempDir(), "a.deb")
			if err := os.WriteFile(deb, []byte(c.deb), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(deb+".data", []byte("new"), 0o644); err != nil {
				t.Fatal(err)
			}
			got := ""
			if err := swapData(deb, deb+".data"); err != nil {
				got = err.Error()
			}
			if got != c.err {
				t.Errorf("error %q, want %q", got, c.err)
			}
			text, err := os.ReadFile(deb)
			if err != nil {
				t.Fatal(err)
			}
			if string(text) != c.want {
				t.Errorf("got\n%q\nwant\n%q", text, c.want)
			}
		})
	}
}

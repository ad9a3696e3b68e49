package remote

import (
	"os/exec"
	"strings"
	"testing"
)

func TestQuote(t *testing.T) {
	for _, c := range []struct {
		argv []string
		want string
	}{
		{[]string{"docker", "node", "ls"}, "docker node ls"},
		{[]string{"echo", ""}, "echo ''"},
		{[]string{"echo", "it's"}, `echo 'it'\''s'`},
		{[]string{"echo", "$HOME `id` \\ \"x\""}, "echo '$HOME `id` \\ \"x\"'"},
		{[]string{"echo", "~", "A=b", "#c", "*"}, "echo '~' 'A=b' '#c' '*'"},
		{[]string{"echo", "two\nlines"}, "echo 'two\nlines'"},
		{nil, ""},
	} {
		if got := Quote(c.argv); got != c.want {
			t.Errorf("Quote(%q) = %s, want %s", c.argv, got, c.want)
		}
	}
}

// FuzzQuote asks a real shell whether a word survives.
func FuzzQuote(f *testing.F) {
	for _, s := range []string{"", "a b", "it's", "-n", "$(id)", "\\", "a\nb", "é\x80", "!x", "{a,b}", "~"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.ContainsRune(s, 0) {
			t.Skip("no argument can hold a NUL")
		}
		out, err := exec.Command("sh", "-c", "printf '%s|' "+Quote([]string{s, "end"})).Output()
		if err != nil {
			t.Fatal(err)
		}
		if want := s + "|end|"; string(out) != want {
			t.Errorf("the shell read %q, want %q", out, want)
		}
	})
}

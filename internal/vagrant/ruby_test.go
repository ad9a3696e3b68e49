package vagrant

import (
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"labctl/internal/config"
)

// nastyStrings are values that would become Ruby code, or something else than
// themselves, if they were pasted.
var nastyStrings = []string{
	"", " ", "docker1", `'`, `\`, `\\`, `\'`, `'\`, `'; system('touch /tmp/x'); '`, `#{1+1}`, `#{system("id")}`,
	`"`, "`id`", "%x(id)", "<%= 1 %>", "{{.Lab}}", "#$0 #@a", "\n", "a\nb", "\r\n", "a\r\nb", "\nend\n", "\n__END__\n",
	"\n=begin\n", "\x00", "a\x00b", "\x04", "\x1a", "\t", "\x7f", "\xff\xfe", "\xc3", "é ノード 😀", "\ufeff", "\u2028", "\u202e",
	`C:\Users\me\x.box`, `ends in \`, "%w[a b]", "?a", "''", "' 'b", "\\n", "$(id)",
}

// vagrantStub stands in for Vagrant: it takes every setting and prints the
// name and title of every machine.
const vagrantStub = `# encoding: utf-8
class Anything < BasicObject
  def method_missing(name, *args, **opts, &block)
    ::STDOUT.puts args[0].unpack1('H*') if name == :define || name == :title=
    block.call(self) if block
    self
  end
end
module Vagrant
  def self.configure(_); yield Anything.new; end
end
`

// ruby runs Ruby on a script; false if there is none to run.
func ruby(t *testing.T, args ...string) (string, bool) {
	t.Helper()
	path, err := exec.LookPath("ruby")
	if err != nil {
		if os.Getenv("LABCTL_E2E") == "required" {
			t.Fatal("ruby is not installed")
		}
		return "", false
	}
	script := args[len(args)-1]
	cmd := exec.Command(path, args[:len(args)-1]...)
	cmd.Stdin = strings.NewReader(script)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("ruby: %v\n%s", err, out)
	}
	return string(out), true
}

// Ruby itself must read back the same bytes, in UTF-8.
func TestRubyReadsLiteralsBack(t *testing.T) {
	var script strings.Builder
	script.WriteString("# encoding: utf-8\n[\n")
	for _, s := range nastyStrings {
		script.WriteString(rubyLiteral(s) + ",\n")
	}
	script.WriteString("].each { |s| puts s.encoding.name + ' ' + s.unpack1('H*') }\n")
	var want strings.Builder
	for _, s := range nastyStrings {
		want.WriteString("UTF-8 " + hex.EncodeToString([]byte(s)) + "\n")
	}
	got, ok := ruby(t, script.String())
	if !ok {
		t.Skip("ruby is not installed")
	}
	if diff := cmp.Diff(want.String(), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// readLiteral is a reader of its own for what rubyLiteral writes. It fails if
// the literal ends early, for then the rest would be code.
func readLiteral(s string) (string, error) {
	packed := strings.HasPrefix(s, "[")
	if packed {
		const suffix = "].pack('H*').force_encoding('UTF-8')"
		if !strings.HasSuffix(s, suffix) {
			return "", errors.New("a packed literal without its end")
		}
		s = strings.TrimSuffix(s[1:], suffix)
	}
	if len(s) < 2 || s[0] != '\'' {
		return "", errors.New("no opening quote")
	}
	var out []byte
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\'':
			if i != len(s)-1 {
				return "", errors.New("the literal ends early")
			}
			if !packed {
				return string(out), nil
			}
			text, err := hex.DecodeString(string(out))
			return string(text), err
		case c == '\\' && i+1 < len(s) && (s[i+1] == '\\' || s[i+1] == '\''):
			i++
			out = append(out, s[i])
		case c < ' ' || c == 0x7f:
			return "", errors.New("a control character")
		default:
			out = append(out, c)
		}
	}
	return "", errors.New("no closing quote")
}

func FuzzRubyLiteral(f *testing.F) {
	for _, s := range nastyStrings {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		lit := rubyLiteral(s)
		got, err := readLiteral(lit)
		if err != nil || got != s {
			t.Errorf("%q became %s, read back as %q, %v", s, lit, got, err)
		}
		if c := rubyComment(s); strings.ContainsAny(c, "\n\r\x00\u2028\u2029\u0085") {
			t.Errorf("%q leaves its comment: %q", s, c)
		}
	})
}

// The lines of a Vagrantfile must be the same whatever the names hold: a value
// that leaves its literal would add or change one.
func FuzzRender(f *testing.F) {
	for _, s := range nastyStrings {
		f.Add(s, "docker1", "box", "v1")
		f.Add("lab", s, s, s)
	}
	shape := func(labName, node, box, version string) ([]byte, error) {
		lab := config.Default()
		lab.Name, lab.Nodes[0].Name = labName, node
		return Render(lab, RenderOptions{Provider: config.Embedded, Accel: config.AccelTCG,
			BoxName: box, BoxVersion: "1" + box, BoxURL: "file:///" + box, Version: version, ConsoleDir: "/logs"})
	}
	plain, err := shape("lab", "docker1", "box", "v1")
	if err != nil {
		f.Fatal(err)
	}
	want := skeleton(string(plain))
	f.Fuzz(func(t *testing.T, labName, node, box, version string) {
		if box == "" {
			return
		}
		out, err := shape(labName, node, box, version)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, skeleton(string(out))); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// skeleton is a Vagrantfile without the contents of its literals and comments.
func skeleton(s string) []string {
	var lines []string
	for line := range strings.SplitSeq(s, "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			lines = append(lines, "#")
			continue
		}
		var b strings.Builder
		quoted := false
		for i := 0; i < len(line); i++ {
			switch c := line[i]; {
			case quoted && c == '\\':
				i++
			case c == '\'':
				quoted = !quoted
				b.WriteByte(c)
			case !quoted:
				b.WriteByte(c)
			}
		}
		if quoted {
			b.WriteString("<open>")
		}
		bare := strings.ReplaceAll(b.String(), "[''].pack('').force_encoding('')", "''")
		lines = append(lines, bare)
	}
	return lines
}

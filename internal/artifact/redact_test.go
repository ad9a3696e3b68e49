package artifact

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The secrets of the tests are put together here, so that no scanner takes
// this file for a leak.
var (
	token  = "SWMTKN-1-" + strings.Repeat("3pu6hszj", 6) + "-7p73s1dx5in4tatd"
	unlock = "SWMKEY-1-" + "fySn8TY4w5lKcWcJPIpKufejh9hxx5KYwx6XZigx3Q4"
	pem    = "-----BEGIN OPENSSH " + "PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQ\nQyNTUxOQ==\n-----END OPENSSH PRIVATE KEY-----"
)

func TestRedact(t *testing.T) {
	values := []string{"s3cret", "s3cret-long", "abc", "", "two\nlines of it", `quo"te & more`}
	tests := []struct{ name, in, want string }{
		{"nothing", "a quiet line\n", "a quiet line\n"},
		{"join token", "docker swarm join --token " + token + " 192.168.33.11:2377", "docker swarm join --token [redacted] 192.168.33.11:2377"},
		{"unlock key", `key "` + unlock + `".`, `key "[redacted]".`},
		{"private key", "before\n" + pem + "\nafter", "before\n[redacted]\n\nafter"},
		{"private key in JSON", `{"k":"` + strings.ReplaceAll(pem, "\n", `\n`) + `\n","a":1}`, `{"k":"[redacted]\n","a":1}`},
		{"private key with prefixes", "x | " + strings.ReplaceAll(pem, "\n", "\nx | ") + " end\ny", "x | [redacted]\n end\ny"},
		{"key cut off", strings.Split(pem, "\n")[0] + "\nabc\n", "[redacted]\n"},
		{"two keys", pem + "\n" + pem, "[redacted]\n\n[redacted]\n"},
		{"public key stays", "-----BEGIN PUBLIC KEY-----\nabc", "-----BEGIN PUBLIC KEY-----\nabc"},
		{"proxy", "HTTP Proxy: http://user:pa@ss@proxy:3128/x, https://h/p", "HTTP Proxy: http://user:[redacted]@proxy:3128/x, https://h/p"},
		{"no user", "http://:pass@h", "http://:[redacted]@h"},
		{"user alone stays", "ssh://vagrant@192.168.33.11:22", "ssh://vagrant@192.168.33.11:22"},
		{"mail and time stay", "12:30 root@docker1", "12:30 root@docker1"},
		{"header", "> Authorization: Bearer abc.def\r\n> Host: h\n", "> Authorization: [redacted]\r\n> Host: h\n"},
		{"header, no value", "Authorization: \n Volume: local\n", "Authorization: \n Volume: local\n"},
		{"header in JSON", `{"Authorization":["Basic YTpi"],"x":1}`, `{"Authorization":["[redacted]"],"x":1}`},
		{"header in Go", "map[Authorization:[Basic YTpi] Host:[h]]", "map[Authorization:[redacted]"},
		{"proxy header", "proxy-authorization=Basic YTpi", "proxy-authorization=[redacted]"},
		{"registry header", `-H "X-Registry-Auth: eyJ1c2VyIjo="`, `-H "X-Registry-Auth: [redacted]"`},
		{"docker auth", `{"auths":{"h":{"auth": "dTpw","identitytoken":"x1"}}}`, `{"auths":{"h":{"auth": "[redacted]","identitytoken":"[redacted]"}}}`},
		{"docker auth escaped", `"{\"auth\":\"dTpw\"}"`, `"{\"auth\":\"[redacted]\"}"`},
		{"values, the longer first", "s3cret-long s3cret abc", "[redacted] [redacted] abc"},
		{"lines of a value", "two, lines of it", "two, [redacted]"},
		{"value in JSON", `"quo\"te \u0026 more"`, `"[redacted]"`},
		{"value in a URL", "?q=quo%22te+%26+more&p=quo%22te%20&%20more", "?q=[redacted]&p=[redacted]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := string(Redact([]byte(tt.in), values))
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("Redact(%q) (-want +got):\n%s", tt.in, d)
			}
			if again := string(Redact([]byte(got), values)); again != got {
				t.Errorf("a second pass changes %q to %q", got, again)
			}
		})
	}
}

// One stray BEGIN must not swallow the rest of a log.
func TestRedactKeyWithoutEnd(t *testing.T) {
	in := strings.Split(pem, "\n")[0] + "\n" + strings.Repeat("line\n", 300)
	got := string(Redact([]byte(in), nil))
	if want := "[redacted]\n" + strings.Repeat("line\n", 101); got != want {
		t.Errorf("%d lines are left, want 101", strings.Count(got, "line"))
	}
}

func FuzzRedact(f *testing.F) {
	for _, s := range []string{token, unlock, pem, "http://u:p@h", "Authorization: x", `"auth":"x"`, "plain", token + pem + token} {
		f.Add(s, "value")
		f.Add(s, s)
	}
	forbidden := regexp.MustCompile(`SWMTKN-1-|SWMKEY-1-|-----BEGIN [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----`)
	f.Fuzz(func(t *testing.T, text, value string) {
		got := Redact([]byte(text), []string{value})
		if m := forbidden.Find(got); m != nil {
			t.Errorf("Redact(%q, %q) left %q", text, value, m)
		}
		if len(value) >= shortest && !strings.ContainsAny(value, "\n\r") && strings.TrimSpace(value) == value &&
			!strings.Contains(redacted, value) && strings.Contains(string(got), value) &&
			!strings.Contains(value, "[") && !strings.Contains(value, "]") {
			t.Errorf("Redact(%q, %q) = %q", text, value, got)
		}
	})
}

package artifact

import (
	"encoding/base64"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The secrets of the tests are put together here, so that no scanner takes
// this file for a leak.
var (
	token  = "SWMTKN-1-" + strings.Repeat("3pu6hszj", 6) + "ab-7p73s1dx5in4tatd0q1w2e3r4"
	unlock = "SWMKEY-1-" + "fySn8TY4w5lKcWcJPIpKufejh9hxx5KYwx6XZigx3Q4"
	pem    = "-----BEGIN OPENSSH " + "PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQ\nQyNTUxOQ==\n-----END OPENSSH PRIVATE KEY-----"
)

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// b64lines is base64 as it is written in lines.
func b64lines(s string) string {
	code := b64(s)
	var lines []string
	for ; len(code) > 76; code = code[76:] {
		lines = append(lines, code[:76])
	}
	return strings.Join(append(lines, code), "\n")
}

func TestRedact(t *testing.T) {
	values := []string{"s3cret", "s3cret-long", "abc", "", "docker", "two\nlines of it", `quo"te & more`, "very-long-secret-value"}
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
		{"no header in JSON", `{"Authorization": null, "Log": ["x"]}`, `{"Authorization": null, "Log": ["x"]}`},
		{"header in Go", "map[Authorization:[Basic YTpi] Host:[h]]", "map[Authorization:[redacted]"},
		{"proxy header", "proxy-authorization=Basic YTpi", "proxy-authorization=[redacted]"},
		{"registry header", `-H "X-Registry-Auth: eyJ1c2VyIjo="`, `-H "X-Registry-Auth: [redacted]"`},
		{"docker auth", `{"auths":{"h":{"auth": "dTpw","identitytoken":"x1"}}}`, `{"auths":{"h":{"auth": "[redacted]","identitytoken":"[redacted]"}}}`},
		{"docker auth escaped", `"{\"auth\":\"dTpw\"}"`, `"{\"auth\":\"[redacted]\"}"`},
		{"values, the longer first", "s3cret-long s3cret abc", "[redacted] [redacted] abc"},
		{"a word that is a password", "http://me:docker@h docker pull", "http://me:[redacted]@h docker pull"},
		{"lines of a value", "two, lines of it", "two, [redacted]"},
		{"value in JSON", `"quo\"te \u0026 more"`, `"[redacted]"`},
		{"join token in a URL", "t=" + strings.ReplaceAll(token, "-", "%2D") + "&x=1", "t=[redacted]&x=1"},
		{"join token over lines", token[:40] + "\\\n    " + token[40:70] + "\r\n" + token[70:] + " x", "[redacted] x"},
		{"join token over prefixed lines", "a | " + token[:60] + "\nweb.1@docker2    | " + token[60:] + "\nweb.1@docker2    | y", "a | [redacted]\nweb.1@docker2    | y"},
		{"join token over lines of JSON", `"` + token[:60] + `\n` + token[60:] + `\nnext"`, `"[redacted]\nnext"`},
		{"half a join token", token[:60] + "\nnext line", "[redacted]\nnext line"},
		{"unlock key over lines", unlock[:30] + "\n" + unlock[30:] + "\nx", "[redacted]\nx"},
		{"unlock key in JSON", `"SWMKEY-1-ab\/cd+ef=" x`, `"[redacted]" x`},
		{"join token in base64", "user-data: " + b64("docker swarm join --token "+token+" docker1:2377\n") + " end", "user-data: [redacted] end"},
		{"private key in base64", b64lines("x\n"+pem+"\n") + "\nafter the key", "[redacted]\nafter the key"},
		{"private key in a URL", "k=" + strings.NewReplacer("\n", "%0A", " ", "+").Replace(pem) + "&x=1", "k=[redacted]&x=1"},
		{"private key cut off in JSON", `{"k":"` + strings.ReplaceAll(pem[:90], "\n", `\n`) + `","a":1}` + "\nx", `{"k":"[redacted]","a":1}` + "\nx"},
		{"private key in JSON lines", `{"log":"` + strings.ReplaceAll(pem, "\n", "\\n\"}\n{\"log\":\"") + "\"}\n{\"log\":\"x\"}", "{\"log\":\"[redacted]\"}\n\"}\n{\"log\":\"x\"}"},
		{"private key without its beginning", "x\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQ\n" + pem[strings.Index(pem, "\n")+1:] + "\ny", "x\n[redacted]\ny"},
		{"proxy with a slash in the password", "http://user:pa/ss@proxy:3128/", "http://user:[redacted]@proxy:3128/"},
		{"proxy in JSON", `"http:\/\/user:pa\/s\\s@proxy"`, `"http:\/\/user:[redacted]@proxy"`},
		{"proxy in a URL", "?p=http%3A%2F%2Fuser%3Apa%2Fss%40proxy%3A3128&x", "?p=http%3A%2F%2Fuser%3A[redacted]%40proxy%3A3128&x"},
		{"proxy of a unit", `Environment="HTTPS_PROXY=http://user:pa%%ss@proxy:3128" "NO_PROXY=a@b"`, `Environment="HTTPS_PROXY=http://user:[redacted]@proxy:3128" "NO_PROXY=a@b"`},
		{"proxy without a scheme", "https_proxy=user:pass@proxy:3128", "https_proxy=user:[redacted]@proxy:3128"},
		{"port and path stay", "http://registry:5000/v2/a@sha256:12, https://h:443/x", "http://registry:5000/v2/a@sha256:12, https://h:443/x"},
		{"no password over lines of JSON", `"GET http://h:80\nmail to a@b"`, `"GET http://h:80\nmail to a@b"`},
		{"scheme of a header alone", "sent Basic dXNlcjpwYXNzd29yZDEyMw== ok", "sent Basic [redacted] ok"},
		{"English stays", "basic autoconfiguration of the bearer authentication-service", "basic autoconfiguration of the bearer authentication-service"},
		{"challenge stays", `Www-Authenticate: Bearer realm="https://auth.example/token"`, `Www-Authenticate: Bearer realm="https://auth.example/token"`},
		{"web token", "got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTYifQ.abc-_9 x", "got [redacted] x"},
		{"docker auth with a quote", `{"password":"a\"b\\c","x":1}`, `{"password":"[redacted]","x":1}`},
		{"registry credentials in base64", b64(`{"username":"u","password":"hunter22","serveraddress":"h"}`), "[redacted]"},
		{"assignments", "password = \"a b\"\nREGISTRY_PASSWORD=x1y2\nmysql_passwd=q\npassphrase: w", "password = \"[redacted]\"\nREGISTRY_PASSWORD=[redacted]\nmysql_passwd=[redacted]\npassphrase: [redacted]"},
		{"variables", "GITHUB_TOKEN=abc CLIENT_SECRET='d e' x", "GITHUB_TOKEN=[redacted] CLIENT_SECRET='[redacted] e' x"},
		{"login", "docker login -u me -p hunter22 h; docker login --password=x2 h", "docker login -u me -p [redacted] h; docker login --password=[redacted] h"},
		{"login in quotes", `sh -c "docker login -u 'me' -p 'hunter22' h" && docker run -p 80:80 x`, `sh -c "docker login -u 'me' -p '[redacted]' h" && docker run -p 80:80 x`},
		{"curl", "123 curl -s -x p:3128 -U me:x1 https://h; curl --user me:y2 h; curl -u me h:80", "123 curl -s -x p:3128 -U me:[redacted] https://h; curl --user me:[redacted] h; curl -u me h:80"},
		{"sshpass", "sshpass -p vagrant1 ssh h -p 22", "sshpass -p [redacted] ssh h -p 22"},
		{"Ruby", `config.ssh.password = 'a b' {:password=>"x1"} {"password"=>"x2"}`, `config.ssh.password = '[redacted]' {:password=>"[redacted]"} {"password"=>"[redacted]"}`},
		{"log line", `level=info msg="proxy http://me:x1@h, header \"Authorization: Bearer abc.def\", {\"auth\":\"dTpw\"}" node=docker1`,
			`level=info msg="proxy http://me:[redacted]@h, header \"Authorization: [redacted]\", {\"auth\":\"[redacted]\"}" node=docker1`},
		{"secret key of a cloud", "AWS_SECRET_ACCESS_KEY=ab/cd SECRET_KEY_BASE=12 secret=no", "AWS_SECRET_ACCESS_KEY=[redacted] SECRET_KEY_BASE=[redacted] secret=no"},
		{"words stay", "PasswordAuthentication no; the password is asked; passwd:x:1; login shell", "PasswordAuthentication no; the password is asked; passwd:x:1; login shell"},
		{"value over lines", "a very-long-se\n  cret-value b", "a [redacted] b"},
		{"value in base64", b64("xy very-long-secret-value z"), "eHkg[redacted]SB6"},
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
	if want := "[redacted]\n" + strings.Repeat("line\n", 294); got != want {
		t.Errorf("%d lines are left, want 294", strings.Count(got, "line"))
	}
	in = strings.Split(pem, "\n")[0] + "\n" + strings.Repeat("b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAA\n", 300)
	if got := string(Redact([]byte(in), nil)); strings.Count(got, "b3Bl") != 101 {
		t.Errorf("%d lines that look like a key's are left, want 101", strings.Count(got, "b3Bl"))
	}
}

// Nothing that a node can send keeps the host busy for long.
func TestRedactIsQuick(t *testing.T) {
	const size = 256 << 10
	for _, piece := range []string{
		"a.", "a/", "%", "%41", "abcdefghijklmnopqrstuvwxyz.", "abcdefghijklmnopqrstuvwxyz/%41~", strings.Repeat("QUJD", 19) + "\n", strings.Repeat("YWJj", 19) + "\n", "YWJj",
		"x", "\n", "http://", "http://a:b", "password", "password=", "-----BEGIN RSA " + "PRIVATE KEY-----\n", "-----END RSA " + "PRIVATE KEY-----\n", "auth\":\"", "SWMTKN-1-abc\n", token[:60] + "\n", token[60:] + "\n",
	} {
		begin := time.Now()
		Redact([]byte(strings.Repeat(piece, size/len(piece))), []string{token, pem})
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("%q over and over: %v", piece, took)
		}
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
		if again := Redact(got, []string{value}); string(again) != string(got) {
			t.Errorf("Redact(%q, %q) = %q, and again %q", text, value, got, again)
		}
		if m := forbidden.Find(got); m != nil {
			t.Errorf("Redact(%q, %q) left %q", text, value, m)
		}
		if len(value) >= shortest && (len(value) >= shortestWord || !isWord(value)) && !strings.ContainsAny(value, "\n\r") && strings.TrimSpace(value) == value &&
			!strings.Contains(redacted, value) && strings.Contains(string(got), value) &&
			!strings.Contains(value, "[") && !strings.Contains(value, "]") {
			t.Errorf("Redact(%q, %q) = %q", text, value, got)
		}
	})
}

package artifact

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// planted are secrets of every kind: how each is written, and the part of it
// that must be found nowhere.
var planted = []struct{ kind, text, secret string }{
	{"worker token", "docker swarm join --token " + token + " docker1:2377", token[60:]},
	{"unlock key", "docker swarm unlock: " + unlock, unlock[9:]},
	{"OpenSSH key", pem, "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQ"},
	{"RSA key", "-----BEGIN RSA " + "PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nMIIEpAIBAAKCAQEA1c7+9z5Pad7OejecsQ0buPr1\nq6SfKt2N5ugJvQ==\n-----END RSA PRIVATE KEY-----", "MIIEpAIBAAKCAQEA1c7+9z5Pad7OejecsQ0buPr1"},
	{"lab's key", "a line alone: " + labKeyLine, labKeyLine},
	{"proxy", "HTTPS_PROXY=http://me:pr0xy-Pa55@proxy:3128", "pr0xy-Pa55"},
	{"known proxy", "the password is kn0wn/pr0xy+Pa55, mind", "kn0wn/pr0xy+Pa55"},
	{"basic", "> Authorization: Basic bWU6YmFzaWMtcGE1NQ==", "bWU6YmFzaWMtcGE1NQ"},
	{"bearer", "Authorization: Bearer b34r3r-t0ken-b34r3r", "b34r3r-t0ken-b34r3r"},
	{"registry header", "X-Registry-Auth: eyJ1c2VybmFtZSI6Im1lIn0abc", "eyJ1c2VybmFtZSI6Im1lIn0abc"},
	{"config.json", `{"auths":{"h":{"auth":"bWU6cmVnaXN0cnk="}}}`, "bWU6cmVnaXN0cnk="},
}

const labKeyLine = "Jx8kQ0wzF1hLr7VbNnYp2sT4uE6gA9cD3mH5oK1iWqZyXvRtBjUlPfSaGeCdMnOh"

// known are the values that a run is told, some of them late.
var known = []string{"kn0wn/pr0xy+Pa55", "-----BEGIN RSA " + "PRIVATE KEY-----\n" + labKeyLine + "\nab==\n-----END RSA PRIVATE KEY-----\n"}

// forms are the ways in which a text gets into a file.
func forms(text string) map[string]string {
	quoted, _ := json.Marshal(text)
	twice, _ := json.Marshal(string(quoted))
	var split strings.Builder
	for i, r := range text { // a narrow window
		if split.WriteRune(r); i%60 == 59 {
			split.WriteString("\n")
		}
	}
	return map[string]string{
		"plain": text, "json": string(quoted), "json in json": string(twice), "split": split.String(),
		"prefixed":   "web.1@docker1 | " + strings.ReplaceAll(text, "\n", "\nweb.1@docker1 | "),
		"json lines": `{"log":"` + strings.ReplaceAll(strings.Trim(string(quoted), `"`), `\n`, "\\n\"}\n{\"log\":\"") + `\n"}`,
	}
}

// leaks names the planted secrets that data holds, also escaped or split.
func leaks(data []byte) []string {
	squeezed := strings.NewReplacer("\n", "", "\r", "", " ", "", `\n`, "", `\`, "", "web.1@docker1|", "").Replace(string(data))
	var out []string
	for _, p := range planted {
		for _, form := range []string{p.secret, url.QueryEscape(p.secret), url.PathEscape(p.secret), base64Core(p.secret, 0), base64Core(p.secret, 1), base64Core(p.secret, 2)} {
			if bytes.Contains(data, []byte(form)) || strings.Contains(squeezed, form) {
				out = append(out, p.kind)
				break
			}
		}
	}
	return out
}

// Whatever way a secret comes in, it is in no file of the folder, and not in
// its archive.
func TestSecretsAreInNoFile(t *testing.T) {
	for _, p := range planted {
		if got := leaks([]byte(p.text)); len(got) != 1 || got[0] != p.kind {
			t.Fatalf("the test does not see its own secret %s: %q", p.kind, got)
		}
	}
	r := newRun(t, "create "+token)
	var streams []io.WriteCloser
	for _, name := range []string{"labctl.log", "vagrant.log", "events.jsonl"} {
		s, err := r.Create(name)
		must(t, err)
		streams = append(streams, s)
	}
	var everything []string
	var entries []entry
	for _, p := range planted {
		r.Missing("nodes/docker2/"+p.kind, "it said: "+p.text)
		for form, text := range forms(p.text) {
			everything = append(everything, text+"\n")
			name := strings.NewReplacer(" ", "-", "'", "").Replace(p.kind + "-" + form + ".txt")
			entries = append(entries, file(name, text+"\n"))
			write(t, r, "host/console/"+name, text)
			write(t, r, "base64/"+name, b64("xx "+text))
			write(t, r, "url/"+name, "?q="+url.QueryEscape(text))
		}
	}
	all := strings.Join(everything, "")
	random := rand.New(rand.NewPCG(1, 2))
	for _, s := range streams {
		for rest := all; rest != ""; { // in pieces of all lengths
			n := min(len(rest), 1+random.IntN(50))
			_, err := io.WriteString(s, rest[:n])
			must(t, err)
			rest = rest[n:]
		}
	}
	e := manager()
	e.answers["/containers/c1"+logs] = frame(1, all) + frame(2, all)
	e.answers["/info"] = fmt.Sprintf(`{"Name":%s,"ServerVersion":%s,"Swarm":{"ControlAvailable":true}}`, forms(all)["json"], forms(token)["json"])
	facts := Collect(t.Context(), r, []Node{{Name: "docker1", Runner: sends(archive(t, entries...), 0, nil), API: e.start(t)}}, CollectOptions{})
	for _, name := range []string{"result.json", "transcript.md"} {
		write(t, r, name, all)
	}
	r.Secret(known...) // late
	must(t, r.Close(Info{
		Err: errors.New(all), Tools: map[string]string{"docker": all, "vagrant": token}, Nodes: []NodeInfo{{Name: "docker1", NodeFacts: facts[0]}},
	}))
	files := 0
	must(t, filepath.WalkDir(r.Dir(), func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		rel, _ := filepath.Rel(r.Dir(), p)
		for _, kind := range leaks([]byte(read(t, p))) {
			t.Errorf("%s holds the %s", rel, kind)
		}
		return nil
	}))
	if want := 3*len(planted)*len(forms("")) + 20; files < want {
		t.Errorf("only %d files of %d", files, want)
	}
	name, err := Archive(r.Dir())
	must(t, err)
	data, err := os.ReadFile(name)
	must(t, err)
	lines, text := packed(t, data)
	if kinds := leaks([]byte(text + strings.Join(lines, "\n"))); kinds != nil || len(lines) != files {
		t.Errorf("the archive of %d files holds %q", len(lines), kinds)
	}
}

// JSON stays JSON, for programs read it: the report and the report's readers.
func TestRedactedJSON(t *testing.T) {
	for _, p := range planted {
		for form, text := range forms(p.text) {
			for _, indent := range []string{"", "  "} {
				doc := map[string]any{"a": text, "b": []string{text + "\n", "x" + text}, "password": text, "z": map[string]any{text: 1}}
				data, err := json.MarshalIndent(doc, "", indent)
				must(t, err)
				if indent == "" {
					data, err = json.Marshal(doc)
					must(t, err)
				}
				got := Redact(data, known)
				if !json.Valid(got) {
					t.Errorf("%s, %s: not JSON any more:\n%s\nwas\n%s", p.kind, form, got, data)
				}
				if kinds := leaks(got); kinds != nil {
					t.Errorf("%s, %s: left the %s in %s", p.kind, form, kinds, got)
				}
			}
		}
	}
}

// What is no secret stays: without it the evidence is worth little.
func TestHarmlessStays(t *testing.T) {
	for _, text := range []string{
		`"Id": "sha256:4f5a1b2c3d4e5f60718293a4b5c6d7e8f9010203040506070809000102030405"`,
		"labctl/toolbox@sha256:4f5a1b2c3d4e5f60718293a4b5c6d7e8f9010203040506070809000102030405",
		`"NodeID": "k8q0zq1x2c3v4b5n6m7l8k9j0", "Task": "hjti3l7zaowugqhlz6l9w4tey"`,
		"-----BEGIN CERTIFICATE-----\nMIIBazCCARCgAwIBAgIUS1AEkjtAvPw6QvBBoP6reK2ltwwCgYIKoZIzj0EAwIw\n-----END CERTIFICATE-----",
		"ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQC7 vagrant", "passwd\t1:4.13+dfsg1-1", "login: docker1 login: root (automatic login)",
		"-A INPUT -m policy --dir in --pol ipsec", "time=\"2026-01-02\" level=info msg=\"Docker daemon\" commit=5d6db84", "https://proxy:3128/x@y and http://h:80/a@sha256:00",
		"[    0.000000] Command line: root=UUID=0c1d2e3f-4a5b-6c7d-8e9f-0a1b2c3d4e5f ro console=ttyS0", "Reached target basic.target - Basic System.",
		"02:42:0a:00:00:03 dev vxlan0 dst 192.168.33.12 link-netnsid 0 self permanent", "join-token -q worker; the token is shown once", "xs:SSH_AUTH_SOCK=/tmp/a",
	} {
		if got := string(Redact([]byte(text), []string{"s3cret"})); got != text {
			t.Errorf("Redact(%q) = %q", text, got)
		}
	}
}

// FuzzStream writes a text with secrets in pieces: none is in the file, wherever
// the pieces end.
func FuzzStream(f *testing.F) {
	for i := range planted {
		f.Add(uint64(i), uint8(i), "before ", "\nafter\n", uint16(7))
	}
	f.Add(uint64(9), uint8(0), strings.Repeat("x", 300)+"\n", "", uint16(1000))
	f.Fuzz(func(t *testing.T, seed uint64, which uint8, before, after string, most uint16) {
		p := planted[int(which)%len(planted)]
		// What stands directly before or after may change what it means.
		text := before + "\n" + p.text + "\n" + after
		r, err := New(t.TempDir(), "create", begun)
		must(t, err)
		r.Secret(known...)
		s, err := r.Create("labctl.log")
		must(t, err)
		random := rand.New(rand.NewPCG(seed, 0))
		for rest := text; rest != ""; {
			n := min(len(rest), 1+random.IntN(int(most)+1))
			_, err := io.WriteString(s, rest[:n])
			must(t, err)
			rest = rest[n:]
		}
		must(t, r.Close(Info{}))
		got := read(t, filepath.Join(r.Dir(), "labctl.log"))
		if strings.Contains(got, p.secret) && !strings.Contains(before+after, p.secret) {
			t.Errorf("%q holds the %s", got, p.kind)
		}
	})
}

// A value that becomes known after it was written is taken out at the end; a
// text that is redacted stays as it is.
func TestSweep(t *testing.T) {
	r := newRun(t, "create")
	write(t, r, "early.txt", "the later-later word\n")
	write(t, r, "clean.txt", "nothing\n")
	before, err := os.Stat(filepath.Join(r.Dir(), "clean.txt"))
	must(t, err)
	log, err := r.Create("labctl.log")
	must(t, err)
	_, err = io.WriteString(log, "one later-later\ntwo lat\ner-later\n")
	must(t, err)
	r.Secret("later-later", "", "very-long-secret-value")
	r.Secret()
	// What was written as a whole and then anew in pieces is searched again.
	write(t, r, "again.txt", "nothing\n")
	again, err := r.Create("again.txt")
	must(t, err)
	for _, piece := range []string{"a very-long-se\n", "  cret-value b\n"} {
		_, err = io.WriteString(again, piece)
		must(t, err)
	}
	if files, _ := closed(t, r); strings.Join(files, ", ") != "again.txt 15, clean.txt 8, early.txt 20, labctl.log 32" {
		t.Errorf("files: %q", files)
	}
	for name, want := range map[string]string{"again.txt": "a [redacted] b\n", "early.txt": "the [redacted] word\n", "clean.txt": "nothing\n", "labctl.log": "one [redacted]\ntwo lat\ner-later\n"} {
		if got := read(t, filepath.Join(r.Dir(), name)); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if after, err := os.Stat(filepath.Join(r.Dir(), "clean.txt")); err != nil || !os.SameFile(before, after) {
		t.Error("a file without a secret was written anew")
	}
}

func TestFilter(t *testing.T) {
	r := newRun(t, "create")
	r.Secret("s3cret")
	var out bytes.Buffer
	w := r.Filter(&out)
	if n, err := io.WriteString(w, "a s3cret and "+token+"\n"); n != 13+len(token)+1 || err != nil {
		t.Errorf("Write = %d, %v", n, err)
	}
	if got := out.String(); got != "a [redacted] and [redacted]\n" {
		t.Errorf("got %q", got)
	}
}

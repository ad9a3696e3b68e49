package report

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// nasty is what somebody might hope to get into a page: markup of several
// kinds, the ends of what could hold it, what steers a terminal, what turns
// the order of letters, and bytes that are no text.
const nasty = `<script>alert(1)</script><img src=x onerror=alert(2)>"'` + "`" + `--></style></title></pre></details>]]>&lt;{{.}}` +
	"\x1b[31mred\x1b[0m\x1b]8;;http://example.org\x07link\x1b]8;;\x07\x00\x07\u202Eevil\u0085\xff\xfe"

// tame is what of it is shown.
const tame = `<script>alert(1)</script><img src=x onerror=alert(2)>"'` + "`" + `--></style></title></pre></details>]]>&lt;{{.}}` +
	"redlink\uFFFDevil\uFFFD"

const nastyWord = `<svg/onload=alert(3)>` // without a space: a cell of a table

// raw is a JSON string that holds s as it is, bytes that are no text, too.
func raw(s string) string {
	q, _ := json.Marshal(strings.ToValidUTF8(s, "\ufffd\ufffd"))
	return strings.ReplaceAll(string(q), "\ufffd\ufffd", "\xff\xfe")
}

// hostile writes a run's folder in which every text is nasty.
func hostile(t *testing.T, dir string) {
	t.Helper()
	n := raw(nasty)
	table := raw(nasty + "\nASKED REPLICA NODE ANSWERS\n" + nastyWord + " " + nastyWord + " " + nastyWord + " 3\n" +
		"FROM TO FORM ADDRESS VERDICT RTT_MS TARGET\n" + strings.Repeat(nastyWord+" ", 5) + "1.5 " + nastyWord + "\n" +
		"error: a-finding\n  symptom   " + strings.ReplaceAll(nasty, "\n", "") + "\n  cause     " + nasty + "\n  remedy    " + nasty + "\n")
	block := func(kind, id string, verdict string) string {
		return `{"name":` + n + `,"chapter":` + n + `,"line":1,"kind":"` + kind + `","place":` + n + `,"id":"` + id + `","verdict":"` + verdict + `","reason":` + n +
			`,"start":"2026-11-25T10:00:01Z","duration_ns":1000000000,"nodes":[{"node":` + n + `,"verdict":"` + verdict + `","reason":` + n +
			`,"tries":2,"exit_code":1,"stdout":` + table + `,"stderr":` + n + `,"duration_ns":1000000000}]}`
	}
	files := map[string]string{
		"manifest.json": `{"schema":1,"command":` + n + `,"started":"2026-11-25T10:00:00Z","finished":"2026-11-25T10:01:00Z","ok":false,"verdict":"FAIL","error":` + n +
			`,"labctl":` + n + `,"tools":{` + n + `:` + n + `},"lab":{"name":` + n + `,"provider":` + n + `,"subnet":` + n + `},"nodes":[{"name":` + n + `,"role":` + n + `,"lab_ip":` + n + `},{"name":"docker1","role":"manager"}],"files":[` +
			`{"name":"<img src=x onerror=alert(4)>.log","size":1},{"name":"../../../etc/passwd","size":2},{"name":"javascript:alert(5)","size":3},` +
			`{"name":"/etc/passwd","size":4},{"name":` + n + `,"size":5},{"name":"nodes/docker1/docker/logs/container-x.log","size":6}],"missing":[{"name":` + n + `,"reason":` + n + `}]}`,
		"result.json": `{"file":` + n + `,"id":` + n + `,"title":` + n + `,"lab":` + n + `,"passed":false,"start":"2026-11-25T10:00:01Z","duration_ns":3000000000,"params":{` + n + `:` + n + `},"blocks":[` +
			block("fault", "x", "passed") + `,` + block("check", "", "passed") + `,` + block("check", "", "failed") + `],"failure":{"file":` + n + `,"line":1,"block":` + n + `,"chapter":` + n + `,"node":` + n +
			`,"command":` + n + `,"output":` + n + `,"reason":` + n + `,"tries":1,"deadline":"30s"}}`,
		"events.jsonl": `{"time":"2026-11-25T10:00:00Z","node":` + n + `,"step":` + n + `,"state":"started"}` + "\n" +
			`{"time":"2026-11-25T10:00:09Z","node":` + n + `,"step":` + n + `,"state":"failed","detail":` + n + `,"elapsed_ns":9000000000}` + "\n",
		"diagnose.json": `{"findings":[{"id":` + n + `,"severity":` + n + `,"symptom":` + n + `,"cause":` + n + `,"evidence":[` + n + `],"remedy":` + n + `}]}`,
		"transcript.md": "<script>alert(6)</script>\n\n```toml scenario\nformat = 1\n```\n\n## A\n\n" + strings.Repeat(
			`<img src=x onerror=alert(7)> [x](javascript:alert(8)) text`+"\n\n```sh @all\necho '<script>alert(9)</script>'\n```\n\n", 3),
		"<img src=x onerror=alert(4)>.log":          "x",
		"nodes/docker1/os-release.txt":              "PRETTY_NAME=\"" + nasty + "\"\n",
		"nodes/docker1/docker/version.json":         `{"Version":` + n + `,"KernelVersion":` + n + `}`,
		"nodes/docker1/docker/networks.json":        `[{"Id":"1","Name":` + n + `,"Driver":` + n + `,"Scope":"swarm","IPAM":{"Config":[{"Subnet":` + n + `}]}},{"Id":"2","Name":"net","Driver":"overlay","Scope":"swarm"}]`,
		"nodes/docker1/docker/network-net.json":     `{"Id":"2","Name":"net","Scope":"swarm","Peers":[{"IP":` + n + `}],"Containers":{` + n + `:{"Name":` + n + `}}}`,
		"nodes/docker1/docker/services.json":        `[{"ID":"s","Spec":{"Name":` + n + `,"TaskTemplate":{"ContainerSpec":{"Image":` + n + `}}},"Endpoint":{"Ports":[{"Protocol":` + n + `,"PublishedPort":80}]}}]`,
		"nodes/docker1/docker/tasks.json":           `[{"ID":"t","ServiceID":"s","NodeID":"n","Slot":1,"DesiredState":"running","Status":{"State":` + n + `,"Err":` + n + `}}]`,
		"nodes/docker1/docker/nodes.json":           `[{"ID":"n","Spec":{"Role":"manager"},"Description":{"Hostname":"docker1"},"Status":{"State":` + n + `}}]`,
		"nodes/docker1/docker/logs/container-x.log": nasty,
	}
	for name, text := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		nasty:                      tame,
		"a\tb\nc":                  "a\tb\nc",
		"10%\r50%\r100%\r\nend":    "10%\n50%\n100%\nend",
		"\x1b[2J\x1b(B\x1bM\x1b=x": "x",
		"\x1b]0;title\x1b\\x":      "x",
		"\x1b":                     "",
		"\x1b[":                    "",
		"日本語 é":                    "日本語 é",
		"\xe6\x97":                 "\uFFFD",
	} {
		if got := clean(in); got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
}

// elements and attributes are all that a page may consist of.
var (
	elements   = strings.Fields("html head meta link title style body a main header h1 h2 h3 h4 span p dl div dt dd small time section ul li strong pre details summary table caption thead tbody tr th td code svg desc line text rect g circle footer br")
	attributes = strings.Fields("lang charset name content http-equiv rel href class id tabindex datetime aria-labelledby aria-label aria-hidden role height style x y x1 x2 y1 y2 cx cy r rx width text-anchor scope open title")
)

// markup returns the elements and attributes of a page that are not allowed,
// and the text of all the others.
func markup(t *testing.T, html []byte) (foreign, links []string, text string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(string(html)))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	var all strings.Builder
	apart := func(element string) {
		if !slices.Contains([]string{"strong", "span", "small", "a", "code"}, element) {
			all.WriteString("\n")
		}
	}
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return foreign, links, all.String()
		}
		if err != nil {
			t.Fatalf("the page cannot be read: %v", err)
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			if !slices.Contains(elements, tok.Name.Local) {
				foreign = append(foreign, "<"+tok.Name.Local+">")
			}
			for _, a := range tok.Attr {
				if !slices.Contains(attributes, a.Name.Local) {
					foreign = append(foreign, tok.Name.Local+" "+a.Name.Local)
				}
				if a.Name.Local == "href" {
					links = append(links, a.Value)
				}
			}
			apart(tok.Name.Local)
		case xml.EndElement:
			apart(tok.Name.Local)
		case xml.CharData:
			all.Write(tok)
		}
	}
}

func TestHostile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	hostile(t, dir)
	if err := Write(dir); err != nil {
		t.Fatal(err)
	}
	r, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	page := read(t, filepath.Join(dir, HTMLName))
	junit, err := r.JUnit()
	if err != nil {
		t.Fatal(err)
	}
	c := Comparison{Runs: []Compared{{Report: r, Label: nasty, Href: "./run/" + HTMLName}, {Report: r, Label: "b"}}}
	compared, err := c.HTML()
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"report.html": page, "compare.html": compared} {
		foreign, links, text := markup(t, data)
		if len(foreign) > 0 {
			t.Errorf("%s has markup that is not its own: %q", name, foreign)
		}
		for _, l := range links {
			if l != "data:," && l != "#main" && !strings.HasPrefix(l, "./") {
				t.Errorf("%s links to %s", name, l)
			}
		}
		if !strings.Contains(text, "<script>alert(1)</script><img src=x onerror=alert(2)>") {
			t.Errorf("%s does not show what was printed", name)
		}
	}
	_, links, text := markup(t, page)
	want := []string{"data:,", "#main", "./%3Cimg%20src=x%20onerror=alert%284%29%3E.log", "./nodes/docker1/docker/logs/container-x.log"}
	if !slices.Equal(links, want) {
		t.Errorf("links: %q, want %q", links, want)
	}
	for _, s := range []string{tame, nastyWord, "../../../etc/passwd 2 B, not there", "javascript:alert(5) 3 B, not there", "echo '<script>alert(9)</script>'", "1.5 ms"} {
		if !strings.Contains(text, s) {
			t.Errorf("the page does not show %q", s)
		}
	}
	if err := xml.Unmarshal(junit, &junitSuites{}); err != nil {
		t.Errorf("JUnit: %v", err)
	}
	text = ""
	if err := c.Text(writer(func(p []byte) { text += string(p) })); err != nil {
		t.Error(err)
	}
	for name, data := range map[string]string{"report.html": string(page), "report.json": string(read(t, filepath.Join(dir, JSONName))), "JUnit": string(junit), "compare": text} {
		bad := strings.IndexFunc(data, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' || r == '\u202e' })
		if bad >= 0 || !utf8.ValidString(data) {
			t.Errorf("%s has control characters or bytes that are no text, at %d", name, bad)
		}
	}
}

type writer func([]byte)

func (w writer) Write(p []byte) (int, error) { w(p); return len(p), nil }

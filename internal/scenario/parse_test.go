package scenario

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// head is a sound head of 9 lines; what is appended begins in line 10.
const head = "```toml scenario\nformat = 1\nid = \"x\"\ntitle = \"X\"\nnodes = { managers = 1, workers = 1 }\n" +
	"[params]\nport = 8080\ntext = \"a\"\n```\n"

// okCheck keeps the complaint away that nothing is checked.
const okCheck = "On the manager:\n```sh @manager check\ntrue\n```\n"

func problemsOf(t *testing.T, src string) string {
	t.Helper()
	_, warnings, err := Load("d.md", []byte(src))
	var lines []string
	if err != nil {
		var p *Problems
		if !errors.As(err, &p) {
			t.Fatalf("error of type %T", err)
		}
		lines = append(lines, err.Error())
	}
	for _, w := range warnings {
		lines = append(lines, w.String())
	}
	return strings.Join(lines, "\n")
}

// block is one fence below a sound head; its opening line is 12.
func block(info, script string) string {
	return head + "\nmanager, worker, every node, host, docker1\n```sh " + info + "\n" + script + "\n```\n" + okCheck
}

func TestMistakesInBlocks(t *testing.T) {
	for _, tt := range []struct{ info, script, want string }{
		{"@manager", "true", ""},
		{"@docker1", "true", ""},
		{"@worker1 id=a save=A timeout=1m exit=3", "true", ""},
		{"manager", "true", `d.md:12: place "manager" does not begin with @; did you mean "@manager"?`},
		{"mangaer check", "true", `d.md:12: place "mangaer" does not begin with @; did you mean "@manager"?`},
		{"@mangaer", "true", `d.md:12: unknown place @mangaer; did you mean "@manager"?`},
		{"@hosts", "true", `d.md:12: unknown place @hosts; did you mean "@host"?`},
		{"@", "true", `d.md:12: place "@" is no role, no node's name, and neither @all nor @host`},
		{"@worker2", "true", `d.md:12: @worker2 needs 2 worker(s), but the head asks for workers = 1`},
		{"@manager chekc", "true", `d.md:12: unknown kind "chekc": it must be check, solve, fault, undo or cleanup, or nothing for a step; did you mean "check"?`},
		{"@manager fail", "true", `d.md:12: unknown kind "fail": it must be check, solve, fault, undo or cleanup, or nothing for a step; did you mean "fails"?`},
		{"@manager id=a check", "true", `d.md:12: the kind "check" must stand right after the place`},
		{"@manager check withn=5s", "true", `d.md:12: unknown setting "withn": it must be id, for, save, within, every, timeout, fails, exit, shows or given; did you mean "within"?`},
		{"@manager check Within=5s", "true", `d.md:12: unknown setting "Within": it must be id, for, save, within, every, timeout, fails, exit, shows or given; did you mean "within"?`},
		{"@manager within=5s", "true", `d.md:12: a step takes no setting "within"; did you mean "timeout"?`},
		{"@manager cleanup save=A", "true", `d.md:12: a cleanup takes no setting "save"`},
		{"@manager check within=5", "true", `d.md:12: within="5" is no duration such as 90s, 500ms or 2m; did you mean "within=5s"?`},
		{"@manager check within=-5s", "true", `d.md:12: within="-5s" is no duration such as 90s, 500ms or 2m`},
		{"@manager check within=5s every=6s", "true", `d.md:12: every=6s is longer than within=5s: it would be tried only once`},
		{"@manager id=a id=b", "true", `d.md:12: setting "id" is given twice`},
		{"@manager id=A", "true", `d.md:12: id="A": an id is made of small letters, digits and hyphens`},
		{"@manager save=a", "true", `d.md:12: save="a": a variable is made of capitals, digits and _; did you mean "A"?`},
		{"@manager save=NODE", "true", `d.md:12: save=NODE would overwrite a variable that is already there`},
		{"@manager save=PORT", "true", `d.md:12: save=PORT would overwrite a variable that is already there`},
		{"@manager fails exit=1", "true", `d.md:12: settings "fails" and "exit" exclude each other`},
		{"@manager fails=yes", "true", `d.md:12: setting "fails" takes no value; did you mean "exit=yes"?`},
		{"@manager timeout", "true", "d.md:12: unknown kind \"timeout\": it must be check, solve, fault, undo or cleanup, or nothing for a step"},
		{"@manager exit=256", "true", `d.md:12: exit="256" is no exit code from 0 to 255`},
		{`@manager shows="a`, "true", `d.md:12: a quote is not closed`},
		{`@manager shows="a"fails`, "true", `d.md:12: a space must follow the closing quote`},
		{`@manager shows=a"b"`, "true", `d.md:12: a quote must follow a key, as in shows="text"`},
		{`@manager shows="\n"`, "true", `d.md:12: \n inside quotes: only \" and \\ are known`},
		{`@manager shows=""`, "true", `d.md:12: shows="" is shown by every output`},
		{"@manager fault", "true", `d.md:12: a fault needs an id=…, for its undo to name`},
		{"@manager fault id=cut", "true", `d.md:12: fault id=cut has no undo for=cut`},
		{"@manager undo", "true", `d.md:12: an undo needs a for=…, the id of its fault`},
		{"@manager cleanup for=net", "true", `d.md:12: for=net: no block has this id`},
		{"@manager", "", "d.md:12: the block is empty"},
		{"@manager", "if true; then", "d.md:13: shell syntax: `then` must be followed by a statement list"},
		{"@manager", "echo ok\necho 'a", "d.md:14: shell syntax: reached EOF without closing quote `'`"},
		{"@manager", "a=(1 2)", "d.md:13: shell syntax: a plain sh does not know arrays"},
		{"@manager", "echo $PROT", `d.md:13: $PROT is not set: it is no parameter, not saved before, and not assigned in the block; did you mean "$PORT"?`},
		{"@manager", "echo $PORT\necho \"${TEXTT}\" $TEXTT", `d.md:14: $TEXTT is not set: it is no parameter, not saved before, and not assigned in the block; did you mean "$TEXT"?`},
		{"@manager", "echo ${X:-1} ${Y+1} ${Z:=1} $Z", ""},
		{"@manager", "for i in 1; do echo $i; done; read -r a; echo $a; b=1; echo $b $? $# $((b + 1))", ""},
		{"@manager", "f() { echo $1; }; f a; set -- a; echo $2", ""},
		{"@manager", "echo $1", `d.md:13: $1 is not set: it is no parameter, not saved before, and not assigned in the block`},
		{"@manager", "echo $LAB_IP_DOCKER1 $MANAGER_IP $LAB_IP $HOME", ""},
		{"@manager", "cat <<END\n$NOPE\nEND", `d.md:14: $NOPE is not set: it is no parameter, not saved before, and not assigned in the block; did you mean "$NODE"?`},
		{"@manager", "awk '\n  ENVIRON[\"PORT\"] > ENVIRON[\"PROT\"]'", `d.md:14: $PROT is not set: it is no parameter, not saved before, and not assigned in the block; did you mean "$PORT"?`},
		{"@manager", "X=1 awk 'ENVIRON[\"X\"] > ENVIRON[\"LAB\"]'", ""},
		{"@host", "echo $LAB_IP", `d.md:13: $LAB_IP is not set: it is no parameter, not saved before, and not assigned in the block; did you mean "$LAB_IPS"?`},
		{"@manager", "docker service create -p 22:80 x", `d.md:13: publishing port 22 would cut the lab off: labctl reaches the nodes by it`},
		{"@manager", "docker service create \\\n  --publish=2377:80 x", `d.md:14: publishing port 2377 would cut the lab off: the managers speak by it`},
		{"@manager", "sudo docker service update --publish-add published=7946,target=80 x", `d.md:13: publishing port 7946 would cut the lab off: the nodes of the swarm gossip by it`},
		{"@manager", "docker run -p\"4789:4789/udp\" x", `d.md:13: publishing port 4789 would cut the lab off: the overlay networks run over it`},
		{"@manager", "docker run -p 127.0.0.1:20-30:80-90 x", `d.md:13: publishing port 22 would cut the lab off: labctl reaches the nodes by it`},
		{"@manager", "docker service create -p \"$PORT:22\" -p 22 -p $((1+1)):80 x", ""},
	} {
		t.Run(tt.info+" "+tt.script, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, problemsOf(t, block(tt.info, tt.script))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// No slip may turn a block into prose, or prose into a part of a block.
func TestBlocksDoNotVanish(t *testing.T) {
	const notRead = `this is not read as a block: it needs an empty line before it, at most three spaces in front, and no ` + "` in its settings"
	for name, tt := range map[string]struct{ body, want string }{
		"other language":   {"```bash @manager check\ntrue\n```\n", `d.md:10: "bash @manager check" is no block: its language must be sh, then a space and the place; did you mean "sh @manager check"?`},
		"capitals":         {"```SH @host\ntrue\n```\n", `d.md:10: "SH @host" is no block: its language must be sh, then a space and the place; did you mean "sh @host"?`},
		"no space":         {"```sh@host\ntrue\n```\n", `d.md:10: "sh@host" is no block: its language must be sh, then a space and the place; did you mean "sh @host"?`},
		"no language":      {"``` @host\ntrue\n```\n", `d.md:10: "@host" is no block: its language must be sh, then a space and the place; did you mean "sh @host"?`},
		"plain":            {"```sh\n$ docker ps\n```\n```text\n@manager\n```\n", ""},
		"inside HTML":      {"<details><summary>x</summary>\n```sh @manager\ntrue\n```\n</details>\n\n", "d.md:11: " + notRead},
		"inside a comment": {"<!--\n```sh @manager\ntrue\n```\n-->\n\n", ""},
		"indented":         {"text\n\n    ```sh @manager\n    true\n    ```\n\n", "d.md:12: " + notRead},
		"a backtick": {"```sh @manager shows=\"`\"\ntrue\n```\n\n", "d.md:1: no block is a check: such a document could not fail\nd.md:10: " + notRead +
			"\nd.md:15: this is not read as a block: the fence that opens in line 12 is not closed"},
		"example":            {"````md\n```sh @manager\ntrue\n```\n````\n", ""},
		"prose never closed": {"```text\na\n\n```sh @manager\ntrue\n```\n", "d.md:13: this is not read as a block: the fence that opens in line 10 is not closed"},
		"block never closed": {"manager\n```sh @manager\necho a\n\ntext\n\n```sh @worker\ntrue\n```\n", "d.md:16: a fence inside the block that opens in line 11: that one is not closed"},
		"second head":        {"```toml scenario\nformat = 1\n```\n", "d.md:10: a second scenario head; the first is in line 1"},
	} {
		t.Run(name, func(t *testing.T) {
			got := problemsOf(t, head+tt.body+okCheck)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	got := problemsOf(t, head+okCheck+"host\n```sh @host\ntrue\n")
	if want := "d.md:15: the block is never closed"; got != want {
		t.Errorf("at the end: got %q, want %q", got, want)
	}
}

func TestMistakesInHead(t *testing.T) {
	sound := "format = 1\nid = \"x\"\ntitle = \"X\"\nnodes = { managers = 1 }\n"
	for name, tt := range map[string]struct{ head, want string }{
		"sound":      {sound, ""},
		"empty":      {"", "d.md:1: scenario head: format is missing\nd.md:1: scenario head: id is missing\nd.md:1: scenario head: title is missing\nd.md:4: @manager needs 1 manager(s), but the head asks for managers = 0"},
		"syntax":     {sound + "a = = 1\n", "d.md:6: scenario head: expected value but found '=' instead"},
		"format":     {strings.Replace(sound, "1", "2", 1), "d.md:2: format = 2: this labctl reads format 1"},
		"key":        {sound + "minute = 1\n", `d.md:6: scenario head: unknown key "minute": it must be format, id, title, minutes, nodes or params; did you mean "minutes"?`},
		"total":      {strings.Replace(sound, "managers = 1", "managers = 1, total = 1", 1), "d.md:5: nodes: total = 1 says nothing: managers and workers make 1 already"},
		"node key":   {strings.Replace(sound, "managers", "manager", 1), "d.md:5: scenario head: unknown key \"nodes.manager\": it must be managers, workers or total; did you mean \"managers\"?\nd.md:8: @manager needs 1 manager(s), but the head asks for managers = 0"},
		"kinds":      {"format = \"1\"\nid = 4\ntitle = \" \"\nnodes = 2\nminutes = 1.5\n", "d.md:2: scenario head: format must be a whole number\nd.md:3: scenario head: id must be a text in quotes\nd.md:4: scenario head: title is empty\nd.md:5: scenario head: nodes must be a table\nd.md:6: scenario head: minutes must be a whole number\nd.md:9: @manager needs 1 manager(s), but the head asks for managers = 0"},
		"params":     {sound + "[params]\nA = 1\nnode = \"x\"\nb = true\nc = { min = 1 }\nd = { default = 9, max = 8 }\ne = { default = \"x\", min = 1 }\nf = { default = 1, hlep = \"\" }\ng = { default = 1, min = 3, max = 2 }\nh = \"\"\"a\nb\"\"\"\n", "d.md:7: parameter \"A\": a name is made of small letters, digits and _\nd.md:8: parameter \"node\": labctl itself sets $NODE\nd.md:9: parameter \"b\": its default must be a text or a whole number\nd.md:10: parameter \"c\" has no default\nd.md:11: parameter \"d\": its default must be at most 8, not 9\nd.md:12: parameter \"e\": min and max are for numbers, its default is a text\nd.md:13: scenario head: unknown key \"params.f.hlep\": it must be default, min, max or help; did you mean \"help\"?\nd.md:14: parameter \"g\": min 3 is above max 2\nd.md:15: parameter \"h\": its default must be one line"},
		"same names": {sound + "[params]\nid = \"x\"\n[params.title]\ndefault = 1\nmin = 2\n", "d.md:8: parameter \"title\": its default must be at least 2, not 1"},
	} {
		t.Run(name, func(t *testing.T) {
			got := problemsOf(t, "```toml scenario\n"+tt.head+"```\n"+okCheck)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	for name, tt := range map[string]struct{ src, want string }{
		"none":       {"manager\n```sh @manager check\ntrue\n```\n", "d.md:1: no scenario head: the first fence must be ```toml scenario"},
		"misspelled": {"```toml scenaro\n```\n", "d.md:1: \"toml scenaro\" is no scenario head; did you mean \"toml scenario\"?"},
		"not first":  {"```text\na\n```\n" + head + okCheck, "d.md:4: the scenario head must be the first fence of the page, but one opens in line 1"},
		"binary":     {"a\xff", "d.md:1: the file is not plain UTF-8 text"},
		"nothing":    {"", "d.md:1: no scenario head: the first fence must be ```toml scenario"},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, problemsOf(t, tt.src)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestMistakesBetweenBlocks(t *testing.T) {
	got := problemsOf(t, head+`
On the manager:
`+"```sh @manager id=a save=GOT\necho $LATER\n```"+`
On the worker:
`+"```sh @worker id=a\necho $GOT\n```"+`
Somewhere:
`+"```sh @worker undo for=a save=LATER\ntrue\n```"+`
On the manager:
`+"```sh @manager fault id=cut\ntrue\n```"+`
On the manager:
`+"```sh @manager undo for=cut\ntrue\n```"+`
On the manager:
`+"```sh @manager undo for=cut\ntrue\n```"+`
On the manager:
`+"```sh @manager cleanup for=cot\ntrue\n```"+`
`)
	want := `d.md:1: no block is a check: such a document could not fail
d.md:13: $LATER is not set: it is no parameter, not saved before, and not assigned in the block
d.md:16: id=a is used twice, first in line 12
d.md:20: an undo takes no setting "save"
d.md:32: a second undo for=cut; the first is in line 28
d.md:36: for=cot: no block has this id`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestProseMustNameThePlace(t *testing.T) {
	got := problemsOf(t, head+"Type this.\n```sh @manager check\ntrue\n```\nOn docker1:\n```sh @docker1\ntrue\n```\n全ノードで:\n```sh @all\ntrue\n```\n")
	want := "d.md:11: warning: the text above the block does not say that it runs on @manager (a reader does not see that word): write manager or マネージャ"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A document with every part of the format.
func TestParsedForm(t *testing.T) {
	src, err := os.ReadFile("testdata/whole.md")
	if err != nil {
		t.Fatal(err)
	}
	d, warnings, err := Load("whole.md", src)
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	j, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "whole.json", append(j, '\n'))

	// Windows line ends change nothing.
	crlf, _, err := Load("whole.md", []byte(strings.ReplaceAll(string(src), "\n", "\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(d, crlf, cmp.AllowUnexported(Document{}, Block{})); diff != "" {
		t.Errorf("CRLF (-want +got):\n%s", diff)
	}
}

func FuzzParse(f *testing.F) {
	for _, file := range []string{"../../scenarios/lb.md", "testdata/whole.md"} {
		src, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	}
	f.Add([]byte(block("@manager check within=5s shows=\"a\"", "echo $1")))
	f.Add([]byte(head + "<details>\n```sh @manager\n\n> ~~~sh @all check\n> true\n> ~~~\n1. ```sh @host\n   x\n   ```\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		d, _, err := Load("f.md", src)
		lines := strings.Split(strings.ReplaceAll(string(src), "\r\n", "\n"), "\n")
		if err != nil {
			var p *Problems
			if !errors.As(err, &p) || len(p.List) == 0 {
				t.Fatalf("error of type %T: %v", err, err)
			}
			for _, one := range p.List {
				if one.Line < 1 || one.Line > len(lines)+1 {
					t.Errorf("line %d of %d: %s", one.Line, len(lines), one.Reason)
				}
			}
			return
		}
		for _, b := range d.Blocks {
			if open := lines[b.Line-1]; !strings.Contains(open, "sh") || !strings.Contains(open, "@"+b.Place) {
				t.Errorf("block %d is said to open with %q", b.Index, open)
			}
			if b.EndLine <= b.Line || b.EndLine > len(lines) {
				t.Errorf("block %d spans lines %d to %d", b.Index, b.Line, b.EndLine)
			}
		}
		_ = (&Result{Blocks: make([]BlockResult, len(d.Blocks))}).Transcript(d)
	})
}

// The example of the reference is sound.
func TestReferenceExample(t *testing.T) {
	src, err := os.ReadFile("../../docs/scenarios.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(src), "````md\n")
	example, _, closed := strings.Cut(rest, "````\n")
	if !ok || !closed {
		t.Fatal("no example found")
	}
	if got := problemsOf(t, example); got != "" {
		t.Error(got)
	}
}

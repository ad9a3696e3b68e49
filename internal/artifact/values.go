package artifact

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

const (
	// shortest is the length below which a value is no secret: to blank out
	// every "a" would destroy the evidence and protect nothing.
	shortest = 4
	// shortestWord is that of a word of letters alone, such as docker: if that
	// is a password, it is found where it looks like one.
	shortestWord = 8
	// shortestLine is that of a line of a private key, the last of which can
	// be a few letters.
	shortestLine = 16
	// shortestSplit and longestSplit bound what is searched across line breaks.
	shortestSplit, longestSplit = 12, 128
	// shortestBase64 is the length below which the base64 form of a value is
	// not searched for: a part of it, 7 letters, could be anything.
	shortestBase64 = 6
)

// variants adds how JSON, URLs, systemd and base64 write the values. Longer
// ones come first: a value may be a part of another. Of a value of several
// lines each line counts.
func variants(values []string) []string {
	var out []string
	add := func(s string, least int) {
		if len(s) >= least {
			out = append(out, s)
		}
	}
	for _, value := range values {
		least := shortest
		if keyBegin.MatchString(value) {
			least = shortestLine
		}
		for _, v := range strings.Split(value, "\n") {
			v = strings.TrimSpace(v)
			if len(v) < least || len(v) < shortestWord && isWord(v) {
				continue
			}
			add(v, least)
			add(url.QueryEscape(v), least)
			add(url.PathEscape(v), least)
			add(strings.ReplaceAll(v, "%", "%%"), least)
			add(strings.ReplaceAll(v, "/", `\/`), least)
			if quoted, err := json.Marshal(v); err == nil {
				once := string(quoted[1 : len(quoted)-1])
				add(once, least)
				add(strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(once), least)
				if again, err := json.Marshal(once); err == nil {
					add(string(again[1:len(again)-1]), least)
				}
			}
			if len(v) >= shortestBase64 {
				for offset := range 3 {
					core := base64Core(v, offset)
					add(core, shortest)
					add(strings.NewReplacer("+", "-", "/", "_").Replace(core), shortest)
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b))
	})
	return slices.Compact(out)
}

func isWord(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return !unicode.IsLetter(r) }) < 0
}

// splits returns what of a value is searched across line breaks: its lines that
// are long enough to be broken, and no text.
func splits(value string) []string {
	var out []string
	for v := range strings.Lines(value) {
		v = strings.TrimSpace(v)
		if len(v) >= shortestSplit && len(v) <= longestSplit && !strings.ContainsAny(v, " \t\r|") {
			out = append(out, v)
		}
	}
	return out
}

// splitValue is a value that a line break may split.
type splitValue struct {
	head, tail []byte // one of them is whole, wherever the break is
	find       func() *regexp.Regexp
}

func newSplitValue(v string) splitValue {
	var expr strings.Builder
	for i, r := range v {
		if i > 0 {
			expr.WriteString(gap)
		}
		expr.WriteString(regexp.QuoteMeta(string(r)))
	}
	half := len(v) / 2
	return splitValue{[]byte(v[:half]), []byte(v[len(v)-half:]), lazy(expr.String())}
}

func (s splitValue) redact(data []byte) []byte {
	if !bytes.Contains(data, s.head) && !bytes.Contains(data, s.tail) {
		return data
	}
	return s.find().ReplaceAll(data, []byte(redacted))
}

// base64Core is what base64 makes of s after offset other bytes (of 3), whatever
// those are and whatever follows.
func base64Core(s string, offset int) string {
	code := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("\x00", offset) + s))
	return code[(offset*8+5)/6 : (offset+len(s))*8/6]
}

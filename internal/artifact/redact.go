package artifact

import (
	"bytes"
	"cmp"
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

const redacted = "[redacted]"

// shortest is the length below which a value is no secret: to blank out every
// "a" would destroy the evidence and protect nothing.
const shortest = 4

// A pattern is tried only where one of its words occurs, in whatever case: the
// expressions are some 20 times slower than the search for a word.
var patterns = []struct {
	words   []string // in small letters
	find    *regexp.Regexp
	replace string
}{
	// Swarm join tokens and unlock keys.
	{[]string{"swmtkn-1-"}, regexp.MustCompile(`SWMTKN-1-[0-9A-Za-z-]*`), redacted},
	{[]string{"swmkey-1-"}, regexp.MustCompile(`SWMKEY-1-[0-9A-Za-z+/=_-]*`), redacted},
	// https://user:password@host, up to the last @ before a slash or space.
	{[]string{"://"}, regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://[^/\s:@"'<>]*:)[^/\s"'<>]+@`), "${1}" + redacted + "@"},
	// HTTP headers, as curl, Go and JSON show them.
	{[]string{"authorization", "x-registry-"}, regexp.MustCompile(`(?i)((?:authorization|x-registry-auth|x-registry-config)\\*["']?[ \t]*[:=][ \t]*(?:\[\s*\\*["']|\\*["']?))[^"'\\\s\]][^"'\\\r\n]*`), "${1}" + redacted},
	// ~/.docker/config.json and its like.
	{[]string{`auth"`, `auth\`, `passw`, `token"`, `token\`, `unlockkey`}, regexp.MustCompile(`(?i)(\\*"(?:auth|password|passwd|identitytoken|registrytoken|jointoken|unlockkey)\\*"\s*:\s*\\*")[^"\\]+`), "${1}" + redacted},
}

var (
	keyBegin = regexp.MustCompile(`-----BEGIN [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----`)
	keyEnd   = regexp.MustCompile(`-----END [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----`)
)

// longestKey is the number of lines after which a private key without an end
// is taken to be over, so that one stray BEGIN cannot swallow a whole log.
const longestKey = 200

// Redact returns data with secrets replaced by "[redacted]": swarm join tokens
// and unlock keys, PEM private keys, passwords in URLs, Authorization headers,
// Docker's auth entries, and each of values (as it is, and as JSON and URLs
// escape it). Values shorter than 4 bytes are left alone.
func Redact(data []byte, values []string) []byte {
	r := redactor{values: variants(values)}
	return r.text(data)
}

// redactor redacts a text piece by piece; it remembers whether it is within a
// private key.
type redactor struct {
	values []string // as variants returns them
	inKey  int      // lines of a private key seen so far; 0 outside
}

// text redacts whole lines.
func (r *redactor) text(data []byte) []byte {
	if r.inKey > 0 || bytes.Contains(data, []byte("PRIVATE KEY")) {
		var out []byte
		for line := range bytes.Lines(data) {
			out = append(out, r.keys(line)...)
		}
		data = out
	}
	lower := bytes.ToLower(data)
	for _, p := range patterns {
		occurs := func(word string) bool { return bytes.Contains(lower, []byte(word)) }
		if !slices.ContainsFunc(p.words, occurs) {
			continue
		}
		data = p.find.ReplaceAll(data, []byte(p.replace))
	}
	for _, v := range r.values {
		data = bytes.ReplaceAll(data, []byte(v), []byte(redacted))
	}
	return data
}

// keys takes private keys out of one line.
func (r *redactor) keys(line []byte) []byte {
	var out []byte
	if r.inKey > 0 {
		end := keyEnd.FindIndex(line)
		switch {
		case end != nil:
			r.inKey = 0
			line = line[end[1]:]
		case r.inKey < longestKey:
			r.inKey++
			return nil
		default:
			r.inKey = 0
		}
	}
	for {
		begin := keyBegin.FindIndex(line)
		if begin == nil {
			return append(out, line...)
		}
		out = append(append(out, line[:begin[0]]...), redacted...)
		line = line[begin[1]:]
		end := keyEnd.FindIndex(line)
		if end == nil {
			r.inKey = 1
			return append(out, '\n')
		}
		line = line[end[1]:]
	}
}

// variants adds how JSON and URLs write the values. Longer ones come first: a
// value may be a part of another. Of a value of several lines each line counts.
func variants(values []string) []string {
	var out []string
	add := func(s string) {
		if len(s) >= shortest {
			out = append(out, s)
		}
	}
	for _, value := range values {
		for _, v := range strings.Split(value, "\n") {
			v = strings.TrimSpace(v)
			add(v)
			add(url.QueryEscape(v))
			add(url.PathEscape(v))
			if quoted, err := json.Marshal(v); err == nil {
				add(string(quoted[1 : len(quoted)-1]))
			}
		}
	}
	slices.SortFunc(out, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b))
	})
	return slices.Compact(out)
}

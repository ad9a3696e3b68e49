package config

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// The TOML library forgets where a key stood as soon as it stands in an array,
// so keyLines reads the file a second time for that alone.

// keyLines maps each key path, as in nodes[1].ip, to its line. src must be
// valid TOML; of anything else some paths may be missing.
func keyLines(src []byte) map[string]int {
	s := &scanner{src: string(src), line: 1, lines: map[string]int{}, count: map[string]int{}}
	prefix := ""
	for s.blank(true); s.pos < len(s.src); s.blank(true) {
		before := s.pos
		switch {
		case strings.HasPrefix(s.rest(), "[["):
			s.pos += 2
			prefix = s.header(true)
		case s.peek() == '[':
			s.pos++
			prefix = s.header(false)
		default:
			s.assignment(prefix)
		}
		if s.pos == before { // not TOML: go on behind it
			s.pos++
		}
	}
	return s.lines
}

type scanner struct {
	src   string
	pos   int
	line  int
	lines map[string]int
	count map[string]int // tables so far of each [[array]]
}

func (s *scanner) rest() string { return s.src[s.pos:] }

func (s *scanner) peek() byte {
	if s.pos < len(s.src) {
		return s.src[s.pos]
	}
	return 0
}

// note keeps the first line of a path: a table that is named again by a
// deeper header stays where it began.
func (s *scanner) note(path string, line int) {
	if _, ok := s.lines[path]; !ok {
		s.lines[path] = line
	}
}

// longPath bounds the work on a file of nothing but nested brackets: deeper
// keys count as standing where their table does.
const longPath = 500

func (s *scanner) join(path, part string) string {
	if len(path) < longPath {
		return joinKey(path, part)
	}
	return path
}

// blank passes blanks, and with newlines also line ends and comments.
func (s *scanner) blank(newlines bool) {
	for s.pos < len(s.src) {
		switch c := s.src[s.pos]; {
		case c == ' ' || c == '\t' || c == '\r':
			s.pos++
		case newlines && c == '\n':
			s.pos++
			s.line++
		case newlines && c == '#':
			s.until("\n")
		default:
			return
		}
	}
}

// until moves to the first of the given characters, or to the end.
func (s *scanner) until(chars string) {
	if i := strings.IndexAny(s.rest(), chars); i >= 0 {
		s.pos += i
	} else {
		s.pos = len(s.src)
	}
}

// header reads the rest of [a.b] or [[a.b]] and returns the path of the table.
func (s *scanner) header(array bool) string {
	line := s.line
	path := ""
	parts := s.key()
	for i, part := range parts {
		path = s.join(path, part)
		if i == len(parts)-1 && array {
			s.note(path, line)
			s.count[path]++
		}
		if n := s.count[path]; n > 0 {
			path = fmt.Sprintf("%s[%d]", path, n-1)
		}
		s.note(path, line)
	}
	s.until("\n")
	return path
}

// assignment reads key = value.
func (s *scanner) assignment(prefix string) {
	line := s.line
	path := prefix
	for _, part := range s.key() {
		path = s.join(path, part)
		s.note(path, line)
	}
	s.blank(false)
	if s.peek() == '=' {
		s.pos++
		s.value(path)
	}
}

// key reads a dotted key into its parts.
func (s *scanner) key() []string {
	var parts []string
	for {
		s.blank(false)
		switch s.peek() {
		case '"', '\'':
			text := s.quoted()
			if name, err := strconv.Unquote(text); err == nil && text[0] == '"' {
				parts = append(parts, name)
			} else {
				parts = append(parts, strings.Trim(text, `"'`))
			}
		default:
			from := s.pos
			s.until(" \t\r\n.=]#,}")
			parts = append(parts, s.src[from:s.pos])
		}
		s.blank(false)
		if s.peek() != '.' {
			return parts
		}
		s.pos++
	}
}

// quoted passes a one-line or many-line string and returns it with its quotes.
func (s *scanner) quoted() string {
	from, quote := s.pos, s.src[s.pos:s.pos+1]
	end := quote
	if strings.HasPrefix(s.rest(), strings.Repeat(quote, 3)) {
		end = strings.Repeat(quote, 3)
	}
	s.pos += len(end)
	for s.pos < len(s.src) && !strings.HasPrefix(s.rest(), end) {
		if s.peek() == '\\' && quote == `"` {
			s.pos++
		}
		if s.peek() == '\n' {
			s.line++
		}
		s.pos++
	}
	s.pos = min(s.pos+len(end), len(s.src))
	// A many-line string may end in up to two quotes of its own.
	for len(end) == 3 && strings.HasPrefix(s.rest(), quote) {
		s.pos++
	}
	return s.src[from:s.pos]
}

func (s *scanner) value(path string) {
	s.blank(false)
	switch s.peek() {
	case '"', '\'':
		s.quoted()
	case '[':
		s.pos++
		for i := 0; s.more(']'); i++ {
			item, before := path, s.pos
			if len(path) < longPath {
				item = fmt.Sprintf("%s[%d]", path, i)
			}
			s.note(item, s.line)
			if s.value(item); s.pos == before { // not TOML
				return
			}
		}
	case '{':
		s.pos++
		for s.more('}') {
			before := s.pos
			if s.assignment(path); s.pos == before { // not TOML
				return
			}
		}
	default:
		s.until(",]}#\n")
	}
}

// more moves to the next item of an array or inline table, or behind its end.
func (s *scanner) more(end byte) bool {
	for s.blank(true); s.peek() == ','; s.blank(true) {
		s.pos++
	}
	if s.peek() == end {
		s.pos++
		return false
	}
	return s.pos < len(s.src)
}

var bareKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// joinKey writes the path of a key in a table, quoted where TOML would.
func joinKey(table, key string) string {
	if !bareKey.MatchString(key) {
		key = strconv.Quote(key)
	}
	if table == "" {
		return key
	}
	return table + "." + key
}

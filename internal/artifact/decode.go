package artifact

import (
	"bytes"
	"encoding/base64"
	"net/url"
	"regexp"
	"unicode"
	"unicode/utf8"
)

const (
	// shortestCoded is the length below which a word is not decoded: what a
	// pattern finds is longer.
	shortestCoded = 20
	// foldedWidth is the least width at which base64 is folded into lines.
	foldedWidth = 60
	// foldedGap is the most that lies between two such lines.
	foldedGap = 100
	// deepest is how many codes within codes are looked into.
	deepest = 2
)

// foldedLine is the next line of base64, its break escaped or not.
var foldedLine = regexp.MustCompile(`^(?:[ \t]*\r?\n[ \t]*|\\+[nr](?:\\+n)?)([A-Za-z0-9+/_-]+={0,2})`)

// inBase64 and inURL tell which bytes can be of a word in base64, and of one
// that is escaped as in a URL.
var inBase64, inURL = func() (b, u [256]bool) {
	for c := range 256 {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		b[c] = letter || c == '+' || c == '/' || c == '-' || c == '_'
		u[c] = letter || bytes.IndexByte([]byte("%+._~!*()-"), byte(c)) >= 0
	}
	return b, u
}()

// coded looks for words that may be a code, without a regular expression: it
// looks through every text.
type coded struct {
	data    []byte
	at      int // what is before has been looked at
	urlEnd  int // of the word, escaped as in a URL or not, that is begun
	percent int // the last % in it
}

// next returns where the next word is; start is len(data) if there is none.
func (c *coded) next() (start, end int) {
	for start = c.at; start < len(c.data); {
		if start >= c.urlEnd {
			c.percent = -1
			for c.urlEnd = start; c.urlEnd < len(c.data) && inURL[c.data[c.urlEnd]]; c.urlEnd++ {
				if c.data[c.urlEnd] == '%' {
					c.percent = c.urlEnd
				}
			}
		}
		if c.percent >= start && c.urlEnd-start >= shortestCoded {
			return start, c.urlEnd
		}
		for end = start; end < len(c.data) && inBase64[c.data[end]]; end++ {
		}
		if end-start >= shortestCoded {
			for n := 0; n < 2 && end < len(c.data) && c.data[end] == '='; n++ {
				end++
			}
			return start, end
		}
		// A word of one kind may begin within one of the other.
		if end == start || c.urlEnd == start {
			start++
		} else {
			start = min(end, c.urlEnd)
		}
	}
	return len(c.data), len(c.data)
}

// redactCoded takes out words in which, once they are decoded, a secret is:
// base64, also where it is folded into lines, and URL escapes. Hashes and paths
// decode to no text and stay.
func redactCoded(data []byte, values *secrets, depth int) []byte {
	if depth == deepest {
		return data
	}
	var out []byte
	kept := 0 // up to there data is in out
	for c := (coded{data: data}); ; {
		start, end := c.next()
		if start == len(data) {
			break
		}
		word := data[start:end]
		if bytes.IndexByte(word, '%') < 0 {
			word, end = unfold(data, start, end)
		}
		if hides(word, values, depth) {
			out = append(append(out, data[kept:start]...), redacted...)
			kept = end
		}
		c.at = end
	}
	if kept == 0 {
		return data
	}
	return append(out, data[kept:]...)
}

// unfold joins the lines of the base64 that begins at data[start:end], and
// returns where it ends. They are of one length, but for the last.
func unfold(data []byte, start, end int) ([]byte, int) {
	word := data[start:end:end] // to append makes a copy
	for width := len(word); width >= foldedWidth; {
		next := foldedLine.FindSubmatchIndex(data[end:min(len(data), end+width+foldedGap)])
		if next == nil || next[3]-next[2] > width {
			break
		}
		word = append(word, data[end+next[2]:end+next[3]]...)
		end += next[1]
		if next[3]-next[2] < width {
			break
		}
	}
	return word, end
}

// hides says whether a word is the code of a text with a secret in it.
func hides(word []byte, values *secrets, depth int) bool {
	text := decode(word)
	if text == nil {
		return false
	}
	r := redactor{values: values}
	return !bytes.Equal(redactCoded(r.clear(text), values, depth+1), text)
}

// decode returns the text that a word is the code of, nil if it is none.
func decode(word []byte) []byte {
	if bytes.IndexByte(word, '%') >= 0 {
		text, err := url.QueryUnescape(string(word))
		if err != nil || len(word) < shortestCoded {
			return nil
		}
		return []byte(text)
	}
	code := base64.RawStdEncoding
	if bytes.ContainsAny(word, "-_") {
		code = base64.RawURLEncoding
	}
	word = bytes.TrimRight(word, "=")
	if len(word)%4 == 1 {
		word = word[:len(word)-1] // it was cut
	}
	// A few letters tell whether it is text at all.
	head := make([]byte, code.DecodedLen(12))
	if n, err := code.Decode(head, word[:min(12, len(word))]); err != nil || !isText(head[:n], false) {
		return nil
	}
	text := make([]byte, code.DecodedLen(len(word)))
	n, err := code.Decode(text, word)
	if err != nil || !isText(text[:n], true) {
		return nil
	}
	return text[:n]
}

// isText says whether data is of printable characters; of a part of a text the
// last character may be cut.
func isText(data []byte, whole bool) bool {
	for len(data) > 0 {
		r, n := utf8.DecodeRune(data)
		if r == utf8.RuneError && n == 1 {
			return !whole && len(data) < utf8.UTFMax
		}
		if unicode.IsControl(r) && r != '\n' && r != '\r' && r != '\t' {
			return false
		}
		data = data[n:]
	}
	return true
}

package artifact

import (
	"bytes"
	"regexp"
)

// Private keys in PEM: RSA, EC, PKCS #8, OpenSSH, PGP. A blank may be escaped
// as in a URL.
var (
	keyBegin = regexp.MustCompile(`-----BEGIN(?:[ +]|%20)[A-Z0-9 +%]*PRIVATE(?:[ +]|%20)KEY[A-Z +]*-----`)
	keyEnd   = regexp.MustCompile(`-----END(?:[ +]|%20)[A-Z0-9 +%]*PRIVATE(?:[ +]|%20)KEY[A-Z +]*-----`)
	// keyBody is a key's text within one line, its line breaks escaped.
	keyBody = regexp.MustCompile(`^(?:\\+[nrt]|%[0-9A-Fa-f]{2}|[A-Za-z0-9+/=])+`)
	// keyRest is the same before an end whose beginning is not there.
	keyRest = regexp.MustCompile(`(?:\\+[nrt]|%[0-9A-Fa-f]{2}|[A-Za-z0-9+/=])*$`)
	base64s = regexp.MustCompile(`[A-Za-z0-9+/]{16,}`)
)

const (
	// longestKey is the number of lines after which a private key without an
	// end is taken to be over, so that one stray BEGIN cannot swallow a log.
	longestKey = 200
	// quietLines is the number of lines, of headers, prefixes or the key's
	// last few letters, that may look like no key while it goes on.
	quietLines = 6
)

// keyState says whether a text is within a private key. The zero value is
// outside.
type keyState struct {
	lines int // of the key so far; 0 outside
	quiet int // of those, the last ones that look like no key
}

// redact takes private keys out of whole lines.
func (k *keyState) redact(data []byte) []byte {
	if k.lines == 0 && !bytes.Contains(data, []byte("PRIVATE")) {
		return data
	}
	var out []byte
	for line := range bytes.Lines(data) {
		out = k.line(out, line)
	}
	return out
}

// line adds what may be kept of a line to out.
func (k *keyState) line(out, line []byte) []byte {
	if k.lines > 0 {
		begin, end := keyBegin.FindIndex(line), keyEnd.FindIndex(line)
		switch {
		case begin != nil && (end == nil || begin[0] < end[0]):
			*k = keyState{} // another one, after one without an end
			line = line[begin[0]:]
		case end != nil:
			*k = keyState{}
			line = line[end[1]:]
		case k.goesOn(line):
			return out
		default:
			*k = keyState{}
		}
	}
	for {
		begin, end := keyBegin.FindIndex(line), keyEnd.FindIndex(line)
		switch {
		case end != nil && (begin == nil || end[0] < begin[0]):
			// A log that was cut begins in the middle of a key.
			head := line[:end[0]]
			rest := keyRest.FindIndex(head)
			if rest[0] == 0 {
				out = dropKeyLines(out)
			}
			out = append(append(out, head[:rest[0]]...), redacted...)
			line = line[end[1]:]
		case begin == nil:
			return append(out, line...)
		case end != nil:
			out = append(append(out, line[:begin[0]]...), redacted...)
			line = line[end[1]:]
		default:
			out = append(append(out, line[:begin[0]]...), redacted...)
			line = line[begin[1]:]
			body := keyBody.Find(line)
			line = line[len(body):]
			if !likeKey(body) {
				k.lines = 1 // its text is on the lines that follow
			}
		}
	}
}

// goesOn counts a line within a key, and says whether it can be one of it.
func (k *keyState) goesOn(line []byte) bool {
	k.lines++
	k.quiet++
	if likeKey(line) {
		k.quiet = 0
	}
	return k.lines <= longestKey && k.quiet <= quietLines
}

// dropKeyLines takes the lines that look like a key's from the end of out.
func dropKeyLines(out []byte) []byte {
	for n := 0; len(out) > 0 && n < longestKey; n++ {
		start := bytes.LastIndexByte(out[:len(out)-1], '\n') + 1
		line := out[start:]
		// The last line can be a few letters.
		if !likeKey(line) && (n > 0 || len(keyBody.Find(bytes.TrimSpace(line))) < len(bytes.TrimSpace(line))) {
			break
		}
		out = out[:start]
	}
	return out
}

// likeKey says whether a line holds base64: a word with small and large letters
// and digits, which a path or a hash is not.
func likeKey(line []byte) bool {
	for _, word := range base64s.FindAll(line, -1) {
		var small, large, digit bool
		for _, c := range word {
			small = small || c >= 'a' && c <= 'z'
			large = large || c >= 'A' && c <= 'Z'
			digit = digit || c >= '0' && c <= '9'
		}
		if small && large && digit {
			return true
		}
	}
	return false
}

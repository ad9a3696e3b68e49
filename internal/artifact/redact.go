package artifact

import (
	"bytes"
	"strings"
)

const redacted = "[redacted]"

// Redact returns data with secrets replaced by "[redacted]": swarm join tokens
// and unlock keys, private keys, passwords in URLs and of proxies, HTTP
// Authorization headers, registry credentials, and each of values. A secret is
// also found in the forms that JSON, URLs and base64 give it, and where a line
// break splits it. Values shorter than 4 bytes, and words of less than 8
// letters, are left alone. What is redacted already stays as it is.
func Redact(data []byte, values []string) []byte {
	return newSecrets(values).clean(data)
}

// redactor redacts a text piece by piece; it remembers whether it is within a
// private key.
type redactor struct {
	values *secrets
	key    keyState
}

// text redacts whole lines. A secret that is split over lines is found if all
// of it is in data.
func (r *redactor) text(data []byte) []byte {
	return redactCoded(r.clear(data), r.values, 0)
}

// clear redacts what is not coded.
func (r *redactor) clear(data []byte) []byte {
	data = r.key.redact(data)
	lower := bytes.ToLower(data)
	for _, p := range patterns {
		if p.occurs(lower) {
			data = p.find().ReplaceAll(data, []byte(p.replace))
		}
	}
	return r.values.redact(data)
}

// secrets are what a text is searched for by value.
type secrets struct {
	plain    []string // as they were given
	replacer *strings.Replacer
	split    []splitValue
}

func newSecrets(values []string) *secrets {
	s := &secrets{plain: values}
	var pairs []string
	for _, v := range variants(values) {
		pairs = append(pairs, v, redacted)
	}
	if pairs != nil {
		s.replacer = strings.NewReplacer(pairs...)
	}
	for _, v := range values {
		for _, line := range splits(v) {
			s.split = append(s.split, newSplitValue(line))
		}
	}
	return s
}

// clean redacts a whole text.
func (s *secrets) clean(data []byte) []byte {
	r := redactor{values: s}
	return r.text(data)
}

func (s *secrets) redact(data []byte) []byte {
	if s == nil || s.replacer == nil {
		return data
	}
	out := []byte(s.replacer.Replace(string(data)))
	for _, v := range s.split {
		out = v.redact(out)
	}
	return out
}

package scenario

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// The words that the line of a fence may hold, and which setting goes with
// which kind. A setting that a kind would ignore is refused: an ignored
// setting is a block that runs otherwise than its author thinks.
var (
	placeWords = []string{"manager", "worker", "all", "managers", "workers", "host"}
	kindWords  = []string{"check", "solve", "fault", "undo", "cleanup"}
	settings   = map[Kind][]string{
		Step:    {"id", "save", "timeout", "fails", "exit", "shows"},
		Check:   {"id", "save", "within", "every", "timeout", "fails", "exit", "shows", "given"},
		Solve:   {"id", "save", "timeout", "fails", "exit", "shows"},
		Fault:   {"id", "save", "timeout", "fails", "exit", "shows"},
		Undo:    {"for", "id", "timeout", "shows"},
		Cleanup: {"for", "id", "timeout"},
	}
	allSettings = []string{"id", "for", "save", "within", "every", "timeout", "fails", "exit", "shows", "given"}
	// flags are the settings without a value.
	flags = []string{"fails", "given"}

	placeForm = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`)
	idForm    = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)
	saveForm  = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)
)

// parseInfo reads the words after `sh` into b. Every slip is reported
// through bad; what can be understood is set all the same.
func parseInfo(info string, b *Block, bad func(suggest, format string, args ...any)) {
	words, err := splitInfo(info)
	if err != nil {
		bad("", "%v", err)
		return
	}
	b.Place = strings.TrimPrefix(words[1], "@")
	if !strings.HasPrefix(words[1], "@") {
		bad("@"+orSelf(nearestOrSame(words[1], placeWords), words[1]), "place %q does not begin with @", words[1])
	} else if !placeForm.MatchString(b.Place) {
		bad("", "place %q is no role, no node's name, and neither @all nor @host", words[1])
	}
	words = words[2:]
	b.Kind = Step
	if len(words) > 0 && !strings.Contains(words[0], "=") && !slices.Contains(flags, words[0]) {
		if slices.Contains(kindWords, words[0]) {
			b.Kind = Kind(words[0])
		} else {
			bad(nearest(words[0], slices.Concat(kindWords, flags)),
				"unknown kind %q: it must be %s, or nothing for a step", words[0], oneOf(kindWords))
		}
		words = words[1:]
	}
	seen := map[string]bool{}
	for _, w := range words {
		key, value, hasValue := strings.Cut(w, "=")
		switch {
		case !slices.Contains(allSettings, key) && !hasValue && slices.Contains(kindWords, key):
			bad("", "the kind %q must stand right after the place", key)
			continue
		case !slices.Contains(allSettings, key):
			bad(nearest(key, allSettings), "unknown setting %q: it must be %s", key, oneOf(allSettings))
			continue
		case seen[key]:
			bad("", "setting %q is given twice", key)
			continue
		case !slices.Contains(settings[b.Kind], key):
			bad(instead(key), "%s takes no setting %q", b.Kind.withArticle(), key)
			continue
		case hasValue == slices.Contains(flags, key):
			if hasValue {
				bad(map[string]string{"fails": "exit=" + value, "given": "given"}[key], "setting %q takes no value", key)
			} else {
				bad("", "setting %q needs a value: %s=…", key, key)
			}
			continue
		}
		seen[key] = true
		b.set(key, value, bad)
	}
	if b.Fails && b.Exit != nil {
		bad("", "settings \"fails\" and \"exit\" exclude each other")
	}
	if b.Kind == Fault && b.ID == "" {
		bad("", "a fault needs an id=…, for its undo to name")
	}
	if b.Kind == Undo && b.For == "" {
		bad("", "an undo needs a for=…, the id of its fault")
	}
	if b.Kind == Check && b.every() > b.within() {
		bad("", "every=%s is longer than within=%s: it would be tried only once", b.every(), b.within())
	}
}

func (b *Block) set(key, value string, bad func(suggest, format string, args ...any)) {
	switch key {
	case "id", "for":
		if !idForm.MatchString(value) {
			bad("", "%s=%q: an id is made of small letters, digits and hyphens", key, value)
			return
		}
		if key == "id" {
			b.ID = value
		} else {
			b.For = value
		}
	case "save":
		b.Save = value
		if !saveForm.MatchString(value) {
			bad(strings.ToUpper(value), "save=%q: a variable is made of capitals, digits and _", value)
		}
	case "within", "every", "timeout":
		d, err := time.ParseDuration(value)
		if err != nil || d < time.Millisecond || d > 24*time.Hour {
			suggest := ""
			if _, err := strconv.Atoi(value); err == nil {
				suggest = key + "=" + value + "s"
			}
			bad(suggest, "%s=%q is no duration such as 90s, 500ms or 2m", key, value)
			return
		}
		switch key {
		case "within":
			b.Within = Span(d)
		case "every":
			b.Every = Span(d)
		default:
			b.Timeout = Span(d)
		}
	case "fails":
		b.Fails = true
	case "given":
		b.Given = true
	case "exit":
		code, err := strconv.Atoi(value)
		if err != nil || code < 0 || code > 255 {
			bad("", "exit=%q is no exit code from 0 to 255", value)
			return
		}
		b.Exit = &code
	case "shows":
		b.Shows = value
		if value == "" {
			bad("", "shows=\"\" is shown by every output")
		}
	}
}

func (k Kind) withArticle() string {
	if k == Undo {
		return "an " + string(k)
	}
	return "a " + string(k)
}

// instead names the setting that a kind has in place of another's.
func instead(key string) string {
	switch key {
	case "within", "every":
		return "timeout"
	case "for":
		return "id"
	case "given":
		return "check given"
	}
	return ""
}

// splitInfo splits at white space; a value may be "quoted", with \" and \\
// inside.
func splitInfo(s string) ([]string, error) {
	var words []string
	var word strings.Builder
	inWord, quoted, escaped, closed := false, false, false, false
	for _, r := range s {
		switch {
		case closed && !unicode.IsSpace(r):
			return nil, fmt.Errorf("a space must follow the closing quote")
		case escaped:
			if r != '"' && r != '\\' {
				return nil, fmt.Errorf(`\%c inside quotes: only \" and \\ are known`, r)
			}
			word.WriteRune(r)
			escaped = false
		case quoted && r == '\\':
			escaped = true
		case r == '"':
			if !quoted && !strings.HasSuffix(word.String(), "=") {
				return nil, fmt.Errorf(`a quote must follow a key, as in shows="text"`)
			}
			closed = quoted
			quoted = !quoted
		case !quoted && unicode.IsSpace(r):
			if inWord {
				words = append(words, word.String())
				word.Reset()
			}
			inWord, closed = false, false
			continue
		default:
			word.WriteRune(r)
		}
		inWord = true
	}
	if quoted || escaped {
		return nil, fmt.Errorf("a quote is not closed")
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}

func nearestOrSame(written string, words []string) string {
	if slices.Contains(words, written) {
		return written
	}
	return nearest(written, words)
}

func orSelf(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

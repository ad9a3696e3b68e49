package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// table reads one TOML table. A value of the wrong type is noted and leaves
// its destination as it was, so that one mistake is one message.
type table struct {
	src    *source
	path   string
	values map[string]any
	known  []string // what was asked for, and so may be there
}

func (t *table) key(name string) string { return joinKey(t.path, name) }

func (t *table) get(name string) (any, bool) {
	t.known = append(t.known, name)
	v, ok := t.values[name]
	return v, ok
}

func (t *table) text(name string, to *string) bool {
	v, ok := t.get(name)
	if !ok {
		return false
	}
	s, ok := v.(string)
	if !ok {
		t.src.wrong(t.key(name), "put it in quotes", "must be text, not %s", describe(v))
		return false
	}
	*to = s
	return true
}

func (t *table) number(name string, to *int) bool {
	v, ok := t.get(name)
	if !ok {
		return false
	}
	n, ok := v.(int64)
	if !ok || int64(int(n)) != n {
		hint := ""
		if _, text := v.(string); text {
			hint = "write it without quotes"
		}
		t.src.wrong(t.key(name), hint, "must be a whole number, not %s", describe(v))
		return false
	}
	*to = int(n)
	return true
}

func (t *table) texts(name string) []string {
	v, ok := t.get(name)
	if !ok {
		return nil
	}
	list, ok := v.([]any)
	if !ok {
		t.src.wrong(t.key(name), `write it as ["…"]`, "must be a list of texts, not %s", describe(v))
		return nil
	}
	var out []string
	for i, item := range list {
		s, ok := item.(string)
		if !ok {
			t.src.wrong(fmt.Sprintf("%s[%d]", t.key(name), i), "put it in quotes", "must be text, not %s", describe(item))
			continue
		}
		out = append(out, s)
	}
	return out
}

// table returns the sub-table of that name, an empty one if there is none.
func (t *table) table(name string) *table {
	v, ok := t.get(name)
	m, isTable := v.(map[string]any)
	if ok && !isTable {
		t.src.wrong(t.key(name), fmt.Sprintf("write it as [%s]", t.key(name)), "must be a table, not %s", describe(v))
	}
	return &table{src: t.src, path: t.key(name), values: m}
}

// tables returns the tables of an [[array]].
func (t *table) tables(name string) []*table {
	v, ok := t.get(name)
	if !ok {
		return nil
	}
	var out []*table
	add := func(i int, m map[string]any) {
		out = append(out, &table{src: t.src, path: fmt.Sprintf("%s[%d]", t.key(name), i), values: m})
	}
	switch list := v.(type) {
	case []map[string]any:
		for i, m := range list {
			add(i, m)
		}
	case []any:
		for i, item := range list {
			m, ok := item.(map[string]any)
			if !ok {
				t.src.wrong(fmt.Sprintf("%s[%d]", t.key(name), i), "", "must be a table, not %s", describe(item))
			}
			add(i, m)
		}
	default:
		t.src.wrong(t.key(name), fmt.Sprintf("write each one under [[%s]]", t.key(name)), "must be a list of tables, not %s", describe(v))
	}
	return out
}

// end notes every key that nothing asked for.
func (t *table) end() {
	for _, name := range slices.Sorted(maps.Keys(t.values)) {
		if slices.Contains(t.known, name) {
			continue
		}
		hint := didYouMean(name, t.known)
		if t.path != "" && slices.Contains(topLevel, name) {
			hint = fmt.Sprintf("%s belongs above the first [table] of the file", name)
		}
		if hint == "" {
			hint = "known here: " + strings.Join(t.known, ", ")
		}
		t.src.wrong(t.key(name), hint, "unknown key")
	}
}

// topLevel holds the keys that people write under a table by mistake, since
// TOML counts every line behind a [table] as part of it.
var topLevel = []string{"provider", "acceleration", "subnet", "artifacts", "workers", "managers"}

// didYouMean suggests the nearest of the known words, or nothing if none is
// near.
func didYouMean(word string, known []string) string {
	best, distance := "", max(2, len(word)/3)+1
	for _, k := range known {
		// mem for memory, ip-address for ip
		if len(word) > 2 && (strings.HasPrefix(k, word) || strings.HasPrefix(word, k)) {
			best = k
			break
		}
		if d := levenshtein.ComputeDistance(strings.ToLower(word), k); d < distance && d < len(k) {
			best, distance = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %q?", best)
}

// describe names the type of a TOML value for a reader of messages.
func describe(v any) string {
	switch v.(type) {
	case string:
		return "text"
	case int64:
		return "a whole number"
	case float64:
		return "a fraction"
	case bool:
		return "true or false"
	case []any, []map[string]any:
		return "a list"
	case map[string]any:
		return "a table"
	default:
		return "a date or time"
	}
}

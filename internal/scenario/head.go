package scenario

import (
	"errors"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

var (
	headKeys  = []string{"format", "id", "title", "minutes", "nodes", "params"}
	nodeKeys  = []string{"managers", "workers", "total"}
	paramKeys = []string{"default", "min", "max", "help"}
	paramForm = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
)

// headReader checks the decoded head by hand: a struct would stop at the
// first mistake, and would not say in which line an unknown key stands.
type headReader struct {
	p    *parser
	text []string // lines of the head
	line int      // of the opening fence
}

func (p *parser) head(content string, line int) {
	r := &headReader{p: p, text: strings.Split(content, "\n"), line: line}
	h := &p.doc.Head
	h.Line = line
	var raw map[string]any
	if _, err := toml.Decode(content, &raw); err != nil {
		p.doc.headUnread = true
		var pe toml.ParseError
		if errors.As(err, &pe) {
			p.bad(line+pe.Position.Line, "", "scenario head: %s", pe.Message)
		} else {
			p.bad(line, "", "scenario head: %v", err)
		}
		return
	}
	r.known(raw, headKeys, nil)
	h.Format = int(r.integer(raw, "format", true))
	if _, ok := raw["format"].(int64); ok && h.Format != 1 {
		p.bad(r.at("format"), "", "format = %d: this labctl reads format 1", h.Format)
	}
	h.ID = r.str(raw, "id", true)
	h.Title = r.str(raw, "title", true)
	h.Minutes = int(r.integer(raw, "minutes", false))
	if h.Minutes < 0 {
		p.bad(r.at("minutes"), "", "minutes = %d: it cannot be negative", h.Minutes)
	}
	if nodes, ok := r.table(raw, "nodes"); ok {
		r.known(nodes, nodeKeys, []string{"nodes"})
		h.Needs.Managers = int(r.integer(nodes, "managers", false, "nodes"))
		h.Needs.Workers = int(r.integer(nodes, "workers", false, "nodes"))
		h.Needs.Total = int(r.integer(nodes, "total", false, "nodes"))
		if h.Needs.Managers < 0 || h.Needs.Workers < 0 || h.Needs.Total < 0 {
			p.bad(r.at("nodes"), "", "nodes: a number of nodes cannot be negative")
		} else if sum := h.Needs.Managers + h.Needs.Workers; h.Needs.Total != 0 && h.Needs.Total <= sum {
			p.bad(r.at("nodes"), "", "nodes: total = %d says nothing: managers and workers make %d already", h.Needs.Total, sum)
		}
	}
	if params, ok := r.table(raw, "params"); ok {
		for _, name := range slices.Sorted(maps.Keys(params)) {
			r.param(name, params[name])
		}
		slices.SortStableFunc(h.Params, func(a, b Param) int { return a.Line - b.Line })
	}
}

func (r *headReader) param(name string, value any) {
	param := Param{Name: name, Line: r.at("params", name)}
	bad := func(format string, args ...any) { r.p.bad(param.Line, "", format, args...) }
	if !paramForm.MatchString(name) {
		bad("parameter %q: a name is made of small letters, digits and _", name)
		return
	}
	if reserved(param.Var()) {
		bad("parameter %q: labctl itself sets $%s", name, param.Var())
		return
	}
	if t, ok := value.(map[string]any); ok {
		r.known(t, paramKeys, []string{"params", name})
		param.Help = r.str(t, "help", false, "params", name)
		for _, limit := range []struct {
			key string
			to  **int64
		}{{"min", &param.Min}, {"max", &param.Max}} {
			if _, there := t[limit.key]; there {
				n := r.integer(t, limit.key, false, "params", name)
				*limit.to = &n
			}
		}
		if value, ok = t["default"]; !ok {
			bad("parameter %q has no default", name)
			return
		}
	}
	switch v := value.(type) {
	case string:
		param.Default = v
		if param.Min != nil || param.Max != nil {
			bad("parameter %q: min and max are for numbers, its default is a text", name)
		}
	case int64:
		param.Default, param.Int = strconv.FormatInt(v, 10), true
	default:
		bad("parameter %q: its default must be a text or a whole number", name)
		return
	}
	if param.Min != nil && param.Max != nil && *param.Min > *param.Max {
		bad("parameter %q: min %d is above max %d", name, *param.Min, *param.Max)
	} else if err := param.check(param.Default); err != nil {
		bad("parameter %q: its default %v", name, err)
	}
	r.p.doc.Head.Params = append(r.p.doc.Head.Params, param)
}

func (r *headReader) known(t map[string]any, keys, path []string) {
	for _, k := range slices.Sorted(maps.Keys(t)) {
		if !slices.Contains(keys, k) {
			full := strings.Join(append(slices.Clone(path), k), ".")
			r.p.bad(r.at(append(slices.Clone(path), k)...), nearest(k, keys),
				"scenario head: unknown key %q: it must be %s", full, oneOf(keys))
		}
	}
}

func (r *headReader) str(t map[string]any, key string, needed bool, path ...string) string {
	v, there := t[key]
	s, ok := v.(string)
	switch {
	case !there && needed:
		r.p.bad(r.line, "", "scenario head: %s is missing", key)
	case there && !ok:
		r.p.bad(r.at(append(path, key)...), "", "scenario head: %s must be a text in quotes", key)
	case there && needed && strings.TrimSpace(s) == "":
		r.p.bad(r.at(append(path, key)...), "", "scenario head: %s is empty", key)
	}
	return s
}

func (r *headReader) integer(t map[string]any, key string, needed bool, path ...string) int64 {
	v, there := t[key]
	n, ok := v.(int64)
	switch {
	case !there && needed:
		r.p.bad(r.line, "", "scenario head: %s is missing", key)
	case there && !ok:
		r.p.bad(r.at(append(path, key)...), "", "scenario head: %s must be a whole number", key)
	}
	return n
}

func (r *headReader) table(t map[string]any, key string) (map[string]any, bool) {
	v, there := t[key]
	m, ok := v.(map[string]any)
	if there && !ok {
		r.p.bad(r.at(key), "", "scenario head: %s must be a table", key)
	}
	return m, ok
}

// at finds the line of a key. TOML has several ways to write one key, so the
// last part is looked for below the line of the part before it.
func (r *headReader) at(path ...string) int {
	found := 0
	for _, part := range path {
		form := regexp.MustCompile(`(^|[\s{,.\["'])` + regexp.QuoteMeta(part) + `(["']?\s*[=.\]]|["']?\])`)
		for i := found; i < len(r.text); i++ {
			if form.MatchString(stripComment(r.text[i])) {
				found = i
				break
			}
		}
	}
	return r.line + 1 + found
}

func stripComment(s string) string {
	before, _, _ := strings.Cut(s, "#")
	return before
}

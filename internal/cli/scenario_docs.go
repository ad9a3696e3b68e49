package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mattn/go-runewidth"

	labassets "labctl"
	"labctl/internal/scenario"
)

// document is a scenario's text, parsed, and where it came from.
type document struct {
	arg      string // as on the command line
	name     string // as in lab.toml's [scenario.NAME]
	file     string // for messages
	source   []byte
	outside  bool // not one that labctl brings
	d        *scenario.Document
	warnings []scenario.Problem
}

// document finds, reads and lints a document, and has the person's consent to
// what it would run on this machine.
func (a *app) document(ctx context.Context, arg string, f scenarioFlags) (*document, error) {
	if _, err := parseSet(f.set); err != nil {
		return nil, err
	}
	doc, err := find(arg, f.lang)
	if err != nil {
		return nil, err
	}
	doc.d, doc.warnings, err = scenario.Load(doc.file, doc.source)
	if err != nil {
		return nil, &usageError{err}
	}
	return doc, a.consent(ctx, doc, f.allowHost)
}

// find reads the document of a name or path.
func find(arg, lang string) (*document, error) {
	lang, err := language(lang, os.Getenv)
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(arg, ".md") || strings.ContainsAny(arg, `/\`) {
		src, err := os.ReadFile(arg)
		if err != nil {
			return nil, &usageError{err}
		}
		return &document{arg: arg, name: strings.TrimSuffix(filepath.Base(arg), ".md"), file: arg, source: src, outside: true}, nil
	}
	for _, file := range []string{path.Join(lang, arg+".md"), arg + ".md"} {
		src, err := labassets.Files.ReadFile("scenarios/" + file)
		if err == nil {
			return &document{arg: arg, name: arg, file: file, source: src}, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	names, err := shipped()
	if err != nil {
		return nil, err
	}
	return nil, &usageError{fmt.Errorf("no scenario %q: there is %s; a path to a document works too", arg, strings.Join(names, ", "))}
}

// language chooses the language of the documents: the flag, which must be one
// that there is, or the environment; "" is English.
func language(flag string, getenv func(string) string) (string, error) {
	have := []string{"en"}
	entries, err := labassets.Files.ReadDir("scenarios")
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		if e.IsDir() {
			have = append(have, e.Name())
		}
	}
	lang := flag
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if lang == "" {
			lang, _, _ = strings.Cut(strings.NewReplacer(".", "_", "@", "_").Replace(getenv(name)), "_") // ja_JP.UTF-8
		}
	}
	switch {
	case lang == "en":
		return "", nil
	case slices.Contains(have, lang):
		return lang, nil
	case flag != "":
		return "", &usageError{fmt.Errorf("--lang %s: there is %s", flag, strings.Join(have, ", "))}
	}
	return "", nil
}

// shipped lists the names of the scenarios in the binary.
func shipped() ([]string, error) {
	files, err := fs.Glob(labassets.Files, "scenarios/*.md")
	if err != nil {
		return nil, err
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(path.Base(f), ".md")
	}
	return files, nil
}

// shippedDocuments loads them all, in the order of their ids.
func shippedDocuments(lang string) ([]*document, error) {
	names, err := shipped()
	if err != nil {
		return nil, err
	}
	var out []*document
	for _, name := range names {
		doc, err := find(name, lang)
		if err != nil {
			return nil, err
		}
		if doc.d, doc.warnings, err = scenario.Load(doc.file, doc.source); err != nil {
			return nil, err
		}
		out = append(out, doc)
	}
	slices.SortStableFunc(out, func(a, b *document) int { return strings.Compare(a.d.Head.ID, b.d.Head.ID) })
	return out, nil
}

func (a *app) scenarioList(f scenarioFlags) error {
	docs, err := shippedDocuments(f.lang)
	if err != nil {
		return err
	}
	type row struct {
		Name    string         `json:"name"`
		ID      string         `json:"id"`
		Title   string         `json:"title"`
		Minutes int            `json:"minutes"`
		Needs   scenario.Needs `json:"needs"`
	}
	rows := []row{}
	for _, doc := range docs {
		rows = append(rows, row{doc.name, doc.d.Head.ID, doc.d.Title(), doc.d.Head.Minutes, doc.d.Head.Needs})
	}
	if f.json {
		return a.printJSON(rows)
	}
	var widths [3]int // not a tabwriter: a Japanese letter takes two columns
	for _, r := range rows {
		for i, s := range []string{r.Name, r.ID, r.Title} {
			widths[i] = max(widths[i], runewidth.StringWidth(s))
		}
	}
	for _, r := range rows {
		for i, s := range []string{r.Name, r.ID, r.Title} {
			a.printf("%s  ", runewidth.FillRight(s, widths[i]))
		}
		a.printf("%d min\n", r.Minutes)
	}
	return nil
}

func (a *app) scenarioShow(arg string, f scenarioFlags) error {
	doc, err := find(arg, f.lang)
	if err != nil {
		return err
	}
	_, err = a.streams.Out.Write(doc.source)
	return err
}

func (a *app) scenarioLint(args []string, f scenarioFlags) error {
	var errs []error
	for _, arg := range args {
		doc, err := find(arg, f.lang)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		_, warnings, err := scenario.Load(doc.file, doc.source)
		a.warn(warnings)
		if err != nil {
			errs = append(errs, &usageError{err})
			continue
		}
		a.printf("%s: ok\n", doc.file)
	}
	return errors.Join(errs...)
}

func (a *app) warn(warnings []scenario.Problem) {
	for _, w := range warnings {
		w.Warning = false // said first, as everywhere
		_, _ = fmt.Fprintf(a.streams.Err, "warning: %s\n", w)
	}
}

func (a *app) scenarioNew(arg string) error {
	file := strings.TrimSuffix(arg, ".md") + ".md"
	text, err := scenario.New(strings.TrimSuffix(filepath.Base(file), ".md"))
	if err != nil {
		return &usageError{err}
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, os.ErrExist) {
		return &usageError{fmt.Errorf("%s exists already; it is left as it is", file)}
	}
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if !strings.ContainsAny(file, `/\`) {
		file = "./" + file
	}
	a.printf("wrote %s; next: labctl scenario lint %[1]s, labctl scenario test %[1]s\n", file)
	return nil
}

// parseSet reads the KEY=VALUE words of --set.
func parseSet(words []string) (map[string]string, error) {
	out := map[string]string{}
	for _, w := range words {
		k, v, ok := strings.Cut(w, "=")
		if !ok || k == "" {
			return nil, &usageError{fmt.Errorf("--set %s: want KEY=VALUE", w)}
		}
		out[k] = v
	}
	return out, nil
}

package cli

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"labctl/internal/config"
	"labctl/internal/lab"
	"labctl/internal/scenario"
)

// journals is the folder of what runs have left.
func (st *stage) journals() string { return filepath.Join(st.e.StateDir(), "scenario") }

func (st *stage) journal(name string) string { return filepath.Join(st.journals(), name+".json") }

// leftoverError is a lab on which an earlier run has left what is in the way.
type leftoverError struct {
	text string
	hint string
}

func (e *leftoverError) Error() string { return e.text }
func (e *leftoverError) Hint() string  { return e.hint }

// refuseLeftovers says what earlier runs have left, and refuses while a fault
// stands, for no check tells the truth on a broken lab, or while the work of
// the document of that name does.
func (st *stage) refuseLeftovers(name string) error {
	journals, err := scenario.Journals(st.journals())
	if err != nil {
		return err
	}
	var errs []error
	for _, j := range journals {
		since := j.Start.Local().Format(time.DateTime)
		switch faults := j.Faults(); {
		case len(faults) > 0:
			errs = append(errs, &leftoverError{
				fmt.Sprintf("the lab is still broken by the run of %s since %s: %s", j.File, since, strings.Join(faults, ", ")),
				"`labctl scenario cleanup` undoes it"})
		case j.Path() == st.journal(name):
			errs = append(errs, &leftoverError{
				fmt.Sprintf("what the run of %s since %s made still stands", j.File, since),
				fmt.Sprintf("`labctl scenario cleanup` removes it, `labctl scenario learn %s` goes on with it", name)})
		}
	}
	return errors.Join(errs...)
}

// tellLeftovers warns of what refuseLeftovers would refuse.
func (st *stage) tellLeftovers() error {
	journals, err := scenario.Journals(st.journals())
	if err != nil {
		return err
	}
	for _, j := range journals {
		for _, fault := range j.Faults() {
			_, _ = fmt.Fprintf(st.a.streams.Err, "warning: the lab is still broken by %s; `labctl scenario cleanup` undoes it\n", fault)
		}
	}
	return nil
}

// earlier is the journal of the document's own earlier run, nil if it left
// none. A document that has changed since cannot be gone on with.
func (st *stage) earlier(doc *document) (*scenario.Journal, error) {
	journals, err := scenario.Journals(st.journals())
	if err != nil {
		return nil, err
	}
	for _, j := range journals {
		if j.Path() != st.journal(doc.name) {
			continue
		}
		was, err := j.Document()
		if err == nil {
			err = scenario.SameBlocks(was, doc.d)
		}
		if err != nil {
			return nil, &leftoverError{
				fmt.Sprintf("what an earlier run of %s made still stands, and the document has changed since: %v", j.File, err),
				"`labctl scenario cleanup` removes it"}
		}
		return j, nil
	}
	return nil, nil
}

// outside tells whether this process is outside of an embedded engine that
// the lab lives in, because that does not run.
func (a *app) outside(e *lab.Env) bool {
	return e.State.Provider == config.Embedded && !e.Engine().Inside()
}

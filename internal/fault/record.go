package fault

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Record is what is known of one fault. It lies in the state folder, in the
// journal of each node that it is on, and in the artifacts.
type Record struct {
	ID      string            `json:"id"`
	Kind    Kind              `json:"kind"`
	Params  map[string]string `json:"params,omitempty"`
	Nodes   []string          `json:"nodes"`
	From    []string          `json:"from,omitempty"`
	Since   time.Time         `json:"since"`
	Until   time.Time         `json:"until,omitzero"` // zero: until it is cleared
	Symptom string            `json:"symptom"`        // that is expected
	Seen    string            `json:"seen,omitempty"` // of it, right after
	Undo    string            `json:"undo"`
	// Mystery faults are told only by reveal. Their record is not readable at
	// a glance.
	Mystery bool   `json:"mystery,omitempty"`
	Seed    uint64 `json:"seed,omitempty"`
	// Ended says how it ended; "" while it is on.
	Ended string `json:"ended,omitempty"`
}

// sealed is a mystery on the disk.
type sealed struct {
	ID      string    `json:"id"`
	Mystery bool      `json:"mystery"`
	Since   time.Time `json:"since"`
	Until   time.Time `json:"until,omitzero"`
	Seed    uint64    `json:"seed"`
	Sealed  string    `json:"sealed"` // the whole record, in base64
}

// Encode writes r as one line of JSON, a mystery so that nobody reads it by
// accident.
func (r Record) Encode() []byte {
	// Nothing in it can fail to be written as JSON.
	data, _ := json.Marshal(r)
	if r.Mystery {
		data, _ = json.Marshal(sealed{r.ID, true, r.Since, r.Until, r.Seed, base64.StdEncoding.EncodeToString(data)})
	}
	return data
}

// Decode reads what Encode wrote.
func Decode(data []byte) (Record, error) {
	var s sealed
	if err := json.Unmarshal(data, &s); err != nil {
		return Record{}, err
	}
	if s.Sealed != "" {
		var err error
		if data, err = base64.StdEncoding.DecodeString(s.Sealed); err != nil {
			return Record{}, err
		}
	}
	var r Record
	if err := json.Unmarshal(data, &r); err != nil {
		return Record{}, err
	}
	if r.ID == "" || r.Kind == "" || strings.ContainsAny(r.ID, "/. ") {
		return r, errors.New("it names no fault")
	}
	return r, nil
}

// Name is what the fault is called in a line: "port 4789 on docker2".
func (r Record) Name() string {
	if r.Mystery {
		return "a mystery"
	}
	return r.what()
}

func (r Record) what() string {
	words := []string{string(r.Kind)}
	info, _ := Of(r.Kind)
	for _, p := range info.Params {
		words = append(words, r.Params[p.Name])
	}
	words = append(words, "on", strings.Join(r.Nodes, ", "))
	if len(r.From) > 0 {
		words = append(words, "from", strings.Join(r.From, ", "))
	}
	return strings.Join(words, " ")
}

// Line tells of a fault that is on, in one line.
func (r Record) Line() string {
	line := fmt.Sprintf("a fault is on: %s since %s", r.Name(), r.Since.Local().Format(time.TimeOnly))
	if !r.Until.IsZero() {
		line += " until " + r.Until.Local().Format(time.TimeOnly)
	}
	return line + "; `labctl fault status` tells more, `labctl fault clear` undoes it"
}

func newID() string {
	var b [3]byte
	_, _ = rand.Read(b[:]) // never fails
	return "f" + hex.EncodeToString(b[:])[1:]
}

// Dir is the folder of the records in a lab's state folder.
func Dir(stateDir string) string { return filepath.Join(stateDir, "faults") }

// Noted reads the records of the folder, the oldest first. Some of these
// faults may be over by now: Lab.Current knows.
func Noted(dir string) ([]Record, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	var out []Record
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		r, err := Decode(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b Record) int { return a.Since.Compare(b.Since) })
	return out, nil
}

// save writes the record through a temporary name and to the disk itself.
func (l *Lab) save(r Record) error {
	if err := os.MkdirAll(l.Dir, 0o700); err != nil {
		return err
	}
	name := filepath.Join(l.Dir, r.ID+".json")
	f, err := os.OpenFile(name+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(r.Encode(), '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

// drop removes the record.
func (l *Lab) drop(r Record) error {
	err := os.Remove(filepath.Join(l.Dir, r.ID+".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

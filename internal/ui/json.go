package ui

import (
	"encoding/json"
	"io"
	"sync"
	"time"
)

// jsonLines prints each event as one JSON object a line, and text of another
// kind as {"time": …, "text": …}.
type jsonLines struct {
	now  func() time.Time
	text *lineWriter

	mu     sync.Mutex
	enc    *json.Encoder
	closed bool
}

func newJSON(w io.Writer, now func() time.Time) *jsonLines {
	j := &jsonLines{now: now, enc: json.NewEncoder(w)}
	j.enc.SetEscapeHTML(false)
	j.text = &lineWriter{emit: j.print}
	return j
}

func (j *jsonLines) Event(e Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return
	}
	if e.Time.IsZero() {
		e.Time = j.now()
	}
	e.Time = e.Time.UTC()
	_ = j.enc.Encode(e)
}

func (j *jsonLines) Write(p []byte) (int, error) { return j.text.Write(p) }

func (j *jsonLines) print(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	_ = j.enc.Encode(struct {
		Time time.Time `json:"time"`
		Text string    `json:"text"`
	}{j.now().UTC(), line})
}

func (j *jsonLines) Close() {
	j.text.finish()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = true
}

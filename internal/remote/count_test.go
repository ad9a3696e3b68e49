//go:build unix

package remote

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"labctl/internal/remote/sshtest"
)

// What the client counts is what the server saw.
func TestCounter(t *testing.T) {
	refuse := true
	s := sshtest.Start(t, sshtest.Options{
		Refuse: func() bool { return refuse },
		Exec: func(line string, stdin io.Reader, stdout, _ io.Writer) int {
			n, _ := io.Copy(io.Discard, stdin)
			_, _ = fmt.Fprintf(stdout, "%s read %d", line, n)
			return 3
		},
	})
	o := options(t)
	o.Counter = &Counter{}
	if _, err := Dial(t.Context(), endpoint(s, "docker1"), o); err == nil {
		t.Fatal("a refused key was taken")
	}
	refuse = false
	c, err := Dial(t.Context(), endpoint(s, "docker1"), o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	res, err := c.Run(t.Context(), Command{Argv: []string{"cat"}, Stdin: strings.NewReader("twelve bytes")})
	if err != nil || res.Stdout != "exec cat read 12" || res.ExitCode != 3 {
		t.Errorf("%+v, %v", res, err)
	}
	if _, err := c.Run(t.Context(), Command{Argv: []string{"true"}}); err != nil {
		t.Error(err)
	}
	sent := int64(len("exec cat") + 12 + len("exec true"))
	if o.Counter.Handshakes() != 2 || s.Handshakes() != 2 || o.Counter.Commands() != 2 || len(s.Commands()) != 2 || o.Counter.Sent() != sent || s.Received() != sent {
		t.Errorf("%d handshakes (the server says %d), %d commands (%d), %d bytes (%d); want 2, 2, %d",
			o.Counter.Handshakes(), s.Handshakes(), o.Counter.Commands(), len(s.Commands()), o.Counter.Sent(), s.Received(), sent)
	}
	var nobody *Counter
	if nobody.Handshakes()+nobody.Commands()+nobody.Sent() != 0 {
		t.Error("a nil counter counts")
	}
}

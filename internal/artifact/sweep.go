package artifact

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"strings"
)

// maxSweep is the size in bytes up to which a file is searched as a whole. Only
// the logs of the host can be larger, each line of which is clean already.
const maxSweep = 64 << 20

// sweep redacts files once more: by now more values may be known than when
// they were written, and a secret can lie across what was written apart. What
// was searched as a whole for the same values is left alone.
func (r *Run) sweep() error {
	values := r.secrets()
	r.mu.Lock()
	done := maps.Clone(r.whole)
	r.mu.Unlock()
	return fs.WalkDir(r.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.HasSuffix(name, sweeping) || done[name] == values {
			return err
		}
		info, err := d.Info()
		if err != nil || info.Size() > maxSweep {
			return err
		}
		data, err := r.root.ReadFile(name)
		if err != nil {
			return err
		}
		clean := values.clean(data)
		if bytes.Equal(clean, data) {
			return nil
		}
		// Through a new name: a full disk must not take what there is.
		err = r.root.WriteFile(name+sweeping, clean, 0o600)
		if err == nil {
			err = r.root.Rename(name+sweeping, name)
		}
		if err != nil {
			// Rather no evidence than a secret in it.
			return errors.Join(fmt.Errorf("redact artifact %s: %w", name, err), r.root.Remove(name))
		}
		return nil
	})
}

// sweeping ends the name of a file that is being redacted anew.
const sweeping = ".sweep~"

package artifact

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxHostFile is how much of the end of one of the host's files is kept: a
// console tells all boots of a VM, and the last one is of interest.
const maxHostFile = 1 << 20

// Host is where the lab's own files are.
type Host struct {
	StateDir string // .labctl of the lab
	LabFile  string
	Default  []byte // what counts where LabFile is not there
	// More are further files to keep, by their name in host/.
	More map[string]string
}

// CollectHost keeps what the host has of the lab in host/ of r: lab.toml as
// used, the Vagrantfile, the state, serial consoles, and the logs of the
// embedded engine. It runs nothing. What is not there, though a lab has it, is
// recorded.
func CollectHost(r *Run, h Host) {
	switch _, err := os.Lstat(h.LabFile); {
	case errors.Is(err, fs.ErrNotExist) && h.Default != nil:
		keepHost(r, "host/lab.toml", h.Default)
	default:
		copyHost(r, "host/lab.toml", h.LabFile)
	}
	for name, file := range h.More {
		copyHost(r, "host/"+name, file)
	}
	if _, err := os.Stat(h.StateDir); errors.Is(err, fs.ErrNotExist) {
		r.Missing("host", "there is no state of a lab: it was never made, or is destroyed")
		return
	}
	copyHost(r, "host/Vagrantfile", filepath.Join(h.StateDir, "Vagrantfile"))
	copyHost(r, "host/state.json", filepath.Join(h.StateDir, "state.json"))
	for _, glob := range []struct{ to, dir, pattern string }{
		{"console", "console", "*.log"},
		{"engine", "engine", "engine.log"},
		{"engine/qemu", "engine/log/qemu", "*.log"},
		{"scenario", "scenario", "*.json"},
		{"faults", "faults", "*.json"},
	} {
		dir := filepath.Join(h.StateDir, filepath.FromSlash(glob.dir))
		files, _ := fs.Glob(os.DirFS(dir), glob.pattern) // the pattern is sound
		slices.Sort(files)
		for _, file := range files {
			copyHost(r, "host/"+glob.to+"/"+file, filepath.Join(dir, file))
		}
	}
}

func keepHost(r *Run, name string, data []byte) {
	if err := r.Write(name, data); err != nil {
		r.Missing(name, err.Error())
	}
}

// copyHost keeps the end of a file of the host.
func copyHost(r *Run, name, file string) {
	data, whole, err := readEnd(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.Missing(name, "not there")
	case err != nil:
		r.Missing(name, err.Error())
	default:
		if !whole {
			r.Missing(name, fmt.Sprintf("only the last MiB of %s is kept", filepath.Base(file)))
		}
		keepHost(r, name, data)
	}
}

// readEnd reads the last maxHostFile bytes of a regular file, whole lines.
func readEnd(file string) (data []byte, whole bool, err error) {
	// Asked before it is opened: a pipe would not open before somebody writes.
	info, err := os.Stat(file)
	if err != nil {
		return nil, false, err
	}
	if !info.Mode().IsRegular() {
		return nil, false, fmt.Errorf("%s is not a regular file", file)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = f.Close() }()
	start := max(0, info.Size()-maxHostFile)
	data, err = io.ReadAll(io.NewSectionReader(f, start, maxHostFile))
	if start > 0 {
		// The rest of a secret that is cut in two is not recognized.
		if i := slices.Index(data, '\n'); i >= 0 {
			data = data[i+1:]
		}
	}
	return data, start == 0, err
}

// quoted returns what stands between the quotes in the first line of text that
// begins with prefix, "" for none.
func quoted(text, prefix string) string {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), prefix); ok {
			return strings.Trim(strings.TrimSpace(rest), `'"`)
		}
	}
	return ""
}

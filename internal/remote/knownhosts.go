package remote

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"

	"github.com/gofrs/flock"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// pins is a known_hosts file whose host names are node names, as OpenSSH's
// HostKeyAlias option writes them: addresses and forwarded ports of VMs
// change, names do not. The very file serves
// `ssh -o HostKeyAlias=docker1 -o UserKnownHostsFile=FILE`.
type pins struct{ file string }

// open makes sure that the file exists, private to its owner.
func (p pins) open() error {
	f, err := os.OpenFile(p.file, os.O_CREATE|os.O_RDONLY, 0o600)
	if err != nil {
		return fmt.Errorf("known hosts: %w", err)
	}
	return f.Close()
}

// lock keeps other connections and processes from changing the file. A lock
// on the file itself would not do, since forget replaces it.
func (p pins) lock() (unlock func(), err error) {
	f := flock.New(p.file+".lock", flock.SetPermissions(0o600))
	if err := f.Lock(); err != nil {
		return nil, fmt.Errorf("known hosts: lock %s: %w", f.Path(), err)
	}
	return func() { _ = f.Unlock() }, nil
}

// known returns the keys pinned for node; nil if there is none.
func (p pins) known(node string) ([]ssh.PublicKey, error) {
	data, err := os.ReadFile(p.file)
	if err != nil {
		return nil, fmt.Errorf("known hosts: %w", err)
	}
	var keys []ssh.PublicKey
	at := 0
	for line := range bytes.Lines(data) {
		at++
		// Parsing keys costs more than all else where there are many nodes.
		if !bytes.Contains(line, []byte(node)) {
			continue
		}
		marker, hosts, key, _, _, err := ssh.ParseKnownHosts(line)
		switch {
		case errors.Is(err, io.EOF): // a comment
		case err != nil:
			return nil, fmt.Errorf("known hosts: %s:%d: %w", p.file, at, err)
		case marker == "" && slices.Contains(hosts, node):
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// knownKeys lists the keys that are known for an address. The package only
// answers "is this key right?"; asked with a key that cannot be in a file, its
// error lists those that are.
func knownKeys(check ssh.HostKeyCallback, addr string) ([]ssh.PublicKey, error) {
	err := check(addr, &net.TCPAddr{}, noKey{})
	var wrong *knownhosts.KeyError
	if !errors.As(err, &wrong) {
		return nil, err
	}
	var keys []ssh.PublicKey
	for _, w := range wrong.Want {
		keys = append(keys, w.Key)
	}
	return keys, nil
}

// verify compares key with what is pinned. unknown is true at first contact.
func (p pins) verify(node, addr string, key ssh.PublicKey) (unknown bool, err error) {
	keys, err := p.known(node)
	if err != nil {
		return false, err
	}
	if len(keys) == 0 {
		return true, nil
	}
	old := keys[0]
	for _, k := range keys {
		if bytes.Equal(k.Marshal(), key.Marshal()) {
			return false, nil
		}
		if k.Type() == key.Type() {
			old = k
		}
	}
	return false, &HostKeyError{Node: node, Addr: addr, File: p.file,
		Old: ssh.FingerprintSHA256(old), New: ssh.FingerprintSHA256(key)}
}

// pin writes down key, unless another connection to the same node has done so
// in the meantime; if that one saw another key, it is a HostKeyError.
func (p pins) pin(node, addr string, key ssh.PublicKey) error {
	unlock, err := p.lock()
	if err != nil {
		return err
	}
	defer unlock()
	unknown, err := p.verify(node, addr, key)
	if err != nil || !unknown {
		return err
	}
	old, err := os.ReadFile(p.file)
	if err != nil {
		return fmt.Errorf("known hosts: %w", err)
	}
	line := knownhosts.Line([]string{node}, key) + "\n"
	if len(old) > 0 && old[len(old)-1] != '\n' {
		line = "\n" + line // someone edited the file by hand
	}
	// Not appended: connections to other nodes read the file without the lock,
	// and with many of them one sees half a line.
	return replaceFile(p.file, append(old, line...))
}

// algorithms orders the host key algorithms so that a server with several
// keys shows the pinned one, as OpenSSH does. The others stay allowed:
// without them a rebuilt node would fail as "no common algorithm" instead of
// as a changed key.
func (p pins) algorithms(node string) ([]string, error) {
	keys, err := p.known(node)
	if err != nil {
		return nil, err
	}
	return ordered(keys), nil
}

func ordered(keys []ssh.PublicKey) []string {
	var out []string
	for _, k := range keys {
		if k.Type() == ssh.KeyAlgoRSA {
			out = append(out, ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512)
		} else {
			out = append(out, k.Type())
		}
	}
	for _, a := range ssh.SupportedAlgorithms().HostKeys {
		if !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// Forget removes the host keys pinned for node from the file knownHosts. It
// is no error if the file or the node's line is not there. Lines whose host
// names are hashed are left: labctl writes none.
func Forget(knownHosts, node string) error {
	if _, err := os.Stat(knownHosts); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	p := pins{knownHosts}
	unlock, err := p.lock()
	if err != nil {
		return err
	}
	defer unlock()
	old, err := os.ReadFile(knownHosts)
	if err != nil {
		return fmt.Errorf("known hosts: %w", err)
	}
	var kept []byte
	for line := range bytes.Lines(old) {
		_, hosts, _, _, _, err := ssh.ParseKnownHosts(line)
		if err == nil && slices.Contains(hosts, node) {
			continue
		}
		kept = append(kept, line...)
	}
	if bytes.Equal(old, kept) {
		return nil
	}
	return replaceFile(knownHosts, kept)
}

// replaceFile writes beside and renames, so that no reader sees half a file.
func replaceFile(name string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("known hosts: %w", err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("known hosts: %w", err)
	}
	return nil
}

// noKey is a public key that no server has.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return nil }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("not a key") }

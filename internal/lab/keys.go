package lab

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"

	"labctl/internal/config"
	"labctl/internal/remote"
	"labctl/internal/vagrant"
)

// keyFile is the lab's own private key. Only the embedded engine's nodes use
// it: there Vagrant's way of replacing the box's well-known key costs a minute
// a node under emulation, nearly all of it guessing the guest's system.
func (e *Env) keyFile() string { return filepath.Join(e.StateDir(), "keys", "lab") }

// ownKey makes the lab's key unless it is there, and returns its public half
// as a line for authorized_keys. It is RSA in PEM: Vagrant's own SSH client
// reads Ed25519 only with further gems, and fails on ECDSA with OpenSSL 3
// (net-ssh 7.0: "undefined method fingerprint").
func (e *Env) ownKey() (public string, err error) {
	name := e.keyFile()
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		data, err = makeKey(name)
	}
	if err != nil {
		return "", fmt.Errorf("the lab's SSH key: %w", err)
	}
	signer, err := ssh.ParsePrivateKey(data)
	if err != nil {
		return "", fmt.Errorf("the lab's SSH key %s: %w", name, err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))) + " labctl " + e.Lab.Name, nil
}

func makeKey(name string) ([]byte, error) {
	key, err := rsa.GenerateKey(rand.Reader, 3072)
	if err != nil {
		return nil, err
	}
	data := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return nil, err
	}
	return data, writeFile(name, data)
}

// wellKnownKeyFile is the private key that every freshly made box trusts, as
// each start of Vagrant leaves it in Vagrant's own folder.
func wellKnownKeyFile() string { return filepath.Join(vagrant.Home(), "insecure_private_key") }

// connectOwn connects to a node of labctl's own box with the lab's key. A new
// VM knows only the box's well-known key; there that one is replaced first.
// changed says so.
func (e *Env) connectOwn(ctx context.Context, n config.Node, say func(string)) (changed bool, err error) {
	public, err := e.ownKey()
	if err != nil {
		return false, err
	}
	if e.redial(ctx, n) != nil {
		return false, nil
	}
	ep, err := e.endpoint(ctx, n, say)
	if err != nil {
		return false, err
	}
	login := func(wellKnown bool) error {
		if wellKnown {
			return e.authorize(ctx, n, ep, public, say)
		}
		_, err := e.dial(ctx, n, ep, say)
		return err
	}
	var refused *remote.AuthError
	_, err = os.Stat(e.endpointFile(n))
	fresh := errors.Is(err, fs.ErrNotExist) // never reached: most likely a new VM
	if err = login(fresh); err == nil || !errors.As(err, &refused) {
		return fresh, err
	}
	return !fresh, login(!fresh)
}

// authorize replaces the box's well-known key on a node by the lab's own, in
// one step that leaves either the old file or the new one. The connection that
// did it stays open and is the node's.
func (e *Env) authorize(ctx context.Context, n config.Node, ep remote.Endpoint, public string, say func(string)) error {
	first := ep
	first.KeyFile = wellKnownKeyFile()
	say("replacing the box's well-known key by the lab's own")
	c, err := remote.DialWait(ctx, first, e.dialOptions(), e.answerWithin(), say)
	if err != nil {
		return err
	}
	_, err = remote.Check(ctx, c, n.Name, remote.Script(`umask 077; echo "$1" > .ssh/authorized_keys.new; mv .ssh/authorized_keys.new .ssh/authorized_keys`, public))
	if err != nil {
		_ = c.Close()
		return err
	}
	e.keep(n, c)
	e.remember(n, ep)
	return nil
}

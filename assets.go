// Package labassets holds the files that labctl carries inside its binary, so
// that one copied file is a whole installation.
package labassets

import (
	"bytes"
	"embed"
)

//go:embed Vagrantfile.tmpl
var vagrantfileTemplate string

//go:embed lab.toml
var labToml []byte

// Files holds provision/ (the shell that runs on nodes) and scenarios/ (the
// executable documents), under those names. It is read-only.
//
//go:embed all:provision all:scenarios
var Files embed.FS

// VagrantfileTemplate returns the text/template from which every Vagrantfile
// is rendered.
func VagrantfileTemplate() string { return vagrantfileTemplate }

// LabToml returns a fresh copy of the commented lab.toml that `labctl init`
// writes.
func LabToml() []byte { return bytes.Clone(labToml) }

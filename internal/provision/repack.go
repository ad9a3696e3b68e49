package provision

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"

	"labctl/internal/remote"
)

// repackFrom is the size in bytes from which a package is repacked: three
// hold nearly everything.
const repackFrom = 2 << 20

// beforeZstd are the Debian releases whose dpkg cannot read zstd.
var beforeZstd = []string{"stretch", "buster", "bullseye"}

// repack turns the large packages from xz to zstd. They grow by a tenth, and a
// node without KVM unpacks them many times faster. Their content, down to the
// inner tar, stays.
func repack(ctx context.Context, h remote.Runner, b *Bundle) error {
	if slices.Contains(beforeZstd, b.Manifest.Release) {
		return nil
	}
	for i := range b.Manifest.Packages {
		p := &b.Manifest.Packages[i]
		if p.Size < repackFrom {
			continue
		}
		file := filepath.Join(b.Dir, p.File)
		data := file + ".data"
		_, err := remote.Check(ctx, h, "host", remote.Script(`dpkg-deb --fsys-tarfile "$1" >"$2"`, file, data+".tar"))
		if err != nil {
			return err
		}
		if err := errors.Join(compress(data+".tar", data), os.Remove(data+".tar")); err != nil {
			return fmt.Errorf("repack %s: %w", p.Name, err)
		}
		if err := swapData(file, data); err != nil {
			return fmt.Errorf("repack %s: %w", p.Name, err)
		}
		p.DebianSHA256 = p.SHA256
		if p.SHA256, p.Size, err = hashFile(file); err != nil {
			return err
		}
	}
	return nil
}

// compress writes the file from to the new file to, with zstd.
func compress(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	enc, err := zstd.NewWriter(out, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	if err != nil {
		return err
	}
	if _, err := enc.ReadFrom(in); err != nil {
		return err
	}
	return errors.Join(enc.Close(), out.Close())
}

const (
	arMagic  = "!<arch>\n"
	arHeader = 60 // bytes before each member
)

// swapData replaces the last member of the .deb file, data.tar.xz, with the
// file data as data.tar.zst, and removes that file.
func swapData(deb, data string) error {
	// Small enough for memory: some 40 MB.
	old, err := os.ReadFile(deb)
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(old, []byte(arMagic)) {
		return errors.New("not a .deb file")
	}
	at := len(arMagic)
	for {
		if len(old) < at+arHeader {
			return errors.New("no data.tar in it")
		}
		head := string(old[at : at+arHeader])
		if strings.HasPrefix(head, "data.tar") {
			break
		}
		size, err := strconv.Atoi(strings.TrimSpace(head[48:58]))
		if err != nil || size < 0 {
			return fmt.Errorf("member with the size %q", head[48:58])
		}
		at += arHeader + size + size%2
	}
	f, err := os.Open(data)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	head := fmt.Sprintf("%-16s%s%-10d`\n", "data.tar.zst", old[at+16:at+48], info.Size())
	end := ""
	if info.Size()%2 == 1 {
		end = "\n"
	}
	out, err := os.Create(deb + ".new")
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	if _, err := io.Copy(out, io.MultiReader(bytes.NewReader(old[:at]), strings.NewReader(head), f, strings.NewReader(end))); err != nil {
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	return errors.Join(os.Rename(deb+".new", deb), os.Remove(data))
}

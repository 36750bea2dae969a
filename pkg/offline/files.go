// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package offline

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// Limits bound what reading files may take. The zero value has the standard ones.
type Limits struct {
	// Read is how many bytes all files may have, uncompressed; 8 GiB if zero.
	Read int64
	// Kept is how many bytes of JSON the objects may have that are looked at, without
	// what is dropped of them; 1 GiB if zero. About three times as much memory is taken.
	Kept int64
	// Object is how many bytes one object may have, or one document that is no List;
	// 32 MiB if zero.
	Object int64
}

func (l *Limits) setDefaults() {
	for limit, standard := range map[*int64]int64{&l.Read: 8 << 30, &l.Kept: 1 << 30, &l.Object: 32 << 20} {
		if *limit == 0 {
			*limit = standard
		}
	}
}

// walker hands each file that may have objects to visit, by its name in the folder or
// archive.
type walker struct {
	ctx   context.Context
	left  int64 // bytes that may still be read
	limit int64
	visit func(name string, content io.Reader) error
	// skipped counts the files that have other names.
	skipped int
}

// readable tells whether a file is looked into: what kubectl prints has one of these
// ends.
func readable(name string) bool {
	end := path.Ext(strings.TrimSuffix(name, ".gz"))
	return slices.Contains([]string{".yaml", ".yml", ".json"}, strings.ToLower(end))
}

// walk looks at a folder, an archive, or one file.
func (w *walker) walk(name string) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return w.folder(os.DirFS(name))
	}
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	content, err := w.plain(file)
	if err != nil {
		return err
	}
	start, err := content.Peek(tarMagic + len(ustar))
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if len(start) > tarMagic && string(start[tarMagic:]) == ustar {
		return w.archive(content)
	}
	if !readable(name) {
		return errors.New("it is neither a folder nor a tar archive, which may be gzipped, nor does its name end in .yaml, .yml or .json")
	}
	return w.visit(path.Base(name), content)
}

// The magic of tar, and where it is (POSIX.1-1988, ustar; GNU tar has it too).
const (
	tarMagic = 257
	ustar    = "ustar"
	tarBlock = 512 // bytes
)

func (w *walker) folder(root fs.FS) error {
	return fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return nil
		}
		info, err := fs.Stat(root, name) // follows a link
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() || !readable(name) {
			w.skipped++
			return nil
		}
		file, err := root.Open(name)
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }() // it was read only
		content, err := w.plain(file)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return w.visit(name, content)
	})
}

// zeros counts the zeros that a stream ends with.
type zeros struct {
	from io.Reader
	n    int
}

// Read implements io.Reader.
func (z *zeros) Read(into []byte) (int, error) {
	n, err := z.from.Read(into)
	rest := len(bytes.TrimRight(into[:n], "\x00"))
	if rest > 0 {
		z.n = 0
	}
	z.n += n - rest
	return n, err
}

func (w *walker) archive(from io.Reader) error {
	content := &zeros{from: from}
	entries := tar.NewReader(content)
	for {
		entry, err := entries.Next()
		if errors.Is(err, io.EOF) {
			// What follows the last entry tells whether it is the last: the rest of what is
			// gzipped, and a block of zeros (POSIX.1-2017, pax, ustar interchange format).
			if _, err := io.Copy(io.Discard, content); err != nil {
				return explain(err)
			}
			if content.n < tarBlock {
				return explain(io.ErrUnexpectedEOF)
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("the archive cannot be read on: %w", explain(err))
		}
		if entry.Typeflag == tar.TypeDir {
			continue
		}
		if entry.Typeflag != tar.TypeReg || !readable(entry.Name) {
			w.skipped++
			continue
		}
		inner, err := w.plain(entries)
		if err != nil {
			return fmt.Errorf("%s: %w", entry.Name, err)
		}
		if err := w.visit(path.Clean(entry.Name), inner); err != nil {
			return err
		}
	}
}

// plain uncompresses what is gzipped, and bounds what is read.
func (w *walker) plain(from io.Reader) (*bufio.Reader, error) {
	buffered := bufio.NewReader(from)
	if start, _ := buffered.Peek(2); !bytes.Equal(start, []byte{0x1f, 0x8b}) { // RFC 1952
		return bufio.NewReaderSize(&bounded{walker: w, from: buffered}, 64<<10), nil
	}
	unzipped, err := gzip.NewReader(buffered)
	if err != nil {
		return nil, explain(err)
	}
	return bufio.NewReaderSize(&bounded{walker: w, from: unzipped}, 64<<10), nil
}

// bounded reads until the walker has read enough.
type bounded struct {
	walker *walker
	from   io.Reader
}

// Read implements io.Reader.
func (b *bounded) Read(into []byte) (int, error) {
	if err := b.walker.ctx.Err(); err != nil {
		return 0, &fatalError{err}
	}
	n, err := b.from.Read(into)
	if b.walker.left -= int64(n); b.walker.left < 0 {
		return n, &fatalError{fmt.Errorf("the files have more than %s uncompressed, and that is the most: take a part of them", size(b.walker.limit))}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = &fatalError{explain(err)}
	}
	return n, err
}

// fatalError is one after which there is no use in going on to the next file.
type fatalError struct{ error }

// Unwrap returns what went wrong.
func (e *fatalError) Unwrap() error { return e.error }

// explain says what an end in the middle means.
func explain(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("it ends in the middle, so it was cut off: copy it again (%w)", err)
	}
	return err
}

func size(bytes int64) string {
	switch {
	case bytes >= 1<<30 && bytes%(1<<30) == 0:
		return fmt.Sprintf("%d GiB", bytes>>30)
	case bytes >= 1<<20 && bytes%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", bytes>>20)
	}
	return fmt.Sprintf("%d bytes", bytes)
}

// text reads UTF-8 out of what has a byte order mark, as a shell of Windows writes it.
func text(from io.Reader) io.Reader {
	return transform.NewReader(from, unicode.BOMOverride(encoding.Nop.NewDecoder()))
}

// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package offline

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// metered fails once more is read for one value than it may have.
type metered struct {
	from io.Reader
	left int64
	most int64
}

// Read implements io.Reader.
func (m *metered) Read(into []byte) (int, error) {
	if m.left <= 0 {
		return 0, &fatalError{tooLarge(m.most)}
	}
	n, err := m.from.Read(into[:min(int64(len(into)), m.left)])
	m.left -= int64(n)
	return n, err
}

// jsonReader reads values one after the other.
type jsonReader struct {
	*json.Decoder
	metered *metered
	// head is what was read of a document, without its items.
	head map[string]any
}

// next lets the next value have as much as any.
func (r *jsonReader) next() { r.metered.left = r.metered.most }

// within reads something of at most left bytes, and returns what is left then. What the
// decoder had read ahead counts, too.
func (r *jsonReader) within(left int64, read func() error) (int64, error) {
	r.metered.left = left
	begin := r.InputOffset()
	err := read()
	if left -= r.InputOffset() - begin; left < 0 && err == nil {
		err = &fatalError{tooLarge(r.metered.most)}
	}
	return left, err
}

func readJSON(from io.Reader, most int64, to handler) error {
	limited := &metered{from: from, left: most, most: most}
	reader := &jsonReader{Decoder: json.NewDecoder(limited), metered: limited}
	for {
		reader.head = map[string]any{}
		reader.next()
		token, err := reader.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil && token != json.Delim('{') {
			return to.object(nil) // other programs keep other things in JSON
		}
		if err == nil {
			err = reader.document(to)
		}
		if err != nil {
			return reader.unread(err, to)
		}
	}
}

// unread tells of the rest of a file that cannot be read.
func (r *jsonReader) unread(err error, to handler) error {
	if fatal := (*fatalError)(nil); errors.As(err, &fatal) {
		return err
	}
	var syntax *json.SyntaxError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		err = errors.New("it ends in the middle")
	case errors.As(err, &syntax):
		err = fmt.Errorf("it is no JSON at byte %d", syntax.Offset)
	}
	kind, _ := r.head["kind"].(string)
	version, _ := r.head["apiVersion"].(string)
	to.cut(version, kind, err)
	return nil
}

// document reads a value whose opening brace was read, items one by one.
func (r *jsonReader) document(to handler) error {
	items, left := pending{}, r.metered.most // for all but the items
	for r.More() {
		var raw json.RawMessage
		var name json.Token
		var err error
		left, err = r.within(left, func() (err error) {
			if name, err = r.Token(); err != nil || name == "items" {
				return err
			}
			return r.Decode(&raw)
		})
		if err != nil {
			return err
		}
		if name != "items" {
			if r.head[name.(string)], err = decoded(raw); err != nil {
				return err
			}
			r.next() // for what comes before the next name
			continue
		}
		r.next()
		begin, err := r.Token()
		if err != nil {
			return err
		}
		if begin == nil {
			continue // a list of nothing, as Go writes it
		}
		if begin != json.Delim('[') {
			return errors.New("items is no list")
		}
		for r.More() {
			if _, err := r.within(r.metered.most, func() error { return r.Decode(&raw) }); err != nil {
				return err
			}
			value, err := decoded(raw)
			if err != nil {
				return err
			}
			item, is := value.(map[string]any)
			if !is {
				return errors.New("an item of a list is no object")
			}
			if err := items.take(item, int64(len(raw)), r.metered.most, to); err != nil {
				return err
			}
		}
		if _, err := r.Token(); err != nil {
			return err
		}
	}
	if _, err := r.Token(); err != nil {
		return err
	}
	return items.end(r.head, to)
}

// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package offline

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// handler takes what documents have. An error ends the reading.
type handler struct {
	// object takes one object, or what is none.
	object func(map[string]any) error
	// list takes the kind of a list after its objects, and how many it had.
	list func(apiVersion, kind string, items int) error
	// broken takes why one document, or one item of a list, cannot be read.
	broken func(error)
	// cut takes why the file does not have all of what it has objects of, and the kind of
	// the list that goes on, if it is known.
	cut func(apiVersion, kind string, why error)
}

// documents reads the objects of a file in JSON or YAML, whichever it is in. Items of
// lists are read one by one, so that a list may be larger than memory.
func documents(from io.Reader, most int64, to handler) error {
	content := bufio.NewReaderSize(text(from), 64<<10)
	start, err := content.Peek(4 << 10)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if isJSON(start) {
		return readJSON(content, most, to)
	}
	return readYAML(content, most, to)
}

// isJSON tells whether a file that begins so is in JSON: a brace may begin YAML too, whose
// names need no quotes.
func isJSON(start []byte) bool {
	const space = " \t\r\n"
	start = bytes.TrimLeft(start, space)
	if rest, is := bytes.CutPrefix(start, []byte("{")); is {
		rest = bytes.TrimLeft(rest, space)
		return len(rest) > 0 && (rest[0] == '"' || rest[0] == '}')
	}
	return bytes.HasPrefix(start, []byte("["))
}

// pending are the items of a list whose kind comes after them.
type pending struct {
	items []map[string]any
	bytes int64
	count int
	// begun tells that a list began in YAML, which ends anywhere without being wrong, and
	// given that an object was handed on.
	begun, given bool
}

// take hands an item on, or keeps it until the kind of its list is known.
func (p *pending) take(item map[string]any, bytes, most int64, to handler) error {
	p.count++
	if item["kind"] != nil && item["apiVersion"] != nil {
		p.given = true
		return to.object(item)
	}
	if p.bytes += bytes; p.bytes > most {
		return &fatalError{fmt.Errorf("a list has items without a kind, with more than %s, and that is the most", size(most))}
	}
	p.items = append(p.items, item)
	return nil
}

// Why a list does not have all items. kubectl sorts fields, so that the kind of a list
// comes after its items.
var (
	errCut  = errors.New("it ends in the middle: no kind of a list follows its items, so copy it again")
	errPage = errors.New("it is one page of more: get the list without a limit")
)

// end gives the items that were kept their kind (a PodList is one of Pods), and tells of
// the list. What is no list is an object.
func (p *pending) end(head map[string]any, to handler) error {
	kind, _ := head["kind"].(string)
	version, _ := head["apiVersion"].(string)
	of, isList := strings.CutSuffix(kind, "List")
	onlyBegun := version != "" && head["metadata"] == nil && (p.begun || len(head) == 1)
	switch {
	case !isList && (p.given || onlyBegun):
		to.cut("", "", errCut)
		return nil
	case !isList:
		return to.object(head)
	}
	for _, item := range p.items {
		item["apiVersion"], item["kind"] = version, of
		if err := to.object(item); err != nil {
			return err
		}
	}
	metadata, _ := head["metadata"].(map[string]any)
	if next, _ := metadata["continue"].(string); next != "" {
		to.cut(version, kind, errPage)
		return nil
	}
	return to.list(version, kind, p.count)
}

func tooLarge(most int64) error {
	return fmt.Errorf("an object, or a document that cannot be taken apart, has more than %s, and that is the most", size(most))
}

// decoded keeps numbers as they are written.
func decoded(raw []byte) (value any, err error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	err = decoder.Decode(&value)
	return value, err
}

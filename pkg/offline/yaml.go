// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package offline

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"

	yamlv3 "go.yaml.in/yaml/v3"
	"sigs.k8s.io/yaml"
)

// readYAML takes a stream of documents apart. The block sequence that stands under a
// top-level "items:" is taken apart by its dashes: nothing else in it can begin with as
// little indentation, for in a block all that an entry holds is indented by more (YAML
// 1.2.2, 8.2).
func readYAML(from *bufio.Reader, most int64, to handler) error {
	r := &yamlReader{most: most, to: to, indent: -1}
	for {
		line, err := readLine(from, most)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if len(line) > 0 {
			r.line++
			if err := r.take(line); err != nil {
				return err
			}
		}
		if err != nil {
			return r.endDocument()
		}
	}
}

// readLine reads a line with its end.
func readLine(from *bufio.Reader, most int64) ([]byte, error) {
	var line []byte
	for {
		part, err := from.ReadSlice('\n')
		if int64(len(line)+len(part)) > most {
			return nil, &fatalError{tooLarge(most)}
		}
		line = append(line, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

type yamlReader struct {
	most int64
	to   handler
	line int // of the file, from 1

	// head is the document without its items, item the one that is being read.
	head, item         bytes.Buffer
	headLine, itemLine int
	inItems            bool
	indent             int // of the dashes; -1 before the first
	items              pending
}

func (r *yamlReader) take(line []byte) error {
	bare := bytes.TrimRight(line, " \t\r\n")
	switch {
	case bytes.HasPrefix(line, []byte("---")) && (len(bare) == 3 || line[3] == ' ' || line[3] == '\t'):
		if err := r.endDocument(); err != nil {
			return err
		}
		return r.add(&r.head, &r.headLine, append([]byte("   "), line[3:]...))
	case string(bare) == "...":
		return r.endDocument()
	case r.inItems:
		return r.takeInItems(line, bare)
	case string(bare) == "items:":
		r.inItems, r.indent, r.items.begun = true, -1, true
		return nil
	}
	return r.add(&r.head, &r.headLine, line)
}

func (r *yamlReader) takeInItems(line, bare []byte) error {
	rest := bytes.TrimLeft(bare, " ")
	indent := len(bare) - len(rest)
	blank := len(rest) == 0 || rest[0] == '#'
	dash := len(rest) > 0 && rest[0] == '-' && (len(rest) == 1 || rest[1] == ' ' || rest[1] == '\t')
	switch {
	case !blank && dash && (r.indent < 0 || indent == r.indent):
		if err := r.endItem(); err != nil {
			return err
		}
		r.indent = indent
		line = bytes.Clone(line)
		line[indent] = ' '
	case !blank && indent == 0: // the next field
		if err := r.endItem(); err != nil {
			return err
		}
		r.inItems = false
		return r.add(&r.head, &r.headLine, line)
	case r.indent < 0 && !blank: // it is no list
		r.inItems, r.items.begun = false, false
		if err := r.add(&r.head, &r.headLine, []byte("items:\n")); err != nil {
			return err
		}
		return r.add(&r.head, &r.headLine, line)
	}
	return r.add(&r.item, &r.itemLine, line)
}

func (r *yamlReader) add(to *bytes.Buffer, began *int, line []byte) error {
	if to.Len() == 0 {
		*began = r.line
	}
	if int64(to.Len()+len(line)) > r.most {
		return &fatalError{fmt.Errorf("line %d: %w", r.line, tooLarge(r.most))}
	}
	to.Write(line)
	return nil
}

func (r *yamlReader) endItem() error {
	if len(bytes.TrimSpace(r.item.Bytes())) == 0 {
		r.item.Reset()
		return nil
	}
	bytes := int64(r.item.Len())
	value, err := parseYAML(r.item.Bytes(), r.itemLine)
	r.item.Reset()
	item, is := value.(map[string]any)
	switch {
	case err != nil:
		r.to.broken(err)
		return nil
	case !is:
		return nil // a comment
	}
	return r.items.take(item, bytes, r.most, r.to)
}

func (r *yamlReader) endDocument() error {
	if r.inItems {
		if err := r.endItem(); err != nil {
			return err
		}
	}
	items := r.items
	value, err := parseYAML(r.head.Bytes(), r.headLine)
	r.head.Reset()
	r.items, r.inItems, r.indent = pending{}, false, -1
	head, is := value.(map[string]any)
	switch {
	case err != nil && items.count > 0:
		r.to.cut("", "", err)
		return nil
	case err != nil:
		r.to.broken(err)
		return nil
	case value == nil && items.count == 0:
		return nil // nothing but comments
	case !is && items.given:
		r.to.cut("", "", errCut)
		return nil
	case !is:
		return r.to.object(nil)
	}
	listed, is := head["items"].([]any) // written so that it could not be taken apart
	if is {
		delete(head, "items")
		items.begun = true
	}
	for _, value := range listed {
		item, is := value.(map[string]any)
		if !is {
			r.to.broken(fmt.Errorf("line %d: an item of a list is no object", r.headLine))
			continue
		}
		if err := items.take(item, 0, r.most, r.to); err != nil {
			return err
		}
	}
	return items.end(head, r.to)
}

// yamlLine is how YAML's errors name a line. The rest of their texts may quote what is in
// the file, which may be secret.
var yamlLine = regexp.MustCompile(`line (\d+)`)

// mayRefer is how an anchor or an alias begins, and other things may.
var mayRefer = regexp.MustCompile(`[&*][0-9A-Za-z_-]`)

// references returns the first line of an anchor or alias; 0 if there is none.
func references(data []byte) (int, error) {
	if !mayRefer.Match(data) {
		return 0, nil
	}
	var document yamlv3.Node // which takes no alias for what it stands for
	if err := yamlv3.Unmarshal(data, &document); err != nil {
		return 0, err
	}
	return referenceIn(&document), nil
}

func referenceIn(node *yamlv3.Node) int {
	if node.Anchor != "" || node.Kind == yamlv3.AliasNode {
		return node.Line
	}
	for _, inner := range node.Content {
		if line := referenceIn(inner); line > 0 {
			return line
		}
	}
	return 0
}

func parseYAML(data []byte, began int) (any, error) {
	// An alias may stand for any number of others, so a few lines for more than memory has.
	line, err := references(data)
	if line > 0 {
		return nil, fmt.Errorf("line %d: it has an anchor or an alias, which kubectl never writes: write out what it stands for", began+line-1)
	}
	var converted []byte
	if err == nil {
		converted, err = yaml.YAMLToJSONStrict(data)
	}
	if err != nil {
		line := 1
		if found := yamlLine.FindStringSubmatch(err.Error()); found != nil {
			line, _ = strconv.Atoi(found[1]) // it is digits
		}
		return nil, fmt.Errorf("line %d: it is no YAML that can be read", began+line-1)
	}
	return decoded(converted)
}

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
	"regexp"
	"strconv"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
	"sigs.k8s.io/yaml"
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

func tooLarge(most int64) error {
	return fmt.Errorf("an object, or a document that cannot be taken apart, has more than %s, and that is the most", size(most))
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

// decoded keeps numbers as they are written.
func decoded(raw []byte) (value any, err error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	err = decoder.Decode(&value)
	return value, err
}

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

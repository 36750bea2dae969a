// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Command chartvalues writes the table of values into the README.md of a Helm
// chart, between two markers, from values.yaml. A value is described by a comment
// above it that begins with "--"; what describes a map describes all that it holds.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	begin = "<!-- Generated from values.yaml; run make generate. -->\n"
	end   = "<!-- End of what is generated. -->\n"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: chartvalues DIRECTORY-OF-A-CHART")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "chartvalues:", err)
		os.Exit(1)
	}
}

func run(chart string) error {
	values, err := os.ReadFile(filepath.Join(chart, "values.yaml"))
	if err != nil {
		return err
	}
	made, err := table(values)
	if err != nil {
		return fmt.Errorf("values.yaml: %w", err)
	}
	file := filepath.Join(chart, "README.md")
	readme, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, found := bytes.Cut(readme, []byte(begin))
	_, after, ended := bytes.Cut(rest, []byte(end))
	if !found || !ended {
		return fmt.Errorf("%s: there is no place for the table; put these lines there:\n%s%s", file, begin, end)
	}
	return os.WriteFile(file, bytes.Join([][]byte{before, []byte(begin), made, []byte(end), after}, nil), 0o644)
}

// table returns the rows of all values in Markdown; one that nothing describes is
// an error.
func table(values []byte) ([]byte, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(values, &document); err != nil {
		return nil, err
	}
	if len(document.Content) != 1 || document.Content[0].Kind != yaml.MappingNode {
		return nil, errors.New("it is no map")
	}
	var rows bytes.Buffer
	rows.WriteString("| value | default | what it is |\n|---|---|---|\n")
	err := write(&rows, "", document.Content[0])
	return rows.Bytes(), err
}

func write(rows *bytes.Buffer, path string, values *yaml.Node) error {
	for i := 0; i+1 < len(values.Content); i += 2 {
		key, value := values.Content[i], values.Content[i+1]
		name := strings.TrimPrefix(path+"."+key.Value, ".")
		description, described := describes(key.HeadComment)
		if !described {
			if value.Kind != yaml.MappingNode || len(value.Content) == 0 {
				return fmt.Errorf("line %d: nothing describes %s; put a comment above it that begins with %q", key.Line, name, "# --")
			}
			if err := write(rows, name, value); err != nil {
				return err
			}
			continue
		}
		var content any
		if err := value.Decode(&content); err != nil {
			return fmt.Errorf("line %d: %w", value.Line, err)
		}
		shown, err := json.Marshal(content)
		if err != nil {
			return fmt.Errorf("line %d: %w", value.Line, err)
		}
		fmt.Fprintf(rows, "| `%s` | `%s` | %s |\n", name, shown, description)
	}
	return nil
}

// describes returns what a comment says of a value, on one line.
func describes(comment string) (description string, is bool) {
	lines := strings.Split(comment, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimSpace(strings.TrimPrefix(line, "#"))
	}
	return strings.CutPrefix(strings.Join(lines, " "), "-- ")
}

// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// source is one package without its tests, parsed and with types.
type source struct {
	path, dir string
	fset      *token.FileSet
	info      *types.Info
	files     []sourceFile
}

type sourceFile struct {
	// name is the file's base name.
	name    string
	content []byte
	syntax  *ast.File
}

// load reads a package by its path or folder. Imports are read as the compiler
// exported them, so they have to compile.
func load(pattern string) (*source, error) {
	command := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles,DepOnly", pattern)
	command.Stderr = os.Stderr
	listed, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", pattern, err)
	}
	exports := map[string]string{}
	s := newSource()
	var names []string
	for decoder := json.NewDecoder(bytes.NewReader(listed)); ; {
		var one struct {
			ImportPath, Dir, Export string
			GoFiles                 []string
			DepOnly                 bool
		}
		if err := decoder.Decode(&one); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("listing %s: %w", pattern, err)
		}
		exports[one.ImportPath] = one.Export
		if !one.DepOnly {
			if s.path != "" {
				return nil, fmt.Errorf("%s is more than one package: name them one by one", pattern)
			}
			s.path, s.dir, names = one.ImportPath, one.Dir, one.GoFiles
		}
	}
	for _, name := range names {
		content, err := os.ReadFile(filepath.Join(s.dir, name))
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", s.path, err)
		}
		if err := s.add(name, content); err != nil {
			return nil, err
		}
	}
	return s, s.check(importer.ForCompiler(s.fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) }))
}

func newSource() *source {
	return &source{fset: token.NewFileSet(), info: &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}}}
}

func (s *source) add(name string, content []byte) error {
	syntax, err := parser.ParseFile(s.fset, name, content, parser.SkipObjectResolution)
	if err != nil {
		return fmt.Errorf("parsing %s: %w", name, err)
	}
	s.files = append(s.files, sourceFile{name: name, content: content, syntax: syntax})
	return nil
}

func (s *source) check(imports types.Importer) error {
	var syntax []*ast.File
	for _, file := range s.files {
		syntax = append(syntax, file.syntax)
	}
	if _, err := (&types.Config{Importer: imports}).Check(s.path, s.fset, syntax, s.info); err != nil {
		return fmt.Errorf("checking the types of %s: %w", s.path, err)
	}
	return nil
}

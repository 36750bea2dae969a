// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"slices"
	"strings"
)

// Mutant is one change of the code that some test should notice. File, Function
// and Mutation name it without line numbers, so the name survives other edits.
type Mutant struct {
	// ID switches it on in the test binary; it counts from 1.
	ID       int    `json:"-"`
	File     string `json:"file"`
	Function string `json:"function"`
	// Mutation is like "f.claims == nil -> false"; a "#2" is the second like it
	// in the function.
	Mutation string `json:"mutation"`
	kind     string
}

func (m Mutant) String() string { return fmt.Sprintf("%s %s: %s", m.File, m.Function, m.Mutation) }

// edit replaces length bytes at offset by text.
type edit struct {
	offset, length int
	text           string
	// closing is true for what ends a wrapped piece: where two end at one place,
	// the inner one closes first.
	closing bool
}

// wordings are the functions whose constant arguments are text for people. What
// they say is not mutated: tests that pin every word would only make words hard to mend.
var wordings = []string{"fmt.Errorf", "fmt.Sprintf", "errors.New", "allowed", "denied", "pending", "managed"}

// finder collects the mutants of one package, and the edits that build all of
// them in, each switched off.
type finder struct {
	*source
	// prefix is the package's folder, as it stands in Mutant.File.
	prefix   string
	mutants  []Mutant
	edits    map[string][]edit
	file     *sourceFile
	function string
	known    map[string]int
	// parents of the node that is being visited, outermost first.
	parents []ast.Node
}

// find returns every mutant of a package. There are none that turn == into !=:
// whoever notices that a comparison is always true, and that it is always false,
// notices those.
func find(s *source, prefix string) *finder {
	f := &finder{source: s, prefix: prefix, edits: map[string][]edit{}, known: map[string]int{}}
	for i := range s.files {
		f.file = &s.files[i]
		for _, declaration := range f.file.syntax.Decls {
			switch declaration := declaration.(type) {
			case *ast.FuncDecl:
				f.function = functionName(declaration)
				f.walk(declaration.Body)
			case *ast.GenDecl:
				if declaration.Tok != token.VAR {
					continue
				}
				for _, spec := range declaration.Specs {
					variable := spec.(*ast.ValueSpec)
					f.function = variable.Names[0].Name
					for _, value := range variable.Values {
						f.walk(value)
					}
				}
			}
		}
	}
	return f
}

func functionName(declaration *ast.FuncDecl) string {
	if declaration.Recv == nil {
		return declaration.Name.Name
	}
	receiver := declaration.Recv.List[0].Type
	if pointer, ok := receiver.(*ast.StarExpr); ok {
		receiver = pointer.X
	}
	return types.ExprString(receiver) + "." + declaration.Name.Name
}

func (f *finder) walk(node ast.Node) {
	f.parents = f.parents[:0]
	ast.Inspect(node, func(node ast.Node) bool {
		if node == nil {
			f.parents = f.parents[:len(f.parents)-1]
			return true
		}
		// Inspect tells of no way out of what was not entered.
		inside := f.visit(node)
		if inside {
			f.parents = append(f.parents, node)
		}
		return inside
	})
}

// visit makes the mutants of one node, and tells whether to look inside it.
func (f *finder) visit(node ast.Node) bool {
	switch node := node.(type) {
	case *ast.FuncType, *ast.ArrayType, *ast.DeclStmt:
		return false
	case ast.Stmt:
		if f.removable(node) {
			f.wrap(node, "removed statement", "if !mutantOn(%d) { ", " }", "removed")
		}
	case ast.Expr:
		is, known := f.info.Types[node]
		switch {
		case is.IsType():
			return false
		case is.Value != nil:
			f.constant(node, is)
			return false
		case !known || !is.IsValue() || is.IsNil():
			return true
		case isBool(is.Type):
			if f.decides(node) {
				f.wrap(node, "condition", "mutantTruth(%d, %d, ", ")", "true", "false")
			}
		default:
			f.result(node, is.Type)
		}
		if binary, ok := node.(*ast.BinaryExpr); ok {
			f.binary(binary)
		}
	}
	return true
}

func (f *finder) parent() ast.Node {
	if len(f.parents) == 0 {
		return nil
	}
	return f.parents[len(f.parents)-1]
}

// removable tells whether the program compiles without a statement.
func (f *finder) removable(statement ast.Stmt) bool {
	switch parent := f.parent().(type) {
	case *ast.BlockStmt, *ast.CaseClause:
	case *ast.CommClause:
		if parent.Comm == statement { // What a select waits for.
			return false
		}
	default:
		return false
	}
	switch statement := statement.(type) {
	case *ast.ExprStmt, *ast.IncDecStmt, *ast.SendStmt, *ast.DeferStmt, *ast.GoStmt:
		return true
	case *ast.BranchStmt:
		return statement.Label == nil && statement.Tok != token.FALLTHROUGH
	case *ast.AssignStmt:
		return statement.Tok != token.DEFINE
	}
	return false
}

// decides tells whether something looks at a truth value itself. A !x is
// mutated, and so its x need not be.
func (f *finder) decides(truth ast.Expr) bool {
	switch parent := f.parent().(type) {
	case *ast.BinaryExpr:
		return parent.Op == token.LAND || parent.Op == token.LOR
	case *ast.AssignStmt:
		return slices.Contains(parent.Rhs, truth)
	case *ast.IfStmt, *ast.ForStmt, *ast.CaseClause, *ast.ReturnStmt, *ast.CallExpr, *ast.KeyValueExpr, *ast.CompositeLit:
		return true
	}
	return false
}

// result drops what is returned, an error above all, or what a field is set to.
// A verdict becomes its opposite instead.
func (f *finder) result(value ast.Expr, is types.Type) {
	kind := ""
	switch parent := f.parent().(type) {
	case *ast.ReturnStmt:
		kind = "dropped result"
	case *ast.KeyValueExpr:
		if parent.Value == value {
			kind = "dropped field"
		}
	}
	if kind == "" {
		return
	}
	switch value := value.(type) {
	case *ast.CompositeLit, *ast.FuncLit:
		return
	case *ast.UnaryExpr:
		if value.Op == token.AND {
			return
		}
	}
	switch is := is.(type) {
	case *types.Tuple:
		return
	case *types.Named:
		if is.Obj().Name() == "Verdict" {
			f.wrap(value, "swapped verdict", "mutantVerdict(%d, ", ")", "the opposite")
			return
		}
	}
	f.wrap(value, kind, "mutantZero(%d, ", ")", "zero")
}

// binary exchanges an operator for the one next to it: a boundary moves by one,
// plus becomes minus, and becomes or.
func (f *finder) binary(expression *ast.BinaryExpr) {
	exchange := map[token.Token]struct{ other, kind, helper, between, end string }{
		token.LSS:  {"<=", "boundary", "mutantCompare", ",", ""},
		token.LEQ:  {"<", "boundary", "mutantCompare", ",", ""},
		token.GTR:  {">=", "boundary", "mutantCompare", ",", ""},
		token.GEQ:  {">", "boundary", "mutantCompare", ",", ""},
		token.ADD:  {"-", "arithmetic", "mutantAdd", ",", ""},
		token.SUB:  {"+", "arithmetic", "mutantAdd", ",", ""},
		token.LAND: {"||", "connective", "mutantConnect", ", func() bool { return", " }"},
		token.LOR:  {"&&", "connective", "mutantConnect", ", func() bool { return", " }"},
	}
	by, ok := exchange[expression.Op]
	if !ok {
		return
	}
	if basic, ok := f.info.Types[expression.X].Type.Underlying().(*types.Basic); by.kind == "arithmetic" && (!ok || basic.Info()&types.IsNumeric == 0) {
		return
	}
	f.wrap(expression, by.kind, by.helper+"(%d, ", fmt.Sprintf("%s, %q)", by.end, expression.Op), by.other)
	f.edit(edit{offset: f.offset(expression.OpPos), length: len(expression.Op.String()), text: by.between})
}

// constant changes a constant, however it is composed.
func (f *finder) constant(value ast.Expr, is types.TypeAndValue) {
	basic, ok := is.Type.Underlying().(*types.Basic)
	if !ok {
		return
	}
	_, named := is.Type.(*types.Named)
	argument := ""
	if untyped := f.untyped(value); untyped && named {
		return // Its type cannot be written here without an import.
	} else if untyped {
		argument = "[" + basic.Name() + "]"
	}
	switch {
	case isBool(is.Type) && f.decides(value):
		f.wrap(value, "boolean literal", "mutantNot(%d, ", ")", fmt.Sprint(!constant.BoolVal(is.Value)))
	case f.words():
	case basic.Info()&types.IsString != 0:
		change := `""`
		if constant.StringVal(is.Value) == "" {
			change = `"mutant"`
		}
		f.wrap(value, "string constant", "mutantText"+argument+"(%d, ", ")", change)
	case is.Type.String() == "time.Duration":
		f.wrap(value, "number", "mutantNumber"+argument+"(%d, ", ", 1e9)", "+1s")
	case basic.Info()&types.IsInteger != 0:
		f.wrap(value, "number", "mutantNumber"+argument+"(%d, ", ", 1)", "+1")
	}
}

// words tells whether the node is part of a text for people.
func (f *finder) words() bool {
	return slices.ContainsFunc(f.parents, func(node ast.Node) bool {
		call, ok := node.(*ast.CallExpr)
		return ok && slices.Contains(wordings, types.ExprString(call.Fun))
	})
}

// untyped tells whether a constant has no type but what it is used for gives it one.
func (f *finder) untyped(value ast.Expr) bool {
	switch value := value.(type) {
	case *ast.BasicLit:
		return true
	case *ast.Ident:
		return isUntyped(f.info.Uses[value].Type())
	case *ast.SelectorExpr:
		return isUntyped(f.info.Uses[value.Sel].Type())
	case *ast.ParenExpr:
		return f.untyped(value.X)
	case *ast.UnaryExpr:
		return f.untyped(value.X)
	case *ast.BinaryExpr:
		return f.untyped(value.X) && f.untyped(value.Y)
	}
	return false
}

// wrap puts a piece of code between open and end, and makes a mutant for each
// change; open has a %d for the ID of each.
func (f *finder) wrap(node ast.Node, kind, open, end string, changes ...string) {
	from, to := f.offset(node.Pos()), f.offset(node.End())
	code := strings.Join(strings.Fields(string(f.file.content[from:to])), " ")
	if runes := []rune(code); len(runes) > maximumCode {
		code = string(runes[:maximumCode]) + "..."
	}
	var ids []any
	for _, change := range changes {
		mutant := Mutant{ID: len(f.mutants) + 1, File: f.prefix + f.file.name, Function: f.function, Mutation: code + " -> " + change, kind: kind}
		f.known[mutant.String()]++
		if n := f.known[mutant.String()]; n > 1 {
			mutant.Mutation += fmt.Sprintf(" #%d", n)
		}
		f.mutants = append(f.mutants, mutant)
		ids = append(ids, mutant.ID)
	}
	f.edit(edit{offset: from, text: fmt.Sprintf(open, ids...)})
	f.edit(edit{offset: to, text: end, closing: true})
}

// maximumCode bounds how much of the code a mutation quotes, in characters.
const maximumCode = 80

func (f *finder) edit(one edit) { f.edits[f.file.name] = append(f.edits[f.file.name], one) }

func (f *finder) offset(position token.Pos) int { return f.fset.Position(position).Offset }

func isBool(is types.Type) bool {
	return is == types.Typ[types.Bool] || is == types.Typ[types.UntypedBool]
}

func isUntyped(is types.Type) bool {
	basic, ok := is.(*types.Basic)
	return ok && basic.Info()&types.IsUntyped != 0
}

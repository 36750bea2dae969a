// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFind(t *testing.T) {
	for name, test := range map[string]struct {
		body string
		want []string
	}{
		"conditions and their operands": {
			"if a && !b { println() }",
			[]string{"a && !b -> true", "a && !b -> false", "a && !b -> ||", "a -> true", "a -> false", "!b -> true", "!b -> false", "println() -> removed"},
		},
		"boundaries and numbers":     {"_ = x < 7", []string{"_ = x < 7 -> removed", "x < 7 -> true", "x < 7 -> false", "x < 7 -> <=", "7 -> +1"}},
		"arithmetic, not of strings": {`x = x + y; s = s + "t"`, []string{"x = x + y -> removed", "x + y -> -", `s = s + "t" -> removed`, `"t" -> ""`}},
		"verdicts":                   {"return denied(`no`)", []string{"denied(`no`) -> the opposite"}},
		"results":                    {"return err", []string{"err -> zero"}},
		"fields":                     {"_ = Verdict{Result: s}", []string{"_ = Verdict{Result: s} -> removed", "s -> zero"}},
		"boolean literals":           {"return true", []string{"true -> false"}},
		"constants by name":          {"println(limit, limit)", []string{"println(limit, limit) -> removed", "limit -> +1", "limit -> +1 #2"}},
		"not what a select awaits":   {"var c chan int; select { case x = <-c: y++; case <-c: }", []string{"y++ -> removed"}},
		"no declarations":            {"n := x; var m [4]int; for range m { n++; continue }; _ = n", []string{"n++ -> removed", "continue -> removed", "_ = n -> removed"}},
	} {
		t.Run(name, func(t *testing.T) {
			result := "any"
			if strings.HasPrefix(test.body, "return t") {
				result = "bool"
			}
			code := newSource()
			content := "package p\ntype Verdict struct{ Result string }\nfunc denied(string) Verdict { panic(nil) }\nconst limit = 3\n" +
				"func f(a, b bool, x, y int, s string, err error) (_ " + result + ") {\n" + test.body + "\nreturn\n}\n"
			if err := code.add("p.go", []byte(content)); err != nil {
				t.Fatal(err)
			}
			if err := code.check(nil); err != nil {
				t.Fatal(err)
			}
			var have []string
			for _, mutant := range find(code, "").mutants {
				if mutant.Function == "f" {
					have = append(have, mutant.Mutation)
				}
			}
			if diff := cmp.Diff(test.want, have); diff != "" {
				t.Errorf("(-want +have):\n%s", diff)
			}
		})
	}
}

// A module of its own, whose one test looks at half of what its code does.
var weak = map[string]string{
	"go.mod": "module example.com/weak\n\ngo 1.26\n",
	"p/p.go": `package p

import "errors"

func Fits(name string, n, most int) error {
	if name == "" || name == "none" {
		return errors.New("no name")
	}
	if n > most {
		return errors.New("too many")
	}
	return nil
}
`,
	"p/p_test.go": `package p

import "testing"

func TestFits(t *testing.T) {
	if Fits("a", 1, 2) != nil || Fits("", 1, 2) == nil || Fits("none", 1, 2) == nil {
		t.Fail()
	}
}
`,
	"survivors.yaml": `
- {file: p/p.go, function: Fits, mutations: ['n > most -> false', 'name == "" || name == "none" -> true', 'gone -> true'], why: because}
- {file: q/q.go, function: Other, mutations: ['of a package that is not tested now -> true'], why: because}
`,
}

func TestSurvivorsAreHeldAgainstTheirList(t *testing.T) {
	t.Chdir(t.TempDir())
	write := func(name, content string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range weak {
		write(name, content)
	}
	want := []string{
		`explained as a survivor, and killed by TestFits: p/p.go Fits: name == "" || name == "none" -> true`,
		`survived, and nothing says why: p/p.go Fits: n > most -> >=`,
		`survived, and nothing says why: p/p.go Fits: errors.New("too many") -> zero`,
		`explained as a survivor, and there is no such mutant any more: p/p.go Fits: gone -> true`,
	}
	// The second time the outcomes come from the ledger.
	for range 2 {
		err := run("survivors.yaml", "work", "", "", []string{"./p"})
		if err == nil {
			t.Fatal("nothing is wrong")
		}
		if diff := cmp.Diff(want, regexp.MustCompile(`\n +`).Split(err.Error(), -1)[1:]); diff != "" {
			t.Errorf("(-want +have):\n%s", diff)
		}
	}
	ledgers, err := filepath.Glob("work/p/*.jsonl")
	if err != nil || len(ledgers) != 1 {
		t.Fatalf("ledgers: %v (%v)", ledgers, err)
	}
	lines, err := os.ReadFile(ledgers[0])
	if err != nil {
		t.Fatal(err)
	}
	if have := bytes.Count(lines, []byte("\n")); have != 14 {
		t.Errorf("%d mutants were run, want each of 14 once", have)
	}
	if after, err := os.ReadFile("p/p.go"); err != nil || string(after) != weak["p/p.go"] {
		t.Errorf("the code was changed (%v)", err)
	}

	write("survivors.yaml", `[{file: p/p.go, function: Fits, mutations: ['n > most -> false', 'n > most -> >=', 'errors.New("too many") -> zero'], why: because}]`)
	if err := run("survivors.yaml", "work", "", "", []string{"./p"}); err != nil {
		t.Errorf("all are explained: %v", err)
	}
	if err := run("survivors.yaml", "work", "", "boundary,unheard", []string{"./p"}); err == nil || !strings.Contains(err.Error(), `no mutant is of the kind "unheard"`) {
		t.Errorf("a kind that does not exist: %v", err)
	}
	write("p/p_test.go", strings.Replace(weak["p/p_test.go"], "t.Fail()", "t.Log()", 1)+"\nfunc TestFails(t *testing.T) { t.Fail() }\n")
	if err := run("survivors.yaml", "work", "", "", []string{"./p"}); err == nil || !strings.Contains(err.Error(), "the tests fail without any mutant (TestFails)") {
		t.Errorf("tests that fail by themselves: %v", err)
	}
}

func TestSurvivorsNeedAReason(t *testing.T) {
	list := filepath.Join(t.TempDir(), "survivors.yaml")
	for content, words := range map[string]string{
		"[{file: p.go, function: f, mutations: [a]}]":                     "write why",
		"[{file: p.go, function: f, mutations: [a, a], why: because}]":    "there twice",
		"[{file: p.go, function: f, mutation: a, why: because}]":          "unknown field",
		"[{file: p.go, function: f, mutations: [a, b], why: because}] # ": "",
	} {
		if err := os.WriteFile(list, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := readSurvivors(list); (err == nil) != (words == "") || (err != nil && !strings.Contains(err.Error(), words)) {
			t.Errorf("%s: error is %v, want %q", content, err, words)
		}
	}
}

// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Command mutation changes packages in small ways, one at a time, and tells
// which changes no test notices. It knows what matters in a policy: a check that
// is always or never true, a statement that is not there, an error that is
// dropped, a verdict that is the opposite.
//
// A survivor has to be explained in the list of survivors; one that is not makes
// the command fail, and so does an explanation of what is killed or gone.
package main

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

func main() {
	list := flag.String("survivors", "hack/mutation/survivors.yaml", "the `file` that explains the survivors")
	work := flag.String("work", "_output/mutation", "the `folder` for builds and ledgers")
	match := flag.String("match", "", "run only mutants whose name matches this `expression`, as \"dry_run.go at:\"")
	kinds := flag.String("kinds", "", "run only mutants of these `kinds`, as \"boundary,swapped verdict\"")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: mutation [flags] PACKAGE...")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*list, *work, *match, *kinds, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "mutation:", err)
		os.Exit(1)
	}
}

func run(list, work, match, kinds string, patterns []string) error {
	expression, err := regexp.Compile(match)
	if err != nil {
		return fmt.Errorf("reading --match: %w", err)
	}
	wanted := strings.FieldsFunc(kinds, func(r rune) bool { return r == ',' })
	ran := map[string]bool{}
	only := func(m Mutant) bool {
		chosen := expression.MatchString(m.String()) && (len(wanted) == 0 || slices.Contains(wanted, m.kind))
		ran[m.kind] = ran[m.kind] || chosen
		return chosen
	}
	explained, err := readSurvivors(list)
	if err != nil {
		return err
	}
	var wrong []string
	for _, pattern := range patterns {
		problems, err := testPackage(pattern, work, only, explained)
		if err != nil {
			return err
		}
		wrong = append(wrong, problems...)
	}
	for _, kind := range wanted {
		if !ran[kind] {
			return fmt.Errorf("no mutant is of the kind %q", kind)
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%d to mend:\n  %s", len(wrong), strings.Join(wrong, "\n  "))
	}
	return nil
}

// testPackage returns what is wrong with a package's tests, or with what is said
// of its survivors.
func testPackage(pattern, work string, only func(Mutant) bool, explained map[Mutant]string) ([]string, error) {
	code, err := load(pattern)
	if err != nil {
		return nil, err
	}
	prefix := filepath.ToSlash(filepath.Clean(pattern)) + "/"
	found := find(code, prefix)
	folder := filepath.Join(work, filepath.FromSlash(prefix))
	fmt.Printf("%s: building %d mutants\n", code.path, len(found.mutants))
	binary, err := found.build(folder)
	if err != nil {
		return nil, err
	}
	kept, err := openLedger(folder, binary)
	if err != nil {
		return nil, err
	}
	defer kept.file.Close()
	suite := &tests{binary: binary, dir: code.dir}
	if err := suite.measure(); err != nil {
		return nil, fmt.Errorf("%s: %w", code.path, err)
	}

	var wrong []string
	counts := map[string]*count{}
	whole := &count{}
	for i, mutant := range found.mutants {
		if !only(mutant) {
			continue
		}
		name := Mutant{File: mutant.File, Function: mutant.Function, Mutation: mutant.Mutation}
		result, known := kept.known[name]
		if !known {
			result.Mutant = name
			if result.By, err = suite.run(mutant.ID); err != nil {
				return nil, err
			}
			result.Killed = result.By != ""
			if err := kept.add(result); err != nil {
				return nil, err
			}
		}
		_, listed := explained[name]
		switch {
		case !result.Killed && !listed:
			fmt.Println("survived:", name)
			wrong = append(wrong, "survived, and nothing says why: "+name.String())
		case result.Killed && listed:
			wrong = append(wrong, "explained as a survivor, and killed by "+result.By+": "+name.String())
		}
		if counts[mutant.kind] == nil {
			counts[mutant.kind] = &count{}
		}
		counts[mutant.kind].add(result.Killed, listed)
		whole.add(result.Killed, listed)
		if (i+1)%100 == 0 {
			fmt.Printf("%s: %d of %d\n", code.path, i+1, len(found.mutants))
		}
	}
	for name := range explained {
		gone := !slices.ContainsFunc(found.mutants, func(m Mutant) bool { return m.String() == name.String() })
		if strings.HasPrefix(name.File, prefix) && gone {
			wrong = append(wrong, "explained as a survivor, and there is no such mutant any more: "+name.String())
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		fmt.Printf("  %-18s %s\n", kind, counts[kind])
	}
	fmt.Printf("%s: %s\n", code.path, whole)
	return wrong, nil
}

// count is a score.
type count struct{ made, killed, explained int }

func (c *count) add(killed, explained bool) {
	c.made++
	if killed {
		c.killed++
	} else if explained {
		c.explained++
	}
}

func (c *count) String() string {
	percent := 100 * float64(c.killed) / float64(max(c.made, 1))
	return fmt.Sprintf("%d of %d mutants killed (%.1f %%), %d survivors explained, %d not", c.killed, c.made, percent, c.explained, c.made-c.killed-c.explained)
}

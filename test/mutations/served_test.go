// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package mutations

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/srenix/srenix/test/harness"
	"github.com/srenix/srenix/test/plane"
)

// configuration has the graces of a second that the conformance suite wants.
const configuration = `
apiVersion: config.srenix.io/v1alpha1
kind: SrenixConfiguration
analyzers:
  WorkloadStateDrift: {grace: 1s}
  ConfigDrift: {grace: 1s}
`

// served is what serves clients.
const served = "pkg/registry/memory"

// TestTheConformanceSuiteNotices breaks what clients are served. One server is built
// that has all mutations, of which its environment says which one it shows, so that
// there is one build and one control plane for all.
func TestTheConformanceSuiteNotices(t *testing.T) {
	root, err := plane.Root()
	if err != nil {
		t.Fatal(err)
	}
	suite := filepath.Join(t.TempDir(), "conformance.test")
	goCommand(t, root, "test", "-c", "-vet=off", "-o", suite, "./test/conformance")
	srenix := install(t, mutatedServer(t, root))

	run := func(t *testing.T, tests string, flags ...string) (output string, err error) {
		t.Helper()
		command := exec.CommandContext(t.Context(), suite, append([]string{"-test.v", "-test.run", tests, "-plane", srenix.Plane.Dir()}, flags...)...)
		command.Dir = filepath.Join(root, "test", "conformance")
		printed, err := command.CombinedOutput()
		return string(printed), err
	}
	mutations := []struct {
		name, mutation string
		// test has to fail, in row if it has any, and to say so.
		test, row, says string
	}{
		{"a change of nothing", "again", "TestListAndWatchMakeTheWholePicture", "", "was modified to what it is already"},
		{"what enters or leaves a selector is told as modified", "transition", "TestProposalsLeaveAndEnterASelector", "", "have MODIFIED of"},
		{"a bookmark of a version that is not reached", "bookmark", "TestBookmarkBeforeTheTimeout", "", "a watch from the bookmark begins with ERROR"},
		{"a continue token that is ignored", "continue", "TestContinueWithOtherParameters", "a_smaller_limit", "continued (-want +have)"},
		{"a foreign version that is not refused", "foreign", "TestWatchesThatExpired", "a_foreign_version", "the watch did not end"},
		{"initial events of nothing that do not end", "end", "TestInitialEvents", "an_empty_namespace", "no event came"},
	}
	var tests, rows []string
	for _, m := range mutations {
		tests = append(tests, m.test)
		if m.row != "" {
			rows = append(rows, m.row)
		}
	}
	all := "^(" + strings.Join(tests, "|") + ")$/^(" + strings.Join(rows, "|") + ")$"
	if output, err := run(t, all); err != nil || strings.Count(output, "--- PASS: ") != len(tests)+len(rows) {
		t.Fatalf("with no mutation: %v\n%s", err, output)
	}
	for _, m := range mutations {
		t.Run(m.name, func(t *testing.T) {
			restart(t, srenix, "SRENIX_MUTATION="+m.mutation)
			// Where nothing comes, it is soon enough that nothing came.
			output, err := run(t, "^"+m.test+"$/^"+m.row+"$", "-deadline", "10s")
			switch {
			case err == nil:
				t.Errorf("%s passes\n%s", m.test, output)
			case !strings.Contains(output, "--- FAIL: "+m.test) || !strings.Contains(output, m.says):
				t.Errorf("%s does not say %q, but: %v\n%.4000s", m.test, m.says, err, output)
			}
		})
	}
}

// mutatedServer builds the programs of an installation, with mutations in the server,
// and returns the directory with them.
func mutatedServer(t *testing.T, root string) (programs string) {
	t.Helper()
	programs = t.TempDir()
	decorator, store, mutated := filepath.Join(root, served, "decorator.go"), filepath.Join(root, served, "store.go"), filepath.Join(root, served, "mutated.go")
	requests := replaced(t, decorator,
		"return o.CacheDelegator.Watch(ctx, key, options)", "return o.mutatedWatch(ctx, key, options)",
		"if version > current {\n\t\treturn expiredWatch", "if version > current && mutation != \"foreign\" {\n\t\treturn expiredWatch",
		"	if token := options.Predicate.Continue;", "	if mutation == \"continue\" {\n\t\toptions.Predicate.Continue = \"\"\n\t}\n\tif token := options.Predicate.Continue;")
	changes := replaced(t, store,
		"	s.sendLocked(watch.Event{Type: eventType, Object: object})\n\treturn nil\n", "	s.sendLocked(watch.Event{Type: eventType, Object: object})\n\treturn s.mutatedPut(key, object)\n")
	file := overlay(t, map[string]string{
		decorator: requests, store: changes,
		mutated: filepath.Join(root, "test", "mutations", "testdata", "served", "mutated.go"),
	})
	goCommand(t, root, "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-overlay", file, "-o", filepath.Join(programs, "apiserver"), "./cmd/apiserver")
	executor, err := plane.Binary("executor")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(executor, filepath.Join(programs, "executor")); err != nil {
		t.Fatal(err)
	}
	return programs
}

// goCommand runs go as make does, so that what make has built is not built again.
func goCommand(t *testing.T, root string, arguments ...string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", arguments...)
	command.Dir = root
	if arguments[0] == "build" {
		command.Env = append(os.Environ(), "CGO_ENABLED=0")
	}
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, output)
	}
}

func install(t *testing.T, programs string) *harness.Srenix {
	t.Helper()
	p, err := plane.Start(t.Context(), plane.Options{Dir: filepath.Join(t.TempDir(), "plane"), Nodes: 1, Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	srenix, err := harness.Install(t.Context(), p, harness.Options{Programs: programs, Configuration: configuration})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srenix.Close(); err != nil {
			t.Error(err)
		}
	})
	return srenix
}

func restart(t *testing.T, srenix *harness.Srenix, environment ...string) {
	t.Helper()
	if err := srenix.APIServer.Kill(); err != nil {
		t.Fatal(err)
	}
	srenix.APIServer.Environment = environment
	if err := srenix.APIServer.Start(); err != nil {
		t.Fatal(err)
	}
	if err := srenix.WaitAvailable(t.Context()); err != nil {
		t.Fatal(err)
	}
}

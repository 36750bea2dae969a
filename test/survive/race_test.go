// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package survive

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/srenix/srenix/test/harness"
	"github.com/srenix/srenix/test/plane"
)

// fewerChanges are enough for all that happens at once to do so many times. With the race
// detector a server takes several times as long for each.
const fewerChanges = 2000

// TestTheServersHaveNoDataRaces has servers that look for data races themselves go through
// the same as others.
func TestTheServersHaveNoDataRaces(t *testing.T) {
	s := install(t, harness.Options{Configuration: configuration, Replicas: 2, Upstream: true, Programs: withRaceDetector(t)})
	s.goThrough(s.found(), fewerChanges)
	for _, replica := range s.srenix.Replicas {
		must(t, replica.Stop())
		log, err := os.ReadFile(replica.LogFile)
		must(t, err)
		if _, race, found := strings.Cut(string(log), "WARNING: DATA RACE"); found {
			t.Errorf("%s has a data race:%.4000s", replica.Name, race)
		}
	}
	if t.Failed() {
		s.keepLogs()
	}
}

// withRaceDetector builds an apiserver with the race detector, which needs a C compiler.
// A machine of somebody who changes something may lack one, CI may not.
func withRaceDetector(t *testing.T) (programs string) {
	t.Helper()
	compiler, err := exec.Command("go", "env", "CC").Output()
	must(t, err)
	if _, err := exec.LookPath(strings.TrimSpace(string(compiler))); err != nil && os.Getenv("CI") != "true" {
		t.Skipf("the race detector needs a C compiler, and there is no %s", compiler)
	}
	root, err := plane.Root()
	must(t, err)
	programs = t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-race", "-o", programs, "./cmd/apiserver")
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=1")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building an apiserver with the race detector: %v\n%s", err, output)
	}
	executor, err := plane.Binary("executor")
	must(t, err)
	must(t, os.Symlink(executor, filepath.Join(programs, "executor")))
	return programs
}

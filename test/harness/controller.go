// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"bytes"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"

	"github.com/srenix/srenix/test/plane"
)

// Controller runs another project's program, which `make controllers` builds, as the
// admin of a plane until the test ends. The end of its log is told where the test fails.
func Controller(t testing.TB, p *plane.Plane, directory string, environment []string, program string, arguments ...string) {
	t.Helper()
	binary, err := plane.Binary(program)
	if err != nil {
		t.Fatalf("%v (make controllers)", err)
	}
	command := exec.Command(binary, arguments...)
	command.Dir = directory
	command.Env = append(append(os.Environ(), "KUBECONFIG="+p.Kubeconfig()), environment...)
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log := &lockedBuffer{}
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		if t.Failed() {
			t.Logf("the end of %s's log:\n%s", program, log.tail())
		}
	})
}

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) tail() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	text := b.String()
	return text[max(0, len(text)-4000):]
}

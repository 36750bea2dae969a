// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package plane

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// stopTimeout is how long a process may take to end before it is killed.
const stopTimeout = 20 * time.Second

// process is a running component.
type process struct {
	command *exec.Cmd
	// done is closed when the process has ended; err and endedAt are set before.
	done    chan struct{}
	err     error
	endedAt time.Time
}

// starter starts processes from one OS thread that lives as long as the
// supervisor: the kernel kills a child with a parent-death signal when the
// thread that started it ends, not when the process does.
type starter struct {
	requests chan func()
}

func newStarter(ctx context.Context) *starter {
	s := &starter{requests: make(chan func())}
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for {
			select {
			case request := <-s.requests:
				request()
			case <-ctx.Done():
				return
			}
		}
	}()
	return s
}

// start runs this very binary as a component, its output in a log file.
func (s *starter) start(l layout, c component) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this binary: %w", err)
	}
	log, err := os.OpenFile(l.log(c.name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the log of %s: %w", c.name, err)
	}
	defer log.Close()
	command := exec.Command(self, append([]string{c.name}, c.arguments...)...)
	command.Stdout, command.Stderr = log, log
	command.Dir = l.dir
	command.SysProcAttr = &syscall.SysProcAttr{
		// Its own group, so that an interrupt on the terminal reaches the
		// supervisor alone, which stops components in order.
		Setpgid:   true,
		Pdeathsig: syscall.SIGKILL,
	}
	started := make(chan error, 1)
	s.requests <- func() { started <- command.Start() }
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", c.name, err)
	}
	p := &process{command: command, done: make(chan struct{})}
	go func() {
		p.err = command.Wait()
		p.endedAt = time.Now()
		close(p.done)
	}()
	return p, nil
}

func (p *process) pid() int { return p.command.Process.Pid }

func (p *process) signal(signal os.Signal) error { return p.command.Process.Signal(signal) }

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// stop asks the process to end, kills it if it does not, and waits for it.
func (p *process) stop() {
	// A stopped (paused) process takes the signal only once it continues.
	_ = p.signal(syscall.SIGTERM)
	_ = p.signal(syscall.SIGCONT)
	select {
	case <-p.done:
	case <-time.After(stopTimeout):
		_ = p.signal(syscall.SIGKILL)
		<-p.done
	}
}

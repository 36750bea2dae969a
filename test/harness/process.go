// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// Process is one of srenix's programs, running outside of the cluster with the
// identity that it would have inside.
type Process struct {
	Name string
	// LogFile has its standard output and error.
	LogFile string
	// AuditFile has what it wrote to standard output: the audit chain as JSON lines.
	AuditFile string
	// Metrics is where it serves metrics without TLS; empty if it does not.
	Metrics string
	// Environment is added to this process's own, from the next Start on.
	Environment []string

	binary    string
	arguments []string
	detached  bool
	command   *exec.Cmd
	done      chan struct{}
}

// Start starts the program, again after Stop or Kill.
func (p *Process) Start() error {
	log, err := os.OpenFile(p.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening the log of %s: %w", p.Name, err)
	}
	defer log.Close()
	audit, err := os.OpenFile(p.AuditFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening the audit log of %s: %w", p.Name, err)
	}
	defer audit.Close()
	p.command = exec.Command(p.binary, p.arguments...)
	p.command.Stdout, p.command.Stderr = audit, log
	p.command.Env = append(append(os.Environ(), "POD_NAME="+p.Name), p.Environment...)
	p.command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if !p.detached {
		p.command.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	if err := p.command.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", p.Name, err)
	}
	done := make(chan struct{})
	p.done = done
	go func() {
		_ = p.command.Wait() // How it ended is in its log.
		close(done)
	}()
	return nil
}

// PID is the process ID.
func (p *Process) PID() int { return p.command.Process.Pid }

// Ended tells whether the program has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Stop asks the program to end and waits until it has.
func (p *Process) Stop() error { return p.signal(syscall.SIGTERM) }

// Kill ends the program with no chance to clean up, and waits until it is gone.
func (p *Process) Kill() error { return p.signal(syscall.SIGKILL) }

// Pause stops the program in its tracks until Resume; Kill still ends it.
func (p *Process) Pause() error {
	if err := p.command.Process.Signal(syscall.SIGSTOP); err != nil {
		return fmt.Errorf("pausing %s: %w", p.Name, err)
	}
	return nil
}

// Resume lets a paused program go on.
func (p *Process) Resume() error {
	if err := p.command.Process.Signal(syscall.SIGCONT); err != nil {
		return fmt.Errorf("resuming %s: %w", p.Name, err)
	}
	return nil
}

func (p *Process) signal(signal syscall.Signal) error {
	if err := p.command.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("sending %s to %s: %w", signal, p.Name, err)
	}
	// One that was paused takes any other signal only once it goes on; and one that is
	// to be killed must not go on.
	if signal != syscall.SIGKILL {
		_ = p.command.Process.Signal(syscall.SIGCONT)
	}
	<-p.done
	return nil
}

// LogTail returns the last lines of the log.
func (p *Process) LogTail() string {
	content, err := os.ReadFile(p.LogFile)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

// ResidentMiB reads a process's resident memory.
func ResidentMiB(pid int) (int64, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("reading resident memory: %w", err)
	}
	for line := range strings.Lines(string(content)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
			return kib / 1024, nil
		}
	}
	return 0, fmt.Errorf("reading resident memory of %d: no VmRSS", pid)
}

// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package plane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/wait"
)

// downDeadline is how long a plane may take to go down before it is killed.
const downDeadline = time.Minute

func newUpCommand(at func() (layout, error)) *cobra.Command {
	var nodes int
	command := &cobra.Command{
		Use: "up", Short: "Bring a plane up in the background and return when it is ready", Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			l, err := at()
			if err != nil {
				return err
			}
			if state, found, err := readState(l); err == nil && found && alive(state.PID) {
				fmt.Fprintf(os.Stderr, "a plane is up in %s already\n", l.dir)
				fmt.Printf("export KUBECONFIG=%s\n", l.kubeconfig())
				return nil
			}
			owner, claimed := l.owner()
			if alive(owner) {
				return fmt.Errorf("another process (%d) is bringing a plane up in %s: wait for it, or run `controlplane down --dir %s`", owner, l.dir, l.dir)
			}
			if claimed {
				if err := down(command.Context(), l); err != nil {
					return err
				}
			}
			return up(command.Context(), l, nodes)
		},
	}
	command.Flags().IntVar(&nodes, "nodes", 10, "Number of nodes.")
	return command
}

// up starts `run` in a session of its own and shows its progress until the plane is ready.
func up(ctx context.Context, l layout, nodes int) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this binary: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(l.dir, "logs"), 0o700); err != nil {
		return fmt.Errorf("making the plane's directory: %w", err)
	}
	log, err := os.OpenFile(l.log("supervisor"), os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("opening the supervisor's log: %w", err)
	}
	defer log.Close()
	reader, err := os.Open(log.Name())
	if err != nil {
		return fmt.Errorf("reading the supervisor's log: %w", err)
	}
	defer reader.Close()
	command := exec.Command(self, "run", "--dir", l.dir, "--nodes", strconv.Itoa(nodes))
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := command.Start(); err != nil {
		return fmt.Errorf("starting the supervisor: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	var failed error
	err = wait.PollUntilContextCancel(ctx, pollInterval, true, func(context.Context) (bool, error) {
		if _, err := io.Copy(os.Stderr, reader); err != nil {
			return false, err
		}
		select {
		case err := <-ended:
			failed = fmt.Errorf("the supervisor ended: %w; see %s", err, log.Name())
			return true, nil
		default:
		}
		_, found, err := readState(l)
		return found, err
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		_ = command.Process.Signal(syscall.SIGTERM)
		return fmt.Errorf("bringing the plane up: %w", err)
	}
	fmt.Printf("export KUBECONFIG=%s\n", l.kubeconfig())
	return nil
}

func newDownCommand(at func() (layout, error)) *cobra.Command {
	return &cobra.Command{
		Use: "down", Short: "Take a plane down and remove its directory", Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			l, err := at()
			if err != nil {
				return err
			}
			return down(command.Context(), l)
		},
	}
}

// down stops the supervisor, which stops the components; where it was killed,
// they died with it. Then the directory goes.
func down(ctx context.Context, l layout) error {
	if _, err := os.Stat(l.dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	owner, claimed := l.owner()
	if !claimed {
		return fmt.Errorf("%s is not a plane's directory: nothing was removed", l.dir)
	}
	state, found, err := readState(l)
	if err != nil {
		return err
	}
	pids := []int{owner}
	for _, c := range state.Components {
		pids = append(pids, c.PID)
	}
	if alive(owner) {
		_ = syscall.Kill(owner, syscall.SIGTERM)
	}
	if err := waitGone(ctx, pids); err != nil {
		// Components die with the supervisor, which did not end when asked to.
		if alive(owner) {
			_ = syscall.Kill(owner, syscall.SIGKILL)
		}
		if err := waitGone(ctx, pids); err != nil {
			return err
		}
	}
	if found {
		_ = os.RemoveAll(filepath.Dir(state.Socket))
	}
	if err := os.RemoveAll(l.dir); err != nil {
		return fmt.Errorf("removing %s: %w", l.dir, err)
	}
	return nil
}

// waitGone waits until no process of pids runs.
func waitGone(ctx context.Context, pids []int) error {
	err := wait.PollUntilContextTimeout(ctx, pollInterval, downDeadline, true, func(context.Context) (bool, error) {
		return !slices.ContainsFunc(pids, alive), nil
	})
	if err != nil {
		return fmt.Errorf("waiting for the plane's processes %v to end: %w", pids, err)
	}
	return nil
}

// alive tells whether a process of this binary has that ID; an ID that the
// system has given to another program since does not count.
func alive(pid int) bool {
	if pid <= 0 {
		return false
	}
	theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return false
	}
	ours, err := os.Executable()
	return err == nil && strings.TrimSuffix(filepath.Base(theirs), " (deleted)") == strings.TrimSuffix(filepath.Base(ours), " (deleted)")
}

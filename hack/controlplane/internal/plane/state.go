// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package plane

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// markerFile marks a directory as a plane's, so that `down` removes no other.
const markerFile = ".controlplane"

// State is what a running plane writes to state.json for its clients.
type State struct {
	PID        int              `json:"pid"`
	Server     string           `json:"server"`
	Kubeconfig string           `json:"kubeconfig"`
	Socket     string           `json:"socket"`
	Components []ComponentState `json:"components"`
}

// ComponentState is one component of a plane.
type ComponentState struct {
	Name string `json:"name"`
	PID  int    `json:"pid"`
	Port int    `json:"port"`
	Log  string `json:"log"`
	// Healthy and RSSMiB are filled in by `status` only.
	Healthy bool  `json:"healthy"`
	RSSMiB  int64 `json:"rssMiB,omitempty"`
}

func (s *supervisor) writeState(socket string) error {
	s.mu.Lock()
	state := State{PID: os.Getpid(), Kubeconfig: s.layout.kubeconfig(), Socket: socket}
	for _, c := range s.components {
		if c.name == "kube-apiserver" {
			state.Server = url(c.scheme, c.port)
		}
		one := ComponentState{Name: c.name, Port: c.port, Log: s.layout.log(c.name)}
		if p := s.processes[c.name]; p != nil && !p.ended() {
			one.PID = p.pid()
		}
		state.Components = append(state.Components, one)
	}
	s.mu.Unlock()
	content, err := json.MarshalIndent(state, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the plane's state: %w", err)
	}
	temporary := s.layout.state() + ".new"
	if err := os.WriteFile(temporary, append(content, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing the plane's state: %w", err)
	}
	if err := os.Rename(temporary, s.layout.state()); err != nil {
		return fmt.Errorf("writing the plane's state: %w", err)
	}
	return nil
}

// readState returns the state of the plane in a directory, and false if there is none.
func readState(l layout) (State, bool, error) {
	content, err := os.ReadFile(l.state())
	if errors.Is(err, fs.ErrNotExist) {
		return State{}, false, nil
	}
	if err != nil {
		return State{}, false, fmt.Errorf("reading the plane's state: %w", err)
	}
	var state State
	if err := json.Unmarshal(content, &state); err != nil {
		return State{}, false, fmt.Errorf("reading the plane's state in %s: %w", l.state(), err)
	}
	return state, true, nil
}

// claim marks the directory as the plane's of this process. The marker, unlike
// the state file, is there from the start, so that a plane that is still
// starting can be found and taken down.
func (l layout) claim() error {
	marker, err := os.OpenFile(l.marker(), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s has a plane: run `controlplane down --dir %s`, or choose another directory", l.dir, l.dir)
	}
	if err != nil {
		return fmt.Errorf("claiming the plane's directory: %w", err)
	}
	_, err = fmt.Fprintln(marker, os.Getpid())
	if err := errors.Join(err, marker.Close()); err != nil {
		return fmt.Errorf("claiming the plane's directory: %w", err)
	}
	return nil
}

// owner returns the process ID of the supervisor that claimed the directory,
// which may have ended, and false where none has. The ID is 0 while the marker
// is being written.
func (l layout) owner() (pid int, claimed bool) {
	content, err := os.ReadFile(l.marker())
	if err != nil {
		return 0, false
	}
	pid, _ = strconv.Atoi(strings.TrimSpace(string(content)))
	return pid, true
}

func (l layout) marker() string { return filepath.Join(l.dir, markerFile) }

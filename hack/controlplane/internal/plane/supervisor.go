// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package plane supervises local control planes: one supervisor a plane, which
// starts the components, waits until they are ready, and leaves nothing behind.
package plane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"k8s.io/client-go/util/flowcontrol"
)

// startAttempts is how often a plane is started with other ports, because
// between choosing a port and binding it somebody else can take it.
const startAttempts = 3

// A component that ends of itself is started again for as long as there is a
// plane, as a kubelet would: kube-scheduler ends on purpose when its cache and
// what a restarted kube-apiserver tells it differ, kube-controller-manager when
// one that is just starting forbids what it needs. The first start is at once,
// each further one after twice the wait, unless it has stayed for long enough.
const (
	firstRestartDelay = time.Second
	maxRestartDelay   = 8 * time.Second
)

// supervisor owns the processes of one plane.
type supervisor struct {
	layout   layout
	nodes    int
	progress io.Writer
	starter  *starter
	began    time.Time

	// acting is held while a control request is carried out, one at a time.
	acting sync.Mutex

	mu         sync.Mutex
	components []component
	processes  map[string]*process
	// halted are components that were stopped on purpose.
	halted map[string]bool
	// restarts tells how long a component that ended of itself is left alone.
	restarts *flowcontrol.Backoff
	// changed is signaled when a process was started or ended.
	changed chan struct{}
}

// run brings a plane up in dir and keeps it until ctx ends. Its state file
// appears once everything answers.
func run(ctx context.Context, dir string, nodes int, progress io.Writer) error {
	l := layout{dir: dir}
	if err := claimDirectory(l); err != nil {
		return err
	}
	starterContext, stopStarter := context.WithCancel(context.Background())
	defer stopStarter()
	s := &supervisor{
		layout: l, nodes: nodes, progress: progress, starter: newStarter(starterContext), began: time.Now(),
		processes: map[string]*process{}, halted: map[string]bool{}, changed: make(chan struct{}, 1),
		restarts: flowcontrol.NewBackOff(firstRestartDelay, maxRestartDelay),
	}
	defer s.stopAll()
	if err := s.startAll(ctx); err != nil {
		return err
	}
	control, err := s.serveControl()
	if err != nil {
		return err
	}
	defer control.Close()
	if err := s.writeState(control.socket); err != nil {
		return err
	}
	s.report("the plane is ready")
	return s.watch(ctx, control.socket)
}

// claimDirectory makes the plane's directory, which must be new or empty.
func claimDirectory(l layout) error {
	if err := os.MkdirAll(filepath.Join(l.dir, "logs"), 0o700); err != nil {
		return fmt.Errorf("making the plane's directory: %w", err)
	}
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return fmt.Errorf("reading the plane's directory: %w", err)
	}
	for _, entry := range entries {
		if entry.Name() != "logs" {
			return fmt.Errorf("%s is not empty: run `controlplane down --dir %s`, or choose another directory", l.dir, l.dir)
		}
	}
	return l.claim()
}

func (s *supervisor) startAll(ctx context.Context) error {
	if err := writePKI(s.layout.pki()); err != nil {
		return err
	}
	for attempt := 1; ; attempt++ {
		err := s.tryStart(ctx)
		if err == nil || ctx.Err() != nil || attempt == startAttempts || !errors.Is(err, errEnded) {
			return err
		}
		s.report("starting again with other ports, because %v", err)
		s.stopAll()
		if err := os.RemoveAll(filepath.Join(s.layout.dir, "etcd")); err != nil {
			return fmt.Errorf("removing the data of the failed start: %w", err)
		}
	}
}

func (s *supervisor) tryStart(ctx context.Context) error {
	chosen, err := freePorts()
	if err != nil {
		return err
	}
	server := url("https", chosen.APIServer)
	if err := s.layout.writeKubeconfig(s.layout.kubeconfig(), server, "kubernetes-admin", []string{"system:masters"}); err != nil {
		return err
	}
	for name, user := range users {
		if err := s.layout.writeKubeconfig(s.layout.componentKubeconfig(name), server, user.name, user.groups); err != nil {
			return err
		}
	}
	if s.components, err = components(s.layout, chosen); err != nil {
		return err
	}
	// etcd and kube-apiserver come one after the other; the rest need only them.
	for _, c := range s.components[:2] {
		if err := s.launch(c); err != nil {
			return err
		}
		if err := s.waitReady(ctx, c, false); err != nil {
			return err
		}
	}
	for _, c := range s.components[2:] {
		if err := s.launch(c); err != nil {
			return err
		}
	}
	if err := s.createNodes(ctx); err != nil {
		return err
	}
	for _, c := range s.components[2:] {
		if err := s.waitReady(ctx, c, false); err != nil {
			return err
		}
	}
	return s.waitNodes(ctx)
}

func (s *supervisor) report(format string, arguments ...any) {
	fmt.Fprintf(s.progress, "[%5.1fs] %s\n", time.Since(s.began).Seconds(), fmt.Sprintf(format, arguments...))
}

func (s *supervisor) launch(c component) error {
	p, err := s.starter.start(s.layout, c)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.processes[c.name] = p
	delete(s.halted, c.name)
	s.mu.Unlock()
	go func() {
		<-p.done
		s.signalChange()
	}()
	s.signalChange()
	return nil
}

func (s *supervisor) signalChange() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// watch starts again what ended of itself, until ctx ends.
func (s *supervisor) watch(ctx context.Context, socket string) error {
	for {
		if err := s.revive(socket); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.changed:
		}
	}
}

// revive starts again what ended of itself. While a control request is carried
// out it leaves that to later: act signals a change at its end.
func (s *supervisor) revive(socket string) error {
	if !s.acting.TryLock() {
		return nil
	}
	defer s.acting.Unlock()
	for name, p := range s.lost() {
		if s.restarts.IsInBackOffSince(name, p.endedAt) {
			time.AfterFunc(time.Until(p.endedAt.Add(s.restarts.Get(name))), s.signalChange)
			continue
		}
		s.restarts.Next(name, p.endedAt)
		s.report("%s ended (%v) and is started again; the end of its log:\n%s", name, p.err, logTail(s.layout.log(name)))
		c, err := s.component(name)
		if err != nil {
			return err
		}
		if err := s.launch(c); err != nil {
			return err
		}
		if err := s.writeState(socket); err != nil {
			return err
		}
	}
	return nil
}

// lost are the processes that ended of themselves.
func (s *supervisor) lost() map[string]*process {
	s.mu.Lock()
	defer s.mu.Unlock()
	lost := map[string]*process{}
	for name, p := range s.processes {
		if p.ended() && !s.halted[name] {
			lost[name] = p
		}
	}
	return lost
}

// stopAll stops what runs, in the reverse order of starting, and waits.
func (s *supervisor) stopAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range slices.Backward(s.components) {
		if p := s.processes[c.name]; p != nil {
			s.halted[c.name] = true
			p.stop()
			delete(s.processes, c.name)
		}
	}
}

func (s *supervisor) component(name string) (component, error) {
	var names []string
	for _, c := range s.components {
		if c.name == name {
			return c, nil
		}
		names = append(names, c.name)
	}
	return component{}, fmt.Errorf("no component %q: have %q", name, names)
}

// act carries out what a control request asks for, and waits for what it starts.
func (s *supervisor) act(ctx context.Context, verb, name string) error {
	c, err := s.component(name)
	if err != nil {
		return err
	}
	if err := s.do(verb, c); err != nil {
		return err
	}
	if verb == "start" || verb == "restart" {
		return s.waitReady(ctx, c, true)
	}
	return nil
}

func (s *supervisor) do(verb string, c component) error {
	s.acting.Lock()
	defer s.signalChange()
	defer s.acting.Unlock()
	s.mu.Lock()
	p := s.processes[c.name]
	running := p != nil && !p.ended()
	// What has ended of itself would be started again, and can be halted too.
	there := running || p != nil && !s.halted[c.name]
	if verb == "stop" || verb == "kill" || verb == "restart" {
		s.halted[c.name] = true
	}
	s.mu.Unlock()
	switch verb {
	case "start", "restart":
		if running && verb == "start" {
			return fmt.Errorf("%s is running already", c.name)
		}
		if running {
			p.stop()
		}
		return s.launch(c)
	case "stop", "kill":
		if !there {
			return fmt.Errorf("%s is not running", c.name)
		}
		if verb == "stop" {
			p.stop()
			return nil
		}
		if err := p.signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("killing %s: %w", c.name, err)
		}
		<-p.done
		return nil
	case "pause", "resume":
		if !running {
			return fmt.Errorf("%s is not running", c.name)
		}
		if verb == "pause" {
			return p.signal(syscall.SIGSTOP)
		}
		return p.signal(syscall.SIGCONT)
	default:
		return fmt.Errorf("no verb %q", verb)
	}
}

// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/srenix/srenix/pkg/analyzers/catalog"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/proposals"
	"github.com/srenix/srenix/test/harness"
)

// The bare program is the baseline of everything that reads the cluster: shared
// informers of client-go, typed and in protobuf, untrimmed, and nothing else. It
// is this program, called with bareCommand and a kubeconfig. It says bareSynced
// once it has everything, and its live heap for every line that it reads.
const (
	bareCommand = "bare"
	bareSynced  = "synced"
)

func runBare(ctx context.Context, arguments []string, in io.Reader, out io.Writer) error {
	if len(arguments) != 1 {
		return errors.New("bare takes one argument, the kubeconfig")
	}
	clientConfig, err := clientcmd.BuildConfigFromFlags("", arguments[0])
	if err != nil {
		return fmt.Errorf("reading the kubeconfig: %w", err)
	}
	clientConfig.QPS = -1
	clientConfig.ContentType = kruntime.ContentTypeProtobuf
	clientConfig.AcceptContentTypes = kruntime.ContentTypeProtobuf + "," + kruntime.ContentTypeJSON
	client, err := kubernetes.NewForConfig(clientConfig)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	kinds, err := inputKinds()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	factory := informers.NewSharedInformerFactory(client, 0)
	defer factory.Shutdown()
	defer cancel()
	for _, kind := range kinds {
		informer, err := factory.ForResource(kind)
		if err != nil {
			return fmt.Errorf("making the informer of %s: %w", kind, err)
		}
		informer.Informer()
	}
	factory.Start(ctx.Done())
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return fmt.Errorf("waiting for %s: %w", kind, context.Cause(ctx))
		}
	}
	if _, err := fmt.Fprintln(out, bareSynced); err != nil {
		return err
	}
	for lines := bufio.NewScanner(in); lines.Scan(); {
		// Twice, as srenix's server is asked.
		runtime.GC()
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		if _, err := fmt.Fprintln(out, stats.HeapAlloc); err != nil {
			return err
		}
	}
	return nil
}

// inputKinds are the kinds that srenix reads, as its rules declare them, but for
// those that client-go has no types of: there are no objects of those while
// memory and starts are measured.
func inputKinds() ([]schema.GroupVersionResource, error) {
	configuration := &config.SrenixConfiguration{}
	config.Default(configuration)
	rules, err := catalog.Build(configuration, harness.Namespace, func(string) string { return "" })
	if err != nil {
		return nil, fmt.Errorf("building the analyzers: %w", err)
	}
	var kinds []schema.GroupVersionResource
	for _, rule := range append(rules, proposals.Rules(configuration, harness.Namespace)...) {
		for _, ref := range append([]live.KindRef{rule.Subject}, rule.Reads...) {
			kind := ref.Resource()
			if kind.Resource != "" && scheme.Scheme.IsVersionRegistered(kind.GroupVersion()) && !slices.Contains(kinds, kind) {
				kinds = append(kinds, kind)
			}
		}
	}
	return kinds, nil
}

// bareProcess is a bare program that runs.
type bareProcess struct {
	command *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Scanner
	// syncedAfter is how long it took from its start until it had everything.
	syncedAfter time.Duration
}

// startBare starts the bare program and waits until it has everything.
func (b *bench) startBare(ctx context.Context) (*bareProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, readyDeadline)
	defer cancel()
	p := &bareProcess{command: exec.Command(self, bareCommand, b.plane.Kubeconfig())}
	p.command.Stderr = os.Stderr
	p.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if p.in, err = p.command.StdinPipe(); err != nil {
		return nil, fmt.Errorf("starting the bare program: %w", err)
	}
	out, err := p.command.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("starting the bare program: %w", err)
	}
	p.out = bufio.NewScanner(out)
	began := time.Now()
	if err := p.command.Start(); err != nil {
		return nil, fmt.Errorf("starting the bare program: %w", err)
	}
	// A kill ends the wait for its output.
	unwatch := context.AfterFunc(ctx, func() { _ = p.command.Process.Kill() })
	defer unwatch()
	line, err := p.read()
	if err == nil && line != bareSynced {
		err = fmt.Errorf("it said %q", line)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("waiting for the bare program: %w", err), p.stop())
	}
	p.syncedAfter = time.Since(began)
	return p, nil
}

func (p *bareProcess) read() (string, error) {
	if !p.out.Scan() {
		return "", errors.Join(errors.New("it ended"), p.out.Err())
	}
	return strings.TrimSpace(p.out.Text()), nil
}

func (p *bareProcess) pid() int { return p.command.Process.Pid }

// liveHeap returns what it holds after a garbage collection, in bytes.
func (p *bareProcess) liveHeap() (int64, error) {
	if _, err := fmt.Fprintln(p.in); err != nil {
		return 0, fmt.Errorf("asking the bare program for its heap: %w", err)
	}
	line, err := p.read()
	if err != nil {
		return 0, fmt.Errorf("asking the bare program for its heap: %w", err)
	}
	return strconv.ParseInt(line, 10, 64)
}

// stop ends the program and waits for it.
func (p *bareProcess) stop() error {
	if err := p.in.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("ending the bare program: %w", err)
	}
	if err := p.command.Wait(); err != nil {
		return fmt.Errorf("ending the bare program: %w", err)
	}
	return nil
}

// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Balancer stands for a Service with several ready endpoints: it hands each new
// connection to the next backend that is ready, and leaves those that exist alone.
type Balancer struct {
	listener net.Listener
	ready    func(ctx context.Context, backend string) bool
	cancel   context.CancelFunc
	running  sync.WaitGroup

	mu       sync.Mutex
	backends []string
	up       []string
	next     int
	// all has every connection, present those that were made since the last Cut.
	all, present context.Context
	// connections counts those made since the last Cut, whether or not they are open.
	connections int
	cut         context.CancelFunc
}

// probePeriod is how often backends are asked for their readiness; far more often
// than a kubelet does, so that tests are quick.
const probePeriod = 100 * time.Millisecond

// NewBalancer balances connections to a free loopback port over backends, which
// are addresses, as ready tells.
func NewBalancer(backends []string, ready func(ctx context.Context, backend string) bool) (*Balancer, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for connections to balance: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	b := &Balancer{listener: listener, ready: ready, cancel: cancel, backends: backends}
	b.all = ctx
	b.present, b.cut = context.WithCancel(ctx)
	b.running.Go(func() { b.probe(ctx) })
	b.running.Go(b.accept)
	return b, nil
}

// Port is where to connect.
func (b *Balancer) Port() int { return b.listener.Addr().(*net.TCPAddr).Port }

// Ready are the backends that get new connections.
func (b *Balancer) Ready() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.up)
}

// Cut ends the connections that there are, as a node between does that goes away,
// and tells how many were made since it was done last.
func (b *Balancer) Cut() (ended int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cut()
	b.present, b.cut = context.WithCancel(b.all)
	ended, b.connections = b.connections, 0
	return ended
}

// Close ends all connections.
func (b *Balancer) Close() error {
	b.cancel()
	err := b.listener.Close()
	b.running.Wait()
	return err
}

func (b *Balancer) probe(ctx context.Context) {
	ticker := time.NewTicker(probePeriod)
	defer ticker.Stop()
	for ctx.Err() == nil {
		up := b.answering(ctx)
		b.mu.Lock()
		b.up = up
		b.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

// answering asks all backends at the same time, for one that hangs says nothing of
// the others.
func (b *Balancer) answering(ctx context.Context) (up []string) {
	ready := make([]bool, len(b.backends))
	var asking sync.WaitGroup
	for i, backend := range b.backends {
		asking.Go(func() { ready[i] = b.ready(ctx, backend) })
	}
	asking.Wait()
	for i, backend := range b.backends {
		if ready[i] {
			up = append(up, backend)
		}
	}
	return up
}

func (b *Balancer) pick() (ctx context.Context, backend string, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.up) == 0 {
		return nil, "", false
	}
	b.next++
	b.connections++
	return b.present, b.up[b.next%len(b.up)], true
}

func (b *Balancer) accept() {
	for {
		connection, err := b.listener.Accept()
		if err != nil {
			return // closed
		}
		ctx, backend, ok := b.pick()
		if !ok {
			_ = connection.Close()
			continue
		}
		b.running.Go(func() { forward(ctx, connection, backend) })
	}
}

// forward copies both ways until either side, or the balancer, is done.
func forward(ctx context.Context, client net.Conn, backend string) {
	server, err := (&net.Dialer{}).DialContext(ctx, "tcp", backend)
	if err != nil {
		_ = client.Close()
		return
	}
	closeBoth := sync.OnceFunc(func() {
		_ = client.Close()
		_ = server.Close()
	})
	defer context.AfterFunc(ctx, closeBoth)()
	var copying sync.WaitGroup
	copying.Go(func() {
		_, _ = io.Copy(server, client)
		closeBoth()
	})
	_, _ = io.Copy(client, server)
	closeBoth()
	copying.Wait()
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

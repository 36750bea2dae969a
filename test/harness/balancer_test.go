// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// echo answers with what it is told, until the test ends.
func echo(t *testing.T) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(connection, connection) }()
		}
	}()
	return listener.Addr().String()
}

// connected returns a connection through the balancer that has been answered.
func connected(t *testing.T, b *Balancer) net.Conn {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		connection, err := net.Dial("tcp", loopback(b.Port()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = connection.Close() })
		_, _ = connection.Write([]byte("x"))
		if _, err := connection.Read(make([]byte, 1)); err == nil {
			return connection
		}
		// Nobody was ready yet.
	}
	t.Fatal("no connection was answered")
	return nil
}

func TestABalancerIsCut(t *testing.T) {
	b, err := NewBalancer([]string{echo(t)}, func(context.Context, string) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}()
	before := connected(t, b)
	if ended := b.Cut(); ended != 1 {
		t.Errorf("%d connections were cut, want 1", ended)
	}
	if err := before.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := before.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("the connection is as it was: %v", err)
	}
	connected(t, b) // those made since are not cut
	if ended := b.Cut(); ended != 1 {
		t.Errorf("%d connections were cut, want 1", ended)
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

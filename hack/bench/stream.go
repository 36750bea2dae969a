// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/http"
	"strings"
	"syscall"

	"k8s.io/client-go/rest"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// stream is a watcher of all findings, through the aggregator and on a
// connection of its own, that counts what it gets without decoding it.
type stream struct {
	client  *http.Client
	url     string
	version string
	// last is what the last event holds; the watcher then stops.
	last []byte

	// began and ended count the events by which findings came and went.
	began, ended int
	// present are the UIDs of the findings that there are, by what it got.
	present map[string]bool
	// misplaced counts the findings that came though they were there, or went though
	// they were not: something in between is lost, or came twice.
	misplaced int
	// sum is a hash of all events, in order.
	sum uint64
	// cuts is how often the server ended the watch.
	cuts int
	err  error
}

// newStream makes a watcher from a list on, which ends when the finding about the
// StatefulSet of a name, which is unique, is gone.
func (b *bench) newStream(list *v1alpha1.FindingList, last string) (*stream, error) {
	config, err := rest.TLSConfigFor(b.admin)
	if err != nil {
		return nil, fmt.Errorf("configuring a watcher: %w", err)
	}
	present := map[string]bool{}
	for i := range list.Items {
		present[string(list.Items[i].UID)] = true
	}
	return &stream{
		present: present,
		client:  &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableCompression: true}},
		url:     b.admin.Host + findingsPath + "?watch=1&resourceVersion=", version: list.ResourceVersion,
		last: fmt.Appendf(nil, `"name":%q`, last),
	}, nil
}

// run reads until the last event, and takes the watch up again where it is cut.
func (s *stream) run(ctx context.Context) {
	defer s.client.CloseIdleConnections()
	hash := fnv.New64a()
	for {
		done, err := s.read(ctx, func(line []byte) { _, _ = hash.Write(line) })
		if done || err != nil {
			s.err, s.sum = err, hash.Sum64()
			return
		}
		s.cuts++
	}
}

func (s *stream) read(ctx context.Context, each func(line []byte)) (done bool, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+s.version, nil)
	if err != nil {
		return false, err
	}
	response, err := s.client.Do(request)
	if err != nil {
		return false, fmt.Errorf("watching findings: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return false, fmt.Errorf("watching findings: %s", response.Status)
	}
	for lines := bufio.NewReaderSize(response.Body, 64<<10); ; {
		line, err := lines.ReadSlice('\n')
		if err != nil {
			if errors.Is(err, bufio.ErrBufferFull) || ctx.Err() != nil {
				return false, fmt.Errorf("watching findings: %w", errors.Join(err, ctx.Err()))
			}
			return false, nil
		}
		each(line)
		if version, found := between(line, `"resourceVersion":"`, `"`); found {
			s.version = string(version)
		}
		switch {
		case bytes.HasPrefix(line, []byte(`{"type":"ADDED"`)):
			s.began++
			s.place(line, true)
		case bytes.HasPrefix(line, []byte(`{"type":"DELETED"`)):
			s.ended++
			s.place(line, false)
			if bytes.Contains(line, s.last) {
				return true, nil
			}
		case bytes.HasPrefix(line, []byte(`{"type":"ERROR"`)):
			return false, fmt.Errorf("watching findings: %s", line)
		}
	}
}

// place notes that a finding came or went, which each does in turn.
func (s *stream) place(line []byte, present bool) {
	uid, _ := between(line, `"uid":"`, `"`)
	if s.present[string(uid)] == present {
		s.misplaced++
	}
	s.present[string(uid)] = present
}

// lost is at least how many events the watcher did not get, or got twice.
func (s *stream) lost(sent int) int { return max(0, sent-s.began-s.ended, s.misplaced) }

func between(text []byte, before, after string) ([]byte, bool) {
	_, rest, found := bytes.Cut(text, []byte(before))
	if !found {
		return nil, false
	}
	inside, _, found := bytes.Cut(rest, []byte(after))
	return inside, found
}

// openStuck opens a watch at srenix's server itself and never reads from it. Its
// connection holds little, so that the server notices soon.
func (b *bench) openStuck(ctx context.Context, version string) (net.Conn, error) {
	config, err := rest.TLSConfigFor(b.direct)
	if err != nil {
		return nil, fmt.Errorf("configuring the stuck client: %w", err)
	}
	config.NextProtos = []string{"http/1.1"}
	dialer := &net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) {
			failed = errors.Join(
				syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10),
				syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 536),
			)
		})
		return errors.Join(err, failed)
	}}
	address := strings.TrimPrefix(b.direct.Host, "https://")
	config.ServerName = "localhost"
	connection, err := (&tls.Dialer{NetDialer: dialer, Config: config}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connecting the stuck client: %w", err)
	}
	if _, err := fmt.Fprintf(connection, "GET %s?watch=1&resourceVersion=%s HTTP/1.1\r\nHost: %s\r\n\r\n", findingsPath, version, address); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the watch of the stuck client: %w", err), connection.Close())
	}
	return connection, nil
}

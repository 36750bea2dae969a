// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package plane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// control serves requests to stop, start, pause and resume components, on a
// unix socket that only the plane's owner can open.
type control struct {
	socket string
	dir    string
	server *http.Server
}

// serveControl listens in a directory of its own under the system's temporary
// one, because the path of a unix socket is limited to about 100 bytes.
func (s *supervisor) serveControl() (*control, error) {
	dir, err := os.MkdirTemp("", "controlplane-")
	if err != nil {
		return nil, fmt.Errorf("making the directory of the control socket: %w", err)
	}
	socket := filepath.Join(dir, "control.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("listening for control requests: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{verb}/{component}", func(w http.ResponseWriter, r *http.Request) {
		err := s.act(r.Context(), r.PathValue("verb"), r.PathValue("component"))
		if err == nil {
			err = s.writeState(socket)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
		}
	})
	c := &control{socket: socket, dir: dir, server: &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}}
	go func() {
		if err := c.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.report("control requests are no longer served: %v", err)
		}
	}()
	return c, nil
}

// Close stops serving and removes the socket.
func (c *control) Close() {
	_ = c.server.Close()
	_ = os.RemoveAll(c.dir)
}

// request asks the supervisor behind a socket for something.
func request(ctx context.Context, socket, verb, component string) error {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var dialer net.Dialer
			return dialer.DialContext(ctx, "unix", socket)
		},
	}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://supervisor/"+verb+"/"+component, nil)
	if err != nil {
		return fmt.Errorf("asking the supervisor to %s %s: %w", verb, component, err)
	}
	response, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("asking the supervisor to %s %s: %w; is the plane up?", verb, component, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		message, _ := io.ReadAll(io.LimitReader(response.Body, 8<<10))
		return fmt.Errorf("the supervisor could not %s %s: %s", verb, component, strings.TrimSpace(string(message)))
	}
	return nil
}

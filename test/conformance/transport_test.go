// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
)

// TestWatchesTimeOut ends watches when their time is over, and not before, in
// an orderly way, so that clients do not take it for a failure.
func TestWatchesTimeOut(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	c := newClient(t, admin)
	from := selecting("resourceVersion", withFindings(t, ns, "a").GetResourceVersion())
	long := c.watch(t, findings(ns), from+"&timeoutSeconds=600", jsonType)
	t.Run("each", func(t *testing.T) {
		for name, query := range map[string]string{
			"of a namespace":     from,
			"of initial events":  streamedList,
			"of one name":        from + "&" + selecting("fieldSelector", "metadata.name=missing"),
			"with bookmarks too": from + "&allowWatchBookmarks=true",
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				start := time.Now()
				c.watch(t, findings(ns), query+"&timeoutSeconds=3", jsonType).rest(t)
				if lasted := time.Since(start); lasted < 3*time.Second {
					t.Errorf("the watch ended after %s, before its time was over", lasted)
				}
			})
		}
	})
	must(t, createRole(t.Context(), ns, "b"))
	if e := long.next(t); !about(watch.Added, "b")(e) {
		t.Errorf("the watch of ten minutes has %s of %s first, want b added", e.kind, subject(e.object))
	}
}

// TestWatchesOverHTTP1 are what proxies and small clients use.
func TestWatchesOverHTTP1(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	config := rest.CopyConfig(admin)
	config.NextProtos = []string{"http/1.1"}
	c := newClient(t, config)
	from := selecting("resourceVersion", withFindings(t, ns, "a").GetResourceVersion())
	w := c.watch(t, findings(ns), from+"&timeoutSeconds=60", jsonType)
	if w.response.ProtoMajor != 1 {
		t.Fatalf("the watch is served over %s", w.response.Proto)
	}
	must(t, createRole(t.Context(), ns, "b"))
	if e := w.next(t); !about(watch.Added, "b")(e) {
		t.Errorf("have %s of %s, want b added", e.kind, subject(e.object))
	}
}

// webSocket opens a watch over a WebSocket (RFC 6455), as browsers do, and
// returns the messages that come.
func webSocket(t *testing.T, path string) *bufio.Reader {
	t.Helper()
	config, err := rest.TLSConfigFor(admin)
	must(t, err)
	host, err := url.Parse(admin.Host)
	must(t, err)
	config.NextProtos, config.ServerName = []string{"http/1.1"}, host.Hostname()
	dialer := tls.Dialer{Config: config, NetDialer: &net.Dialer{}}
	conn, err := dialer.DialContext(t.Context(), "tcp", host.Host)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	must(t, conn.SetDeadline(time.Now().Add(deadline)))
	key := base64.StdEncoding.EncodeToString([]byte("sixteen bytes..."))
	_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nOrigin: https://%s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n",
		path, host.Host, host.Host, key)
	must(t, err)
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, nil)
	must(t, err)
	defer response.Body.Close()
	if response.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(response.Body)
		t.Fatalf("upgrading: %s: %s", response.Status, body)
	}
	return reader
}

// readFrame reads one message of a WebSocket; a server's are neither masked nor,
// for events, in fragments. The opcode is 1 for text and 8 for the end.
func readFrame(t *testing.T, from io.Reader) (opcode byte, payload []byte) {
	t.Helper()
	var head [2]byte
	_, err := io.ReadFull(from, head[:])
	must(t, err)
	length := uint64(head[1])
	switch length {
	case 126:
		var short uint16
		must(t, binary.Read(from, binary.BigEndian, &short))
		length = uint64(short)
	case 127:
		must(t, binary.Read(from, binary.BigEndian, &length))
	}
	payload = make([]byte, length)
	_, err = io.ReadFull(from, payload)
	must(t, err)
	return head[0] & 0xf, payload
}

func TestWatchesOverWebSockets(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	from := withFindings(t, ns, "a").GetResourceVersion()
	frames := webSocket(t, findings(ns)+"?watch=true&resourceVersion="+from)
	must(t, createRole(t.Context(), ns, "b"))
	must(t, deleteRole(t.Context(), ns, "a"))
	for _, want := range []string{"b", "a"} {
		opcode, payload := readFrame(t, frames)
		var e struct {
			Type   string `json:"type"`
			Object struct {
				Kind string `json:"kind"`
				Spec struct {
					Subject struct {
						Name string `json:"name"`
					} `json:"subject"`
				} `json:"spec"`
			} `json:"object"`
		}
		must(t, json.Unmarshal(payload, &e))
		kind := map[string]string{"b": "ADDED", "a": "DELETED"}[want]
		if opcode != 1 || e.Type != kind || e.Object.Kind != "Finding" || e.Object.Spec.Subject.Name != want {
			t.Errorf("have frame %d %s of %s, want %s of %s", opcode, e.Type, e.Object.Spec.Subject.Name, kind, want)
		}
	}
}

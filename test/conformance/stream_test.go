// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
)

const (
	jsonType  = "application/json"
	groupPath = "/apis/srenix.io/v1alpha1"
)

// collection is the path of a kind's objects; of all namespaces if none is named.
func collection(group, namespace, resource string) string {
	if namespace == "" {
		return group + "/" + resource
	}
	return group + "/namespaces/" + namespace + "/" + resource
}

func findings(namespace string) string { return collection(groupPath, namespace, "findings") }

// client sends requests as they are: client-go's would repeat those that the
// server asks to repeat, and hide answers that this package is about.
type client struct {
	http *http.Client
	host string
}

func newClient(t *testing.T, config *rest.Config) client {
	t.Helper()
	httpClient, err := rest.HTTPClientFor(config)
	must(t, err)
	return client{http: httpClient, host: config.Host}
}

// answer is what a server said to a request.
type answer struct {
	code   int
	header http.Header
	body   []byte
}

func (a answer) decode(t *testing.T, into any) {
	t.Helper()
	if err := json.Unmarshal(a.body, into); err != nil {
		t.Fatalf("answer %d is not JSON: %v: %s", a.code, err, a.body)
	}
}

func (a answer) status(t *testing.T) metav1.Status {
	t.Helper()
	var status metav1.Status
	a.decode(t, &status)
	return status
}

// list is the list in the answer, which is wanted to be one.
func (a answer) list(t *testing.T) *unstructured.UnstructuredList {
	t.Helper()
	if a.code != http.StatusOK {
		t.Fatalf("have %d, want a list: %s", a.code, a.body)
	}
	list := &unstructured.UnstructuredList{}
	must(t, list.UnmarshalJSON(a.body))
	return list
}

func (c client) request(ctx context.Context, path, query, accept string) (*http.Response, error) {
	separator := "?"
	if strings.Contains(path, "?") {
		separator = "&"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.host+path+separator+query, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", accept)
	return c.http.Do(request)
}

// get asks once.
func (c client) get(t *testing.T, path, query, accept string) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	response, err := c.request(ctx, path, query, accept)
	must(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	must(t, err)
	return answer{code: response.StatusCode, header: response.Header, body: body}
}

// selecting is a query with one parameter.
func selecting(parameter, value string) string { return url.Values{parameter: {value}}.Encode() }

// event is one event of a watch; its object may be a Status or a Table too.
type event struct {
	kind   watch.EventType
	object *unstructured.Unstructured
}

func (e event) version(t *testing.T) uint64 {
	t.Helper()
	return version(t, e.object.GetResourceVersion())
}

// endsInitial tells whether it is the bookmark at the end of the initial events.
func (e event) endsInitial() bool {
	return e.kind == watch.Bookmark && e.object.GetAnnotations()[metav1.InitialEventsAnnotationKey] == "true"
}

// code is that of the Status in an ERROR event.
func (e event) code() int64 {
	code, _, _ := unstructured.NestedInt64(e.object.Object, "code")
	return code
}

// reason is that of the Status in an ERROR event.
func (e event) reason() metav1.StatusReason {
	reason, _, _ := unstructured.NestedString(e.object.Object, "reason")
	return metav1.StatusReason(reason)
}

// stream is an open watch.
type stream struct {
	// events is closed at the end of the watch.
	events   chan event
	response *http.Response
	stop     func()
	err      error
}

// watch opens a watch, which ends with the test at the latest.
func (c client) watch(t *testing.T, path, query, accept string) *stream {
	t.Helper()
	s, err := c.open(t.Context(), path, query, accept)
	must(t, err)
	t.Cleanup(s.stop)
	return s
}

// open opens a watch, which its stop or the end of the context ends.
func (c client) open(ctx context.Context, path, query, accept string) (*stream, error) {
	ctx, cancel := context.WithCancel(ctx)
	unanswered := time.AfterFunc(deadline, cancel)
	defer unanswered.Stop()
	response, err := c.request(ctx, path, "watch=true&"+query, accept) //nolint:bodyclose // Whoever reads it closes it.
	if err != nil {
		cancel()
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		defer cancel()
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		return nil, fmt.Errorf("watching %s?%s: %s: %s", path, query, response.Status, body)
	}
	s := &stream{events: make(chan event, 100), response: response}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer response.Body.Close()
		s.read(ctx, response.Body)
	}()
	s.stop = func() { cancel(); <-done }
	return s, nil
}

// follow hands on the events after a version until one was the last. A watch
// that ends, as any may, goes on from its last version, without a gap.
func (c client) follow(ctx context.Context, path, from string, handle func(event) (last bool, err error)) error {
	return c.followCounting(ctx, &atomic.Int64{}, path, from, handle)
}

// followCounting is follow, and counts how often the watch ended.
func (c client) followCounting(ctx context.Context, reopened *atomic.Int64, path, from string, handle func(event) (last bool, err error)) error {
	for ; ; reopened.Add(1) {
		s, err := c.open(ctx, path, selecting("resourceVersion", from), jsonType)
		if err != nil {
			return err
		}
		for e := range s.events {
			last, err := handle(e)
			if last || err != nil {
				s.stop()
				return err
			}
			from = e.object.GetResourceVersion()
		}
		s.stop()
		if s.err != nil {
			return s.err
		}
	}
}

// read passes on events until the watch ends; err is why, if not by itself.
func (s *stream) read(ctx context.Context, from io.Reader) {
	defer close(s.events)
	for decoder := json.NewDecoder(from); ; {
		var raw struct {
			Type   watch.EventType `json:"type"`
			Object json.RawMessage `json:"object"`
		}
		if err := decoder.Decode(&raw); err != nil {
			if !errors.Is(err, io.EOF) {
				s.err = err
			}
			return
		}
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(raw.Object); err != nil {
			s.err = err
			return
		}
		select {
		case s.events <- event{kind: raw.Type, object: object}:
		case <-ctx.Done():
			return
		}
	}
}

// next waits for the next event.
func (s *stream) next(t *testing.T) event {
	t.Helper()
	select {
	case e, open := <-s.events:
		if !open {
			t.Fatalf("the watch ended: %v", s.err)
		}
		return e
	case <-time.After(deadline):
		t.Fatal("no event came")
	}
	return event{}
}

// change waits for the next event that is no bookmark; but one that ends initial
// events comes once, and so not here.
func (s *stream) change(t *testing.T) event {
	t.Helper()
	for {
		if e := s.next(t); e.kind != watch.Bookmark || e.endsInitial() {
			return e
		}
	}
}

// until returns the events up to and with the one that is waited for.
func (s *stream) until(t *testing.T, last func(event) bool) []event {
	t.Helper()
	var seen []event
	for {
		seen = append(seen, s.next(t))
		if last(seen[len(seen)-1]) {
			return seen
		}
	}
}

// rest returns the events up to the watch's end, which must come by itself.
func (s *stream) rest(t *testing.T) []event {
	t.Helper()
	limit := time.After(deadline)
	var seen []event
	for {
		select {
		case e, open := <-s.events:
			if !open {
				if s.err != nil {
					t.Fatalf("the watch broke off: %v", s.err)
				}
				return seen
			}
			seen = append(seen, e)
		case <-limit:
			t.Fatal("the watch did not end")
		}
	}
}

// about tells whether an event is the first of a finding about a subject.
func about(kind watch.EventType, name string) func(event) bool {
	return func(e event) bool { return e.kind == kind && subject(e.object) == name }
}

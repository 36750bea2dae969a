// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/cli"
)

// chain returns n linked events.
func chain(t *testing.T, n int) []opsv1alpha1.AuditEventSpec {
	t.Helper()
	var events []opsv1alpha1.AuditEventSpec
	for i := range n {
		next := opsv1alpha1.AuditEventSpec{
			Time: metav1.NewMicroTime(time.Date(2026, 2, 3, 4, 5, 6, i*1000, time.UTC)), Component: "apiserver", Actor: "alice",
			Type: opsv1alpha1.AuditTokenMinted, Message: fmt.Sprintf("event <%d> & more", i),
		}
		var prev *opsv1alpha1.AuditEventSpec
		if i == 0 {
			next.Type = opsv1alpha1.AuditChainStarted
		} else {
			prev = &events[i-1]
		}
		sealed, err := audit.Seal(prev, next)
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, sealed)
	}
	return events
}

// jsonl writes events as a chain logs them.
func jsonl(t *testing.T, events []opsv1alpha1.AuditEventSpec) string {
	t.Helper()
	var out strings.Builder
	for _, event := range events {
		line, err := json.Marshal(event)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(append(line, '\n'))
	}
	return out.String()
}

// server lists audit events as kube-apiserver does.
type server struct {
	t        *testing.T
	objects  []opsv1alpha1.AuditEvent
	fail     error
	expireAt int // expires the first continuation from this offset; 0 for never
	requests []string
}

func newServer(t *testing.T, events []opsv1alpha1.AuditEventSpec) *server {
	t.Helper()
	s := &server{t: t}
	for _, event := range events {
		object := opsv1alpha1.AuditEvent{Spec: event}
		object.Name = audit.EventName(event.Index)
		s.objects = append(s.objects, object)
	}
	return s
}

// ServeHTTP implements http.Handler.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.requests = append(s.requests, r.Method+" "+r.URL.RequestURI())
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Path != "/apis/ops.srenix.io/v1alpha1/auditevents" || r.Method != http.MethodGet {
		s.t.Errorf("unexpected request %s %s", r.Method, r.URL.Path)
	}
	if s.fail != nil {
		s.answerError(w, s.fail)
		return
	}
	token := r.URL.Query().Get("continue")
	offset, _ := strconv.Atoi(strings.TrimSuffix(token, "-inconsistent"))
	if s.expireAt > 0 && token == strconv.Itoa(s.expireAt) {
		expired := apierrors.NewResourceExpired("the provided continue parameter is too old")
		expired.ErrStatus.Continue = token + "-inconsistent"
		s.answerError(w, expired)
		return
	}
	limit, err := strconv.Atoi(r.URL.Query().Get("limit"))
	if err != nil {
		s.t.Errorf("limit: %v", err)
	}
	page := opsv1alpha1.AuditEventList{TypeMeta: metav1.TypeMeta{APIVersion: "ops.srenix.io/v1alpha1", Kind: "AuditEventList"}}
	end := min(offset+limit, len(s.objects))
	page.Items = s.objects[offset:end]
	if end < len(s.objects) {
		page.Continue = strconv.Itoa(end)
	}
	if err := json.NewEncoder(w).Encode(page); err != nil {
		s.t.Error(err)
	}
}

func (s *server) answerError(w http.ResponseWriter, err error) {
	status := err.(apierrors.APIStatus).Status()
	status.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	w.WriteHeader(int(status.Code))
	if err := json.NewEncoder(w).Encode(status); err != nil {
		s.t.Error(err)
	}
}

type result struct {
	Code           int
	Stdout, Stderr string
}

// run executes `audit` with arguments, against a server if there is one.
func run(t *testing.T, s *server, stdin string, arguments ...string) result {
	t.Helper()
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	argv := append([]string{"kubectl-srenix"}, arguments...)
	if s != nil {
		listener := httptest.NewServer(s)
		defer listener.Close()
		argv = append(argv, "--server", listener.URL)
	}
	var stdout, stderr bytes.Buffer
	streams := genericiooptions.IOStreams{In: strings.NewReader(stdin), Out: &stdout, ErrOut: &stderr}
	code := cli.Run(NewCommand(streams), streams, argv)
	return result{Code: code, Stdout: stdout.String(), Stderr: stderr.String()}
}

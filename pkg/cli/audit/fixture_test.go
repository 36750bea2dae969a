// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
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

// authority signs checkpoints as the cluster does.
type authority struct {
	signer note.Signer
	vkey   string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, audit.Origin("c1"))
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{signer: signer, vkey: vkey}
}

// treeOf is the tree over events.
func treeOf(t *testing.T, events []opsv1alpha1.AuditEventSpec) *audit.Tree {
	t.Helper()
	tree, err := audit.NewTree(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, event := range events {
		if err := tree.Append(event.Hash); err != nil {
			t.Fatal(err)
		}
	}
	return tree
}

// note signs a checkpoint of the first size events.
func (a *authority) note(t *testing.T, events []opsv1alpha1.AuditEventSpec, size int) string {
	t.Helper()
	root, err := treeOf(t, events).Root(int64(size))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := audit.Checkpoint{Origin: a.signer.Name(), Size: int64(size), Root: root}.Sign(a.signer)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// latest is the AuditCheckpoint of the first size events, those before pruned no more.
func (a *authority) latest(t *testing.T, events []opsv1alpha1.AuditEventSpec, size, pruned int) *opsv1alpha1.AuditCheckpoint {
	t.Helper()
	tree := treeOf(t, events)
	frontier, err := tree.Frontier(int64(size))
	if err != nil {
		t.Fatal(err)
	}
	latest := &opsv1alpha1.AuditCheckpoint{TypeMeta: metav1.TypeMeta{APIVersion: "ops.srenix.io/v1alpha1", Kind: "AuditCheckpoint"}}
	latest.Name = opsv1alpha1.LatestAuditCheckpoint
	latest.Spec = opsv1alpha1.AuditCheckpointSpec{
		Note: a.note(t, events, size), Time: events[size-1].Time, Size: int64(size), LastHash: events[size-1].Hash, Frontier: frontier,
	}
	if pruned > 0 {
		frontier, err := tree.Frontier(int64(pruned))
		if err != nil {
			t.Fatal(err)
		}
		latest.Spec.Pruned = &opsv1alpha1.AuditPruned{
			Before: int64(pruned), BeforeName: audit.EventName(int64(pruned)), LastHash: events[pruned-1].Hash, Frontier: frontier,
		}
	}
	return latest
}

// file writes content to a file of its own.
func file(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// server answers for audit events, their checkpoint and its keys as kube-apiserver does.
type server struct {
	t        *testing.T
	objects  []opsv1alpha1.AuditEvent
	keys     *authority
	latest   *opsv1alpha1.AuditCheckpoint // nil for none
	vkeys    string                       // empty for no right to read them
	listed   func()                       // called after a page was made
	fail     error
	expireAt int // expires the first continuation from this offset; 0 for never
	requests []string
}

func newServer(t *testing.T, events []opsv1alpha1.AuditEventSpec) *server {
	t.Helper()
	s := &server{t: t, keys: newAuthority(t)}
	s.vkeys = s.keys.vkey
	if len(events) > 0 {
		s.latest = s.keys.latest(t, events, len(events), 0)
	}
	for _, event := range events {
		object := opsv1alpha1.AuditEvent{Spec: event}
		object.Name, object.Labels = audit.EventName(event.Index), audit.LabelsOf(&event)
		s.objects = append(s.objects, object)
	}
	return s
}

// ServeHTTP implements http.Handler.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.requests = append(s.requests, r.Method+" "+r.URL.RequestURI())
	w.Header().Set("Content-Type", "application/json")
	if s.fail != nil {
		s.answerError(w, s.fail)
		return
	}
	if r.Method != http.MethodGet {
		s.t.Errorf("unexpected request %s %s", r.Method, r.URL.Path)
	}
	if name, one := strings.CutPrefix(r.URL.Path, "/apis/ops.srenix.io/v1alpha1/auditevents/"); one {
		s.get(w, name)
		return
	}
	switch r.URL.Path {
	case "/apis/ops.srenix.io/v1alpha1/auditevents":
		s.list(w, r)
	case "/apis/ops.srenix.io/v1alpha1/auditcheckpoints/latest":
		if s.latest == nil {
			s.answerError(w, apierrors.NewNotFound(schema.GroupResource{Group: "ops.srenix.io", Resource: "auditcheckpoints"}, "latest"))
			return
		}
		s.answer(w, s.latest)
	case "/api/v1/namespaces/srenix-system/configmaps/srenix-audit-vkey":
		if s.vkeys == "" {
			s.answerError(w, apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, "srenix-audit-vkey", fmt.Errorf("no")))
			return
		}
		s.answer(w, &corev1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, Data: map[string]string{"vkeys": s.vkeys}})
	default:
		s.t.Errorf("unexpected request %s %s", r.Method, r.URL.Path)
		s.answerError(w, apierrors.NewNotFound(schema.GroupResource{}, r.URL.Path))
	}
}

func (s *server) get(w http.ResponseWriter, name string) {
	for i := range s.objects {
		if s.objects[i].Name == name {
			object := s.objects[i]
			object.TypeMeta = metav1.TypeMeta{APIVersion: "ops.srenix.io/v1alpha1", Kind: "AuditEvent"}
			s.answer(w, &object)
			return
		}
	}
	s.answerError(w, apierrors.NewNotFound(schema.GroupResource{Group: "ops.srenix.io", Resource: "auditevents"}, name))
}

func (s *server) list(w http.ResponseWriter, r *http.Request) {
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
	s.answer(w, page)
	if s.listed != nil {
		s.listed()
	}
}

func (s *server) answer(w http.ResponseWriter, object any) {
	if err := json.NewEncoder(w).Encode(object); err != nil {
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
	// What tells of progress depends on how fast the machine is.
	return result{Code: code, Stdout: stdout.String(), Stderr: progressLine.ReplaceAllString(stderr.String(), "")}
}

var progressLine = regexp.MustCompile(`(?m)^\d+ events read so far\n`)

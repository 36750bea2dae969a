// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/cli"
)

const (
	testToken    = "header.payload.signature"
	testApproval = "approval-0123456789abcdef0123456789abcdef"
	testExpiry   = "2026-02-04T04:05:06Z"
	lost         = -1
	basePath     = "/apis/srenix.io/v1alpha1/namespaces/shop/proposals"
	storedPath   = "/apis/ops.srenix.io/v1alpha1/namespaces/shop/approvals"
)

// server speaks the paths of srenix.io and ops.srenix.io that the command uses, with the real
// shapes of requests, answers and errors.
type server struct {
	t         *testing.T
	proposals []v1alpha1.Proposal
	approvals []opsv1alpha1.Approval
	// fail answers the request "VERB path" with an error.
	fail map[string]error
	// raw answers it with a status code and text, as a proxy in between does, or
	// for lost with nothing but the end of the connection.
	raw map[string]int
	// warning is sent with every answer.
	warning string

	// What was asked for.
	requests  []string
	tokens    []v1alpha1.ProposalTokenRequest
	decisions []v1alpha1.ProposalApproval
}

func newServer(t *testing.T, names ...string) *server {
	t.Helper()
	s := &server{t: t, fail: map[string]error{}, raw: map[string]int{}}
	for _, name := range names {
		s.proposals = append(s.proposals, *readProposal(t, name))
	}
	return s
}

func readProposal(t *testing.T, name string) *v1alpha1.Proposal {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	proposal := &v1alpha1.Proposal{}
	if err := yaml.UnmarshalStrict(data, proposal); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return proposal
}

// ServeHTTP implements http.Handler.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.requests = append(s.requests, r.Method+" "+r.URL.RequestURI())
	w.Header().Set("Content-Type", "application/json")
	if s.warning != "" {
		w.Header().Add("Warning", fmt.Sprintf("299 - %q", s.warning))
	}
	asked := r.Method + " " + r.URL.Path
	if err := s.fail[asked]; err != nil {
		s.answerError(w, err)
		return
	}
	code := s.raw[asked]
	if code == lost {
		panic(http.ErrAbortHandler)
	}
	if code != 0 {
		w.Header().Set("Content-Type", "text/plain")
		http.Error(w, http.StatusText(code), code)
		return
	}
	if asked == "GET "+basePath {
		s.answer(w, http.StatusOK, &v1alpha1.ProposalList{
			TypeMeta: metav1.TypeMeta{APIVersion: "srenix.io/v1alpha1", Kind: "ProposalList"}, Items: s.proposals,
		})
		return
	}
	if asked == "GET "+storedPath {
		s.answer(w, http.StatusOK, &opsv1alpha1.ApprovalList{
			TypeMeta: metav1.TypeMeta{APIVersion: "ops.srenix.io/v1alpha1", Kind: "ApprovalList"}, Items: s.approvals,
		})
		return
	}
	name, subresource, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, basePath+"/"), "/")
	index := slices.IndexFunc(s.proposals, func(p v1alpha1.Proposal) bool { return p.Name == name })
	if index < 0 {
		s.answerError(w, apierrors.NewNotFound(v1alpha1.Resource("proposals"), name))
		return
	}
	proposal := &s.proposals[index]
	switch r.Method + " " + subresource {
	case "GET ":
		s.answer(w, http.StatusOK, proposal)
	case "POST token":
		request := v1alpha1.ProposalTokenRequest{}
		s.decode(r, &request)
		s.tokens = append(s.tokens, request)
		request.Status.Token, request.Status.ApprovalName = testToken, testApproval
		if err := json.Unmarshal([]byte(`"`+testExpiry+`"`), &request.Status.ExpirationTimestamp); err != nil {
			s.t.Error(err)
		}
		s.answer(w, http.StatusCreated, &request)
	case "POST approve":
		request := v1alpha1.ProposalApproval{}
		s.decode(r, &request)
		s.decisions = append(s.decisions, request)
		request.Name, request.Namespace = proposal.Name, proposal.Namespace
		request.Spec.ProposalUID, request.Spec.Snapshot = proposal.UID, &proposal.Spec
		request.Status.ApprovalName = testApproval
		s.answer(w, http.StatusCreated, &request)
	default:
		s.answerError(w, apierrors.NewMethodNotSupported(v1alpha1.Resource("proposals"), r.Method))
	}
}

// decode is strict, as the server is asked to be.
func (s *server) decode(r *http.Request, into any) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Error(err)
	}
	strict, err := kjson.UnmarshalStrict(body, into)
	if err != nil || len(strict) > 0 {
		s.t.Errorf("decoding %s: %v %v", body, err, strict)
	}
}

func (s *server) answer(w http.ResponseWriter, code int, object any) {
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(object); err != nil {
		s.t.Error(err)
	}
}

func (s *server) answerError(w http.ResponseWriter, err error) {
	status := err.(apierrors.APIStatus).Status()
	status.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	s.answer(w, int(status.Code), status)
}

// change makes the requests to path answer with a conflict, as if the proposal
// had changed since the GET.
func (s *server) change(path string) {
	s.fail["POST "+path] = apierrors.NewConflict(v1alpha1.Resource("proposals"), s.proposals[0].Name, fmt.Errorf(
		"the proposal has changed: you saw digest %s, it is now sha256:beef; look again", s.proposals[0].Spec.Digest))
}

type result struct {
	Code           int
	Stdout, Stderr string
}

// terminal is what a person types.
type terminal string

// run executes the command in namespace shop. A nil terminal is no terminal.
func run(t *testing.T, s *server, typed *terminal, arguments ...string) result {
	t.Helper()
	return runAs(t, "/usr/local/bin/kubectl-create-approval", s, typed, arguments...)
}

// complete calls the program as kubectl does for shell completion.
func complete(t *testing.T, s *server, words ...string) result {
	t.Helper()
	return runAs(t, "/usr/local/bin/kubectl_complete-create-approval", s, nil, words...)
}

func runAs(t *testing.T, program string, s *server, typed *terminal, arguments ...string) result {
	t.Helper()
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	listener := httptest.NewServer(s)
	defer listener.Close()
	input := ""
	if typed != nil {
		input = string(*typed)
	}
	var stdout, stderr bytes.Buffer
	options := NewOptions(genericiooptions.IOStreams{In: strings.NewReader(input), Out: &stdout, ErrOut: &stderr})
	options.isTerminal = func(io.Reader) bool { return typed != nil }
	argv := append([]string{program, "--server", listener.URL, "-n", "shop"}, arguments...)
	code := cli.Run(newCommand(options), options.IOStreams, argv)
	return result{Code: code, Stdout: stdout.String(), Stderr: stderr.String()}
}

func types(text string) *terminal {
	typed := terminal(text)
	return &typed
}

// contains fails the test for each of the wanted texts that is not there.
func contains(t *testing.T, where, text string, wanted ...string) {
	t.Helper()
	for _, want := range wanted {
		if !strings.Contains(text, want) {
			t.Errorf("%s does not have %q:\n%s", where, want, text)
		}
	}
}

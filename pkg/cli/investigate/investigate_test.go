// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package investigate

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/cli"
)

const (
	inShop  = "/apis/srenix.io/v1alpha1/namespaces/shop/findings"
	ofWhole = "/apis/srenix.io/v1alpha1/clusterfindings"
)

// server serves one finding, with one status after the other, and takes requests.
type server struct {
	*httptest.Server
	t *testing.T
	// statuses are those that the finding has, the last one for good.
	statuses []v1alpha1.FindingStatus
	refuse   *apierrors.StatusError
	asked    int
}

func newServer(t *testing.T, statuses ...v1alpha1.FindingStatus) *server {
	t.Helper()
	s := &server{t: t, statuses: statuses}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *server) finding() v1alpha1.Finding {
	return v1alpha1.Finding{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "Finding"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "pull-web"},
		Spec:       v1alpha1.FindingSpec{Severity: v1alpha1.SeverityWarning, Reason: "ImagePullFailing", Subject: v1alpha1.ObjectReference{Kind: "Pod", Name: "web"}},
		Status:     s.statuses[0],
	}
}

// ServeHTTP implements http.Handler.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var answer any
	code := http.StatusOK
	switch path := r.URL.Path; {
	case r.Method == http.MethodPost && path == inShop+"/pull-web/investigate":
		if s.asked++; s.refuse != nil {
			code, answer = int(s.refuse.ErrStatus.Code), s.refuse.ErrStatus
			break
		}
		code, answer = http.StatusCreated, v1alpha1.FindingInvestigation{
			TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "FindingInvestigation"},
			Status:   v1alpha1.FindingInvestigationStatus{Investigation: "pull-web-0123456789"},
		}
	case r.Method == http.MethodGet && path == inShop+"/pull-web":
		answer = s.finding()
		if s.asked > 0 && len(s.statuses) > 1 {
			s.statuses = s.statuses[1:]
		}
	case r.Method == http.MethodPost && path == ofWhole+"/lost/investigate":
		s.asked++
		code, answer = http.StatusCreated, v1alpha1.FindingInvestigation{
			TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "FindingInvestigation"},
			Status:   v1alpha1.FindingInvestigationStatus{Investigation: "lost-0123456789"},
		}
	case r.Method == http.MethodGet && path == ofWhole+"/lost":
		of := v1alpha1.ClusterFinding{TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "ClusterFinding"}, Status: s.statuses[0]}
		if answer = of; s.asked > 0 && len(s.statuses) > 1 {
			s.statuses = s.statuses[1:]
		}
	case r.Method == http.MethodGet && path == inShop:
		answer = v1alpha1.FindingList{
			TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "FindingList"}, Items: []v1alpha1.Finding{s.finding()},
		}
	default:
		missing := apierrors.NewNotFound(schema.GroupResource{Group: v1alpha1.GroupName, Resource: findings}, "other")
		code, answer = http.StatusNotFound, missing.ErrStatus
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		s.t.Error(err)
	}
}

// run runs the command against the server.
func (s *server) run(argv ...string) (code int, stdout, stderr string) {
	s.t.Setenv("KUBECONFIG", "/nonexistent")
	streams, _, out, errs := genericiooptions.NewTestIOStreams()
	argv = append(argv, "--server="+s.URL, "--namespace=shop")
	code = cli.Run(NewCommand(streams), streams, append([]string{"investigate"}, argv...))
	return code, out.String(), errs.String()
}

func TestItTellsWhatComesOfIt(t *testing.T) {
	nothing := v1alpha1.FindingStatus{}
	cause := v1alpha1.FindingStatus{RootCause: "The registry has no such\x1b[31m image.", Evidence: []string{"Pod/web: no image"}}
	modeled := v1alpha1.FindingStatus{RootCause: "It has no network.", ModelRootCause: "A cable was pulled."}
	another := v1alpha1.FindingStatus{RootCause: "The registry is away."}
	refused := apierrors.NewTooManyRequests("kim has asked too often: ask again in 3m", 180)
	refused.ErrStatus.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	forbidden := apierrors.NewForbidden(schema.GroupResource{Group: v1alpha1.GroupName, Resource: "findings/investigate"}, "pull-web", nil)
	forbidden.ErrStatus.TypeMeta = refused.ErrStatus.TypeMeta
	for name, test := range map[string]struct {
		statuses []v1alpha1.FindingStatus
		refuse   *apierrors.StatusError
		argv     []string
		code     int
		says     []string
		asked    int
	}{
		"a cause":           {statuses: []v1alpha1.FindingStatus{nothing, nothing, cause}, argv: []string{"pull-web"}, asked: 1, says: []string{"Investigation pull-web-0123456789", "The registry has no such", "  Pod/web: no image\n", "kubectl srenix why pull-web -n shop"}},
		"another cause":     {statuses: []v1alpha1.FindingStatus{cause, cause, another}, argv: []string{"finding.srenix.io/pull-web"}, asked: 1, says: []string{"The registry is away."}},
		"the same cause":    {statuses: []v1alpha1.FindingStatus{cause}, argv: []string{"pull-web", "--wait=600ms"}, asked: 1, says: []string{"Nothing new has come of it within 600ms: the same may have been found again, or the advisor is off or busy. What was found before:\nThe registry has"}},
		"nothing":           {statuses: []v1alpha1.FindingStatus{nothing}, argv: []string{"pull-web", "--wait=600ms"}, code: 1, asked: 1, says: []string{"nothing has come of it yet", "kubectl get deployment srenix-advisor -A"}},
		"no waiting":        {statuses: []v1alpha1.FindingStatus{nothing}, argv: []string{"pull-web", "--wait=0"}, asked: 1, says: []string{"Asked for"}},
		"too often":         {statuses: []v1alpha1.FindingStatus{nothing}, refuse: refused, argv: []string{"pull-web"}, code: 1, asked: 1, says: []string{"TooManyRequests", "ask again in 3m"}},
		"no right":          {statuses: []v1alpha1.FindingStatus{nothing}, refuse: forbidden, argv: []string{"pull-web"}, code: 1, asked: 1, says: []string{"Forbidden", "--clusterrole=srenix-investigator"}},
		"another finding":   {statuses: []v1alpha1.FindingStatus{nothing}, argv: []string{"other"}, code: 1, says: []string{"NotFound", "kubectl get findings.srenix.io -n shop"}},
		"a clusterfinding":  {statuses: []v1alpha1.FindingStatus{nothing, nothing, modeled}, argv: []string{"clusterfinding.srenix.io/lost"}, asked: 1, says: []string{"Investigation lost-0123456789", "It has no network.", "A model takes this for the cause: A cable was pulled.", "kubectl srenix why clusterfinding/lost\n"}},
		"no clusterfinding": {statuses: []v1alpha1.FindingStatus{nothing}, argv: []string{"cfnd/other"}, code: 1, says: []string{"NotFound", "kubectl get clusterfindings.srenix.io"}},
		"something else":    {statuses: []v1alpha1.FindingStatus{nothing}, argv: []string{"pod/web"}, code: 1, says: []string{"want NAME, finding/NAME or clusterfinding/NAME", "--help"}},
		"a time before now": {statuses: []v1alpha1.FindingStatus{nothing}, argv: []string{"pull-web", "--wait=-1s"}, code: 1, says: []string{"--wait"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, test.statuses...)
			s.refuse = test.refuse
			code, stdout, stderr := s.run(test.argv...)
			if code != test.code || s.asked != test.asked {
				t.Errorf("exit code %d, want %d; asked %d times\n%s%s", code, test.code, s.asked, stdout, stderr)
			}
			for _, part := range test.says {
				if !strings.Contains(stdout+stderr, part) {
					t.Errorf("%q is not in\n%s%s", part, stdout, stderr)
				}
			}
			if strings.Contains(stdout+stderr, "\x1b") {
				t.Errorf("it repeats control characters: %q", stdout)
			}
		})
	}
}

func TestNamesAreCompleted(t *testing.T) {
	s := newServer(t, v1alpha1.FindingStatus{})
	t.Setenv("KUBECONFIG", "/nonexistent")
	streams, _, stdout, stderr := genericiooptions.NewTestIOStreams()
	code := cli.Run(NewCommand(streams), streams, []string{"kubectl_complete-srenix", "--server=" + s.URL, "-n", "shop", ""})
	if code != 0 || !strings.Contains(stdout.String(), "pull-web\tWarning ImagePullFailing of Pod/web\n") {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
}

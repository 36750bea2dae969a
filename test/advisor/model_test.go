// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package advisor

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/sashabaranov/go-openai"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	scripted "github.com/srenix/srenix/test/model"
)

const key = "the-key-of-the-endpoint"

// subject is the pseudonym of a finding's subject in a prompt.
var subject = regexp.MustCompile(`- (\S+) (\S+) in namespace \S+ \(subject\)`)

// answer narrates about the subject, and chooses a restart.
func answer(request openai.ChatCompletionRequest) string {
	if strings.Contains(request.Messages[1].Content, "\nfixers:\n") {
		return `{"fixer":"restart-deployment"}`
	}
	name := subject.FindStringSubmatch(request.Messages[1].Content)
	if name == nil {
		return `{"narrative":"There is no subject.","related":[]}`
	}
	told, _ := json.Marshal(map[string]any{ // of strings
		"narrative": fmt.Sprintf("The pods of %s end soon after they start. Nobody can use it until they run again.", name[2]),
		"related":   []string{name[2]},
	})
	return string(told)
}

// advisorWith starts an advisor that asks a model, and returns how to stop it.
func (s shop) advisorWith(t *testing.T, name, endpoint, model, key string, arguments ...string) (stop func()) {
	t.Helper()
	directory := t.TempDir()
	files := map[string]string{"key": key, "pseudonyms": strings.Repeat("0123456789abcdef", 4)}
	for file, content := range files {
		if err := os.WriteFile(filepath.Join(directory, file), []byte(content+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	advisor, err := s.srenix.NewAdvisor(t.Context(), name, append([]string{
		"--model-base-url=" + endpoint, "--model-name=" + model,
		"--model-key-file=" + filepath.Join(directory, "key"), "--pseudonym-key-file=" + filepath.Join(directory, "pseudonyms"),
	}, arguments...)...)
	if err != nil {
		t.Fatal(err)
	}
	if err := advisor.Start(); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if t.Failed() {
			t.Log(advisor.LogTail())
		}
		if err := advisor.Stop(); err != nil {
			t.Fatal(err)
		}
	}
}

// calls are those that Investigations have of a model.
func (s shop) calls(of string) []opsv1alpha1.ModelCall {
	s.Helper()
	all := &opsv1alpha1.InvestigationList{}
	if err := json.Unmarshal([]byte(s.kubectl("get", "investigations", "-A", "-o", "json")), all); err != nil {
		s.Fatal(err)
	}
	var calls []opsv1alpha1.ModelCall
	for _, investigation := range all.Items {
		for _, call := range investigation.Status.Calls {
			if call.Model == of {
				calls = append(calls, call)
			}
		}
	}
	return calls
}

// audited waits until the audit chain has each call once, as it is stored.
func (s shop) audited(calls []opsv1alpha1.ModelCall) {
	s.Helper()
	byID := func(a, b opsv1alpha1.ModelCall) bool { return a.ID < b.ID }
	s.eventually("the calls to be in the audit chain", func() (bool, string) {
		events := &opsv1alpha1.AuditEventList{}
		if err := json.Unmarshal([]byte(s.kubectl("get", "auditevents", "-l", "ops.srenix.io/type=ModelCalled", "-o", "json")), events); err != nil {
			s.Fatal(err)
		}
		var recorded []opsv1alpha1.ModelCall
		for _, event := range events.Items {
			if !strings.HasPrefix(event.Spec.Component, "apiserver") || event.Spec.Hashes["prompt"] != event.Spec.ModelCall.PromptHash {
				s.Errorf("an event is %+v", event.Spec)
			}
			if slices.ContainsFunc(calls, func(call opsv1alpha1.ModelCall) bool { return call.Model == event.Spec.ModelCall.Model }) {
				recorded = append(recorded, *event.Spec.ModelCall)
			}
		}
		diff := cmp.Diff(calls, recorded, cmpopts.SortSlices(byID))
		return diff == "", diff
	})
	if output := s.kubectl("srenix", "audit", "verify"); !strings.Contains(output, "verified") {
		s.Errorf("the chain does not verify: %s", output)
	}
}

func TestWhateverAModelSaysAllElseIsAsWithoutOne(t *testing.T) {
	s := open(t)
	findings, proposals := s.inTrouble()
	ruled, err := s.srenix.NewAdvisor(t.Context(), "srenix-advisor-0")
	if err != nil {
		t.Fatal(err)
	}
	if err := ruled.Start(); err != nil {
		t.Fatal(err)
	}
	s.rootCause("crash", "There is no Service db")
	if err := ruled.Stop(); err != nil {
		t.Fatal(err)
	}
	same := func(t *testing.T) {
		t.Helper()
		after, proposed := s.seen()
		if diff := cmp.Diff(findings, after, withoutStatus); diff != "" {
			t.Errorf("findings are others (-without +with):\n%s", diff)
		}
		if diff := cmp.Diff(proposals, proposed, withoutStatus); diff != "" {
			t.Errorf("proposals are others (-without +with):\n%s", diff)
		}
	}
	same(t)

	server := scripted.Start("")
	defer server.Close()
	server.Reply(answer)
	t.Run("a model that fails", func(t *testing.T) {
		server.Script(scripted.ServerError)
		stop := s.advisorWith(t, "srenix-advisor-1", server.BaseURL(), "failing", key)
		defer stop()
		s.eventually("a call to fail", func() (bool, string) {
			calls := s.calls("failing")
			return len(calls) == 1 && calls[0].Outcome == "ServerError", fmt.Sprint(calls)
		})
		same(t)
		if have := s.of("crash").Status; have.Narrative != "" || have.RootCause == "" {
			t.Errorf("the status is %+v", have)
		}
		s.audited(s.calls("failing"))
	})
	t.Run("a model that answers", func(t *testing.T) {
		server.Script(scripted.Strict)
		stop := s.advisorWith(t, "srenix-advisor-2", server.BaseURL(), "strict", key)
		var crash v1alpha1.Finding
		s.eventually("the narrative", func() (bool, string) {
			crash = s.of("crash")
			return crash.Status.Narrative != "", fmt.Sprint(s.calls("strict"))
		})
		if want := "The pods of crash end soon after they start. Nobody can use it until they run again."; crash.Status.Narrative != want || !slices.Equal(crash.Status.LookAt, []string{"Deployment/crash"}) {
			t.Errorf("it tells %q, and would look at %v", crash.Status.Narrative, crash.Status.LookAt)
		}
		same(t)
		calls := s.calls("strict")
		if len(calls) != 1 || calls[0].Outcome != "OK" || calls[0].By != "system:srenix" || calls[0].PromptTokens == 0 || calls[0].Estimated {
			t.Errorf("the calls are %+v", calls)
		}
		s.audited(calls)
		stop()
		// Neither a restart nor another event has the same asked again. A new finding shows
		// that the one that was started has come that far.
		stop = s.advisorWith(t, "srenix-advisor-3", server.BaseURL(), "strict", key)
		defer stop()
		s.apply(strings.ReplaceAll(another, "NAME", "again"))
		s.crashed("again", 1)
		s.eventually("the narrative of another finding", func() (bool, string) {
			return strings.Contains(s.of("again").Status.Narrative, "again"), fmt.Sprint(s.calls("strict"))
		})
		for _, call := range s.calls("strict") {
			if call.ID != calls[0].ID && call.PromptHash == calls[0].PromptHash {
				t.Error("the same was asked again")
			}
		}
		s.audited(s.calls("strict"))
	})
	for _, request := range server.Requests() {
		if request.Authorization != "Bearer "+key {
			t.Errorf("the key that was sent is %q", request.Authorization)
		}
		told := request.Chat.Messages[0].Content + request.Chat.Messages[1].Content
		for _, name := range []string{secret, "shop", "10.0.0.10", " crash ", " db", "/db", "registry.example.com"} {
			if strings.Contains(told, name) {
				t.Errorf("the model was told of %q:\n%s", name, told)
			}
		}
	}
	t.Run("a model that chooses", func(t *testing.T) {
		s.drift("crash")
		stop := s.advisorWith(t, "srenix-advisor-4", server.BaseURL(), "choosing", key, "--model-chooses-fixes")
		defer stop()
		var chosen v1alpha1.Proposal
		s.eventually("the proposal that it chose", func() (bool, string) {
			_, proposed := s.seen()
			for _, proposal := range proposed {
				if proposal.Spec.Target.Name == "crash" {
					chosen = proposal
				}
			}
			return chosen.Name != "", fmt.Sprint(s.calls("choosing"))
		})
		if chosen.Spec.Source != v1alpha1.SourceLLM || chosen.Spec.ActionKind != v1alpha1.ActionPatchDeploymentAnnotation || chosen.Status.Phase != v1alpha1.ProposalOpen {
			t.Errorf("it is %+v", chosen)
		}
		_, proposed := s.seen()
		for name, proposal := range proposals {
			if diff := cmp.Diff(proposal, proposed[name], without); diff != "" {
				t.Errorf("what a rule proposes is another (-without +with):\n%s", diff)
			}
		}
		s.audited(s.calls("choosing"))
		t.Log(s.kubectl("describe", "finding.srenix.io", s.of("crash").Name, "-n", "shop"))
		t.Log(s.kubectl("describe", "proposal.srenix.io", chosen.Name, "-n", "shop"))
		t.Log(s.kubectl("get", "auditevents", "-l", "ops.srenix.io/type=ModelCalled", "-o", "yaml"))
		for _, request := range server.Requests() {
			t.Log(request.Chat.Messages[0].Content + "\n---\n" + request.Chat.Messages[1].Content)
		}
	})
	t.Run("approvals go on", func(t *testing.T) { s.approves(proposals) })
}

// drift has a second pod of a Deployment run with another configuration than the first,
// so that a restart is a fix for something.
func (s shop) drift(app string) {
	s.Helper()
	s.kubectl("scale", "deployment", app, "-n", "shop", "--replicas=2")
	var pods []string
	s.eventually("a second pod of "+app, func() (bool, string) {
		names := s.kubectl("get", "pods", "-n", "shop", "-l", "app="+app, "--field-selector=status.phase=Running", "-o", "jsonpath={.items[*].metadata.name}")
		pods = strings.Fields(names)
		return len(pods) == 2, names
	})
	s.kubectl("annotate", "pod", pods[0], "-n", "shop", "--overwrite", "checksum/config=old")
}

// withoutStatus leaves out findings that are made later.
var withoutStatus = cmp.Options{
	without,
	cmpopts.IgnoreMapEntries(func(_ string, finding v1alpha1.Finding) bool { return finding.Spec.Subject.Name == "again" }),
}

// The endpoint of the environment, which make e2e-model asks. What it tells and chooses
// is its own affair: it has to be of use, noted and audited, and rules have to go on.
func TestTheModelOfTheEnvironment(t *testing.T) {
	endpoint, model, key := os.Getenv("OPENAI_BASE_URL"), os.Getenv("MODEL"), os.Getenv("OPENAI_API_KEY")
	if endpoint == "" || model == "" {
		t.Skip("OPENAI_BASE_URL and MODEL do not name a model, so that none is asked")
	}
	s := open(t)
	findings, proposals := s.inTrouble()
	arguments := []string{"--model-timeout=50s", "--model-chooses-fixes"}
	if key == "" {
		arguments = append(arguments, "--model-key-file=")
	}
	stop := s.advisorWith(t, "srenix-advisor-0", endpoint, model, key, arguments...)
	defer stop()
	var calls []opsv1alpha1.ModelCall
	s.eventually("it to have narrated and chosen", func() (bool, string) {
		calls = s.calls(model)
		return len(calls) == 3 && !slices.ContainsFunc(calls, func(call opsv1alpha1.ModelCall) bool { return call.Outcome == "" }), fmt.Sprintf("%+v", calls)
	})
	for _, call := range calls {
		if call.Outcome != "OK" {
			t.Errorf("a call is %+v", call)
		}
	}
	s.audited(calls)
	crash := s.rootCause("crash", "There is no Service db")
	if crash.Status.Narrative == "" {
		t.Error("it tells nothing")
	}
	t.Logf("It tells: %s It would look at %v. It chose: %s", crash.Status.Narrative, crash.Status.LookAt, s.kubectl("get", "investigations", "-n", "shop", "-o", "jsonpath={.items[*].status.fix}"))
	after, proposed := s.seen()
	for name, finding := range findings {
		if diff := cmp.Diff(finding, after[name], without, cmpopts.IgnoreFields(v1alpha1.FindingStatus{}, "Proposals")); diff != "" {
			t.Errorf("a finding is another (-without +with):\n%s", diff)
		}
	}
	for name, proposal := range proposals {
		if diff := cmp.Diff(proposal, proposed[name], without); diff != "" {
			t.Errorf("what a rule proposes is another (-without +with):\n%s", diff)
		}
	}
}

// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package advisor

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sashabaranov/go-openai"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	scripted "github.com/srenix/srenix/test/model"
)

// previousLog is the target of a prompt whose log before a restart can be read.
var previousLog = regexp.MustCompile(`(?m)^(\d+)\. Container .*read-previous-log`)

// looksFurther has the log read, and says what it takes for the cause; asked to
// narrate, it does.
func looksFurther(request openai.ChatCompletionRequest) string {
	told := request.Messages[1].Content
	if !strings.Contains(told, "\ntargets:\n") {
		return answer(request)
	}
	if target := previousLog.FindStringSubmatch(told); target != nil && !strings.Contains(told, "was read: ") {
		return `{"tool":"read-previous-log","target":` + target[1] + `}`
	}
	return `{"rootCause":"The program of ` + subject.FindStringSubmatch(told)[2] + ` looks for a Service that is not there."}`
}

func TestAModelLooksFurther(t *testing.T) {
	s := openWith(t, strings.Replace(configuration, "analyzers:", "analyzers:\n  RBACDrift: {grace: 1s}", 1), nil)
	findings, proposals := s.inTrouble()
	server := scripted.Start("")
	defer server.Close()
	server.Reply(looksFurther)
	stop := s.advisorWith(t, "srenix-advisor-0", server.BaseURL(), "looking", key, "--model-investigates")
	defer stop()
	var crash v1alpha1.Finding
	s.eventually("what the model takes for the cause", func() (bool, string) {
		crash = s.of("crash")
		return crash.Status.ModelRootCause != "" && crash.Status.Narrative != "", fmt.Sprint(s.calls("looking"))
	})
	if want := "The program of crash looks for a Service that is not there."; crash.Status.ModelRootCause != want || !strings.Contains(crash.Status.RootCause, "There is no Service db") {
		t.Errorf("the status is %+v", crash.Status)
	}
	after, proposed := s.seen()
	crash.Status.ModelRootCause = ""
	after[crash.Name] = crash
	if diff := cmp.Diff(findings, after, without); diff != "" {
		t.Errorf("findings are others (-without +with):\n%s", diff)
	}
	if diff := cmp.Diff(proposals, proposed, without); diff != "" {
		t.Errorf("proposals are others (-without +with):\n%s", diff)
	}
	calls := s.calls("looking")
	rounds := 0
	for _, call := range calls {
		if call.Prompt == "investigate/1" && call.Outcome == "OK" && call.By == "system:srenix" {
			rounds++
		}
	}
	if rounds != 2 || len(calls) != 3 {
		t.Errorf("the calls are %+v", calls)
	}
	s.audited(calls)
	for _, request := range server.Requests() {
		told := request.Chat.Messages[0].Content + request.Chat.Messages[1].Content
		for _, name := range []string{secret, "shop", "10.0.0.10", " crash ", " db", "/db", "registry.example.com"} {
			if strings.Contains(told, name) {
				t.Errorf("the model was told of %q:\n%s", name, told)
			}
		}
	}

	t.Run("clusterfindings are looked into, too", func(t *testing.T) {
		s.kubectl("create", "clusterrolebinding", "lost", "--clusterrole=is-missing", "--user=ben")
		of := v1alpha1.ClusterFinding{}
		s.eventually("the clusterfinding", func() (bool, string) {
			all := &v1alpha1.ClusterFindingList{}
			output := s.kubectl("get", "clusterfindings.srenix.io", "-o", "json")
			if err := json.Unmarshal([]byte(output), all); err != nil {
				t.Fatal(err)
			}
			for _, finding := range all.Items {
				if finding.Spec.Subject.Name == "lost" {
					of = finding
				}
			}
			return of.Name != "", output
		})
		vera := s.person("vera", "srenix-investigator") // of one namespace
		if output, ok := s.given(vera, "", "srenix", "investigate", "clusterfinding/"+of.Name); ok || !strings.Contains(output, "clusterrolebinding") {
			t.Errorf("who has the right in a namespace is not refused: %s", output)
		}
		s.kubectl("create", "clusterrolebinding", "olga", "--clusterrole=srenix-investigator", "--user=olga")
		olga, err := s.UserKubeconfig(t.Context(), "olga")
		if err != nil {
			t.Fatal(err)
		}
		output, ok := s.given(olga, "", "srenix", "investigate", "clusterfinding/"+of.Name)
		if !ok || !strings.Contains(output, "no rule looks further into what RBACDrift finds") {
			t.Errorf("it tells %s", output)
		}
		described := s.kubectl("describe", "clusterfinding", of.Name)
		for _, part := range []string{"Root Cause:", "Investigation:"} {
			if !strings.Contains(described, part) {
				t.Errorf("kubectl describe does not say %q:\n%s", part, described)
			}
		}
		stored := s.kubectl("get", "investigations", "-A", "-o", `jsonpath={range .items[?(@.spec.finding.kind=="ClusterFinding")]}{.metadata.namespace} {.spec.requests[*].by}{end}`)
		if stored != "srenix-system olga" {
			t.Errorf("stored is %q", stored)
		}
	})
}

// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package advisor

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sashabaranov/go-openai"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/vault/vaulttest"
	"github.com/srenix/srenix/test/harness"
	scripted "github.com/srenix/srenix/test/model"
	"github.com/srenix/srenix/test/plane"
)

// stored is an ExternalSecret that wants a key of Vault, and its store.
const stored = `
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {name: vault, namespace: shop}
spec:
  provider:
    vault:
      server: ADDRESS
      path: secret
      version: v2
      auth: {kubernetes: {mountPath: kubernetes, role: shop, serviceAccountRef: {name: vault}}}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: db, namespace: shop}
spec:
  refreshInterval: 1h0m0s
  secretStoreRef: {kind: SecretStore, name: vault}
  target: {name: db, creationPolicy: Owner, deletionPolicy: Retain}
  data: [{secretKey: token, remoteRef: {key: shop/db, property: token}}]
`

var pathTold = regexp.MustCompile(`path-[0-9a-f]{12}`)

func TestAModelDraftsARunbookThatTwoPeopleHaveToRelease(t *testing.T) {
	vault := vaulttest.New(t)
	vault.Change(func() { vault.Secrets["secret/shop/db"] = map[string]any{"user": nil} })
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("root"), 0o600); err != nil {
		t.Fatal(err)
	}
	configuration := fmt.Sprintf(`
apiVersion: config.srenix.io/v1alpha1
kind: SrenixConfiguration
analyzers:
  VaultPathMissing: {grace: 1s, options: {address: %q, tokenFile: %q}}
`, vault.URL, token)
	s := openWith(t, configuration, func(p *plane.Plane) {
		files, err := harness.ExternalSecrets.Files()
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if _, stderr, err := p.Kubectl(t.Context(), "apply", "--server-side", "-f", file); err != nil {
				t.Fatalf("applying %s: %v\n%s", file, err, stderr)
			}
		}
		if _, stderr, err := p.Kubectl(t.Context(), "wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"); err != nil {
			t.Fatalf("waiting for the kinds of the External Secrets Operator: %v\n%s", err, stderr)
		}
	})
	s.apply(strings.ReplaceAll(stored, "ADDRESS", vault.URL))
	finding := s.of("db")

	value := "token=hunter2"
	server := scripted.Start("")
	defer server.Close()
	server.Reply(func(request openai.ChatCompletionRequest) string {
		asked := request.Messages[1].Content
		if !strings.Contains(asked, "\ncommands:\n") {
			return answer(request)
		}
		steps, _ := json.Marshal(map[string]any{"steps": []map[string]string{ // of strings
			{"do": "Add the key that is missing. The others stay.", "run": "vault kv patch " + pathTold.FindString(asked) + " " + value},
		}})
		return string(steps)
	})
	drafts := func(of string) (calls []opsv1alpha1.ModelCall) {
		for _, call := range s.calls(of) {
			if call.Prompt == "runbook/1" {
				calls = append(calls, call)
			}
		}
		return calls
	}
	advise := func(name, model string) func() {
		return s.advisorWith(t, name, server.BaseURL(), model, key, "--automatic-severity=Warning", "--model-drafts-runbooks")
	}
	// Beside what a rule has, which is there with no model.
	runbooks := func(source v1alpha1.Source) (proposed []v1alpha1.Proposal) {
		_, all := s.seen()
		for _, proposal := range all {
			if proposal.Spec.Source == source {
				proposed = append(proposed, proposal)
			}
		}
		return proposed
	}
	anna, viewer := s.person("anna", "srenix-runbook-approver"), s.person("vera", "view")
	byRule := runbooks(v1alpha1.SourceRule)
	if len(byRule) != 1 || byRule[0].Spec.ActionKind != v1alpha1.ActionRunbook || byRule[0].Spec.Tier != v1alpha1.TierRunbook || byRule[0].Spec.Finding.Name != finding.Name {
		t.Fatalf("by rule there is %+v", byRule)
	}
	if output, ok := s.given(anna, "", "srenix", "runbook", byRule[0].Name, "-n", "shop"); !ok || !strings.Contains(output, "vault kv patch -mount=secret shop/db KEY=-") {
		t.Errorf("of the rule's, who may approve it reads %s", output)
	}
	if output, ok := s.given(viewer, "", "srenix", "runbook", byRule[0].Name, "-n", "shop"); ok || strings.Contains(output, "vault kv") {
		t.Errorf("of the rule's, somebody else reads %s", output)
	}

	// A draft with a value in it is refused as a whole, and in the chain.
	stop := advise("srenix-advisor-0", "careless")
	s.eventually("a draft to be screened", func() (bool, string) {
		calls := drafts("careless")
		return len(calls) == 1 && calls[0].Outcome == "Screened", fmt.Sprint(s.calls("careless"))
	})
	s.audited(s.calls("careless"))
	stop()
	if proposed := runbooks(v1alpha1.SourceLLM); len(proposed) > 0 {
		t.Errorf("there is %+v", proposed)
	}
	if all := s.kubectl("get", "investigations,auditevents", "-A", "-o", "yaml"); strings.Contains(all, "hunter2") {
		t.Errorf("the value is in\n%s", all)
	}

	value = "token=${VALUE_TOKEN}"
	stop = advise("srenix-advisor-1", "careful")
	defer stop()
	var proposal v1alpha1.Proposal
	s.eventually("the proposal", func() (bool, string) {
		if proposed := runbooks(v1alpha1.SourceLLM); len(proposed) == 1 {
			proposal = proposed[0]
		}
		return proposal.Name != "", fmt.Sprint(s.calls("careful"))
	})
	if proposal.Spec.ActionKind != v1alpha1.ActionRunbook || proposal.Spec.Tier != v1alpha1.TierRunbook || proposal.Spec.Source != v1alpha1.SourceLLM || proposal.Spec.Finding.Name != finding.Name {
		t.Errorf("it is %+v", proposal.Spec)
	}
	s.audited(s.calls("careful"))
	const command = "vault kv patch secret/shop/db token=${VALUE_TOKEN}"
	if output, ok := s.given(anna, "", "srenix", "runbook", proposal.Name, "-n", "shop"); !ok || !strings.Contains(output, command) || !strings.Contains(output, "not released") {
		t.Errorf("who may approve it reads %s", output)
	}
	if output, ok := s.given(viewer, "", "srenix", "runbook", proposal.Name, "-n", "shop"); ok || strings.Contains(output, "vault kv") {
		t.Errorf("somebody else reads %s", output)
	}
	if output, ok := s.given(anna, "", "create", "approval", "--proposal", proposal.Name, "-n", "shop", "--yes"); !ok || !strings.Contains(output, "another person has to approve too") {
		t.Errorf("an approval says %s", output)
	}
	if output, ok := s.given(viewer, "", "srenix", "runbook", proposal.Name, "-n", "shop"); ok || strings.Contains(output, "vault kv") {
		t.Errorf("after one approval somebody else reads %s", output)
	}
	if types := s.kubectl("get", "auditevents", "-o", "jsonpath={.items[*].spec.type}"); strings.Contains(types, string(opsv1alpha1.AuditActionIntended)) || strings.Contains(types, string(opsv1alpha1.AuditRunbookReleased)) {
		t.Errorf("the chain has %s", types)
	}
}

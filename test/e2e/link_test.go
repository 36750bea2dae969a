// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// browser trusts what the APIService of srenix trusts.
func browser(t *testing.T) *http.Client {
	t.Helper()
	bundle, err := base64.StdEncoding.DecodeString(kubectl(t, "get", "apiservice", "v1alpha1.srenix.io", "-o", "jsonpath={.spec.caBundle}"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(bundle) {
		t.Fatal("the APIService has no authority")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// link has the plugin print one, and returns it with what its fragment says.
func link(t *testing.T, kubeconfig string, proposal *v1alpha1.Proposal, arguments ...string) (address string, fragment url.Values) {
	t.Helper()
	stdout, stderr, err := srenix.Plane.KubectlAs(t.Context(), kubeconfig, append([]string{"create", "approval", "--proposal", proposal.Name, "-n", proposal.Namespace, "--link", srenix.PageURL}, arguments...)...)
	if err != nil {
		t.Fatalf("%v\n%s%s", err, stdout, stderr)
	}
	if !strings.Contains(stderr, "Whoever has it until then can confirm it") {
		t.Errorf("the plugin does not warn of what a link is worth: %s", stderr)
	}
	address = strings.TrimSpace(stdout)
	before, after, _ := strings.Cut(address, "#")
	if fragment, err = url.ParseQuery(after); err != nil || before != srenix.PageURL+"/approve" || fragment.Get("token") == "" {
		t.Fatalf("the link is %s: %v", address, err)
	}
	return address, fragment
}

// press sends what the page's script sends.
func press(t *testing.T, client *http.Client, path string, fragment url.Values, headers ...string) (code int, answer map[string]any) {
	t.Helper()
	body, err := json.Marshal(map[string]string{"token": fragment.Get("token"), "reason": fragment.Get("reason")})
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srenix.PageURL+"/approve/"+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if json.Unmarshal(text, &answer) != nil {
		answer = map[string]any{"message": string(text)}
	}
	return response.StatusCode, answer
}

// aboutProposal prints the names of events about a proposal, of refusals too, which are
// labeled by their token only.
func aboutProposal(proposal *v1alpha1.Proposal) string {
	return fmt.Sprintf(`jsonpath={range .items[?(@.spec.references.proposalUID==%q)]}{.metadata.name}{"\n"}{end}`, proposal.UID)
}

// decisions counts what stands in the cluster and in the chain for a proposal.
func decisions(t *testing.T, proposal *v1alpha1.Proposal) int {
	t.Helper()
	stored := strings.Fields(kubectl(t, "get", "approvals", "-n", proposal.Namespace, "-o", "name"))
	recorded := strings.Fields(kubectl(t, "get", "auditevents", "-l",
		"ops.srenix.io/type in (ApprovalAccepted,ApprovalDenied,DenialRecorded,ActionIntended)", "-o", aboutProposal(proposal)))
	return len(stored) + len(recorded)
}

// TestAttackLinkPrefetched opens a link as a chat program does that shows a preview
// of every address, and has another site post for it: only who presses decides.
func TestAttackLinkPrefetched(t *testing.T) {
	ns := namespace(t)
	lena := approver(t, ns, "lena") // of a budget of her own
	proposal := stuckStatefulSet(t, ns, "db")
	client := browser(t)
	address, fragment := link(t, lena, proposal, "--reason", "on my phone")
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPost, http.MethodPut, http.MethodDelete} {
		for _, suffix := range []string{"", "/review", "/decide"} {
			page, _, _ := strings.Cut(address, "#")
			// The fragment, and the same where a careless client puts it.
			for _, address := range []string{page + suffix + "#" + fragment.Encode(), page + suffix + "?" + fragment.Encode()} {
				request, err := http.NewRequestWithContext(t.Context(), method, address, nil)
				if err != nil {
					t.Fatal(err)
				}
				response, err := client.Do(request)
				if err != nil {
					t.Fatal(err)
				}
				response.Body.Close()
				opened := suffix == "" && (method == http.MethodGet || method == http.MethodHead)
				if ok := response.StatusCode == http.StatusOK; ok != opened {
					t.Errorf("%s %s: %s", method, suffix, response.Status)
				}
			}
		}
	}
	for _, headers := range [][]string{
		{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"},
	} {
		if code, answer := press(t, client, "decide", fragment, headers...); code != http.StatusForbidden {
			t.Errorf("%v: %d %v", headers, code, answer)
		}
	}
	if code, answer := press(t, client, "decide", fragment, "Content-Type", "text/plain"); code != http.StatusUnsupportedMediaType {
		t.Errorf("text/plain: %d %v", code, answer)
	}
	if code, answer := press(t, client, "decide", url.Values{"token": fragment["token"], "reason": {"another"}}); code != http.StatusForbidden {
		t.Errorf("another reason: %d %v", code, answer)
	}
	code, review := press(t, client, "review", fragment)
	if code != http.StatusOK || review["approver"] != "lena" || review["refusal"] != nil || review["digest"] != proposal.Spec.Digest {
		t.Errorf("the review: %d %v", code, review)
	}
	if n := decisions(t, proposal); n != 0 {
		t.Fatalf("%d decisions stand before anybody pressed", n)
	}

	code, decided := press(t, client, "decide", fragment)
	if code != http.StatusOK {
		t.Fatalf("%d %v", code, decided)
	}
	name, _ := decided["approval"].(string)
	kubectl(t, "wait", "--for=condition=Verified", "approval/"+name, "-n", ns, "--timeout=90s")
	if approver := kubectl(t, "get", "approval", name, "-n", ns, "-o", "jsonpath={.status.approver} {.spec.reason}"); approver != "lena on my phone" {
		t.Errorf("approver and reason are %q", approver)
	}
	if manager := kubectl(t, "get", "approval", name, "-n", ns, "--show-managed-fields", "-o", "jsonpath={.metadata.managedFields[*].manager}"); !strings.Contains(manager, "srenix-approval-page") {
		t.Errorf("managed by %q: nobody can tell that it was made on the page", manager)
	}
	if message := kubectl(t, "get", "auditevents", "-l", "ops.srenix.io/type=ApprovalAccepted,ops.srenix.io/proposal-uid="+string(proposal.UID), "-o", "jsonpath={.items[*].spec.message}"); !strings.HasPrefix(message, "lena approved by a link DeletePod of Pod ") {
		t.Errorf("the chain says %q: nobody can tell that it was a link", message)
	}
	if code, answer := press(t, client, "decide", fragment); code/100 != 4 {
		t.Errorf("pressed again: %d %v", code, answer)
	}
	if output := kubectl(t, "srenix", "audit", "verify"); !strings.Contains(output, "verified") {
		t.Errorf("audit verify: %s", output)
	}
}

// TestAttackLinkOutlivesItsOwnersRights presses a link whose owner may not approve
// any more.
func TestAttackLinkOutlivesItsOwnersRights(t *testing.T) {
	ns := namespace(t)
	lars := approver(t, ns, "lars")
	proposal := stuckStatefulSet(t, ns, "db")
	client := browser(t)
	_, fragment := link(t, lars, proposal)
	kubectl(t, "delete", "rolebinding", "lars-approves", "-n", ns)
	eventually(t, "the right to be gone", func(context.Context) (bool, string) {
		code, review := press(t, client, "review", fragment)
		refusal, _ := review["refusal"].(string)
		return code == http.StatusOK && strings.Contains(refusal, `User "lars" cannot create resource "proposals/approve"`), refusal
	})
	if code, answer := press(t, client, "decide", fragment); code != http.StatusForbidden {
		t.Errorf("%d %v", code, answer)
	}
	if n := decisions(t, proposal); n != 0 {
		t.Errorf("%d decisions stand", n)
	}
}

// TestLinkSaysNo denies by link, which holds against everybody.
func TestLinkSaysNo(t *testing.T) {
	ns := namespace(t)
	lina := approver(t, ns, "lina")
	proposal := stuckStatefulSet(t, ns, "db")
	client := browser(t)
	_, approving := link(t, lina, proposal)
	_, fragment := link(t, lina, proposal, "--deny", "--reason", "sale")
	if code, answer := press(t, client, "decide", fragment); code != http.StatusOK {
		t.Fatalf("%d %v", code, answer)
	}
	refused := kubectlFails(t, lina, "create", "approval", "--proposal", proposal.Name, "-n", ns, "--link", srenix.PageURL)
	if !strings.Contains(refused, "no link is made") || !strings.Contains(refused, "nobody can take that back") {
		t.Errorf("a link for what would be refused: %s", refused)
	}
	code, review := press(t, client, "review", approving)
	if refusal, _ := review["refusal"].(string); code != http.StatusOK || !strings.Contains(refusal, "lina") {
		t.Errorf("an approval after a no: %d %v", code, review)
	}
	if code, answer := press(t, client, "decide", approving); code != http.StatusForbidden {
		t.Errorf("%d %v", code, answer)
	}
}

// siteRule is one of a site of its own, which takes no decision by link.
const siteRule = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: e2e-no-links}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules: [{apiGroups: [srenix.io], apiVersions: ["*"], operations: [CREATE], resources: [proposals/approve]}]
  validations:
    - expression: "!('srenix.io/approval-page' in request.userInfo.extra)"
      messageExpression: "request.userInfo.username + ' decides with kubectl here'"
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: e2e-no-links}
spec: {policyName: e2e-no-links, validationActions: [Deny], matchResources: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAMESPACE}}}}
`

// TestASitesOwnRuleHoldsForLinks judges the token's owner, and not srenix.
func TestASitesOwnRuleHoldsForLinks(t *testing.T) {
	ns := namespace(t)
	luis := approver(t, ns, "luis")
	proposal := stuckStatefulSet(t, ns, "db")
	apply(t, strings.ReplaceAll(siteRule, "NAMESPACE", ns))
	t.Cleanup(func() {
		if _, _, err := srenix.Plane.Kubectl(context.Background(), "delete", "validatingadmissionpolicy,validatingadmissionpolicybinding", "e2e-no-links"); err != nil {
			t.Error(err)
		}
	})
	client := browser(t)
	_, fragment := link(t, luis, proposal)
	eventually(t, "the rule to hold", func(context.Context) (bool, string) {
		code, review := press(t, client, "review", fragment)
		refusal, _ := review["refusal"].(string)
		return code == http.StatusOK && strings.Contains(refusal, "luis decides with kubectl here"), refusal
	})
	if code, answer := press(t, client, "decide", fragment); code/100 != 4 {
		t.Errorf("%d %v", code, answer)
	}
	if n := decisions(t, proposal); n != 0 {
		t.Errorf("%d decisions stand", n)
	}
	approve(t, luis, proposal)
}

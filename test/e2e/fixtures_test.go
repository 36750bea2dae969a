// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

const (
	pollInterval = 100 * time.Millisecond
	deadline     = 90 * time.Second
)

var namespaceCounter atomic.Int64

// eventually polls a condition until it holds; detail tells what was seen last.
func eventually(t *testing.T, what string, condition func(ctx context.Context) (ok bool, detail string)) {
	t.Helper()
	var detail string
	err := wait.PollUntilContextTimeout(t.Context(), pollInterval, deadline, true, func(ctx context.Context) (bool, error) {
		var ok bool
		ok, detail = condition(ctx)
		return ok, nil
	})
	if err != nil {
		t.Fatalf("waiting for %s: %v; last seen: %s", what, err, detail)
	}
}

// kubectl runs the plane's kubectl as admin and fails the test if it fails.
func kubectl(t *testing.T, arguments ...string) string {
	t.Helper()
	stdout, stderr, err := srenix.Plane.Kubectl(t.Context(), arguments...)
	if err != nil {
		t.Fatalf("%v\n%s", err, stdout+stderr)
	}
	return stdout
}

// kubectlFails runs kubectl as the user of a kubeconfig and fails the test if it succeeds.
func kubectlFails(t *testing.T, kubeconfig string, arguments ...string) string {
	t.Helper()
	stdout, stderr, err := srenix.Plane.KubectlAs(t.Context(), kubeconfig, arguments...)
	if err == nil {
		t.Fatalf("kubectl %s succeeded:\n%s", strings.Join(arguments, " "), stdout+stderr)
	}
	return stdout + stderr
}

func apply(t *testing.T, manifest string) {
	t.Helper()
	command := srenix.Plane.KubectlCommand(t.Context(), srenix.Plane.Kubeconfig(), "apply", "-f", "-")
	command.Stdin = strings.NewReader(manifest)
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("applying: %v: %s\n%s", err, output, manifest)
	}
}

// notStored fails the test if a manifest is accepted.
func notStored(t *testing.T, manifest string) {
	t.Helper()
	command := srenix.Plane.KubectlCommand(t.Context(), srenix.Plane.Kubeconfig(), "apply", "-f", "-")
	command.Stdin = strings.NewReader(manifest)
	if output, err := command.CombinedOutput(); err == nil {
		t.Errorf("it was stored: %s\n%s", output, manifest)
	}
}

// namespace makes a namespace that goes away with the test.
func namespace(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("e2e-%d", namespaceCounter.Add(1))
	kubectl(t, "create", "namespace", name)
	t.Cleanup(func() {
		// Not waited for: the namespace test does that.
		_, _, _ = srenix.Plane.Kubectl(context.Background(), "delete", "namespace", name, "--wait=false")
	})
	return name
}

// approver makes a user who may approve in a namespace and do the actions
// themselves, and returns their kubeconfig. A person has ten approvals an hour, in
// all tests together: where many are approved, let it be somebody else.
func approver(t *testing.T, namespace, user string) string {
	t.Helper()
	kubectl(t, "create", "rolebinding", user+"-approves", "-n", namespace, "--clusterrole=srenix-approver", "--user="+user)
	kubectl(t, "create", "role", user+"-acts", "-n", namespace, "--verb=get,list,delete,patch", "--resource=pods,deployments.apps")
	kubectl(t, "create", "rolebinding", user+"-acts", "-n", namespace, "--role="+user+"-acts", "--user="+user)
	return userKubeconfig(t, user)
}

func userKubeconfig(t *testing.T, user string, groups ...string) string {
	t.Helper()
	path, err := srenix.Plane.UserKubeconfig(t.Context(), user, groups...)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// stuckStatefulSet makes a StatefulSet of two whose pod zero stops being Ready,
// and waits for its finding and proposal.
func stuckStatefulSet(t *testing.T, namespace, name string) *v1alpha1.Proposal {
	t.Helper()
	readyStatefulSet(t, namespace, name)
	kubectl(t, "annotate", "pod", name+"-0", "-n", namespace, "controlplane.srenix.io/ready=false", "--overwrite")
	return proposalFor(t, namespace, name+"-0")
}

func readyStatefulSet(t *testing.T, namespace, name string) {
	t.Helper()
	apply(t, fmt.Sprintf(`
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: %[2]s, namespace: %[1]s}
spec:
  serviceName: %[2]s
  replicas: 2
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: %[2]s}}
  template:
    metadata: {labels: {app: %[2]s}}
    spec: {containers: [{name: c, image: "example/db:1"}]}
`, namespace, name))
	kubectl(t, "rollout", "status", "statefulset/"+name, "-n", namespace, "--timeout=30s")
}

// driftedDeployment makes a Deployment whose ConfigMap changed after its pods
// started, and waits for its proposal.
func driftedDeployment(t *testing.T, namespace, name, labels string) *v1alpha1.Proposal {
	t.Helper()
	apply(t, fmt.Sprintf(`
apiVersion: v1
kind: ConfigMap
metadata: {name: %[2]s, namespace: %[1]s}
data: {key: before}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[2]s, namespace: %[1]s, labels: {%[3]s}}
spec:
  replicas: 2
  selector: {matchLabels: {app: %[2]s}}
  template:
    metadata: {labels: {app: %[2]s}}
    spec: {containers: [{name: c, image: "example/app:1", envFrom: [{configMapRef: {name: %[2]s}}]}]}
`, namespace, name, labels))
	kubectl(t, "rollout", "status", "deployment/"+name, "-n", namespace, "--timeout=30s")
	changeConfigMap(t, namespace, name)
	return proposalFor(t, namespace, name)
}

// changeConfigMap changes a ConfigMap at least a second after the youngest pod
// of the workload of the same name started: times in the API are whole seconds.
func changeConfigMap(t *testing.T, namespace, name string) {
	t.Helper()
	eventually(t, "a second to pass since the pods started", func(context.Context) (bool, string) {
		newest := time.Time{}
		for line := range strings.Lines(kubectl(t, "get", "pods", "-n", namespace, "-l", "app="+name, "-o", `jsonpath={range .items[*]}{.status.startTime}{"\n"}{end}`)) {
			if started, err := time.Parse(time.RFC3339, strings.TrimSpace(line)); err == nil && started.After(newest) {
				newest = started
			}
		}
		return !newest.IsZero() && time.Since(newest) > 2*time.Second, newest.String()
	})
	kubectl(t, "patch", "configmap", name, "-n", namespace, "--type=merge", "-p", fmt.Sprintf(`{"data":{"key":"after-%d"}}`, time.Now().UnixNano()))
}

// proposalFor waits for the proposal whose target has that name.
func proposalFor(t *testing.T, namespace, target string) *v1alpha1.Proposal {
	t.Helper()
	var found *v1alpha1.Proposal
	eventually(t, "a proposal for "+target, func(context.Context) (bool, string) {
		var list v1alpha1.ProposalList
		output := kubectl(t, "get", "proposals", "-n", namespace, "--field-selector=spec.target.name="+target, "-o", "json")
		if err := json.Unmarshal([]byte(output), &list); err != nil {
			return false, err.Error()
		}
		if len(list.Items) != 1 {
			return false, output
		}
		found = &list.Items[0]
		return true, ""
	})
	return found
}

func getApproval(t *testing.T, namespace, name string) *opsv1alpha1.Approval {
	t.Helper()
	approval := &opsv1alpha1.Approval{}
	if err := json.Unmarshal([]byte(kubectl(t, "get", "approval", name, "-n", namespace, "-o", "json")), approval); err != nil {
		t.Fatal(err)
	}
	return approval
}

// waitPhase waits until an approval is in one of the phases and returns it.
func waitPhase(t *testing.T, namespace, name string, phases ...opsv1alpha1.ApprovalPhase) *opsv1alpha1.Approval {
	t.Helper()
	var approval *opsv1alpha1.Approval
	eventually(t, fmt.Sprintf("approval %s to be in one of %v", name, phases), func(context.Context) (bool, string) {
		approval = getApproval(t, namespace, name)
		for _, phase := range phases {
			if approval.Status.Phase == phase {
				return true, ""
			}
		}
		return false, fmt.Sprintf("%+v", approval.Status)
	})
	return approval
}

// approve approves with the plugin and returns the Approval's name.
func approve(t *testing.T, kubeconfig string, proposal *v1alpha1.Proposal) string {
	t.Helper()
	stdout, stderr, err := srenix.Plane.KubectlAs(t.Context(), kubeconfig, "create", "approval", "--proposal", proposal.Name, "-n", proposal.Namespace, "--yes", "-o", "name")
	if err != nil {
		t.Fatalf("%v\n%s%s", err, stdout, stderr)
	}
	return strings.TrimPrefix(strings.TrimSpace(stdout), "approval.ops.srenix.io/")
}

// restConfig returns the client configuration of a kubeconfig.
func restConfig(t *testing.T, kubeconfig string) *rest.Config {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	return config
}

func adminConfig(t *testing.T) *rest.Config {
	t.Helper()
	return restConfig(t, srenix.Plane.Kubeconfig())
}

func kubeClient(t *testing.T) kubernetes.Interface {
	t.Helper()
	client, err := kubernetes.NewForConfig(adminConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func dynamicClient(t *testing.T, config *rest.Config) dynamic.Interface {
	t.Helper()
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// post sends a body to a subresource of a proposal as the user of a kubeconfig,
// and returns the answer's body, or the error that the server sent. The parameters are
// names and values in turn.
func post(t *testing.T, kubeconfig string, proposal *v1alpha1.Proposal, subresource string, body any, parameters ...string) ([]byte, error) {
	t.Helper()
	return postTo(t, restConfig(t, kubeconfig), proposal, subresource, body, parameters...)
}

// postTo does it as a client's configuration says, to one replica for instance.
func postTo(t *testing.T, config *rest.Config, proposal *v1alpha1.Proposal, subresource string, body any, parameters ...string) ([]byte, error) {
	t.Helper()
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	content, isText := body.(string)
	if !isText {
		encoded, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		content = string(encoded)
	}
	request := client.RESTClient().Post().
		AbsPath("/apis/srenix.io/v1alpha1/namespaces", proposal.Namespace, "proposals", proposal.Name, subresource).
		SetHeader("Content-Type", "application/json").SetHeader("Accept", "application/json").
		Body([]byte(content))
	for pair := range slices.Chunk(parameters, 2) {
		request = request.Param(pair[0], pair[1])
	}
	result := request.Do(t.Context())
	if err := result.Error(); err != nil {
		return nil, err
	}
	return result.Raw()
}

func tokenRequest(digest string) v1alpha1.ProposalTokenRequest {
	return v1alpha1.ProposalTokenRequest{
		TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "ProposalTokenRequest"},
		Spec:     v1alpha1.TokenRequestSpec{Digest: digest},
	}
}

func approvalRequest(digest, token string) v1alpha1.ProposalApproval {
	return v1alpha1.ProposalApproval{
		TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "ProposalApproval"},
		Spec:     v1alpha1.ProposalApprovalSpec{Digest: digest, Token: token},
	}
}

// mint posts a token request and returns the answer.
func mint(t *testing.T, kubeconfig string, proposal *v1alpha1.Proposal, parameters ...string) v1alpha1.TokenRequestStatus {
	t.Helper()
	answer, err := post(t, kubeconfig, proposal, "token", tokenRequest(proposal.Spec.Digest), parameters...)
	if err != nil {
		t.Fatalf("minting a token: %v", err)
	}
	var request v1alpha1.ProposalTokenRequest
	if err := json.Unmarshal(answer, &request); err != nil {
		t.Fatal(err)
	}
	return request.Status
}

// wantStatus fails unless err is an API status with the code and all the words.
func wantStatus(t *testing.T, err error, code int, words ...string) {
	t.Helper()
	var status apierrors.APIStatus
	if err == nil {
		t.Fatalf("the request succeeded, want %d", code)
	}
	ok := false
	if status, ok = err.(apierrors.APIStatus); !ok { //nolint:errorlint // A status is never wrapped here.
		t.Fatalf("have %v, want a status of %d", err, code)
	}
	if have := int(status.Status().Code); have != code {
		t.Errorf("have %d %s, want %d: %v", have, http.StatusText(have), code, err)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("the message does not contain %q: %v", word, err)
		}
	}
}

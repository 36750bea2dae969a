// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/policy"
	"github.com/srenix/srenix/test/harness"
	"github.com/srenix/srenix/test/plane"
)

const rbacPage = "docs/rbac.md"

func TestWhatThePageOnRightsSaysHolds(t *testing.T) {
	p, err := plane.Start(t.Context(), plane.Options{Dir: filepath.Join(t.TempDir(), "plane"), Nodes: 1, Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	srenix, err := harness.Install(t.Context(), p, harness.Options{Advisor: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srenix.Close(); err != nil {
			t.Error(err)
		}
	})
	reader, err := NewReader(p, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, namespace := range []string{"shop", "payments"} {
		if _, _, err := p.Kubectl(t.Context(), "create", "namespace", namespace); err != nil {
			t.Fatal(err)
		}
	}
	blocks, err := Blocks(rbacPage)
	if err != nil {
		t.Fatal(err)
	}
	done := map[string]int{}
	for _, block := range blocks {
		if err := reader.Do(t.Context(), block); err != nil {
			t.Error(err)
		}
		done[block.Language]++
	}
	if done["sh"] == 0 || done["console"] == 0 || done["yaml"] == 0 {
		t.Errorf("the page has %v blocks, want some to run, to compare and to apply", done)
	}
}

// right is a verb on a resource, by whoever has the role.
type right struct{ role, resource, verb string }

// TestEveryRightIsOnThePage holds the tables to the manifests, both ways. What the
// generated reader role has is on no page.
func TestEveryRightIsOnThePage(t *testing.T) {
	given := map[right]bool{}
	for _, file := range []string{"base/rbac/people.yaml", "base/rbac/apiserver.yaml", "base/rbac/executor.yaml", "advisor/rbac.yaml"} {
		for _, role := range rolesIn(t, filepath.Join("artifacts", "kustomize", filepath.FromSlash(file))) {
			for _, rule := range role.Rules {
				for _, resource := range rule.Resources {
					for _, verb := range rule.Verbs {
						given[right{role.Name, resource, verb}] = true
					}
				}
			}
		}
	}
	told := map[right]bool{}
	role := ""
	for _, row := range rows(t, rbacPage, "| role | resources | verbs | for |") {
		if words := quoted(row[0]); len(words) == 1 {
			role = words[0]
		}
		for _, resource := range quoted(row[1]) {
			for _, verb := range quoted(row[2]) {
				told[right{role, resource, verb}] = true
			}
		}
		if strings.TrimSpace(row[3]) == "" {
			t.Errorf("nothing says what %s has this for: %v", role, row)
		}
	}
	if diff := cmp.Diff(sorted(given), sorted(told)); diff != "" {
		t.Errorf("given and told differ (-given +told):\n%s", diff)
	}
}

// TestWhatAnApproverNeedsIsOnThePage holds the table to what the policy asks for.
func TestWhatAnApproverNeedsIsOnThePage(t *testing.T) {
	needed, told := map[string]string{}, map[string]string{}
	for _, role := range rolesIn(t, filepath.Join("artifacts", "kustomize", "base", "rbac", "people.yaml")) {
		for _, rule := range role.Rules {
			if role.Name != "srenix-approver" || !slices.Contains(rule.Verbs, "approve") {
				continue
			}
			for _, kind := range rule.ResourceNames {
				permission, ok := policy.RequiredPermission(v1alpha1.ActionKind(kind), v1alpha1.ObjectReference{Namespace: "shop", Name: "db"})
				if !ok {
					t.Errorf("srenix-approver has a kind that does not exist: %s", kind)
				}
				needed[kind] = permission.Verb + " " + strings.Trim(permission.Resource+"."+permission.Group, ".")
			}
		}
	}
	for _, row := range rows(t, rbacPage, "| action kind | the approver must also be allowed to |") {
		told[strings.Join(quoted(row[0]), " ")] = strings.Join(quoted(row[1]), " ")
	}
	if diff := cmp.Diff(needed, told); diff != "" {
		t.Errorf("needed and told differ (-needed +told):\n%s", diff)
	}
}

// TestApproversMayReadWhatRefusalsSendThemTo: a proposal that is gone may have been
// withheld by a silence, and the refusal says how to see that.
func TestApproversMayReadWhatRefusalsSendThemTo(t *testing.T) {
	approvers := 0
	for _, role := range rolesIn(t, filepath.Join("artifacts", "kustomize", "base", "rbac", "people.yaml")) {
		may := func(verb, resource string) bool {
			return slices.ContainsFunc(role.Rules, func(rule rbacv1.PolicyRule) bool {
				return slices.Contains(rule.Verbs, verb) && slices.Contains(rule.Resources, resource)
			})
		}
		if !may("create", "proposals/approve") {
			continue
		}
		approvers++
		for _, resource := range []string{"findings", "proposals", "approvals", "silences"} {
			for _, verb := range []string{"get", "list", "watch"} {
				if !may(verb, resource) {
					t.Errorf("%s may not %s %s", role.Name, verb, resource)
				}
			}
		}
	}
	if approvers == 0 {
		t.Error("no role approves")
	}
}

func sorted(rights map[right]bool) []string {
	var all []string
	for of := range maps.Keys(rights) {
		all = append(all, of.role+" "+of.resource+" "+of.verb)
	}
	slices.Sort(all)
	return all
}

// rolesIn reads the Roles and ClusterRoles of a manifest as ClusterRoles.
func rolesIn(t *testing.T, file string) []rbacv1.ClusterRole {
	t.Helper()
	root, err := plane.Root()
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	var roles []rbacv1.ClusterRole
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096)
	for {
		var role rbacv1.ClusterRole
		switch err := decoder.Decode(&role); {
		case errors.Is(err, io.EOF):
			return roles
		case err != nil:
			t.Fatal(err)
		case role.Kind == "Role" || role.Kind == "ClusterRole":
			roles = append(roles, role)
		}
	}
}

// rows returns the cells of all tables of a page that have the given header.
func rows(t *testing.T, page, header string) [][]string {
	t.Helper()
	root, err := plane.Root()
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(page)))
	if err != nil {
		t.Fatal(err)
	}
	var found [][]string
	parts := strings.Split(string(content), header+"\n")
	if len(parts) == 1 {
		t.Fatalf("%s has no table with the header %s", page, header)
	}
	for _, part := range parts[1:] {
		for line := range strings.Lines(part) {
			if !strings.HasPrefix(line, "|") {
				break
			}
			if strings.HasPrefix(line, "|---") {
				continue
			}
			found = append(found, strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|"))
		}
	}
	return found
}

var backquoted = regexp.MustCompile("`([^`]+)`")

// quoted returns what is in backquotes.
func quoted(cell string) []string {
	var words []string
	for _, match := range backquoted.FindAllStringSubmatch(cell, -1) {
		words = append(words, match[1])
	}
	return words
}

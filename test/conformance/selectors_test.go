// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
)

const streamedList = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"

// gallery makes a namespace with one finding of each sort: "narrow" and "narrow-2"
// are Roles with a Warning, "wide" one that is Critical, and "db" is a StatefulSet
// with a Warning of another analyzer, which also has a proposal.
func gallery(t *testing.T) (namespaceName, proposal string) {
	t.Helper()
	ns := namespace(t)
	must(t, createRole(t.Context(), ns, "narrow"))
	must(t, createRole(t.Context(), ns, "narrow-2"))
	must(t, createRole(t.Context(), ns, "wide", rbacv1.ResourceAll))
	proposal = stuckStatefulSet(t, ns, "db").GetName()
	awaitSubjects(t, ns, "narrow", "narrow-2", "wide", "db")
	// The finding takes the proposal's name over a moment after the proposal came.
	eventually(t, "the finding to name its proposal", func(ctx context.Context) (bool, string) {
		list, err := objects.Resource(findingsResource).Namespace(ns).List(ctx, metav1.ListOptions{FieldSelector: "spec.subject.name=db"})
		if err != nil || len(list.Items) != 1 {
			return false, fmt.Sprint(list, err)
		}
		named, _, _ := unstructured.NestedStringSlice(list.Items[0].Object, "status", "proposals")
		return slices.Equal(named, []string{proposal}), fmt.Sprint(named)
	})
	return ns, proposal
}

// TestSelectors asks each selector of a list, of a watch and of a streamed list.
func TestSelectors(t *testing.T) {
	t.Parallel()
	ns, _ := gallery(t)
	c := newClient(t, admin)
	everything := awaitSubjects(t, ns, "narrow", "narrow-2", "wide", "db")
	nameOf := map[string]string{}
	for i := range everything.Items {
		nameOf[subject(&everything.Items[i])] = everything.Items[i].GetName()
	}
	all := []string{"db", "narrow", "narrow-2", "wide"}
	for parameter, rows := range map[string]map[string][]string{
		"fieldSelector": {
			"metadata.name=" + nameOf["wide"]:                  {"wide"},
			"metadata.name==" + nameOf["wide"]:                 {"wide"},
			"metadata.name!=" + nameOf["wide"]:                 {"db", "narrow", "narrow-2"},
			"metadata.name=missing":                            {},
			"metadata.namespace=" + ns:                         all,
			"metadata.namespace!=" + ns:                        {},
			"metadata.namespace=default":                       {},
			"spec.severity=Critical":                           {"wide"},
			"spec.severity==Warning":                           {"db", "narrow", "narrow-2"},
			"spec.severity!=Warning":                           {"wide"},
			"spec.severity=critical":                           {},
			"spec.analyzer=RBACDrift":                          {"narrow", "narrow-2", "wide"},
			"spec.analyzer!=RBACDrift":                         {"db"},
			"spec.reason=WildcardVerbs":                        {"narrow", "narrow-2"},
			"spec.reason!=WildcardVerbs":                       {"db", "wide"},
			"spec.subject.kind=StatefulSet":                    {"db"},
			"spec.subject.kind!=StatefulSet":                   {"narrow", "narrow-2", "wide"},
			"spec.subject.name=narrow":                         {"narrow"},
			"spec.subject.name!=narrow":                        {"db", "narrow-2", "wide"},
			"spec.severity=Warning,spec.analyzer=RBACDrift":    {"narrow", "narrow-2"},
			"spec.severity=Warning,spec.subject.name!=narrow":  {"db", "narrow-2"},
			"spec.severity=Warning,spec.severity=Critical":     {},
			"spec.severity=":                                   {},
			"spec.severity!=":                                  all,
			"metadata.name=" + nameOf["db"] + ",spec.reason=x": {},
			"": all,
		},
		"labelSelector": {
			"srenix.io/severity=Critical":              {"wide"},
			"srenix.io/severity==Critical":             {"wide"},
			"srenix.io/severity!=Critical":             {"db", "narrow", "narrow-2"},
			"srenix.io/severity in (Critical,Info)":    {"wide"},
			"srenix.io/severity notin (Critical,Info)": {"db", "narrow", "narrow-2"},
			"srenix.io/analyzer":                       all,
			"!srenix.io/analyzer":                      {},
			"!other":                                   all,
			"other=value":                              {},
			"other!=value":                             all,
			"srenix.io/analyzer=RBACDrift,srenix.io/severity=Warning":                     {"narrow", "narrow-2"},
			"srenix.io/analyzer=RBACDrift,srenix.io/reason notin (WildcardVerbs),!absent": {"wide"},
		},
	} {
		for selector, want := range rows {
			t.Run(parameter+" "+selector, func(t *testing.T) {
				t.Parallel()
				checkSelection(t, c, findings(ns), selecting(parameter, selector), want)
			})
		}
	}
	t.Run("field and label together", func(t *testing.T) {
		t.Parallel()
		checkSelection(t, c, findings(ns), selecting("fieldSelector", "spec.severity=Warning")+"&"+selecting("labelSelector", "srenix.io/analyzer=RBACDrift"), []string{"narrow", "narrow-2"})
	})
	t.Run("the namespace as a field of all namespaces", func(t *testing.T) {
		t.Parallel()
		checkSelection(t, c, findings(""), selecting("fieldSelector", "metadata.namespace="+ns+",spec.severity=Critical"), []string{"wide"})
	})
}

// checkSelection checks that a list, a watch that begins with the state, and a
// streamed list select the same.
func checkSelection(t *testing.T, c client, path, query string, want []string) {
	t.Helper()
	list := c.get(t, path, query, jsonType).list(t)
	checkVersions(t, list)
	if diff := cmp.Diff(want, slices.Sorted(slices.Values(subjects(list.Items)))); diff != "" && len(want)+len(list.Items) > 0 {
		t.Errorf("a list selects (-want +have):\n%s", diff)
	}
	initial := c.watch(t, path, query+"&"+streamedList, jsonType).until(t, event.endsInitial)
	checkInitial(t, list, initial[:len(initial)-1])

	w := c.watch(t, path, query+"&resourceVersion=0", jsonType)
	var state []event
	for range want {
		state = append(state, w.next(t))
	}
	checkInitial(t, list, state)
}

func TestSelectorsThatAreRefused(t *testing.T) {
	t.Parallel()
	c := newClient(t, admin)
	for resource, rows := range map[string]map[string]string{
		"findings": {
			"an unknown field":              "spec.color=red",
			"a field that is not served":    "spec.message=x",
			"a field of proposals":          "status.phase=Open",
			"a known field and an unknown":  "spec.severity=Warning,spec.color=red",
			"what is no selector":           "spec.severity",
			"a label as a field":            "metadata.labels=x",
			"a field in the wrong notation": "Spec.Severity=Warning",
		},
		"clusterfindings": {
			"the namespace, which there is none of": "metadata.namespace=x",
			"an unknown field":                      "spec.color=red",
		},
		"proposals": {
			"an unknown field":    "spec.color=red",
			"a field of findings": "spec.severity=Warning",
		},
	} {
		for name, selector := range rows {
			for verb, query := range map[string]string{"list": "", "watch": "&watch=true&timeoutSeconds=5"} {
				t.Run(fmt.Sprintf("%s %s of %s", verb, name, resource), func(t *testing.T) {
					t.Parallel()
					answered := c.get(t, groupPath+"/"+resource, selecting("fieldSelector", selector)+query, jsonType)
					checkRefusal(t, answered, http.StatusBadRequest, metav1.StatusReasonBadRequest)
				})
			}
		}
	}
}

// TestProposalsLeaveAndEnterASelector protects a namespace and frees it again,
// by which the one proposal is Blocked and Open again, and stays the same object.
func TestProposalsLeaveAndEnterASelector(t *testing.T) {
	t.Parallel()
	ns, proposal := gallery(t)
	c := newClient(t, admin)
	path := collection(groupPath, ns, "proposals")
	for selector, want := range map[string][]string{
		"status.phase=Open":    {proposal},
		"status.phase=Blocked": {},
		"status.phase!=Open,spec.target.kind=Pod,spec.target.name=db-0,spec.actionKind=DeletePod,spec.tier=T1": {},
		"spec.tier=T1,status.phase!=Blocked": {proposal},
	} {
		if diff := cmp.Diff(want, names(c.get(t, path, selecting("fieldSelector", selector), jsonType).list(t).Items)); diff != "" {
			t.Errorf("%s selects (-want +have):\n%s", selector, diff)
		}
	}
	from := "&resourceVersion=" + c.get(t, path, "", jsonType).list(t).GetResourceVersion()
	open := c.watch(t, path, selecting("fieldSelector", "status.phase=Open")+from, jsonType)
	blocked := c.watch(t, path, selecting("fieldSelector", "status.phase=Blocked")+from, jsonType)
	every := c.watch(t, path, "fieldSelector="+url.QueryEscape("metadata.name="+proposal)+from, jsonType)

	expect := func(w *stream, what string, kind watch.EventType, phase string) uint64 {
		t.Helper()
		e := w.next(t)
		if e.kind != kind || e.object.GetName() != proposal {
			t.Fatalf("watching %s: have %s of %s, want %s of %s", what, e.kind, e.object.GetName(), kind, proposal)
		}
		if have := phaseOf(e); have != phase {
			t.Errorf("watching %s: the object in %s is %s, want %s", what, e.kind, have, phase)
		}
		return e.version(t)
	}
	for _, step := range []struct {
		label         string
		before, after string
		left, entered *stream
	}{
		{"srenix.io/protected=true", "Open", "Blocked", open, blocked},
		{"srenix.io/protected-", "Blocked", "Open", blocked, open},
	} {
		kubectl(t, "label", "namespace", ns, step.label)
		// What leaves comes as it was last selected, at the version of the change.
		versions := []uint64{
			expect(step.left, step.before, watch.Deleted, step.before),
			expect(step.entered, step.after, watch.Added, step.after),
			expect(every, "its name", watch.Modified, step.after),
		}
		if versions[0] != versions[1] || versions[1] != versions[2] {
			t.Errorf("one change came with the versions %d", versions)
		}
	}
}

// TestFindingsLeaveAndEnterASelector has the nearest that there is to it among
// findings: all that selectors see of one is part of its identity, so a subject
// whose trouble gets worse has another finding. By severity that is a leaving
// and an entering; by subject it is a deletion and an addition.
func TestFindingsLeaveAndEnterASelector(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	c := newClient(t, admin)
	from := "&resourceVersion=" + withFindings(t, ns, "role").GetResourceVersion()
	streams := map[string]*stream{}
	for name, query := range map[string]string{
		"warnings":  selecting("labelSelector", "srenix.io/severity=Warning"),
		"critical":  selecting("labelSelector", "srenix.io/severity in (Critical)"),
		"its field": selecting("fieldSelector", "spec.severity=Critical"),
		"subject":   selecting("fieldSelector", "spec.subject.name=role"),
	} {
		streams[name] = c.watch(t, findings(ns), query+from, jsonType)
	}
	must(t, updateRole(t.Context(), ns, "role", rbacv1.ResourceAll))
	must(t, createRole(t.Context(), ns, "last"))
	must(t, createRole(t.Context(), ns, "last-wide", rbacv1.ResourceAll))
	for name, want := range map[string][]change{
		"warnings":  {{watch.Deleted, "role"}, {watch.Added, "last"}},
		"critical":  {{watch.Added, "role"}, {watch.Added, "last-wide"}},
		"its field": {{watch.Added, "role"}, {watch.Added, "last-wide"}},
		"subject":   {{watch.Deleted, "role"}, {watch.Added, "role"}},
	} {
		have := []change{}
		for range want {
			e := streams[name].next(t)
			have = append(have, change{e.kind, subject(e.object)})
		}
		if name == "subject" { // The two are changes of different objects, in no order.
			slices.SortFunc(have, func(a, b change) int { return strings.Compare(string(b.Kind), string(a.Kind)) })
		}
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("watching %s (-want +have):\n%s", name, diff)
		}
	}
}

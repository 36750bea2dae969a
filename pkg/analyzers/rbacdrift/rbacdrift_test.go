// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package rbacdrift

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

func made(t *testing.T, options string) analyzers.Analyzer {
	t.Helper()
	analyzer, err := New(analyzers.NewSettings(config.AnalyzerConfiguration{Options: &runtime.RawExtension{Raw: []byte(options)}}))
	if err != nil {
		t.Fatal(err)
	}
	return analyzer
}

func TestGoldens(t *testing.T) {
	analyzertest.Run(t, made(t, "{}"))
}

func TestWhatIsListedByItsFullNameIsNotFound(t *testing.T) {
	for _, test := range []struct {
		golden, options string
		found           int
	}{
		{"found-everything", `{"allowedRoles": ["build"]}`, 1},
		{"found-everything", `{"allowedRoles": ["builder"]}`, 0},
		{"found-cluster-admin-for-an-account", `{"allowedServiceAccounts": ["shop/deployer"]}`, 0},
		{"found-cluster-admin-for-an-account", `{"allowedServiceAccounts": ["other/deployer", "shop/deploy"]}`, 1},
		{"found-cluster-admin-by-the-name-of-its-user", `{"allowedServiceAccounts": ["shop/deployer"]}`, 0},
		{"found-cluster-admin-for-a-gitops-controller", `{"allowedServiceAccounts": ["flux-system/kustomize-controller"]}`, 1},
		{"found-cluster-admin-for-a-gitops-controller", `{"allowedServiceAccounts": ["flux-system/kustomize-controller", "flux-system/helm-controller"]}`, 0},
		{"found-account-unbound", `{"allowedServiceAccounts": ["shop/web"]}`, 0},
		{"found-anonymous-user", `{"allowedAnonymousBindings": ["open"]}`, 0},
		{"found-anonymous-user", `{"allowedAnonymousBindings": ["shop/open"]}`, 1},
		{"found-unauthenticated-group-in-a-namespace", `{"allowedAnonymousBindings": ["shop/open"]}`, 0},
		{"found-account-missing-beside-one-of-its-namespace", `{"optionalServiceAccounts": ["flux-system/helm-controller"]}`, 1},
		{"found-account-missing-beside-one-of-its-namespace", `{"optionalServiceAccounts": ["flux-system/kustomize-controller", "flux-system/helm-controller",
			"flux-system/notification-controller", "flux-system/image-reflector-controller", "flux-system/image-automation-controller"]}`, 0},
		{"found-account-missing-beside-one-of-another-namespace", `{"optionalServiceAccounts": ["old/web"]}`, 1},
		{"miss-anonymous-of-kubeadm", `{"allowedAnonymousBindings": []}`, 1},
	} {
		golden := analyzertest.Read(t, "testdata/"+test.golden+".yaml")
		if found := analyzertest.Analyze(t, made(t, test.options), golden.Now, golden.After, golden.Objects); len(found) != test.found {
			t.Errorf("%s with %s: found %v, want %d", test.golden, test.options, found, test.found)
		}
	}
}

func TestTheOwnBindingOfKubernetesIsToldByItsNameAndItsRoleAndItsLabel(t *testing.T) {
	for what, change := range map[string]func(*rbacv1.ClusterRoleBinding){
		"another name": func(b *rbacv1.ClusterRoleBinding) { b.Name = "system:public-info" },
		"another role": func(b *rbacv1.ClusterRoleBinding) { b.RoleRef.Name = "view" },
		"no label":     func(b *rbacv1.ClusterRoleBinding) { b.Labels = nil },
	} {
		golden := analyzertest.Read(t, "testdata/miss-anonymous-own-binding.yaml")
		change(golden.Objects[0].(*rbacv1.ClusterRoleBinding))
		found := analyzertest.Analyze(t, made(t, "{}"), golden.Now, 0, golden.Objects)
		if len(found) != 1 || found[0].Reason != AnonymousGranted {
			t.Errorf("with %s: found is %v", what, found)
		}
	}
}

func TestOptionsThatAreNoFullNamesAreRefused(t *testing.T) {
	for options, field := range map[string]string{
		`{"allowedRoles": ["vault*"]}`:                    "allowedRoles",
		`{"allowedRoles": ["a/b/c"]}`:                     "allowedRoles",
		`{"allowedServiceAccounts": ["web"]}`:             "allowedServiceAccounts",
		`{"allowedServiceAccounts": ["shop/"]}`:           "allowedServiceAccounts",
		`{"allowedServiceAccounts": ["shop/*"]}`:          "allowedServiceAccounts",
		`{"allowedAnonymousBindings": [""]}`:              "allowedAnonymousBindings",
		`{"allowedAnonymousBindings": ["kube-public/?"]}`: "allowedAnonymousBindings",
	} {
		_, err := New(analyzers.NewSettings(config.AnalyzerConfiguration{Options: &runtime.RawExtension{Raw: []byte(options)}}))
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: the error is %v", options, err)
		}
	}
}

// What RBAC's objects are called may be anything but a path.
func TestCommandsCallObjectsWhatAShellMayTakeForSomethingElse(t *testing.T) {
	golden := analyzertest.Read(t, "testdata/found-cluster-admin-for-an-account.yaml")
	golden.Objects[0].(*rbacv1.ClusterRoleBinding).Name = "-A; touch 'x' $(y) `z`"
	found := analyzertest.Analyze(t, made(t, "{}"), golden.Now, golden.After, golden.Objects)
	if len(found) != 1 {
		t.Fatalf("found is %v", found)
	}
	want := `kubectl describe 'clusterrolebinding/-A; touch '\''x'\'' $(y) ` + "`z`'"
	if have := found[0].Remediation.Commands[0]; have != want {
		t.Errorf("the command is\n%s\nwant\n%s", have, want)
	}
}

func TestObjectsWithFieldsMissingAreNotTrouble(t *testing.T) {
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "shop", Name: name, UID: "1"} }
	cluster := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name, UID: "1"} }
	long := strings.Repeat("ä", 100_000)
	objects := []live.Object{
		&rbacv1.RoleBinding{ObjectMeta: meta("empty")},
		&rbacv1.ClusterRoleBinding{ObjectMeta: cluster("empty")},
		&rbacv1.RoleBinding{ObjectMeta: meta("odd"), Subjects: []rbacv1.Subject{{}, {Kind: "ServiceAccount"}, {Kind: "User", Name: "system:serviceaccount:"}, {Kind: long, Name: long}}},
		&rbacv1.ClusterRoleBinding{ObjectMeta: cluster("odd"), Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "nowhere"}}, RoleRef: rbacv1.RoleRef{Kind: long, Name: long}},
		&rbacv1.Role{ObjectMeta: meta("empty"), Rules: []rbacv1.PolicyRule{{}, {Verbs: []string{"*"}}}},
		&corev1.ServiceAccount{ObjectMeta: meta("web")},
		&corev1.Pod{ObjectMeta: meta("empty")},
	}
	for _, spec := range analyzertest.Analyze(t, made(t, "{}"), time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC), time.Hour, objects) {
		t.Errorf("%s %s: %.100s", spec.Reason, spec.Subject.Name, spec.Message)
	}
}

func TestPodsComeAndGoWithoutAnyBindingBeingLookedAt(t *testing.T) {
	var calls sync.Map
	analyzer := made(t, "{}")
	for i, rule := range analyzer.Rules {
		analyze := rule.Analyze
		analyzer.Rules[i].Analyze = func(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
			count, _ := calls.LoadOrStore(rule.Subject.String()+" "+subject.String(), new(atomic.Int32))
			count.(*atomic.Int32).Add(1)
			return analyze(view, subject)
		}
	}
	engine := live.New(live.Options{Clock: testingclock.NewFakeClock(time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC))})
	for _, rule := range analyzers.LiveRules(analyzer) {
		if err := engine.AddRule(rule); err != nil {
			t.Fatal(err)
		}
	}
	account := func(name string) *corev1.ServiceAccount {
		return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name)}}
	}
	pod := func(name, account string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Spec: corev1.PodSpec{ServiceAccountName: account}}
	}
	cluster := analyzertest.Cluster(t, []live.Object{
		account("bound"), account("unbound"), pod("bound-1", "bound"),
		&rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "bound", UID: "b"}, RoleRef: rbacv1.RoleRef{Kind: "Role", Name: "reader"},
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "bound"}},
		},
		&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "reader", UID: "r"}},
	})
	livetest.Run(t, engine, cluster)
	livetest.Eventually(t, "everything is evaluated", engine.Settled)
	calls.Clear()
	cluster.Set(inputs.Pods.Ref().Resource(), pod("bound-2", "bound"), pod("unbound-1", "unbound"))
	livetest.Eventually(t, "the account whose pod came is looked at", func() bool {
		_, looked := calls.Load(inputs.ServiceAccounts.Ref().String() + " shop/unbound")
		return looked && engine.Settled()
	})
	calls.Range(func(what, _ any) bool {
		if what != inputs.ServiceAccounts.Ref().String()+" shop/unbound" {
			t.Errorf("%s is looked at too", what)
		}
		return true
	})
}

func TestALaterChangeIsNoNewBeginning(t *testing.T) {
	engine := live.New(live.Options{Clock: testingclock.NewFakeClock(time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC))})
	for _, rule := range analyzers.LiveRules(made(t, "{}")) {
		if err := engine.AddRule(rule); err != nil {
			t.Fatal(err)
		}
	}
	// As kubectl apply does it, which has one time for the rules and the labels.
	applied := func(hour int) *rbacv1.ClusterRole {
		at := metav1.NewTime(time.Date(2026, 1, 2, hour, 0, 0, 0, time.UTC))
		return &rbacv1.ClusterRole{
			ObjectMeta: metav1.ObjectMeta{Name: "wide", UID: "wide", ManagedFields: []metav1.ManagedFieldsEntry{{
				Manager: "kubectl-client-side-apply", Operation: metav1.ManagedFieldsOperationUpdate, Time: &at,
				FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{"f:labels":{}},"f:rules":{}}`),
			}}},
			Rules: []rbacv1.PolicyRule{{APIGroups: []string{"apps"}, Resources: []string{"deployments"}, Verbs: []string{"*"}}},
		}
	}
	cluster := analyzertest.Cluster(t, []live.Object{applied(9)})
	livetest.Run(t, engine, cluster)
	livetest.Eventually(t, "everything is evaluated", engine.Settled)
	cluster.Set(inputs.ClusterRoles.Ref().Resource(), applied(11))
	livetest.Eventually(t, "the change is seen", func() bool {
		role, exists := live.Get(engine, inputs.ClusterRoles, live.Key{Name: "wide"})
		return exists && inputs.Changed(role).Hour() == 11 && engine.Settled()
	})
	found := live.List(engine, analyzers.DetectedClusterFindings)
	if len(found) != 1 || found[0].Spec.Since.UTC().Hour() != 9 {
		t.Errorf("found %v, want one since 9:00", found)
	}
}

func TestAMessageIsBoundedHoweverLongNamesAre(t *testing.T) {
	var long []string
	for range 50 {
		long = append(long, strings.Repeat("ä", 100_000))
	}
	if text := shorten(long); len(text) > 1000 || !utf8.ValidString(text) || !strings.HasSuffix(text, "and others") {
		t.Errorf("it has %d bytes, valid %t", len(text), utf8.ValidString(text))
	}
}

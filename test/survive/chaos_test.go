// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package survive

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/generated/clientset/versioned"
	"github.com/srenix/srenix/test/harness"
)

var (
	chaosSeed  = flag.Uint64("chaos-seed", uint64(time.Now().UnixNano()), "The seed of the faults.")
	chaosTeams = flag.Int("chaos-teams", 4, "How many people approve, each four repairs in a namespace of their own.")
)

const (
	repairs = 4 // of each team, of the ten that its approver has in an hour
	// chaosDeadline is when repairs count as lost, however many faults there were.
	chaosDeadline = 10 * time.Minute
)

// TestApprovalsInChaos has people approve repairs while programs are killed, storage
// hangs, connections are cut and logs cannot be written. Every repair must come about,
// none twice, and afterwards everything must be as if nothing had happened.
func TestApprovalsInChaos(t *testing.T) {
	s := install(t, harness.Options{Configuration: configuration, Replicas: 2, Upstream: true})
	t.Logf("go test ./test/survive -run TestApprovalsInChaos -chaos-seed %d", *chaosSeed)
	client, err := versioned.NewForConfig(s.config)
	must(t, err)
	c := &chaos{installation: s, client: client, random: rand.New(rand.NewPCG(*chaosSeed, 0)), happened: map[string]int{}}
	second, err := s.srenix.NewExecutor(t.Context(), "srenix-executor-1")
	must(t, err)
	must(t, second.Start())
	t.Cleanup(func() { must(t, second.Stop()) })
	for _, process := range append(slices.Clone(s.srenix.Replicas), s.srenix.Executor, second) {
		c.programs = append(c.programs, &program{Process: process, logs: process.LogFile, audit: process.AuditFile})
	}
	var teams []*team
	for i := range *chaosTeams {
		teams = append(teams, c.team(fmt.Sprintf("team-%d", i)))
	}
	watched := s.watch()
	for _, team := range teams {
		team.breakAll()
	}

	ctx, cancel := context.WithTimeout(t.Context(), chaosDeadline)
	defer cancel()
	watching, stop := context.WithCancel(ctx)
	var kubelet sync.WaitGroup
	for _, program := range c.programs {
		kubelet.Go(func() { program.keepRunning(watching) })
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, team := range teams {
		c.busy.Add(1)
		group.Go(func() error {
			defer c.busy.Add(-1)
			return team.repairAll(ctx)
		})
	}
	group.Go(func() error { return c.wreak(ctx) })
	err = group.Wait()
	for _, program := range c.programs {
		err = errors.Join(err, program.mend())
	}
	stop()
	kubelet.Wait()
	if err != nil {
		s.keepLogs()
		t.Fatal(err)
	}

	s.eventually("all to be settled", func(ctx context.Context) (bool, string) {
		if troubled := watched.count("findings", "OrdinalZeroNotReady"); troubled > 0 {
			return false, fmt.Sprint(troubled, " findings stand")
		}
		list, err := client.OpsV1alpha1().Approvals("").List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err.Error()
		}
		for i := range list.Items {
			if status := &list.Items[i].Status; !status.Phase.Finished() || status.Phase == opsv1alpha1.PhaseSucceeded && verified(status) == metav1.ConditionUnknown {
				return false, fmt.Sprintf("%s/%s is %s: %s", list.Items[i].Namespace, list.Items[i].Name, status.Phase, status.Message)
			}
		}
		return true, ""
	})
	c.holds(teams)
	s.agrees(watched, "fresh-after-chaos")
	if t.Failed() {
		s.keepLogs()
	}
}

// chaos is what happens to an installation.
type chaos struct {
	*installation
	client   versioned.Interface
	random   *rand.Rand
	programs []*program
	// busy teams are not done yet.
	busy atomic.Int64
	// decided counts the approvals that were accepted or ended.
	decided  atomic.Int64
	happened map[string]int
}

// program is one that is started again when it ends, as the kubelet does.
type program struct {
	*harness.Process
	logs, audit string

	mu sync.Mutex
}

func (p *program) keepRunning(ctx context.Context) {
	_ = wait.PollUntilContextCancel(ctx, pollInterval, true, func(context.Context) (bool, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.Ended() {
			return false, p.Start()
		}
		return false, nil
	})
}

// again ends the program with no chance to clean up, and starts it with its output
// going to other files.
func (p *program) again(logs, audit string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.Kill(); err != nil {
		return err
	}
	p.LogFile, p.AuditFile = logs, audit
	return p.Start()
}

// mend has the program write its logs again, if it did not.
func (p *program) mend() error {
	if p.LogFile == p.logs {
		return nil
	}
	return p.again(p.logs, p.audit)
}

// wreak does one thing after another until no team is busy, each once somebody's
// approval has got further since the last.
func (c *chaos) wreak(ctx context.Context) error {
	control := func(verb, component string) error { return c.srenix.Plane.Control(ctx, verb, component) }
	faults := map[string]func(*program) error{
		"kill":         func(p *program) error { return p.again(p.logs, p.audit) },
		"full disk":    func(p *program) error { return p.again("/dev/full", "/dev/full") },
		"kill of etcd": func(*program) error { return errors.Join(control("kill", "etcd"), control("start", "etcd")) },
		"kill of kube-apiserver": func(*program) error {
			return errors.Join(control("kill", "kube-apiserver"), control("start", "kube-apiserver"))
		},
		"kill of kube-controller-manager": func(*program) error {
			return errors.Join(control("kill", "kube-controller-manager"), control("start", "kube-controller-manager"))
		},
		"pause of etcd": func(*program) error {
			if err := control("pause", "etcd"); err != nil {
				return err
			}
			err := wait.PollUntilContextCancel(ctx, pollInterval, true, func(ctx context.Context) (bool, error) {
				ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
				defer cancel()
				_, err := c.kube.CoreV1().ConfigMaps("default").Create(ctx, configMap("hangs", ""), metav1.CreateOptions{})
				return err != nil && !apierrors.IsAlreadyExists(err), nil
			})
			return errors.Join(err, control("resume", "etcd"))
		},
		"cut of the network": func(*program) error {
			c.srenix.Upstream.Cut()
			c.srenix.Balancer.Cut()
			return nil
		},
	}
	names := slices.Sorted(maps.Keys(faults))
	for c.busy.Load() > 0 {
		name, program := names[c.random.IntN(len(names))], c.programs[c.random.IntN(len(c.programs))]
		before := c.decided.Load()
		began := time.Now()
		if err := faults[name](program); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		c.happened[name]++
		err := wait.PollUntilContextCancel(ctx, pollInterval, true, func(context.Context) (bool, error) {
			return c.decided.Load() > before || c.busy.Load() == 0, nil
		})
		if err != nil {
			return fmt.Errorf("no approval got further after %s (%s): %w", name, program.Name, err)
		}
		c.Logf("%s (%s): %s until an approval got further", name, program.Name, time.Since(began).Round(100*time.Millisecond))
	}
	return nil
}

// team is a namespace with a person who repairs what breaks in it.
type team struct {
	*chaos
	namespace, kubeconfig string
	// broken are the UIDs of the pods that have to be replaced, by name.
	broken map[string]types.UID
	// accepted are the names of its approvals, and denied how often one was refused.
	accepted []string
	denied   int
}

func (c *chaos) team(name string) *team {
	c.Helper()
	ctx := c.Context()
	kubeconfig, err := c.srenix.Plane.UserKubeconfig(ctx, name)
	must(c.T, err)
	_, err = c.kube.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	must(c.T, err)
	_, err = c.kube.RbacV1().Roles(name).Create(ctx, &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: "acts"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get", "delete"}}},
	}, metav1.CreateOptions{})
	must(c.T, err)
	for kind, role := range map[string]string{"Role": "acts", "ClusterRole": "srenix-approver"} {
		_, err = c.kube.RbacV1().RoleBindings(name).Create(ctx, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: role},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: role},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}},
		}, metav1.CreateOptions{})
		must(c.T, err)
	}
	// A finding that stands, so that there is something for all to agree on.
	_, err = c.kube.RbacV1().Roles(name).Create(ctx, role(0, "*"), metav1.CreateOptions{})
	must(c.T, err)
	for i := range repairs {
		set := fmt.Sprintf("db-%d", i)
		_, err := c.kube.AppsV1().StatefulSets(name).Create(ctx, &appsv1.StatefulSet{
			ObjectMeta: metav1.ObjectMeta{Name: set},
			Spec: appsv1.StatefulSetSpec{
				Replicas: ptr.To[int32](2), Selector: selector(set), Template: template(set), PodManagementPolicy: appsv1.ParallelPodManagement,
			},
		}, metav1.CreateOptions{})
		must(c.T, err)
	}
	t := &team{chaos: c, namespace: name, kubeconfig: kubeconfig, broken: map[string]types.UID{}}
	for i := range repairs {
		pod := fmt.Sprintf("db-%d-0", i)
		c.eventually(name+"/"+pod+" to be ready", func(ctx context.Context) (bool, string) {
			var ready bool
			t.broken[pod], ready, err = t.pod(ctx, pod)
			return ready, fmt.Sprint(err)
		})
	}
	return t
}

func (t *team) pod(ctx context.Context, name string) (uid types.UID, ready bool, err error) {
	pod, err := t.kube.CoreV1().Pods(t.namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", false, err
	}
	ready = slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
	return pod.UID, ready, nil
}

// breakAll has the first pod of each StatefulSet stop being Ready for good.
func (t *team) breakAll() {
	t.Helper()
	for pod := range t.broken {
		patch := []byte(`{"metadata":{"annotations":{"controlplane.srenix.io/ready":"false"}}}`)
		_, err := t.kube.CoreV1().Pods(t.namespace).Patch(t.Context(), pod, types.MergePatchType, patch, metav1.PatchOptions{})
		must(t.T, err)
	}
}

// repairAll approves what is proposed, again where it came to nothing, until every
// broken pod was replaced and its successor is Ready.
func (t *team) repairAll(ctx context.Context) error {
	for _, pod := range slices.Sorted(maps.Keys(t.broken)) {
		last := "nothing was tried yet"
		err := wait.PollUntilContextCancel(ctx, pollInterval, true, func(ctx context.Context) (repaired bool, err error) {
			repaired, last, err = t.repair(ctx, pod)
			return repaired, err
		})
		if err != nil {
			return fmt.Errorf("%s/%s: %w; last seen: %s", t.namespace, pod, err, last)
		}
	}
	return nil
}

// repair is one try. An error is what must never be; detail what may happen in chaos.
func (t *team) repair(ctx context.Context, pod string) (repaired bool, detail string, err error) {
	uid, ready, err := t.pod(ctx, pod)
	if err != nil {
		return false, err.Error(), nil
	}
	if uid != t.broken[pod] {
		return ready, "its successor is not ready", nil
	}
	proposals, err := t.client.SrenixV1alpha1().Proposals(t.namespace).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("spec.target.name", pod).String(),
	})
	if err != nil {
		return false, err.Error(), nil
	}
	if len(proposals.Items) != 1 {
		return false, fmt.Sprint(len(proposals.Items), " proposals"), nil
	}
	asking, cancel := context.WithTimeout(ctx, deadline) // of a person, who looks whether it went through
	defer cancel()
	stdout, stderr, err := t.srenix.Plane.KubectlAs(asking, t.kubeconfig, "create", "approval", "--proposal", proposals.Items[0].Name, "-n", t.namespace, "--yes", "-o", "name")
	if err != nil {
		t.denied++
		return false, stderr, nil
	}
	t.decided.Add(1)
	_, name, found := strings.Cut(strings.TrimSpace(stdout), "/")
	if !found {
		return false, "", fmt.Errorf("kubectl create approval printed %q", stdout)
	}
	t.accepted = append(t.accepted, name)
	err = wait.PollUntilContextCancel(ctx, pollInterval, true, func(ctx context.Context) (bool, error) {
		approval, err := t.client.OpsV1alpha1().Approvals(t.namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false, fmt.Errorf("approval %s was accepted, and is lost", name)
		}
		if err != nil {
			return false, nil //nolint:nilerr // as requests do in chaos
		}
		detail = fmt.Sprintf("approval %s is %s: %s", name, approval.Status.Phase, approval.Status.Message)
		return approval.Status.Phase.Finished(), nil
	})
	if err == nil {
		t.decided.Add(1)
	}
	return false, detail, err
}

// holds checks what must be so afterwards. That an executor deletes nothing but the pod
// with the UID that was approved is kube-apiserver's to hold, by the second leash; how
// many pods there were tells nothing, for kwok, which plays the kubelets, deletes them by
// name and may hit a successor.
func (c *chaos) holds(teams []*team) {
	c.Helper()
	ctx := c.Context()
	events, err := c.client.OpsV1alpha1().AuditEvents().List(ctx, metav1.ListOptions{})
	must(c.T, err)
	intended, done := map[string]int{}, map[string]int{}
	for i := range events.Items {
		spec := &events.Items[i].Spec
		switch approval := spec.References.Namespace + "/" + spec.References.Approval; spec.Type {
		case opsv1alpha1.AuditActionIntended:
			intended[approval]++
		case opsv1alpha1.AuditActionDone:
			done[approval]++
		}
	}
	phases := map[opsv1alpha1.ApprovalPhase]int{}
	accepted, denied := 0, 0
	for _, team := range teams {
		list, err := c.client.OpsV1alpha1().Approvals(team.namespace).List(ctx, metav1.ListOptions{})
		must(c.T, err)
		var stored []string
		actions := map[types.UID]int{} // by target
		for i := range list.Items {
			approval := &list.Items[i]
			name := approval.Namespace + "/" + approval.Name
			stored = append(stored, approval.Name)
			phases[approval.Status.Phase]++
			actions[approval.Spec.Snapshot.Target.UID] += done[name]
			if intended[name] > 1 {
				c.Errorf("approval %s has %d intents", name, intended[name])
			}
		}
		for pod, uid := range team.broken {
			if actions[uid] != 1 {
				c.Errorf("the chain has %d actions on %s/%s, want one", actions[uid], team.namespace, pod)
			}
		}
		for _, name := range team.accepted {
			if !slices.Contains(stored, name) {
				c.Errorf("approval %s/%s is lost", team.namespace, name)
			}
		}
		accepted += len(team.accepted)
		denied += team.denied
	}
	stdout, stderr, err := c.srenix.Plane.Kubectl(ctx, "srenix", "audit", "verify")
	if err != nil {
		c.Errorf("the audit chain does not verify: %v\n%s", err, stdout+stderr)
	}
	c.Logf("faults %v; %d approvals were accepted, and %d tries were not; phases %v; %d audit events: %s", c.happened, accepted, denied, phases, len(events.Items), strings.TrimSpace(stdout))
}

func verified(status *opsv1alpha1.ApprovalStatus) metav1.ConditionStatus {
	for _, condition := range status.Conditions {
		if condition.Type == opsv1alpha1.ConditionVerified {
			return condition.Status
		}
	}
	return metav1.ConditionUnknown
}

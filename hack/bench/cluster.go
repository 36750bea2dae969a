// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	// smallestSize has room for two workloads in trouble and some to put there;
	// largestSize fits into etcd's default limit of 2 GB with all that is changed.
	smallestSize, largestSize = 200, 50_000
	namespaceCount            = 100
	podsPerWorkload           = 5
	// writers is how many requests fill the cluster at a time.
	writers = 32
	// longAgo is longer than the grace of every analyzer.
	longAgo = time.Hour
)

// cluster is the synthetic cluster as this program wrote it.
type cluster struct {
	kube kubernetes.Interface

	workloads []*workload
	// sets are the StatefulSets among workloads; the first ones are in trouble.
	sets []*workload
	// others are the pods that no finding is about, to make changes with.
	others []*member
	// troubles is how many StatefulSets are in trouble: so many findings there are.
	troubles int
	// podJSON and podProtobuf are the sizes of a pod as it is served, in bytes.
	podJSON, podProtobuf int
}

// workload is a StatefulSet, or a Deployment with its ReplicaSet.
type workload struct {
	namespace, name string
	set             bool
	members         []*member
}

// member is one pod of a workload.
type member struct {
	workload *workload
	// pod has what a status update needs, which is all but the spec.
	pod     *corev1.Pod
	started time.Time

	mu       sync.Mutex
	restarts int32
}

func newCluster(kube kubernetes.Interface) *cluster { return &cluster{kube: kube} }

// grow adds workloads until there are size pods, none of them in trouble.
func (c *cluster) grow(ctx context.Context, size int) error {
	if len(c.workloads) == 0 {
		if err := c.createNamespaces(ctx); err != nil {
			return err
		}
	}
	var added []*workload
	for len(c.workloads)*podsPerWorkload < size {
		i := len(c.workloads)
		w := &workload{namespace: namespaceName(i % namespaceCount), name: fmt.Sprintf("service-%05d", i), set: (i+i/namespaceCount)%5 < 3}
		c.workloads, added = append(c.workloads, w), append(added, w)
	}
	group, groupContext := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	for _, w := range added {
		group.Go(func() error { return c.create(groupContext, w) })
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("filling the cluster: %w", err)
	}
	for _, w := range added {
		healthy := w.members
		if w.set {
			c.sets = append(c.sets, w)
			healthy = healthy[1:]
		}
		c.others = append(c.others, healthy...)
	}
	return c.measurePod(ctx)
}

func namespaceName(i int) string { return fmt.Sprintf("bench-%02d", i) }

// createNamespaces creates the namespaces, with what controllers would put there.
func (c *cluster) createNamespaces(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	for i := range namespaceCount {
		name := namespaceName(i)
		group.Go(func() error {
			if _, err := c.kube.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
				return err
			}
			if _, err := c.kube.CoreV1().ServiceAccounts(name).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{}); err != nil {
				return err
			}
			_, err := c.kube.CoreV1().ConfigMaps(name).Create(ctx, &corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{Name: "kube-root-ca.crt"}, Data: map[string]string{"ca.crt": "not looked at"},
			}, metav1.CreateOptions{})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("creating namespaces: %w", err)
	}
	return nil
}

// create creates a workload with its configuration and its running pods.
func (c *cluster) create(ctx context.Context, w *workload) error {
	meta := metav1.ObjectMeta{Namespace: w.namespace, Name: w.name}
	if _, err := c.kube.CoreV1().ConfigMaps(w.namespace).Create(ctx, &corev1.ConfigMap{
		ObjectMeta: meta, Data: map[string]string{"log-level": "info", "settings.yaml": "retries: 3\ntimeout: 10s\n"},
	}, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating the ConfigMap of %s/%s: %w", w.namespace, w.name, err)
	}
	if _, err := c.kube.CoreV1().Secrets(w.namespace).Create(ctx, &corev1.Secret{
		ObjectMeta: meta, Data: map[string][]byte{"password": []byte("synthetic")},
	}, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating the Secret of %s/%s: %w", w.namespace, w.name, err)
	}
	owner, kind, err := c.createOwner(ctx, w)
	if err != nil {
		return err
	}
	for i := range podsPerWorkload {
		name := fmt.Sprintf("%s-%d", w.name, i)
		if !w.set {
			name = fmt.Sprintf("%s-%s-x%04d", w.name, revision, i)
		}
		if err := c.createPod(ctx, w, pod(w, name, owner, kind)); err != nil {
			return err
		}
	}
	return nil
}

// createOwner creates what controls the pods.
func (c *cluster) createOwner(ctx context.Context, w *workload) (owner metav1.Object, kind string, err error) {
	const replicas = int32(podsPerWorkload)
	fail := func(err error) (metav1.Object, string, error) {
		return nil, "", fmt.Errorf("creating workload %s/%s: %w", w.namespace, w.name, err)
	}
	if w.set {
		set, err := c.kube.AppsV1().StatefulSets(w.namespace).Create(ctx, statefulSet(w, replicas), metav1.CreateOptions{})
		if err != nil {
			return fail(err)
		}
		set.Status = appsv1.StatefulSetStatus{
			ObservedGeneration: set.Generation, Replicas: replicas, ReadyReplicas: replicas, CurrentReplicas: replicas, UpdatedReplicas: replicas,
			CurrentRevision: w.name + "-" + revision, UpdateRevision: w.name + "-" + revision, AvailableReplicas: replicas,
		}
		if set, err = c.kube.AppsV1().StatefulSets(w.namespace).UpdateStatus(ctx, set, metav1.UpdateOptions{}); err != nil {
			return fail(err)
		}
		return set, "StatefulSet", nil
	}
	d, err := c.kube.AppsV1().Deployments(w.namespace).Create(ctx, deployment(w, replicas), metav1.CreateOptions{})
	if err != nil {
		return fail(err)
	}
	d.Status = appsv1.DeploymentStatus{
		ObservedGeneration: d.Generation, Replicas: replicas, UpdatedReplicas: replicas, ReadyReplicas: replicas, AvailableReplicas: replicas,
	}
	if _, err := c.kube.AppsV1().Deployments(w.namespace).UpdateStatus(ctx, d, metav1.UpdateOptions{}); err != nil {
		return fail(err)
	}
	rs, err := c.kube.AppsV1().ReplicaSets(w.namespace).Create(ctx, replicaSet(w, replicas, d.UID), metav1.CreateOptions{})
	if err != nil {
		return fail(err)
	}
	return rs, "ReplicaSet", nil
}

func (c *cluster) createPod(ctx context.Context, w *workload, p *corev1.Pod) error {
	created, err := c.kube.CoreV1().Pods(w.namespace).Create(ctx, p, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("creating pod %s/%s: %w", p.Namespace, p.Name, err)
	}
	m := &member{
		workload: w, started: time.Now(),
		pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Namespace: created.Namespace, Name: created.Name, UID: created.UID, Labels: created.Labels,
			Annotations: created.Annotations, OwnerReferences: created.OwnerReferences,
		}},
	}
	w.members = append(w.members, m)
	return c.writeStatus(ctx, m, true)
}

// writeStatus writes the status of a pod which is ready or has not been for long.
func (c *cluster) writeStatus(ctx context.Context, m *member, ready bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	started, then := m.started, m.started
	if !ready {
		// It was Ready for as long before: one that never was has longer to become so.
		then = time.Now().Add(-longAgo)
		started = then.Add(-longAgo)
	}
	// Without a resourceVersion the update is unconditional; the spec of a status
	// update is ignored.
	update := m.pod.DeepCopy()
	update.Status = podStatus(ready, m.restarts, started, then)
	if _, err := c.kube.CoreV1().Pods(update.Namespace).UpdateStatus(ctx, update, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("writing the status of pod %s/%s: %w", update.Namespace, update.Name, err)
	}
	return nil
}

// restart makes a change of a healthy pod that reaches every reader of pods.
func (c *cluster) restart(ctx context.Context, m *member) error {
	m.mu.Lock()
	m.restarts++
	m.mu.Unlock()
	return c.writeStatus(ctx, m, true)
}

// setTrouble makes pod zero of a StatefulSet Ready or not, which makes or ends a finding.
func (c *cluster) setTrouble(ctx context.Context, w *workload, trouble bool) error {
	return c.writeStatus(ctx, w.members[0], !trouble)
}

// setTroubles makes the first count StatefulSets be in trouble, and no other.
func (c *cluster) setTroubles(ctx context.Context, count int) error {
	if count > len(c.sets) {
		return fmt.Errorf("putting %d StatefulSets in trouble: there are %d", count, len(c.sets))
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	for i := min(count, c.troubles); i < max(count, c.troubles); i++ {
		group.Go(func() error { return c.setTrouble(ctx, c.sets[i], i < count) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	c.troubles = count
	return nil
}

// healthySets are the StatefulSets that measurements may put in trouble and back.
func (c *cluster) healthySets() []*workload { return c.sets[c.troubles:] }

// measurePod notes how large a pod is as it is served.
func (c *cluster) measurePod(ctx context.Context) error {
	name := c.others[0].pod
	served, err := c.kube.CoreV1().Pods(name.Namespace).Get(ctx, name.Name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("reading a pod: %w", err)
	}
	text, err := json.Marshal(served)
	if err != nil {
		return fmt.Errorf("encoding a pod: %w", err)
	}
	c.podJSON, c.podProtobuf = len(text), served.Size()
	return nil
}

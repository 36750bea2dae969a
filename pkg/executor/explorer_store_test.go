// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// sum identifies content. 128 bits, so that among some million states no two
// that differ are taken for one.
type sum [2]uint64

func sumOf(parts ...string) sum {
	hash := sha256.New()
	for _, part := range parts {
		_, _ = io.WriteString(hash, part)
		_, _ = hash.Write([]byte{0})
	}
	digest := hash.Sum(nil)
	return sum{binary.BigEndian.Uint64(digest), binary.BigEndian.Uint64(digest[8:])}
}

func (s sum) xor(other sum) sum { return sum{s[0] ^ other[0], s[1] ^ other[1]} }

func (s sum) String() string { return fmt.Sprintf("%016x%016x", s[0], s[1]) }

// item is one version of a stored object. It never changes, so that any number
// of states of the world can share it.
type item struct {
	key string
	// object is nil once it was deleted: the item stays, for its version.
	object client.Object
	// version is the resourceVersion: made of the content and the version before
	// it, so that it is never the same twice for different histories of an object,
	// and the same in all worlds in which the object's history was the same.
	version string
	// births counts the objects that had this name.
	births int
	mark   sum
}

// newItem is the version of an object after previous, which is nil for the
// first. It takes object over; nil deletes.
func newItem(previous *item, key string, object client.Object) *item {
	next := &item{key: key, object: object}
	before := ""
	if previous != nil {
		before, next.births = previous.version, previous.births
	}
	content := []byte("deleted")
	if object != nil {
		if previous == nil || previous.object == nil {
			next.births++
		}
		object.SetResourceVersion("")
		var err error
		if content, err = json.Marshal(object); err != nil {
			panic(err)
		}
	}
	next.mark = sumOf(key, before, string(content))
	next.version = strconv.FormatUint(next.mark[0]>>1, 10)
	if object != nil {
		object.SetResourceVersion(next.version)
	}
	return next
}

// shelf is the content of the API server: versions by key. It is copied on write.
type shelf struct {
	items []*item
	mark  sum
}

func (s shelf) search(key string) (int, bool) {
	return slices.BinarySearchFunc(s.items, key, func(have *item, want string) int { return strings.Compare(have.key, want) })
}

// last returns the last version of what has a key, also if that was deleted.
func (s shelf) last(key string) *item {
	if at, found := s.search(key); found {
		return s.items[at]
	}
	return nil
}

// get returns what is stored under a key, or nil.
func (s shelf) get(key string) *item {
	if found := s.last(key); found != nil && found.object != nil {
		return found
	}
	return nil
}

// all returns what is stored of one resource, in the order of names.
func (s shelf) all(resource string) []*item {
	at, _ := s.search(resource + "/")
	var found []*item
	for ; at < len(s.items) && strings.HasPrefix(s.items[at].key, resource+"/"); at++ {
		if s.items[at].object != nil {
			found = append(found, s.items[at])
		}
	}
	return found
}

func (s shelf) put(next *item) shelf {
	at, found := s.search(next.key)
	items := make([]*item, 0, len(s.items)+1)
	items = append(append(items, s.items[:at]...), next)
	mark := s.mark.xor(next.mark)
	if found {
		mark = mark.xor(s.items[at].mark)
		at++
	}
	return shelf{items: append(items, s.items[at:]...), mark: mark}
}

// store puts a new version of an object, as somebody else than a process would.
func (s shelf) store(object client.Object) shelf {
	key := keyOf(object)
	return s.put(newItem(s.last(key), key, object))
}

// remove deletes what is stored under a key, if anything.
func (s shelf) remove(key string) shelf {
	if s.get(key) == nil {
		return s
	}
	return s.put(newItem(s.last(key), key, nil))
}

// events returns the audit chain, in its order.
func (s shelf) events() []*opsv1alpha1.AuditEvent {
	var events []*opsv1alpha1.AuditEvent
	for _, found := range s.all("auditevents") {
		events = append(events, found.object.(*opsv1alpha1.AuditEvent))
	}
	return events
}

// approvals returns those that are stored, in the order of names.
func (s shelf) approvals() []*opsv1alpha1.Approval {
	var approvals []*opsv1alpha1.Approval
	for _, found := range s.all("approvals") {
		approvals = append(approvals, found.object.(*opsv1alpha1.Approval))
	}
	return approvals
}

// resourceOf names the resource of an object of any type that is read or written.
func resourceOf(object any) string {
	switch object := object.(type) {
	case *unstructured.Unstructured:
		switch object.GroupVersionKind() {
		case corev1.SchemeGroupVersion.WithKind("Pod"):
			return "pods"
		case appsv1.SchemeGroupVersion.WithKind("Deployment"):
			return "deployments"
		}
	case *corev1.Namespace:
		return "namespaces"
	case *corev1.Pod:
		return "pods"
	case *appsv1.Deployment:
		return "deployments"
	case *srenix.Finding:
		return "findings"
	case *srenix.ClusterFindingList:
		return "clusterfindings"
	case *srenix.Proposal:
		return "proposals"
	case *opsv1alpha1.Approval, *opsv1alpha1.ApprovalList:
		return "approvals"
	case *opsv1alpha1.AuditEvent, *opsv1alpha1.AuditEventList:
		return "auditevents"
	}
	panic(fmt.Sprintf("the explorer's API server does not serve a %T", object))
}

func keyFor(resource, namespace, name string) string { return resource + "/" + namespace + "/" + name }

func keyOf(object client.Object) string {
	return keyFor(resourceOf(object), object.GetNamespace(), object.GetName())
}

// groupOf is what errors name.
func groupOf(resource string) schema.GroupResource {
	group := map[string]string{
		"deployments": "apps", "findings": srenix.GroupName, "proposals": srenix.GroupName,
		"approvals": opsv1alpha1.SchemeGroupVersion.Group, "auditevents": opsv1alpha1.SchemeGroupVersion.Group,
	}[resource]
	return schema.GroupResource{Group: group, Resource: resource}
}

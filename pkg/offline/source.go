// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package offline

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternal "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	kjson "sigs.k8s.io/json"

	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/vault"
)

var _ live.Source = &dump{}

// listed is what is read of one resource: a list, and then nothing more.
type listed struct{ *cache.ListWatch }

// IsWatchListSemanticsUnSupported has a Reflector list instead of asking for a stream.
func (listed) IsWatchListSemanticsUnSupported() bool { return true }

// ListerWatcher implements live.Source.
func (d *dump) ListerWatcher(resource schema.GroupVersionResource, example live.Object) (cache.ListerWatcher, error) {
	return listed{&cache.ListWatch{
		ListWithContextFunc: func(_ context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return d.listOf(resource, example, options)
		},
		WatchFuncWithContext: func(context.Context, metav1.ListOptions) (watch.Interface, error) {
			return watch.NewProxyWatcher(make(chan watch.Event)), nil
		},
	}}, nil
}

// unread tells why a resource is not read in a version, or nothing.
func (d *dump) unread(resource schema.GroupVersionResource) error {
	of := resource.GroupResource()
	lack := func(why string, wanted ...schema.GroupResource) error {
		return &live.NotReadError{Why: why, Wanted: wanted}
	}
	if resource == vault.Resource {
		return lack("no files tell what is in a Vault")
	}
	have, want := d.versions(of), d.wanted[of]
	switch {
	case d.partial[of] != "":
		return lack(d.partial[of], of)
	case len(have) > 1:
		return lack(fmt.Sprintf("the files have it in the versions %s, so leave all but one out", strings.Join(have, " and ")))
	case len(have) == 1 && have[0] == resource.Version:
		return nil
	case len(have) == 1 && slices.Contains(want.versions, have[0]):
		return apierrors.NewNotFound(of, "") // for the next version to be asked for
	case len(have) == 1:
		return lack(fmt.Sprintf("the files have it in version %s, and it is read in %s", have[0], strings.Join(want.versions, " or ")),
			schema.GroupResource{Group: strings.Trim(resource.Version+"."+of.Group, "."), Resource: of.Resource})
	case d.listed[of]:
		return nil
	case !want.optional:
		return lack("the files have none", of)
	case d.defined(of):
		return lack("it is installed, and the files have none", of)
	case d.partial[definitions] != "":
		return lack("the files have none, nor all CustomResourceDefinitions, which tell whether it is installed", definitions, of)
	case len(d.versions(definitions)) == 0 && !d.listed[definitions]:
		return lack("the files have none, nor the CustomResourceDefinitions, which tell whether it is installed", definitions, of)
	}
	return apierrors.NewNotFound(of, "")
}

// defined tells whether there is a CustomResourceDefinition.
func (d *dump) defined(resource schema.GroupResource) bool {
	_, is := d.objects[live.InstallationResource()][live.Key{Name: resource.String()}]
	return is
}

func (d *dump) listOf(resource schema.GroupVersionResource, example live.Object, options metav1.ListOptions) (runtime.Object, error) {
	if err := d.unread(resource); err != nil {
		return nil, err
	}
	byLabels, err := labels.Parse(options.LabelSelector)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	byFields, err := fields.ParseSelector(options.FieldSelector)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	list := &metainternal.List{}
	list.ResourceVersion = "1" // of files that do not change
	for _, key := range d.sorted(resource) {
		from := d.objects[resource][key]
		object, err := decode(from.raw, example)
		if err != nil {
			// The object is one of those that are looked for, so the others are not all.
			return nil, &live.NotReadError{Why: fmt.Sprintf("%s in %s cannot be read: %v", key, from.file, err)}
		}
		if !byLabels.Matches(labels.Set(object.GetLabels())) || !matches(byFields, from.raw) {
			continue
		}
		list.Items = append(list.Items, object)
	}
	return list, nil
}

// decode makes an object of the type of example.
func decode(raw []byte, example live.Object) (live.Object, error) {
	if _, is := example.(*unstructured.Unstructured); is {
		object := &unstructured.Unstructured{}
		return object, object.UnmarshalJSON(raw)
	}
	object := reflect.New(reflect.TypeOf(example).Elem()).Interface().(live.Object)
	if err := kjson.UnmarshalCaseSensitivePreserveInts(raw, object); err != nil {
		return nil, err
	}
	object.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{}) // as clients give typed objects
	return object, nil
}

// matches tells whether an object has the fields that are selected, by their paths.
func matches(selector fields.Selector, raw []byte) bool {
	if selector.Empty() {
		return true
	}
	value, err := decoded(raw)
	object, is := value.(map[string]any)
	if err != nil || !is {
		return false
	}
	has := fields.Set{}
	for _, requirement := range selector.Requirements() {
		has[requirement.Field], _, _ = unstructured.NestedString(object, strings.Split(requirement.Field, ".")...)
	}
	return selector.Matches(has)
}

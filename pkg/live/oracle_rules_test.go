// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live_test

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/srenix/srenix/pkg/live"
)

// summaries and overviews are the second and third link of the derived chain.
var (
	summaries = live.NewDerived[*corev1.ConfigMap]("summaries", map[string]func(*corev1.ConfigMap) []string{
		"kind": func(c *corev1.ConfigMap) []string { return strings.Fields(c.Data["kinds"]) },
	})
	overviews = live.NewDerived[*corev1.ConfigMap]("overviews", nil)
	claimants = live.NewDerived[*corev1.ConfigMap]("claimants", nil)

	oracleKinds = []live.Kind[*corev1.ConfigMap]{notes, reports, summaries, overviews, claimants}
)

const grace = 30 * time.Second

func join[T live.Object](objects []T, text func(T) string) string {
	var parts []string
	for _, object := range objects {
		parts = append(parts, object.GetNamespace()+"/"+object.GetName()+text(object))
	}
	return strings.Join(parts, " ")
}

func said(c *corev1.ConfigMap) string { return "=" + c.Data["text"] }

// claims has every subject write an object of its namespace that others may write too.
func claims[T live.Object](name string, kind live.Kind[T], claimed func(T) string) live.Rule {
	return live.Rule{
		Name: name, Subject: kind.Ref(), Outputs: []live.KindRef{claimants.Ref()},
		Evaluate: func(v *live.View, subject live.Key) ([]live.Output, error) {
			object, ok := kind.Get(v, subject)
			if !ok || claimed(object) == "" {
				return nil, nil
			}
			return []live.Output{live.Emit(claimants, text(subject.Namespace, claimed(object), name+" "+subject.Name))}, nil
		},
	}
}

func oracleRules() []live.Rule {
	return []live.Rule{
		{ // Get: the config map that a pod names, in its own or in another namespace
			Name: "config", Subject: pods.Ref(), Reads: []live.KindRef{configs.Ref()}, Outputs: []live.KindRef{notes.Ref()},
			Evaluate: func(v *live.View, subject live.Key) ([]live.Output, error) {
				p, ok := pods.Get(v, subject)
				if !ok || p.Labels["config"] == "" {
					return nil, nil
				}
				namespace, name, _ := strings.Cut(p.Labels["config"], ".")
				config, ok := configs.Get(v, key(namespace, name))
				if !ok {
					return []live.Output{note(subject, "missing "+p.Labels["config"])}, nil
				}
				// A config map may name a further one.
				if next, ok := configs.Get(v, key(namespace, config.Data["next"])); ok {
					return []live.Output{note(subject, next.Data["text"])}, nil
				}
				return []live.Output{note(subject, config.Data["text"])}, nil
			},
		},
		{ // List with a selector, in one namespace or in all
			Name: "selects", Subject: configs.Ref(), Reads: []live.KindRef{pods.Ref()}, Outputs: []live.KindRef{reports.Ref()},
			Evaluate: func(v *live.View, subject live.Key) ([]live.Output, error) {
				config, ok := configs.Get(v, subject)
				if !ok {
					return nil, nil
				}
				selector, err := labels.Parse(config.Data["selector"])
				if err != nil {
					return nil, err
				}
				namespace := subject.Namespace
				if config.Data["everywhere"] != "" {
					namespace = ""
				}
				found := join(pods.List(v, namespace, selector), func(p *corev1.Pod) string { return "@" + p.Spec.NodeName })
				return []live.Output{live.Emit(reports, text(subject.Namespace, subject.Name, found))}, nil
			},
		},
		{ // Get of another object of the subject's kind
			Name: "peer", Subject: pods.Ref(), Outputs: []live.KindRef{overviews.Ref()},
			Evaluate: func(v *live.View, subject live.Key) ([]live.Output, error) {
				namespace := map[string]string{"n1": "n2", "n2": "n1"}[subject.Namespace]
				peer, ok := pods.Get(v, key(namespace, subject.Name))
				if !ok {
					return nil, nil
				}
				return []live.Output{live.Emit(overviews, text(subject.Namespace, "peer-"+subject.Name, peer.Spec.NodeName))}, nil
			},
		},
		{ // ByIndex of an input, and several outputs with changing names
			Name: "neighbors", Subject: pods.Ref(), Outputs: []live.KindRef{overviews.Ref()},
			Evaluate: func(v *live.View, subject live.Key) ([]live.Output, error) {
				p, ok := pods.Get(v, subject)
				if !ok {
					return nil, nil
				}
				var outputs []live.Output
				for _, other := range pods.ByIndex(v, "node", p.Spec.NodeName) {
					if other != p {
						name := fmt.Sprintf("%s-%s-%s", subject.Name, other.Namespace, other.Name)
						outputs = append(outputs, live.Emit(overviews, text(subject.Namespace, name, p.Spec.NodeName)))
					}
				}
				return outputs, nil
			},
		},
		{ // RecheckAt: a grace after a time that the object carries
			Name: "grace", Subject: pods.Ref(), Outputs: []live.KindRef{summaries.Ref()},
			Evaluate: func(v *live.View, subject live.Key) ([]live.Output, error) {
				p, ok := pods.Get(v, subject)
				if !ok || p.CreationTimestamp.IsZero() {
					return nil, nil
				}
				if due := p.CreationTimestamp.Add(grace); v.Now().Before(due) {
					v.RecheckAt(due)
					return nil, nil
				}
				return []live.Output{live.Emit(summaries, &corev1.ConfigMap{
					ObjectMeta: metav1.ObjectMeta{Namespace: subject.Namespace, Name: "late-" + subject.Name},
					Data:       map[string]string{"kinds": "late " + p.Labels["app"]},
				})}, nil
			},
		},
		{ // a derived subject which reads another derived kind and an input
			Name: "chain", Subject: notes.Ref(), Reads: []live.KindRef{reports.Ref(), configs.Ref()}, Outputs: []live.KindRef{summaries.Ref()},
			Evaluate: func(v *live.View, subject live.Key) ([]live.Output, error) {
				n, ok := notes.Get(v, subject)
				if !ok {
					return nil, nil
				}
				twins := reports.ByIndex(v, "text", n.Data["text"])
				return []live.Output{live.Emit(summaries, &corev1.ConfigMap{
					ObjectMeta: metav1.ObjectMeta{Namespace: subject.Namespace, Name: "note-" + subject.Name},
					Data:       map[string]string{"kinds": "note", "text": n.Data["text"] + " " + join(twins, said)},
				})}, nil
			},
		},
		{ // FirstObserved: a grace after a time that no object carries
			Name: "nodeless", Subject: pods.Ref(), Reads: []live.KindRef{configs.Ref()}, Outputs: []live.KindRef{summaries.Ref()},
			Evaluate: func(v *live.View, subject live.Key) ([]live.Output, error) {
				configs.Get(v, subject) // without which nothing begins or ends
				p, ok := pods.Get(v, subject)
				if !ok || p.Spec.NodeName != "" {
					return nil, nil
				}
				since := v.FirstObserved("nodeless")
				if due := since.Add(grace); v.Now().Before(due) {
					v.RecheckAt(due)
					return nil, nil
				}
				return []live.Output{live.Emit(summaries, &corev1.ConfigMap{
					ObjectMeta: metav1.ObjectMeta{Namespace: subject.Namespace, Name: "nodeless-" + subject.Name},
					Data:       map[string]string{"kinds": "nodeless", "text": since.Format(time.TimeOnly)},
				})}, nil
			},
		},
		{ // an input that comes and goes as a whole
			Name: "installed", Subject: configs.Ref(), Reads: []live.KindRef{widgets.Ref()}, Outputs: []live.KindRef{reports.Ref()},
			Evaluate: func(v *live.View, subject live.Key) ([]live.Output, error) {
				found := join(widgets.List(v, "", nil), func(w *metav1.PartialObjectMetadata) string { return w.Labels["size"] + " in " + w.APIVersion })
				if _, named := widgets.Get(v, live.Key{Namespace: subject.Namespace, Name: subject.Name}); named {
					found += " and mine"
				}
				return []live.Output{live.Emit(reports, text(subject.Namespace, "widgets-"+subject.Name, found))}, nil
			},
		},
		// two rules, and many subjects, that write the same objects
		claims("claimed by pods", pods, func(p *corev1.Pod) string { return p.Labels["app"] }),
		claims("claimed by configs", configs, func(c *corev1.ConfigMap) string { return c.Data["next"] }),
		{ // the end of the chain: everything by index, and everything of a namespace
			Name: "overview", Subject: configs.Ref(), Reads: []live.KindRef{summaries.Ref(), notes.Ref()}, Outputs: []live.KindRef{overviews.Ref()},
			Evaluate: func(v *live.View, subject live.Key) ([]live.Output, error) {
				of := subject.Name // an app, or a kind
				all := join(summaries.ByIndex(v, "kind", of), said) + "|" + join(notes.List(v, subject.Namespace, nil), said)
				return []live.Output{live.Emit(overviews, text(subject.Namespace, "of-"+subject.Name, all))}, nil
			},
		},
	}
}

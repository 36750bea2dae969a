// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package references

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// Reads are what Look and Writer read.
func Reads() []live.KindRef {
	return []live.KindRef{inputs.Secrets.Ref(), inputs.ConfigMaps.Ref(), inputs.ExternalSecrets.Ref()}
}

// Writer returns the ExternalSecret that writes an item; nil if none does.
func Writer(view *live.View, i Item) *unstructured.Unstructured {
	if i.Kind == Secret {
		if secret, exists := inputs.Secrets.Get(view, live.Key{Namespace: i.Namespace, Name: i.Name}); exists {
			if owner := owner(view, secret); owner != nil {
				return owner
			}
		}
	}
	return Targeting(view, i)
}

// Targeting returns the ExternalSecret whose target an item is; nil if none is. It reads
// ExternalSecrets alone.
func Targeting(view *live.View, i Item) *unstructured.Unstructured {
	for _, writer := range inputs.ExternalSecrets.ByIndex(view, inputs.ByTarget, i.Kind+"/"+i.Namespace+"/"+i.Name) {
		if writer.GetDeletionTimestamp() == nil {
			return writer
		}
	}
	return nil
}

func owner(view *live.View, secret *metav1.PartialObjectMetadata) *unstructured.Unstructured {
	for _, ref := range secret.OwnerReferences {
		if ref.Kind != "ExternalSecret" || !strings.HasPrefix(ref.APIVersion, inputs.ExternalSecretsGroup+"/") {
			continue
		}
		owner, exists := inputs.ExternalSecrets.Get(view, live.Key{Namespace: secret.Namespace, Name: ref.Name})
		if exists && owner.GetUID() == ref.UID {
			return owner
		}
	}
	return nil
}

// Origin says in a sentence who writes an item, and what there is to run and to
// relate for that. It is empty for a ConfigMap that no ExternalSecret writes.
type Origin struct {
	Sentence string
	Commands []string
	Related  []v1alpha1.RelatedObject
}

// OriginOf returns the origin of an item, from its writer.
func OriginOf(i Item, writer *unstructured.Unstructured) Origin {
	if writer == nil {
		if i.Kind == ConfigMap {
			return Origin{}
		}
		return Origin{Sentence: "No ExternalSecret writes this Secret."}
	}
	sentence := fmt.Sprintf("ExternalSecret %s writes it.", writer.GetName())
	if ready, said := inputs.ConditionOf(writer, "Ready"); said && (ready.Status == "False" || ready.Reason == "SecretMissing") {
		sentence = fmt.Sprintf("ExternalSecret %s should write it, and says: %s.", writer.GetName(), inputs.Sentence(ready.Message))
	}
	return Origin{
		Sentence: sentence,
		Commands: []string{fmt.Sprintf("kubectl describe externalsecrets.external-secrets.io %s -n %s", writer.GetName(), writer.GetNamespace())},
		Related: []v1alpha1.RelatedObject{{Relation: "writes it", ObjectReference: v1alpha1.ObjectReference{
			APIVersion: writer.GetAPIVersion(), Kind: "ExternalSecret", Namespace: writer.GetNamespace(), Name: writer.GetName(), UID: writer.GetUID(),
		}}},
	}
}

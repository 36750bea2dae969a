// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"

	"github.com/srenix/srenix/pkg/apis/srenix"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/proposals"
	"github.com/srenix/srenix/pkg/registry/memory"
)

// destinations are the stores that the live view is published to.
type destinations struct {
	findings, clusterFindings, proposals *memory.Store
}

// publish makes every change of the served collections a change of its store.
// The view already holds back what did not change in value.
func publish(engine *live.Engine, to destinations) error {
	if err := publishKind(engine, proposals.Findings, to.findings, func(in *v1alpha1.Finding) (runtime.Object, error) {
		out := &srenix.Finding{}
		return out, v1alpha1.Convert_v1alpha1_Finding_To_srenix_Finding(in, out, nil)
	}); err != nil {
		return err
	}
	if err := publishKind(engine, proposals.ClusterFindings, to.clusterFindings, func(in *v1alpha1.ClusterFinding) (runtime.Object, error) {
		out := &srenix.ClusterFinding{}
		return out, v1alpha1.Convert_v1alpha1_ClusterFinding_To_srenix_ClusterFinding(in, out, nil)
	}); err != nil {
		return err
	}
	return publishKind(engine, proposals.Proposals, to.proposals, func(in *v1alpha1.Proposal) (runtime.Object, error) {
		out := &srenix.Proposal{}
		return out, v1alpha1.Convert_v1alpha1_Proposal_To_srenix_Proposal(in, out, nil)
	})
}

// publishKind subscribes a store to a collection. The conversion shares all but
// the top level of the object, which the store then stamps with a version.
func publishKind[T live.Object](engine *live.Engine, kind live.Kind[T], store *memory.Store, convert func(T) (runtime.Object, error)) error {
	var none T
	apply := func(before, after T) error {
		if any(after) == any(none) {
			object, err := convert(before)
			if err != nil {
				return err
			}
			return store.Remove(object)
		}
		object, err := convert(after)
		if err != nil {
			return err
		}
		return store.Put(object)
	}
	err := live.Subscribe(engine, kind, func(before, after T) {
		if err := apply(before, after); err != nil {
			utilruntime.HandleError(fmt.Errorf("publishing a change of %s: %w", kind.Ref(), err))
		}
	})
	if err != nil {
		return fmt.Errorf("subscribing to %s: %w", kind.Ref(), err)
	}
	return nil
}

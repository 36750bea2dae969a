// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// readFiles returns the lists of what is in files, and by file what could not be read.
func (o *Options) readFiles(ctx context.Context) (lists, map[string]unread, error) {
	cluster, err := o.Files.Read(ctx, o.ErrOut)
	if err != nil {
		return lists{}, nil, err
	}
	broken := map[string]unread{}
	for _, part := range cluster.Broken {
		broken[part.File] = unread{err: errors.Join(broken[part.File].err, part.Err)}
	}
	return lists{
		findings: func(_ context.Context, namespace string, _ metav1.ListOptions) (runtime.Object, error) {
			list := &v1alpha1.FindingList{}
			for _, finding := range cluster.Findings {
				if namespace == "" || finding.Namespace == namespace {
					list.Items = append(list.Items, *finding)
				}
			}
			return list, nil
		},
		clusterFindings: func(context.Context, metav1.ListOptions) (runtime.Object, error) {
			list := &v1alpha1.ClusterFindingList{}
			for _, finding := range cluster.ClusterFindings {
				list.Items = append(list.Items, *finding)
			}
			return list, nil
		},
		namespaces: func(context.Context, metav1.ListOptions) (runtime.Object, error) {
			list := &corev1.NamespaceList{}
			for _, namespace := range cluster.Namespaces {
				list.Items = append(list.Items, *namespace)
			}
			return list, nil
		},
	}, broken, nil
}

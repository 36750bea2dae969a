// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package generated_test

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/cache"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/generated/clientset/versioned/fake"
	"github.com/srenix/srenix/pkg/generated/informers/externalversions"
)

// Follow the findings of a namespace. A program that runs in a cluster makes its client
// of rest.InClusterConfig by versioned.NewForConfig.
func Example() {
	client := fake.NewSimpleClientset(&v1alpha1.Finding{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "wide-role"},
		Spec:       v1alpha1.FindingSpec{Analyzer: "RBACDrift", Reason: "WildcardVerbs", Message: "Role wide allows every verb on pods."},
	})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	factory := externalversions.NewSharedInformerFactoryWithOptions(client, 0, externalversions.WithNamespace("shop"))
	findings := factory.Srenix().V1alpha1().Findings()
	found := make(chan *v1alpha1.Finding)
	_, err := findings.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) { found <- object.(*v1alpha1.Finding) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	factory.Start(ctx.Done())

	finding := <-found
	fmt.Printf("%s: %s\n", finding.Spec.Reason, finding.Spec.Message)

	factory.WaitForCacheSync(ctx.Done())
	standing, err := findings.Lister().Findings("shop").List(labels.Everything())
	fmt.Println(len(standing), "finding stands", err)
	// Output:
	// WildcardVerbs: Role wide allows every verb on pods.
	// 1 finding stands <nil>
}

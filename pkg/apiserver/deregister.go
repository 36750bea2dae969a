// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	aggregator "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset/typed/apiregistration/v1"
)

const (
	// deregisterDeadline is how long kube-apiserver may take to let go of the APIService.
	deregisterDeadline = 2 * time.Minute
	// deregisterPoll is how often it is asked whether it has.
	deregisterPoll = 200 * time.Millisecond
)

// newDeregisterCommand returns the command that uninstalling begins with.
func newDeregisterCommand(ctx context.Context) *cobra.Command {
	var kubeconfig string
	namespace := os.Getenv("POD_NAMESPACE")
	command := &cobra.Command{
		Use:    "deregister",
		Short:  "Remove the APIService of the servers that run in a namespace",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
			if err != nil {
				return fmt.Errorf("finding kube-apiserver: %w", err)
			}
			services, err := aggregator.NewForConfig(config)
			if err != nil {
				return fmt.Errorf("making a client of APIServices: %w", err)
			}
			return deregister(ctx, services, namespace)
		},
	}
	command.Flags().StringVar(&kubeconfig, "kubeconfig", kubeconfig, "File that says how to reach kube-apiserver. Without it the pod's service account is used.")
	command.Flags().StringVar(&namespace, "namespace", namespace, "Namespace in which srenix runs. Defaults to $POD_NAMESPACE.")
	return command
}

// deregister deletes the APIService and waits until it is gone. One that leads to
// another namespace is another installation's and stays.
func deregister(ctx context.Context, services aggregator.APIServicesGetter, namespace string) error {
	logger := klog.FromContext(ctx)
	service, err := services.APIServices().Get(ctx, apiServiceName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		logger.Info("There is no APIService to remove", "name", apiServiceName)
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading APIService %s: %w", apiServiceName, err)
	}
	if to := service.Spec.Service; to == nil || to.Namespace != namespace {
		logger.Info("The APIService leads elsewhere and stays", "name", apiServiceName, "namespace", namespace)
		return nil
	}
	err = services.APIServices().Delete(ctx, apiServiceName, *metav1.NewPreconditionDeleteOptions(string(service.UID)))
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting APIService %s: %w", apiServiceName, err)
	}
	err = wait.PollUntilContextTimeout(ctx, deregisterPoll, deregisterDeadline, true, func(ctx context.Context) (bool, error) {
		current, err := services.APIServices().Get(ctx, apiServiceName, metav1.GetOptions{})
		if err == nil {
			return current.UID != service.UID, nil
		}
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return false, err
	})
	if err != nil {
		return fmt.Errorf("waiting until APIService %s is gone (a finalizer of its metadata would hold it): %w", apiServiceName, err)
	}
	logger.Info("Removed the APIService", "name", apiServiceName)
	return nil
}

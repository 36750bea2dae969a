// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package leash holds the two leashes against each other: layers 1 to 4 of
// package policy, and the ValidatingAdmissionPolicy of artifacts/ on the
// executor's identity. Each case of one table is put to policy.Evaluate, and as
// the real request, with the executor's real credentials and every right of the
// cluster added to them, to a real kube-apiserver. Nothing of srenix runs here:
// the second leash holds whatever becomes of our code.
package leash

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/test/harness"
	"github.com/srenix/srenix/test/plane"
)

const (
	executorAccount = "srenix-executor"
	leashName       = "srenix-executor-leash"
)

// cluster is the control plane that the tests of this package share, with the
// clients of its admin and of an executor that has every right.
var cluster struct {
	*plane.Plane
	admin, executor client.Client
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	ctx := context.Background()
	ctrllog.SetLogger(klog.Background())
	dir, err := os.MkdirTemp("", "srenix-leash-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	p, err := plane.Start(ctx, plane.Options{Dir: filepath.Join(dir, "plane"), Nodes: 1, Progress: os.Stderr})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := p.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}()
	cluster.Plane = p
	if err := install(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// install applies what the leash and the requests need of artifacts/, and gives
// the executor every right. Controllers are stopped, so that objects stay as the
// cases have them, and a namespace that is being deleted stays that.
func install(ctx context.Context) error {
	for _, controller := range []string{"kube-controller-manager", "kube-scheduler"} {
		if err := cluster.Control(ctx, "stop", controller); err != nil {
			return err
		}
	}
	root, err := plane.Root()
	if err != nil {
		return err
	}
	files, err := harness.CertManager.Files()
	if err != nil {
		return err
	}
	base := filepath.Join(root, "artifacts", "kustomize", "base")
	files = append([]string{
		filepath.Join(base, "namespace.yaml"), filepath.Join(base, "crds"), filepath.Join(base, "executor.yaml"),
		filepath.Join(base, "rbac", "executor.yaml"), filepath.Join(base, "policies", "executor-leash.yaml"),
	}, files...)
	arguments := []string{"apply", "--server-side"}
	for _, file := range files {
		arguments = append(arguments, "-f", file)
	}
	if _, _, err := cluster.Kubectl(ctx, arguments...); err != nil {
		return fmt.Errorf("installing the leash: %w", err)
	}
	if _, _, err := cluster.Kubectl(ctx, "wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"); err != nil {
		return fmt.Errorf("waiting for the CRDs: %w", err)
	}
	if _, _, err := cluster.Kubectl(ctx, "create", "clusterrolebinding", "leash-escaped", "--clusterrole=cluster-admin",
		"--serviceaccount="+harness.Namespace+":"+executorAccount); err != nil {
		return fmt.Errorf("giving the executor every right: %w", err)
	}
	config, err := cluster.Config()
	if err != nil {
		return err
	}
	if cluster.admin, err = newClient(config); err != nil {
		return err
	}
	kubeconfig, err := (&harness.Srenix{Plane: cluster.Plane}).ServiceAccountKubeconfig(ctx, executorAccount)
	if err != nil {
		return err
	}
	if config, err = clientcmd.BuildConfigFromFlags("", kubeconfig); err != nil {
		return fmt.Errorf("reading the executor's kubeconfig: %w", err)
	}
	config.QPS = -1
	cluster.executor, err = newClient(config)
	return err
}

func newClient(config *rest.Config) (client.Client, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), opsv1alpha1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	return c, nil
}

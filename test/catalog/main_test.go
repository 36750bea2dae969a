// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package catalog tests the analyzers against what they are for: a real control
// plane with the real CRDs of the projects that they read, whose controllers, where
// they can run here, write the statuses.
package catalog

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/yaml"

	"github.com/srenix/srenix/pkg/analyzers/catalog"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/test/harness"
	"github.com/srenix/srenix/test/plane"
)

const (
	// grace of every analyzer here: longer than a rollout takes on a busy machine,
	// and short enough to wait for.
	grace = 20 * time.Second

	pollInterval = 200 * time.Millisecond
	deadline     = 2 * time.Minute
)

// srenix is the installation that the tests of this package share, with every
// analyzer on.
var srenix *harness.Srenix

func TestMain(m *testing.M) {
	if os.Getenv(editing) != "" {
		if err := edit(os.Args[len(os.Args)-1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(run(m))
}

func run(m *testing.M) (code int) {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "srenix-catalog-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	p, err := plane.Start(ctx, plane.Options{Dir: filepath.Join(dir, "plane"), Progress: os.Stderr})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := p.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		_ = os.RemoveAll(dir)
	}()
	if err := installCRDs(ctx, p); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	configuration, err := configuration()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	srenix, err = harness.Install(ctx, p, harness.Options{Configuration: configuration})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := srenix.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}()
	return m.Run()
}

// configuration is what artifacts/ ship, with a short grace for every analyzer, and
// with what options the goldens want.
func configuration() (string, error) {
	root, err := plane.Root()
	if err != nil {
		return "", err
	}
	shipped, err := os.ReadFile(filepath.Join(root, "artifacts", "kustomize", "base", "config.yaml"))
	if err != nil {
		return "", err
	}
	var whole config.SrenixConfiguration
	if err := yaml.UnmarshalStrict(shipped, &whole); err != nil {
		return "", err
	}
	for _, entry := range catalog.All() {
		of := whole.Analyzers[entry.Name]
		of.Grace = &metav1.Duration{Duration: grace}
		if own := analyzerConfiguration(entry.Name); own.Options != nil {
			of.Options = own.Options
		}
		whole.Analyzers[entry.Name] = of
	}
	text, err := yaml.Marshal(whole)
	return string(text), err
}

// installCRDs applies the CustomResourceDefinitions of every project that
// analyzers read, and waits until they are served.
func installCRDs(ctx context.Context, p *plane.Plane) error {
	files := []string{filepath.Join("testdata", "crds", "flux.yaml")}
	for _, project := range []harness.CRDs{
		harness.ArgoCD, harness.CertManager, harness.CloudNativePG, harness.ExternalSecrets, harness.Flux, harness.GatewayAPI,
	} {
		of, err := project.Files()
		if err != nil {
			return err
		}
		files = append(files, of...)
	}
	arguments := []string{"apply", "--server-side"}
	for _, file := range files {
		arguments = append(arguments, "-f", file)
	}
	if _, _, err := p.Kubectl(ctx, arguments...); err != nil {
		return err
	}
	_, _, err := p.Kubectl(ctx, "wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
	return err
}

// eventually polls a condition until it holds; detail tells what was seen last.
func eventually(t *testing.T, what string, condition func(ctx context.Context) (ok bool, detail string)) {
	t.Helper()
	var detail string
	err := wait.PollUntilContextTimeout(t.Context(), pollInterval, deadline, true, func(ctx context.Context) (bool, error) {
		var ok bool
		ok, detail = condition(ctx)
		return ok, nil
	})
	if err != nil {
		t.Fatalf("waiting for %s: %v; last seen: %s", what, err, detail)
	}
}

// kubectl runs the plane's kubectl as admin and fails the test if it fails.
func kubectl(t *testing.T, arguments ...string) string {
	t.Helper()
	stdout, stderr, err := srenix.Plane.Kubectl(t.Context(), arguments...)
	if err != nil {
		t.Fatalf("%v\n%s", err, stdout+stderr)
	}
	return stdout
}

func apply(t *testing.T, manifest string, arguments ...string) {
	t.Helper()
	arguments = append([]string{"apply", "--server-side", "-f", "-"}, arguments...)
	command := srenix.Plane.KubectlCommand(t.Context(), srenix.Plane.Kubeconfig(), arguments...)
	command.Stdin = strings.NewReader(manifest)
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("applying: %v: %s\n%s", err, output, manifest)
	}
}

// found waits for a finding of a reason about a subject in a namespace, and
// returns its message.
func found(t *testing.T, namespace, reason, subject string) string {
	t.Helper()
	var message string
	eventually(t, reason+" about "+subject, func(context.Context) (bool, string) {
		message = kubectl(t, "get", "findings.srenix.io", "-n", namespace,
			"--field-selector", "spec.reason="+reason+",spec.subject.name="+subject, "-o", "jsonpath={.items[*].spec.message}")
		if message != "" {
			return true, ""
		}
		return false, kubectl(t, "get", "findings.srenix.io,clusterfindings", "-n", namespace, "-o", "wide")
	})
	return message
}

// cleared waits until there is no finding of a reason about a subject any more.
func cleared(t *testing.T, namespace, reason, subject string) {
	t.Helper()
	eventually(t, reason+" about "+subject+" to clear", func(context.Context) (bool, string) {
		have := kubectl(t, "get", "findings.srenix.io", "-n", namespace,
			"--field-selector", "spec.reason="+reason+",spec.subject.name="+subject, "-o", "jsonpath={.items[*].spec.message}")
		return have == "", have
	})
}

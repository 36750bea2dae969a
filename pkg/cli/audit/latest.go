// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"sigs.k8s.io/yaml"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/cli"
)

// systemNamespace is where srenix runs, unless -n names another.
const systemNamespace = "srenix-system"

// maximumFile bounds files of keys and checkpoints in bytes.
const maximumFile = 1 << 20

// keyFlag describes --key of every command that has it.
const keyFlag = `File of the verifier keys that checkpoints have to be signed with, one a line: your own copy of ConfigMap srenix-audit-vkey.`

// whereKeysAre tells how to get a file for --key.
const whereKeysAre = "Keep a copy of the keys from when srenix is installed: kubectl get configmap " + audit.VerifierKeysConfigMap +
	" -n " + systemNamespace + " -o jsonpath='{.data." + audit.VerifierKeysKey + "}' > audit.vkey"

// newClient returns a client of everything that these commands read.
func newClient(connection *genericclioptions.ConfigFlags, warnings io.Writer) (*cli.Client, error) {
	return cli.NewClient(connection, opsv1alpha1.SchemeGroupVersion, func(scheme *runtime.Scheme) error {
		return errors.Join(opsv1alpha1.AddToScheme(scheme), corev1.AddToScheme(scheme))
	}, warnings)
}

// clusterCheckpoint reads the newest checkpoint of a cluster; nil means that there is none.
func clusterCheckpoint(ctx context.Context, client *cli.Client) (*opsv1alpha1.AuditCheckpoint, error) {
	latest := &opsv1alpha1.AuditCheckpoint{}
	err := client.Get().Resource("auditcheckpoints").Name(opsv1alpha1.LatestAuditCheckpoint).Do(ctx).Into(latest)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, explain(fmt.Errorf("reading the newest audit checkpoint: %w", err))
	}
	return latest, nil
}

// errNoCheckpoint is for commands that can do nothing without one.
var errNoCheckpoint = cli.WithHint(errors.New("the cluster has no audit checkpoint"),
	"The first is made when srenix has appended its first events, within a minute. Is it running? See: kubectl get auditevents")

// clusterKeys reads the keys that a cluster publishes.
func clusterKeys(ctx context.Context, client *cli.Client, namespace string) (audit.VerifierKeys, error) {
	published := &corev1.ConfigMap{}
	err := client.Get().AbsPath("/api/v1/namespaces", namespace, "configmaps", audit.VerifierKeysConfigMap).Do(ctx).Into(published)
	if err != nil {
		return audit.VerifierKeys{}, cli.WithHint(fmt.Errorf("reading the published verifier keys: %w", err),
			"Give your own copy of them with --key FILE, or with -n the namespace that srenix runs in.")
	}
	keys, err := audit.ParseVerifierKeys(published.Data[audit.VerifierKeysKey])
	if err != nil {
		return audit.VerifierKeys{}, fmt.Errorf("reading the published verifier keys in ConfigMap %s/%s: %w", namespace, audit.VerifierKeysConfigMap, err)
	}
	return keys, nil
}

// namespaceOf is the namespace that srenix runs in.
func namespaceOf(connection *genericclioptions.ConfigFlags) string {
	if connection.Namespace != nil && *connection.Namespace != "" {
		return *connection.Namespace
	}
	return systemNamespace
}

// readKeys reads a file of keys.
func readKeys(name string) (audit.VerifierKeys, error) {
	data, err := readFile(name, nil, maximumFile)
	if err != nil {
		return audit.VerifierKeys{}, cli.WithHint(fmt.Errorf("reading the verifier keys of --key: %w", err), whereKeysAre)
	}
	keys, err := audit.ParseVerifierKeys(string(data))
	if err != nil {
		return audit.VerifierKeys{}, cli.WithHint(fmt.Errorf("reading the verifier keys of --key: file %s: %w", name, err), whereKeysAre)
	}
	return keys, nil
}

// readCheckpoint reads a file of a signed note, or of an AuditCheckpoint as YAML
// or JSON, which also knows what was pruned.
func readCheckpoint(name string, stdin io.Reader) (*opsv1alpha1.AuditCheckpointSpec, error) {
	data, err := readFile(name, stdin, maximumFile)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(string(data), audit.Origin("")) {
		return &opsv1alpha1.AuditCheckpointSpec{Note: string(data)}, nil
	}
	latest := &opsv1alpha1.AuditCheckpoint{}
	if err := yaml.UnmarshalStrict(data, latest); err != nil || latest.Spec.Note == "" {
		return nil, fmt.Errorf("file %s is neither a signed checkpoint nor an AuditCheckpoint: make one with \"kubectl srenix audit checkpoint\"", name)
	}
	return &latest.Spec, nil
}

// readFile reads a file of at most so many bytes, "-" being standard input.
func readFile(name string, stdin io.Reader, most int64) ([]byte, error) {
	from := stdin
	if name != "-" || stdin == nil {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		from = file
	}
	data, err := io.ReadAll(io.LimitReader(from, most+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if int64(len(data)) > most {
		return nil, fmt.Errorf("reading %s: it has more than %d bytes", name, most)
	}
	return data, nil
}

// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package healthy has the objects of a cluster in good order, and what controllers
// write of them while people change them. They are applied to a control plane by
// test/catalog, and played over a month by pkg/analyzers/month. It knows nothing of
// srenix.
package healthy

import (
	"bytes"
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"text/template"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/test/harness"
)

// files are ordinary.yaml, which is what clusters are full of; of what the controllers of
// Argo CD, Flux, CloudNativePG and cert-manager look after, in life, objects.yaml as
// people write it, and the statuses at the stages of a change; calendar.yaml, which has
// what takes days to show something; and preview.yaml, which comes and goes.
//
//go:embed *.yaml life/*.yaml
var files embed.FS

// State is what the files are filled in with.
type State struct {
	Namespace string
	// Round is the number of the change.
	Round int
	// Begun is when the change began.
	Begun string
}

// Now is when the controllers write.
func (s State) Now() string { return time.Now().UTC().Format(time.RFC3339) }

// Micro is Now in microseconds.
func (s State) Micro() string { return time.Now().UTC().Format(metav1.RFC3339Micro) }

// Revision is the commit of the change.
func (s State) Revision() string { return fmt.Sprintf("%040x", s.Round) }

// Before is the commit of the change before.
func (s State) Before() string { return fmt.Sprintf("%040x", s.Round-1) }

// Primary is the primary of a PostgreSQL cluster when the change begins.
func (s State) Primary() string { return fmt.Sprintf("db-%d", 1+(s.Round+1)%2) }

// Next is its primary when the change is over.
func (s State) Next() string { return fmt.Sprintf("db-%d", 1+s.Round%2) }

// Day is so many days from now.
func (s State) Day(n int) string { return time.Now().UTC().AddDate(0, 0, n).Format(time.RFC3339) }

// Hour is so many hours from now.
func (s State) Hour(n int) string {
	return time.Now().UTC().Add(time.Duration(n) * time.Hour).Format(time.RFC3339)
}

// Fill returns a file, filled in.
func (s State) Fill(file string) (string, error) {
	parsed, err := template.ParseFS(files, file)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	if err := parsed.Execute(&out, s); err != nil {
		return "", err
	}
	return out.String(), nil
}

// Install is what a project installs.
type Install struct {
	// Namespace is where it is installed; Given tells that its objects do not say so.
	Namespace string
	Given     bool
	Objects   string
}

// Installs are clean installs of what people run, as the projects ship them.
func Installs() ([]Install, error) {
	var all []Install
	for _, shipped := range []struct {
		project         harness.CRDs
		file, namespace string
		given           bool
	}{
		{harness.ArgoCDInstall, "install.yaml", "argocd", true},
		{harness.CloudNativePGInstall, "cnpg-1.27.0.yaml", "cnpg-system", false},
		{harness.FluxRBAC, "role.yaml", "flux-system", true},
	} {
		manifests, err := shipped.project.Files()
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(manifests, func(f string) bool { return filepath.Base(f) == shipped.file })
		if i < 0 {
			return nil, fmt.Errorf("there is no %s among %v", shipped.file, manifests)
		}
		content, err := os.ReadFile(manifests[i])
		if err != nil {
			return nil, err
		}
		all = append(all, Install{Namespace: shipped.namespace, Given: shipped.given, Objects: string(content)})
	}
	for _, chart := range []struct {
		project   harness.CRDs
		namespace string
	}{{harness.CertManagerChart, "cert-manager"}, {harness.ExternalSecretsChart, "external-secrets"}} {
		objects, err := chart.project.Rendered(chart.namespace)
		if err != nil {
			return nil, err
		}
		all = append(all, Install{Namespace: chart.namespace, Objects: string(objects)})
	}
	return all, nil
}

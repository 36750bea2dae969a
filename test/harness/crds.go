// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/srenix/srenix/test/plane"
)

// CRDs are manifests of a project, as its Go module has them; most of them are
// CustomResourceDefinitions.
type CRDs struct{ module, folder string }

// The projects whose resources srenix reads or acts on. Versions are pinned in
// hack/crds/go.mod.
var (
	ArgoCD          = CRDs{"github.com/argoproj/argo-cd/v3", "manifests/crds"}
	CertManager     = CRDs{"github.com/cert-manager/cert-manager", "deploy/crds"}
	CloudNativePG   = CRDs{"github.com/cloudnative-pg/cloudnative-pg", "config/crd/bases"}
	ExternalSecrets = CRDs{"github.com/external-secrets/external-secrets", "deploy/crds"}
	Flux            = CRDs{"github.com/fluxcd/kustomize-controller", "config/crd/bases"}
	GatewayAPI      = CRDs{"sigs.k8s.io/gateway-api", "config/crd/experimental"}

	// What kubectl srenix report writes for.
	OpenReports = CRDs{"github.com/openreports/reports-api", "config/crd"}

	// What these projects install beside: Deployments, RBAC, webhooks.
	ArgoCDInstall        = CRDs{"github.com/argoproj/argo-cd/v3", "manifests"}
	CloudNativePGInstall = CRDs{"github.com/cloudnative-pg/cloudnative-pg", "releases"}
	FluxRBAC             = CRDs{"github.com/fluxcd/kustomize-controller", "config/rbac"}
)

// Charts of projects that ship no manifests but those.
var (
	CertManagerChart     = CRDs{"github.com/cert-manager/cert-manager", "deploy/charts/cert-manager"}
	ExternalSecretsChart = CRDs{"github.com/external-secrets/external-secrets", "deploy/charts/external-secrets"}
)

// Rendered returns the objects of a chart in a namespace, as test/chart/others prints
// them.
func (c CRDs) Rendered(namespace string) ([]byte, error) {
	folder, err := c.dir()
	if err != nil {
		return nil, err
	}
	root, err := plane.Root()
	if err != nil {
		return nil, err
	}
	render := exec.Command("go", "run", "./others", namespace, folder)
	render.Dir = filepath.Join(root, "test", "chart")
	var stderr bytes.Buffer
	render.Stderr = &stderr
	output, err := render.Output()
	if err != nil {
		return nil, fmt.Errorf("rendering the chart of %s: %w: %s", c.module, err, stderr.String())
	}
	return output, nil
}

// Files fetches the module, unless it is there already, and returns the paths of
// its manifests, sorted.
func (c CRDs) Files() ([]string, error) {
	folder, err := c.dir()
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil {
		return nil, err
	}
	files = slices.DeleteFunc(files, func(file string) bool { return strings.HasPrefix(filepath.Base(file), "kustomization") })
	if len(files) == 0 {
		return nil, fmt.Errorf("module %s has no manifests in %s", c.module, c.folder)
	}
	return files, nil
}

// dir fetches the module and returns the path of its folder.
func (c CRDs) dir() (string, error) {
	root, err := plane.Root()
	if err != nil {
		return "", err
	}
	download := exec.Command("go", "mod", "download", "-json", c.module)
	download.Dir = filepath.Join(root, "hack", "crds")
	output, err := download.Output()
	var module struct{ Dir, Error string }
	if decodeErr := json.Unmarshal(output, &module); decodeErr != nil || module.Error != "" || module.Dir == "" {
		return "", fmt.Errorf("fetching module %s: %w: %s", c.module, err, strings.TrimSpace(module.Error))
	}
	return filepath.Join(module.Dir, filepath.FromSlash(c.folder)), nil
}

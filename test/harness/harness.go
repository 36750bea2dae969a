// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package harness installs srenix from artifacts/ on a local control plane and
// runs its programs beside it, each with the service account that it would have
// in the cluster. An overlay points the Services at loopback and leaves the
// Deployments out; everything else is what users install.
package harness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/srenix/srenix/test/plane"
)

// Namespace is where srenix is installed.
const Namespace = "srenix-system"

// Options are what srenix is installed with.
type Options struct {
	// Configuration is a SrenixConfiguration in YAML; the defaults if empty.
	Configuration string
	// Detached lets the programs outlive this process.
	Detached bool
	// Programs is the directory with the servers' binaries; bin/ if empty.
	Programs string
	// Replicas of the aggregated server, behind a Balancer if more than one.
	Replicas int
	// Upstream has the programs reach kube-apiserver through a Balancer, so that a
	// test can cut their connections.
	Upstream bool
	// Advisor installs what the advisor needs. NewAdvisor makes one.
	Advisor bool
	// ApprovalPage has the first aggregated server serve the approval page.
	ApprovalPage bool
}

// Srenix is an installation.
type Srenix struct {
	Plane     *plane.Plane
	APIServer *Process
	Executor  *Process
	// Replicas are all aggregated servers, of which APIServer is the first.
	Replicas []*Process
	// Balancer is what the APIService leads to, if there are several.
	Balancer *Balancer
	// Upstream is between the programs and kube-apiserver, if that was asked for.
	Upstream  *Balancer
	balancers []*Balancer
	// PageURL is where the approval page is, if that was asked for.
	PageURL    string
	apiPort    int
	configFile string
	options    Options
}

// overlay is the kustomization that makes a local installation of artifacts/.
var overlay = template.Must(template.New("overlay").Parse(`apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: ["{{.Base}}"{{if .Advisor}}, "{{.Advisor}}"{{end}}]
patches:
  - target: {kind: Deployment}
    patch: |
      $patch: delete
      apiVersion: apps/v1
      kind: Deployment
      metadata: {name: any}
  - target: {kind: Service, name: srenix-apiserver}
    patch: |
      - {op: replace, path: /spec, value: {type: ExternalName, externalName: localhost, ports: [{name: api, port: {{.APIPort}}}]}}
  - target: {kind: APIService}
    patch: |
      - {op: replace, path: /spec/service/port, value: {{.APIPort}}}
  - target: {kind: ValidatingWebhookConfiguration}
    patch: |
      - {op: replace, path: /webhooks/0/clientConfig, value: {url: "https://localhost:{{.WebhookPort}}/validate-proposals-approve"}}
      - {op: replace, path: /webhooks/1/clientConfig, value: {url: "https://localhost:{{.WebhookPort}}/validate-approvals"}}
`))

// Install applies the manifests, starts the programs, and waits until the
// aggregated API is available.
func Install(ctx context.Context, p *plane.Plane, options Options) (*Srenix, error) {
	if options.Configuration == "" {
		options.Configuration = "apiVersion: config.srenix.io/v1alpha1\nkind: SrenixConfiguration\n"
	}
	s := &Srenix{Plane: p, options: options, configFile: filepath.Join(p.Dir(), "srenix-configuration.yaml")}
	if err := os.WriteFile(s.configFile, []byte(options.Configuration), 0o600); err != nil {
		return nil, fmt.Errorf("writing the configuration: %w", err)
	}
	if options.Upstream {
		if err := s.installUpstream(); err != nil {
			return nil, err
		}
	}
	if err := s.installServers(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	var err error
	if s.Executor, err = s.NewExecutor(ctx, "srenix-executor-0"); err != nil {
		return nil, err
	}
	for _, process := range append([]*Process{s.Executor}, s.Replicas...) {
		if err := process.Start(); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	if err := s.WaitAvailable(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// drain is how long one of several servers goes on after it was told to stop;
// longer than a Balancer takes to notice.
const drain = 5 * time.Second

// installServers prepares the servers and applies the manifests that lead to them.
func (s *Srenix) installServers(ctx context.Context) error {
	var ports [][2]int
	for range max(1, s.options.Replicas) {
		apiPort, webhookPort, err := FreePorts()
		if err != nil {
			return err
		}
		ports = append(ports, [2]int{apiPort, webhookPort})
	}
	lead := ports[0]
	if len(ports) > 1 {
		for i := range lead {
			var backends []string
			ready := map[string]string{}
			for _, of := range ports {
				backend := loopback(of[i])
				backends = append(backends, backend)
				ready[backend] = fmt.Sprintf("https://localhost:%d/readyz", of[0]) // of the same process
			}
			balancer, err := NewBalancer(backends, func(ctx context.Context, backend string) bool {
				return answers(ctx, insecureProbe, ready[backend]) == ""
			})
			if err != nil {
				return err
			}
			s.balancers = append(s.balancers, balancer)
			if s.Balancer == nil {
				s.Balancer = balancer
			}
			lead[i] = balancer.Port()
		}
	}
	s.apiPort = lead[0]
	if err := s.apply(ctx, lead[0], lead[1]); err != nil {
		return err
	}
	for i, of := range ports {
		server, err := s.NewAPIServer(ctx, fmt.Sprintf("srenix-apiserver-%d", i), of[0], of[1])
		if err != nil {
			return err
		}
		if len(ports) > 1 {
			server.arguments = append(server.arguments, "--shutdown-delay-duration="+drain.String())
		}
		s.Replicas = append(s.Replicas, server)
	}
	s.APIServer = s.Replicas[0]
	if s.options.ApprovalPage {
		port, _, err := FreePorts()
		if err != nil {
			return err
		}
		s.PageURL = fmt.Sprintf("https://localhost:%d", port)
		s.APIServer.arguments = append(s.APIServer.arguments, "--approval-page-bind-address=127.0.0.1", "--approval-page-bind-port="+strconv.Itoa(port))
	}
	return nil
}

// FreePorts returns two different ports that are free now.
func FreePorts() (first, second int, err error) {
	var found [2]int
	for i := range found {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0, 0, fmt.Errorf("looking for a free port: %w", err)
		}
		defer listener.Close()
		found[i] = listener.Addr().(*net.TCPAddr).Port
	}
	return found[0], found[1], nil
}

func (s *Srenix) apply(ctx context.Context, apiPort, webhookPort int) error {
	root, err := plane.Root()
	if err != nil {
		return err
	}
	dir := filepath.Join(s.Plane.Dir(), "overlay")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the overlay's directory: %w", err)
	}
	// kustomize takes bases by relative path only, from where the directory really is.
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return fmt.Errorf("finding the overlay's directory: %w", err)
	}
	base, err := filepath.Rel(dir, filepath.Join(root, "artifacts", "kustomize", "base"))
	if err != nil {
		return fmt.Errorf("finding the base from the overlay: %w", err)
	}
	advisor := ""
	if s.options.Advisor {
		advisor = filepath.Join(filepath.Dir(base), "advisor")
	}
	var rendered strings.Builder
	if err := overlay.Execute(&rendered, map[string]any{"Base": base, "Advisor": advisor, "APIPort": apiPort, "WebhookPort": webhookPort}); err != nil {
		return fmt.Errorf("rendering the overlay: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(rendered.String()), 0o600); err != nil {
		return fmt.Errorf("writing the overlay: %w", err)
	}
	if _, _, err := s.Plane.Kubectl(ctx, "apply", "-k", dir); err != nil {
		return fmt.Errorf("installing srenix: %w", err)
	}
	if _, _, err := s.Plane.Kubectl(ctx, "wait", "--for=condition=Established", "--timeout=30s",
		"crd/approvals.ops.srenix.io", "crd/auditevents.ops.srenix.io", "crd/investigations.ops.srenix.io", "crd/silences.ops.srenix.io",
		"crd/auditcheckpoints.ops.srenix.io"); err != nil {
		return fmt.Errorf("waiting for the CRDs: %w", err)
	}
	return nil
}

// OverlayDir is the kustomization that was applied.
func (s *Srenix) OverlayDir() string { return filepath.Join(s.Plane.Dir(), "overlay") }

// NewAPIServer prepares an aggregated server on the given ports; it is not started.
func (s *Srenix) NewAPIServer(ctx context.Context, name string, apiPort, webhookPort int) (*Process, error) {
	kubeconfig, err := s.ServiceAccountKubeconfig(ctx, "srenix-apiserver")
	if err != nil {
		return nil, err
	}
	return s.newProcess(name, "apiserver",
		"--kubeconfig="+kubeconfig, "--authentication-kubeconfig="+kubeconfig, "--authorization-kubeconfig="+kubeconfig,
		"--bind-address=127.0.0.1", "--secure-port="+strconv.Itoa(apiPort),
		"--webhook-bind-address=127.0.0.1", "--webhook-bind-port="+strconv.Itoa(webhookPort),
		"--namespace="+Namespace, "--config="+s.configFile)
}

// NewReplica prepares a second aggregated server on ports of its own.
func (s *Srenix) NewReplica(ctx context.Context, name string) (process *Process, apiPort int, err error) {
	apiPort, webhookPort, err := FreePorts()
	if err != nil {
		return nil, 0, err
	}
	process, err = s.NewAPIServer(ctx, name, apiPort, webhookPort)
	return process, apiPort, err
}

// APIPort is the loopback port of the first aggregated server.
func (s *Srenix) APIPort() int { return s.apiPort }

// NewExecutor prepares an executor; it is not started.
func (s *Srenix) NewExecutor(ctx context.Context, name string, arguments ...string) (*Process, error) {
	kubeconfig, err := s.ServiceAccountKubeconfig(ctx, "srenix-executor")
	if err != nil {
		return nil, err
	}
	port, _, err := FreePorts()
	if err != nil {
		return nil, err
	}
	metrics := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	arguments = append([]string{
		"--kubeconfig=" + kubeconfig, "--namespace=" + Namespace, "--config=" + s.configFile,
		"--metrics-bind-address=" + metrics, "--health-probe-bind-address=0",
	}, arguments...)
	process, err := s.newProcess(name, "executor", arguments...)
	if err != nil {
		return nil, err
	}
	process.Metrics = metrics
	return process, nil
}

// NewAdvisor prepares an advisor; it is not started, and Close does not stop it.
func (s *Srenix) NewAdvisor(ctx context.Context, name string, arguments ...string) (*Process, error) {
	kubeconfig, err := s.ServiceAccountKubeconfig(ctx, "srenix-advisor")
	if err != nil {
		return nil, err
	}
	port, _, err := FreePorts()
	if err != nil {
		return nil, err
	}
	metrics := loopback(port)
	arguments = append([]string{
		"--kubeconfig=" + kubeconfig, "--namespace=" + Namespace, "--metrics-bind-address=" + metrics, "--health-probe-bind-address=0",
	}, arguments...)
	process, err := s.newProcess(name, "advisor", arguments...)
	if err != nil {
		return nil, err
	}
	process.Metrics = metrics
	return process, nil
}

func (s *Srenix) newProcess(name, program string, arguments ...string) (*Process, error) {
	binary := filepath.Join(s.options.Programs, program)
	if s.options.Programs == "" {
		var err error
		if binary, err = plane.Binary(program); err != nil {
			return nil, err
		}
	}
	return &Process{
		Name: name, binary: binary, arguments: arguments, detached: s.options.Detached,
		LogFile:   filepath.Join(s.Plane.Dir(), "logs", name+".log"),
		AuditFile: filepath.Join(s.Plane.Dir(), "logs", name+".audit.jsonl"),
	}, nil
}

// Close stops the programs.
func (s *Srenix) Close() error {
	var errs []error
	for _, process := range append([]*Process{s.Executor}, s.Replicas...) {
		if process != nil && process.command != nil && process.command.Process != nil {
			errs = append(errs, process.Stop())
		}
	}
	for _, balancer := range s.balancers {
		errs = append(errs, balancer.Close())
	}
	return errors.Join(errs...)
}

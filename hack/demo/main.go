// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Command demo runs srenix's main job on a local control plane, from trouble to
// verified fix, and fails if any step is not as told. Each command is printed
// before its output. It leaves the plane up, or takes it down with DEMO_KEEP=0.
package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/srenix/srenix/test/harness"
	"github.com/srenix/srenix/test/plane"
)

var (
	//go:embed troubles.yaml
	troubles string
	//go:embed configuration.yaml
	configuration string
)

// stepDeadline is how long one step of the story may take.
const stepDeadline = time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, len(os.Args) > 1 && os.Args[1] == "--down")
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case err == nil:
	case interrupted:
		fmt.Fprintln(os.Stderr, "\nInterrupted. Take down what is up with: make demo-down")
		os.Exit(1)
	default:
		fmt.Fprintln(os.Stderr, "\nThe demo failed:", err)
		fmt.Fprintln(os.Stderr, "Look around, or take down what is up with: make demo-down")
		os.Exit(1)
	}
}

func run(ctx context.Context, onlyDown bool) (err error) {
	root, err := plane.Root()
	if err != nil {
		return err
	}
	dir := filepath.Join(root, ".controlplane")
	if _, err := os.Stat(dir); err == nil && !onlyDown {
		fmt.Println("# Taking down the plane of an earlier demo")
	}
	if err := down(dir); err != nil || onlyDown {
		if err == nil {
			fmt.Println("Nothing of the demo is left.")
		}
		return err
	}
	keep := os.Getenv("DEMO_KEEP") != "0"
	defer func() {
		if !keep {
			fmt.Println("\n# DEMO_KEEP=0: taking everything down")
			err = errors.Join(err, down(dir))
		}
	}()
	began := time.Now()
	d := &demo{dir: dir}
	if err := d.setUp(ctx, root); err != nil {
		return err
	}
	if err := d.story(ctx); err != nil {
		return err
	}
	fmt.Printf("\n# Done in %d s.\n", int(time.Since(began).Seconds()))
	if keep {
		fmt.Printf(`
# The plane stays up. Look around:
export KUBECONFIG=%s
export PATH=%s:$PATH
alias kubectl='controlplane kubectl'
kubectl get findings.srenix.io -A -w --output-watch-events
kubectl get proposals -n shop
kubectl create approval --proposal NAME -n shop --kubeconfig %s     # as alice; flags come last
# srenix runs as two local processes; their logs are in
#   %s
# (*.log, and their audit events as JSON lines in *.audit.jsonl)
# and they are configured by
#   %s
# Make a trouble by hand, in another terminal: the watch above shows it after three
# seconds. (Graces are shortened here. As srenix is installed elsewhere, pod zero
# has five minutes to come back.)
kubectl annotate pod orders-db-0 -n shop controlplane.srenix.io/ready=false
# Take it all down with:
make demo-down
`, d.plane.Kubeconfig(), filepath.Join(root, "bin"), d.alice, filepath.Join(dir, "logs"), filepath.Join(dir, "srenix-configuration.yaml"))
	}
	return nil
}

// down ends what an earlier demo left, programs first.
func down(dir string) error {
	if content, err := os.ReadFile(filepath.Join(dir, "programs.pid")); err == nil {
		for _, line := range strings.Fields(string(content)) {
			if pid, err := strconv.Atoi(line); err == nil && isOurs(pid, filepath.Join(filepath.Dir(dir), "bin")) {
				_ = syscall.Kill(pid, syscall.SIGTERM)
			}
		}
	}
	binary, err := plane.Binary("controlplane")
	if err != nil {
		return err
	}
	if output, err := exec.Command(binary, "down", "--dir", dir).CombinedOutput(); err != nil {
		return fmt.Errorf("taking the plane down: %w: %s", err, output)
	}
	return nil
}

// isOurs tells whether a process runs a program from bin, and is not another
// one that was given the same ID since.
func isOurs(pid int, bin string) bool {
	executable, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return err == nil && strings.HasPrefix(executable, bin+string(filepath.Separator))
}

type demo struct {
	dir   string
	plane *plane.Plane
	alice string
}

func (d *demo) setUp(ctx context.Context, root string) error {
	say("A control plane of its own: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, and ten nodes played by kwok")
	binary, err := plane.Binary("controlplane")
	if err != nil {
		return err
	}
	up := exec.CommandContext(ctx, binary, "up", "--dir", d.dir)
	up.Stdout, up.Stderr, up.Dir = os.Stdout, os.Stderr, root
	if err := up.Run(); err != nil {
		return fmt.Errorf("bringing the plane up: %w", err)
	}
	if d.plane, err = plane.Attach(d.dir); err != nil {
		return err
	}
	if d.alice, err = d.plane.UserKubeconfig(ctx, "alice"); err != nil {
		return err
	}

	say("The workloads of a small shop, and a person on call, alice, who may approve")
	if err := d.apply(ctx, troubles); err != nil {
		return err
	}
	for _, workload := range []string{"statefulset/orders-db", "deployment/checkout", "deployment/catalog"} {
		if _, err := d.kubectl(ctx, "rollout", "status", workload, "-n", "shop", "--timeout=30s"); err != nil {
			return err
		}
	}

	say("srenix, installed from artifacts/; its two programs run as local processes, for no container runtime is needed here")
	srenix, err := harness.Install(ctx, d.plane, harness.Options{Configuration: configuration, Detached: true})
	if err != nil {
		return err
	}
	pids := fmt.Sprintf("%d\n%d\n", srenix.APIServer.PID(), srenix.Executor.PID())
	if err := os.WriteFile(filepath.Join(d.dir, "programs.pid"), []byte(pids), 0o600); err != nil {
		return fmt.Errorf("noting the programs: %w", err)
	}
	_, err = d.kubectl(ctx, "get", "apiservice", "v1alpha1.srenix.io")
	return err
}

func (d *demo) story(ctx context.Context) error {
	if err := d.makeTrouble(ctx); err != nil {
		return err
	}
	deletePod, restart, blocked, err := d.look(ctx)
	if err != nil {
		return err
	}
	if err := d.refuse(ctx, blocked); err != nil {
		return err
	}
	return d.approve(ctx, deletePod, restart)
}

func (d *demo) makeTrouble(ctx context.Context) error {
	say("Three troubles: pod zero of the database stops being ready, a ConfigMap changes under running pods, a role grows a wildcard")
	if _, err := d.kubectl(ctx, "annotate", "pod", "orders-db-0", "-n", "shop", "controlplane.srenix.io/ready=false"); err != nil {
		return err
	}
	if _, err := d.kubectl(ctx, "patch", "configmap", "checkout", "-n", "shop", "--type=merge", "-p", `{"data":{"PAYMENT_TIMEOUT":"30s"}}`); err != nil {
		return err
	}
	_, err := d.kubectl(ctx, "create", "clusterrole", "report-builder", "--verb=*", "--resource=pods")
	return err
}

// look waits until everything was found and shows it.
func (d *demo) look(ctx context.Context) (deletePod, restart, blocked string, err error) {
	say("srenix sees them as they happen")
	err = d.eventually(ctx, "all findings and proposals to appear", func(ctx context.Context) (bool, error) {
		proposals, err := d.quiet(ctx, "get", "proposals", "-n", "shop", "-o", `jsonpath={range .items[*]}{.spec.actionKind} {.spec.target.name} {.status.phase} {.metadata.name}{"\n"}{end}`)
		if err != nil {
			return false, err
		}
		for line := range strings.Lines(proposals) {
			var action, target, phase, name string
			if _, err := fmt.Sscan(line, &action, &target, &phase, &name); err != nil {
				continue
			}
			switch {
			case action == "DeletePod" && target == "orders-db-0" && phase == "Open":
				deletePod = name
			case action == "PatchDeploymentAnnotation" && target == "checkout" && phase == "Open":
				restart = name
			case action == "PatchDeploymentAnnotation" && target == "catalog" && phase == "Blocked":
				blocked = name
			}
		}
		roles, err := d.quiet(ctx, "get", "clusterfindings", "--field-selector=spec.subject.name=report-builder", "-o", "name")
		return deletePod != "" && restart != "" && blocked != "" && roles != "", err
	})
	if err != nil {
		return "", "", "", err
	}
	for _, arguments := range [][]string{
		{"get", "findings.srenix.io", "-A"},
		{"get", "clusterfindings"},
		{"get", "proposals", "-A", "-o", "wide"},
		{"describe", "proposal", deletePod, "-n", "shop"},
	} {
		if _, err := d.kubectl(ctx, arguments...); err != nil {
			return "", "", "", err
		}
	}
	return deletePod, restart, blocked, nil
}

// refuse shows a policy layer at work.
func (d *demo) refuse(ctx context.Context, blocked string) error {
	say("catalog is managed by Flux, so its fix belongs in Git: the policy refuses, whoever asks")
	output, err := d.as(ctx, d.alice, "create", "approval", "--proposal", blocked, "-n", "shop", "--yes")
	if err == nil {
		return fmt.Errorf("approving proposal %s was allowed, though its target is managed by Flux", blocked)
	}
	if !strings.Contains(output, "GitOpsManaged") {
		return fmt.Errorf("approving proposal %s was refused, but not by layer GitOpsManaged", blocked)
	}
	return nil
}

// approve carries both fixes through to their verification.
func (d *demo) approve(ctx context.Context, deletePod, restart string) error {
	say("alice approves both repairs")
	var approvals []string
	for _, proposal := range []string{deletePod, restart} {
		output, err := d.as(ctx, d.alice, "create", "approval", "--proposal", proposal, "-n", "shop", "--yes", "--reason", "on call, looks right", "-o", "name")
		if err != nil {
			return err
		}
		name := lastLine(output)
		if !strings.HasPrefix(name, "approval.ops.srenix.io/") {
			return fmt.Errorf("approving proposal %s printed %q, not the name of an Approval", proposal, name)
		}
		approvals = append(approvals, name)
	}
	say("The executor acts, the StatefulSet and Deployment controllers do their part, and srenix verifies that the findings clear and stay so")
	for _, approval := range approvals {
		if _, err := d.kubectl(ctx, "wait", "--for=condition=Verified", approval, "-n", "shop", "--timeout=60s"); err != nil {
			return err
		}
	}
	for _, arguments := range [][]string{
		{"get", "approvals", "-n", "shop"},
		{"get", "pods", "-n", "shop"},
		{"get", "findings.srenix.io", "-n", "shop"},
	} {
		output, err := d.kubectl(ctx, arguments...)
		if err != nil {
			return err
		}
		if arguments[1] == "findings.srenix.io" && (strings.Contains(output, "orders-db") || strings.Contains(output, "Deployment/checkout")) {
			return errors.New("a finding is still there after its fix was verified")
		}
	}
	say("Every decision and action is a link of a hash chain that anybody with the right to read it can check")
	output, err := d.kubectl(ctx, "srenix", "audit", "verify")
	if err != nil {
		return err
	}
	if !strings.Contains(output, "verified") {
		return fmt.Errorf("verifying the audit chain printed %q", output)
	}
	return nil
}

func say(text string) { fmt.Printf("\n# %s\n", text) }

func lastLine(output string) string {
	lines := strings.Split(strings.TrimSpace(output), "\n")
	return lines[len(lines)-1]
}

func (d *demo) kubectl(ctx context.Context, arguments ...string) (string, error) {
	return d.as(ctx, d.plane.Kubeconfig(), arguments...)
}

// as prints and runs a kubectl command, and returns all that it printed.
func (d *demo) as(ctx context.Context, kubeconfig string, arguments ...string) (string, error) {
	shown := make([]string, len(arguments))
	for i, argument := range arguments {
		shown[i] = argument
		if strings.ContainsAny(argument, " *{}\"$<>") {
			shown[i] = "'" + argument + "'"
		}
	}
	prefix := ""
	if kubeconfig == d.alice {
		prefix = "alice"
	}
	fmt.Printf("\n%s$ kubectl %s\n", prefix, strings.Join(shown, " "))
	output, err := d.plane.KubectlCommand(ctx, kubeconfig, arguments...).CombinedOutput()
	_, _ = os.Stdout.Write(output)
	if err != nil {
		return string(output), fmt.Errorf("kubectl %s: %w", strings.Join(shown, " "), err)
	}
	return string(output), nil
}

func (d *demo) quiet(ctx context.Context, arguments ...string) (string, error) {
	output, _, err := d.plane.Kubectl(ctx, arguments...)
	return output, err
}

func (d *demo) apply(ctx context.Context, manifest string) error {
	fmt.Println("\n$ kubectl apply -f hack/demo/troubles.yaml")
	command := d.plane.KubectlCommand(ctx, d.plane.Kubeconfig(), "apply", "-f", "-")
	command.Stdin = strings.NewReader(manifest)
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	if err := command.Run(); err != nil {
		return fmt.Errorf("applying the workloads: %w", err)
	}
	return nil
}

func (d *demo) eventually(ctx context.Context, what string, condition wait.ConditionWithContextFunc) error {
	if err := wait.PollUntilContextTimeout(ctx, 250*time.Millisecond, stepDeadline, true, condition); err != nil {
		_, _ = d.kubectl(ctx, "get", "findings.srenix.io,clusterfindings,proposals", "-A", "-o", "wide")
		return fmt.Errorf("waiting for %s: %w; the programs' logs are in %s", what, err, filepath.Join(d.dir, "logs"))
	}
	return nil
}

// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package plane starts local control planes for tests and the demo. It runs the
// binary of hack/controlplane, which dies with the process that started it, and
// knows nothing of what is tested.
package plane

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// startDeadline is how long a plane may take to be ready, on a busy machine.
const startDeadline = 3 * time.Minute

// Options are what a plane is started with.
type Options struct {
	// Dir is the plane's directory; it must be new or empty.
	Dir string
	// Nodes is the number of nodes; 10 if 0.
	Nodes int
	// Progress gets a line for each thing that is ready; nil drops them.
	Progress io.Writer
}

// Plane is a running control plane.
type Plane struct {
	dir     string
	binary  string
	command *exec.Cmd
	stdin   io.Closer
	done    chan struct{}
	err     error
}

// Root returns the repository's root: the nearest parent of the working
// directory with the module's go.mod.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("finding the repository: %w", err)
	}
	for {
		content, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(content), "module github.com/srenix/srenix\n") {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("finding the repository: no go.mod of github.com/srenix/srenix in any parent directory")
		}
		dir = parent
	}
}

// Binary returns the path of a program that make builds into bin/.
func Binary(name string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	path := filepath.Join(root, "bin", name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%s is not built: run `make build controlplane` first", path)
	}
	return path, nil
}

// Start brings a plane up and waits until it is ready. It goes down with Close,
// or when this process ends, however that comes about.
func Start(ctx context.Context, options Options) (*Plane, error) {
	binary, err := Binary("controlplane")
	if err != nil {
		return nil, err
	}
	if options.Nodes == 0 {
		options.Nodes = 10
	}
	if options.Progress == nil {
		options.Progress = io.Discard
	}
	var output bytes.Buffer
	command := exec.Command(binary, "run", "--exit-with-stdin", "--dir", options.Dir, "--nodes", strconv.Itoa(options.Nodes))
	command.Stderr = io.MultiWriter(options.Progress, &output)
	stdin, err := command.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("starting a plane: %w", err)
	}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("starting a plane: %w", err)
	}
	p := &Plane{dir: options.Dir, binary: binary, command: command, stdin: stdin, done: make(chan struct{})}
	go func() {
		p.err = command.Wait()
		close(p.done)
	}()
	err = wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, startDeadline, true, func(context.Context) (bool, error) {
		select {
		case <-p.done:
			return false, fmt.Errorf("it ended: %w\n%s", p.err, output.String())
		default:
		}
		_, err := p.state()
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("waiting for the plane in %s: %w", options.Dir, err), p.Close())
	}
	return p, nil
}

// Attach returns a plane that `controlplane up` brought up in dir. Close leaves it alone.
func Attach(dir string) (*Plane, error) {
	binary, err := Binary("controlplane")
	if err != nil {
		return nil, err
	}
	p := &Plane{dir: dir, binary: binary}
	if _, err := p.state(); err != nil {
		return nil, fmt.Errorf("attaching to the plane in %s: %w", dir, err)
	}
	return p, nil
}

// state is the part of the plane's state file that clients need.
type state struct {
	Server     string `json:"server"`
	Components []struct {
		Name string `json:"name"`
		PID  int    `json:"pid"`
	} `json:"components"`
}

func (p *Plane) state() (state, error) {
	var s state
	content, err := os.ReadFile(filepath.Join(p.dir, "state.json"))
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(content, &s)
}

// Dir is the plane's directory; logs are in its folder logs.
func (p *Plane) Dir() string { return p.dir }

// Kubeconfig is the path of the admin's kubeconfig.
func (p *Plane) Kubeconfig() string { return filepath.Join(p.dir, "kubeconfig") }

// Config is the admin's client configuration, without client-side rate limits.
func (p *Plane) Config() (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", p.Kubeconfig())
	if err != nil {
		return nil, fmt.Errorf("reading the plane's kubeconfig: %w", err)
	}
	config.QPS = -1
	return config, nil
}

// PIDs returns the process IDs of the plane's components by name.
func (p *Plane) PIDs() (map[string]int, error) {
	s, err := p.state()
	if err != nil {
		return nil, fmt.Errorf("reading the plane's state: %w", err)
	}
	pids := map[string]int{}
	for _, component := range s.Components {
		pids[component.Name] = component.PID
	}
	return pids, nil
}

// Control does something to a component: start, stop, restart, kill, pause or resume.
func (p *Plane) Control(ctx context.Context, verb, component string) error {
	output, err := exec.CommandContext(ctx, p.binary, verb, component, "--dir", p.dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", verb, component, err, bytes.TrimSpace(output))
	}
	return nil
}

// UserKubeconfig writes a kubeconfig of a user with a client certificate and returns its path.
func (p *Plane) UserKubeconfig(ctx context.Context, user string, groups ...string) (string, error) {
	arguments := []string{"kubeconfig", "--dir", p.dir, "--user", user}
	for _, group := range groups {
		arguments = append(arguments, "--group", group)
	}
	output, err := exec.CommandContext(ctx, p.binary, arguments...).Output()
	if err != nil {
		return "", fmt.Errorf("writing the kubeconfig of %s: %w", user, err)
	}
	return strings.TrimSpace(string(output)), nil
}

// KubectlCommand returns the plane's own kubectl, which finds plugins in bin/.
func (p *Plane) KubectlCommand(ctx context.Context, kubeconfig string, arguments ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, p.binary, append([]string{"kubectl"}, arguments...)...)
	command.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "PATH="+filepath.Dir(p.binary)+string(os.PathListSeparator)+os.Getenv("PATH"))
	return command
}

// Kubectl runs the plane's own kubectl as the admin.
func (p *Plane) Kubectl(ctx context.Context, arguments ...string) (stdout, stderr string, err error) {
	return p.KubectlAs(ctx, p.Kubeconfig(), arguments...)
}

// KubectlAs runs the plane's own kubectl as the user of a kubeconfig.
func (p *Plane) KubectlAs(ctx context.Context, kubeconfig string, arguments ...string) (stdout, stderr string, err error) {
	return RunCommand(p.KubectlCommand(ctx, kubeconfig, arguments...))
}

// RunCommand runs a command and returns what it printed; the error holds what
// it printed to standard error.
func RunCommand(command *exec.Cmd) (stdout, stderr string, err error) {
	var out, errOut bytes.Buffer
	command.Stdout, command.Stderr = &out, &errOut
	if err = command.Run(); err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(command.Args, " "), err, strings.TrimSpace(errOut.String()))
	}
	return out.String(), errOut.String(), err
}

// Close takes the plane down and waits until its processes are gone.
func (p *Plane) Close() error {
	if p.command == nil {
		return nil
	}
	if err := p.stdin.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("ending the plane: %w", err)
	}
	<-p.done
	return os.RemoveAll(p.dir)
}

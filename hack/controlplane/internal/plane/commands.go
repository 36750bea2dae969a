// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package plane

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// Execute runs the management command that the arguments name and returns an exit code.
func Execute() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer stop()
	root := &cobra.Command{
		Use:   "controlplane",
		Short: "A local Kubernetes control plane in one binary",
		Long: `Manages local control planes: etcd, kube-apiserver, kube-controller-manager,
kube-scheduler and kwok, on free loopback ports, with fresh certificates.
The components and kubectl are in this binary too: controlplane kubectl get nodes.`,
		SilenceUsage: true,
	}
	dir := os.Getenv("CONTROLPLANE_DIR")
	if dir == "" {
		dir = ".controlplane"
	}
	root.PersistentFlags().StringVar(&dir, "dir", dir, "The plane's directory. Defaults to $CONTROLPLANE_DIR.")
	at := func() (layout, error) {
		absolute, err := filepath.Abs(dir)
		return layout{dir: absolute}, err
	}
	root.AddCommand(newRunCommand(at), newUpCommand(at), newDownCommand(at), newStatusCommand(at), newKubeconfigCommand(at))
	for verb, short := range map[string]string{
		"start":   "Start a component that was stopped, and wait until it is ready",
		"stop":    "Stop a component and wait for its end",
		"restart": "Stop a component, start it on the same port, and wait until it is ready",
		"kill":    "Kill a component with SIGKILL",
		"pause":   "Stop a component in its tracks (SIGSTOP)",
		"resume":  "Let a paused component go on",
	} {
		root.AddCommand(newActCommand(at, verb, short))
	}
	if err := root.ExecuteContext(ctx); err != nil {
		return 1
	}
	return 0
}

func newRunCommand(at func() (layout, error)) *cobra.Command {
	var nodes int
	var exitWithStdin bool
	command := &cobra.Command{
		Use: "run", Short: "Bring a plane up and keep it until interrupted", Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			l, err := at()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithCancel(command.Context())
			defer cancel()
			if exitWithStdin {
				go func() {
					// The other end is held by a parent; it closes when the parent ends, however.
					_, _ = io.Copy(io.Discard, os.Stdin)
					cancel()
				}()
			}
			return run(ctx, l.dir, nodes, os.Stderr)
		},
	}
	command.Flags().IntVar(&nodes, "nodes", 10, "Number of nodes.")
	command.Flags().BoolVar(&exitWithStdin, "exit-with-stdin", false, "Take the plane down when standard input ends.")
	return command
}

func newKubeconfigCommand(at func() (layout, error)) *cobra.Command {
	var user, out string
	var groups []string
	command := &cobra.Command{
		Use: "kubeconfig", Short: "Write a kubeconfig of a user with a client certificate", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			l, state, err := running(at)
			if err != nil {
				return err
			}
			if out == "" {
				out = filepath.Join(l.dir, user+".kubeconfig")
			}
			if err := l.writeKubeconfig(out, state.Server, user, groups); err != nil {
				return err
			}
			fmt.Println(out)
			return nil
		},
	}
	command.Flags().StringVar(&user, "user", "", "The user's name.")
	command.Flags().StringArrayVar(&groups, "group", nil, "A group of the user; may be repeated.")
	command.Flags().StringVar(&out, "out", "", "The file to write. Defaults to USER.kubeconfig in the plane's directory.")
	_ = command.MarkFlagRequired("user")
	return command
}

func newActCommand(at func() (layout, error), verb, short string) *cobra.Command {
	return &cobra.Command{
		Use: verb + " COMPONENT", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, arguments []string) error {
			_, state, err := running(at)
			if err != nil {
				return err
			}
			return request(command.Context(), state.Socket, verb, arguments[0])
		},
	}
}

func newStatusCommand(at func() (layout, error)) *cobra.Command {
	var output string
	command := &cobra.Command{
		Use: "status", Short: "Show a plane's components", Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			l, state, err := running(at)
			if err != nil {
				return err
			}
			l.inspect(command.Context(), &state)
			switch output {
			case "json":
				encoder := json.NewEncoder(os.Stdout)
				encoder.SetIndent("", "  ")
				return encoder.Encode(state)
			case "text":
				table := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
				fmt.Fprintln(table, "COMPONENT\tPID\tPORT\tHEALTHY\tRSS (MiB)\tLOG")
				for _, c := range state.Components {
					fmt.Fprintf(table, "%s\t%d\t%d\t%t\t%d\t%s\n", c.Name, c.PID, c.Port, c.Healthy, c.RSSMiB, c.Log)
				}
				return table.Flush()
			}
			return fmt.Errorf("--output %q: must be text or json", output)
		},
	}
	command.Flags().StringVarP(&output, "output", "o", "text", "text or json.")
	return command
}

// running returns the plane's layout and state, or an error that says how to get one.
func running(at func() (layout, error)) (layout, State, error) {
	l, err := at()
	if err != nil {
		return layout{}, State{}, err
	}
	state, found, err := readState(l)
	if err != nil {
		return layout{}, State{}, err
	}
	if !found || !alive(state.PID) {
		return layout{}, State{}, fmt.Errorf("no plane runs in %s: run `controlplane up --dir %s`", l.dir, l.dir)
	}
	return l, state, nil
}

// inspect fills in what only a look at the running plane tells.
func (l layout) inspect(ctx context.Context, state *State) {
	known, err := components(l, ports{})
	if err != nil {
		return
	}
	for i := range state.Components {
		c := &state.Components[i]
		c.RSSMiB = residentMiB(c.PID)
		for _, k := range known {
			if k.name == c.Name {
				k.port = c.Port
				c.Healthy = l.healthy(ctx, k) == nil
			}
		}
	}
}

// residentMiB reads a process's resident memory; 0 where it cannot be read.
func residentMiB(pid int) int64 {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(content)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
			return kib / 1024
		}
	}
	return 0
}

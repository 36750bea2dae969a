// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	clocktesting "k8s.io/utils/clock/testing"
)

// deadline bounds what should take no time.
const deadline = 10 * time.Second

func TestPlainShowsEverythingAndDoesNothing(t *testing.T) {
	for text, want := range map[string]string{
		"Grüße, 世界 ✓":         "Grüße, 世界 ✓",
		"two\nlines\tand tab": "two lines and tab",
		"\x1b[31mred\r":       `\u001b[31mred\u000d`,
		"\u202eright to left": `\u202eright to left`,
		"\xff":                `\ufffd`,
	} {
		if diff := cmp.Diff(want, Plain(text)); diff != "" {
			t.Errorf("(-want +have)\n%s", diff)
		}
	}
}

func TestReport(t *testing.T) {
	gone := apierrors.NewNotFound(schema.GroupResource{Group: "srenix.io", Resource: "proposals"}, "x")
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"an error of our own":    {errors.New("no"), "error: no\n"},
		"a server's error":       {fmt.Errorf("reading: %w", gone), "Error from server (NotFound): reading: proposals.srenix.io \"x\" not found\n"},
		"with a hint":            {fmt.Errorf("outer: %w", WithHint(gone, "Do this.\nOr that.")), "Error from server (NotFound): outer: proposals.srenix.io \"x\" not found\nDo this.\nOr that.\n"},
		"with lines and escapes": {errors.New("one\ntwo\x1b"), "error: one\ntwo\\u001b\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			Report(&out, test.err)
			if diff := cmp.Diff(test.want, out.String()); diff != "" {
				t.Errorf("(-want +have)\n%s", diff)
			}
		})
	}
}

func TestRun(t *testing.T) {
	for name, test := range map[string]struct {
		argv           []string
		code           int
		stdout, stderr string
	}{
		"success":         {argv: []string{"kubectl-x", "good"}, stdout: "good\n"},
		"failure":         {argv: []string{"kubectl-x", "bad"}, code: 1, stderr: "error: bad\n"},
		"an unknown flag": {argv: []string{"kubectl-x", "--what"}, code: 1, stderr: "error: unknown flag: --what\nSee 'kubectl x --help' for help and examples.\n"},
		"completion":      {argv: []string{"/bin/kubectl_complete-x", ""}, stdout: "word\n:4\n", stderr: "Completion ended with directive: ShellCompDirectiveNoFileComp\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			command := &cobra.Command{
				Use:               "kubectl-x",
				Annotations:       map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl x"},
				ValidArgsFunction: cobra.FixedCompletions([]string{"word"}, cobra.ShellCompDirectiveNoFileComp),
				RunE: func(command *cobra.Command, arguments []string) error {
					text := strings.Join(arguments, " ")
					if text != "good" {
						return errors.New(text)
					}
					_, err := fmt.Fprintln(command.OutOrStdout(), text)
					return err
				},
			}
			code := Run(command, genericiooptions.IOStreams{In: strings.NewReader(""), Out: &stdout, ErrOut: &stderr}, test.argv)
			if code != test.code || stdout.String() != test.stdout || stderr.String() != test.stderr {
				t.Errorf("exit code %d, output %q, errors %q; want %d, %q, %q", code, stdout.String(), stderr.String(), test.code, test.stdout, test.stderr)
			}
		})
	}
}

// lines hands each write to the test.
type lines chan string

// Write implements io.Writer.
func (l lines) Write(data []byte) (int, error) {
	l <- string(data)
	return len(data), nil
}

func TestProgressSpeaksAfterASecondAndThenLessAndLess(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Unix(0, 0))
	written := make(lines)
	stop := Progress(written, clock, func() string { return fmt.Sprint(clock.Now().Unix()) })
	for _, want := range []struct {
		step time.Duration
		line string
	}{{time.Second, "1\n"}, {2 * time.Second, "3\n"}, {4 * time.Second, "7\n"}} {
		await(t, clock.HasWaiters)
		clock.Step(want.step - time.Millisecond)
		if !clock.HasWaiters() {
			t.Fatalf("it spoke before %s had passed", want.step)
		}
		clock.Step(time.Millisecond)
		select {
		case have := <-written:
			if have != want.line {
				t.Errorf("it said %q, want %q", have, want.line)
			}
		case <-time.After(deadline):
			t.Fatalf("it said nothing after %s", want.step)
		}
	}
	stop()
	if clock.HasWaiters() {
		t.Error("a timer was left behind")
	}
}

func await(t *testing.T, condition func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), time.Millisecond, deadline, true, func(context.Context) (bool, error) { return condition(), nil })
	if err != nil {
		t.Fatalf("the condition did not come true: %v", err)
	}
}

// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package survive

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/utils/clock"

	"github.com/srenix/srenix/pkg/apiserver"
	"github.com/srenix/srenix/test/harness"
)

// long is a grace that passes in no test, unless the clock is set.
const long = `
apiVersion: config.srenix.io/v1alpha1
kind: SrenixConfiguration
analyzers:
  PendingPods: {grace: 1h}
`

// setClock is the real clock, set ahead or back by some seconds as the clock of a
// machine is: how long ago something was stays what it is.
type setClock struct {
	clock.RealClock
	seconds atomic.Int64
}

func (c *setClock) Now() time.Time {
	now := time.Now()
	// The first word of a time with a monotonic reading has the seconds of the time of
	// day above 30 bits of nanoseconds. No function of package time sets these alone.
	*(*uint64)(unsafe.Pointer(&now)) += uint64(c.seconds.Load()) << 30
	return now
}

func TestASetClockIsSetAsThatOfAMachine(t *testing.T) {
	c := &setClock{}
	for _, set := range []time.Duration{time.Hour, -time.Hour} {
		before := c.Now()
		c.seconds.Add(int64(set / time.Second))
		after := c.Now()
		if moved := after.Round(0).Sub(before.Round(0)); (moved - set).Abs() > time.Minute {
			t.Errorf("the time of day moved by %s, want %s", moved, set)
		}
		if passed := after.Sub(before); passed < 0 || passed > time.Minute {
			t.Errorf("%s have passed, want next to nothing", passed)
		}
	}
}

// runHere runs a server with a clock in this process until the end of the test.
func (s *installation) runHere(c clock.WithTicker) dynamic.Interface {
	s.Helper()
	kubeconfig, err := s.srenix.ServiceAccountKubeconfig(s.Context(), "srenix-apiserver")
	must(s.T, err)
	file := filepath.Join(s.TempDir(), "srenix.yaml")
	must(s.T, os.WriteFile(file, []byte(long), 0o600))
	port, webhookPort, err := harness.FreePorts()
	must(s.T, err)
	options := apiserver.NewOptions()
	flags := pflag.NewFlagSet("apiserver", pflag.ContinueOnError)
	options.AddFlags(flags)
	must(s.T, flags.Parse([]string{
		"--kubeconfig=" + kubeconfig, "--authentication-kubeconfig=" + kubeconfig, "--authorization-kubeconfig=" + kubeconfig,
		"--bind-address=127.0.0.1", "--secure-port=" + strconv.Itoa(port),
		"--webhook-bind-address=127.0.0.1", "--webhook-bind-port=" + strconv.Itoa(webhookPort),
		"--namespace=" + harness.Namespace, "--config=" + file,
	}))
	ctx, cancel := context.WithCancel(context.Background())
	config, err := options.Config(ctx)
	must(s.T, err)
	config.Extra.Clock = c
	server, err := config.Complete(ctx)
	must(s.T, err)
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	s.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			s.Errorf("running a server here: %v", err)
		}
	})
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	s.eventually("the server to be ready", func(ctx context.Context) (bool, string) {
		_, err := s.get(ctx, address, "/readyz")
		return err == nil, fmt.Sprint(err)
	})
	return s.direct(address)
}

// TestAClockThatIsSetLeavesNothingBehind sets the clock of one of two servers ahead and
// back. While it is wrong it says what is so by its clock; afterwards both say the same,
// and what is right.
func TestAClockThatIsSetLeavesNothingBehind(t *testing.T) {
	s := install(t, harness.Options{Configuration: long})
	c := &setClock{}
	here := s.runHere(c)
	there := s.direct(net.JoinHostPort("127.0.0.1", strconv.Itoa(s.srenix.APIPort())))
	_, err := s.kube.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	must(t, err)
	_, err = s.kube.CoreV1().Pods(namespace).Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "nowhere"},
		Spec:       corev1.PodSpec{NodeSelector: map[string]string{"no": "node"}, Containers: template("nowhere").Spec.Containers},
	}, metav1.CreateOptions{})
	must(t, err)
	pending := func(of dynamic.Interface, want bool) {
		t.Helper()
		s.eventually(fmt.Sprintf("the pending pod to be found: %t", want), func(ctx context.Context) (bool, string) {
			found, err := about(ctx, of, "nowhere")
			return err == nil && (found != nil) == want, fmt.Sprint(found, err)
		})
	}
	wide := func(i int) time.Time {
		t.Helper()
		made, err := s.kube.RbacV1().Roles(namespace).Create(t.Context(), role(i, "*"), metav1.CreateOptions{})
		must(t, err)
		return made.CreationTimestamp.Time
	}
	since := func(of dynamic.Interface, i int, is func(time.Time) bool) {
		t.Helper()
		s.eventually("the wide Role to be found, and since when it should be", func(ctx context.Context) (bool, string) {
			found, err := about(ctx, of, role(i, "").Name)
			if found == nil || err != nil {
				return false, fmt.Sprint(found, err)
			}
			return is(found.GetCreationTimestamp().Time), found.GetCreationTimestamp().String()
		})
	}
	const wrong = 2 * time.Hour

	c.seconds.Store(int64(wrong / time.Second))
	pending(here, true)
	pending(there, false)
	ahead := wide(0)
	since(here, 0, ahead.Equal)
	c.seconds.Store(0)
	pending(here, false)

	c.seconds.Store(-int64(wrong / time.Second))
	behind := wide(1)
	early := func(at time.Time) bool { return at.Before(behind.Add(-wrong / 2)) }
	since(here, 1, early)
	since(there, 1, early) // the earliest counts, for as long as somebody vouches for it
	c.seconds.Store(0)
	for _, of := range []dynamic.Interface{here, there} {
		since(of, 0, ahead.Equal)
		since(of, 1, behind.Equal)
		pending(of, false)
	}
	s.eventually("both servers to say the same", func(ctx context.Context) (bool, string) {
		one, err := s.said(ctx, here)
		if err != nil {
			return false, err.Error()
		}
		other, err := s.said(ctx, there)
		return err == nil && cmp.Equal(one, other), fmt.Sprint(err, cmp.Diff(one, other))
	})
}

// about returns the finding about a subject of the test's namespace, or nil.
func about(ctx context.Context, client dynamic.Interface, subject string) (*unstructured.Unstructured, error) {
	list, err := client.Resource(findings).Namespace(namespace).List(ctx, metav1.ListOptions{FieldSelector: "spec.subject.name=" + subject})
	if err != nil || len(list.Items) == 0 {
		return nil, err
	}
	return &list.Items[0], nil
}

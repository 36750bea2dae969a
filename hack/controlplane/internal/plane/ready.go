// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package plane

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	// readyDeadline is how long a component may take to answer.
	readyDeadline = 90 * time.Second
	pollInterval  = 50 * time.Millisecond
)

// errEnded says that a component ended while it was waited for.
var errEnded = errors.New("it ended")

// waitReady polls a component's health endpoint until it answers 200. The
// component's end is an error, unless watch starts it again.
func (s *supervisor) waitReady(ctx context.Context, c component, watched bool) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, pollInterval, readyDeadline, true, func(ctx context.Context) (bool, error) {
		s.mu.Lock()
		p, halted := s.processes[c.name], s.halted[c.name]
		s.mu.Unlock()
		switch {
		case p == nil || halted:
			return false, errors.New("it was stopped")
		case p.ended():
			last = fmt.Errorf("%w: %w", errEnded, p.err)
			if !watched {
				return false, last
			}
		default:
			last = s.layout.healthy(ctx, c)
		}
		return last == nil, nil
	})
	switch {
	case errors.Is(err, errEnded):
		return fmt.Errorf("waiting for %s: %w; the end of its log:\n%s", c.name, err, logTail(s.layout.log(c.name)))
	case err != nil:
		return fmt.Errorf("waiting for %s: %w; the end of its log:\n%s", c.name, errors.Join(err, last), logTail(s.layout.log(c.name)))
	}
	s.report("%s is ready", c.name)
	return nil
}

// healthy asks a component's health endpoint once, as the plane's admin.
func (l layout) healthy(ctx context.Context, c component) error {
	transport := &http.Transport{DisableKeepAlives: true}
	if c.scheme == "https" {
		config, err := clientcmd.BuildConfigFromFlags("", l.kubeconfig())
		if err != nil {
			return fmt.Errorf("reading the kubeconfig: %w", err)
		}
		pair, err := tls.X509KeyPair(config.CertData, config.KeyData)
		if err != nil {
			return fmt.Errorf("reading the client certificate: %w", err)
		}
		// Health is asked on loopback, of a port that this plane chose.
		transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}} //nolint:gosec
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url(c.scheme, c.port)+c.healthPath, nil)
	if err != nil {
		return fmt.Errorf("asking for health: %w", err)
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return fmt.Errorf("asking for health: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("asking for health: %s", response.Status)
	}
	return nil
}

func (s *supervisor) client() (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", s.layout.kubeconfig())
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	return kubernetes.NewForConfig(config)
}

// createNodes creates the nodes that kwok plays.
func (s *supervisor) createNodes(ctx context.Context) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	capacity := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("32"), corev1.ResourceMemory: resource.MustParse("256Gi"), corev1.ResourcePods: resource.MustParse("10000"),
	}
	for i := range s.nodes {
		name := fmt.Sprintf("node-%02d", i)
		_, err := client.CoreV1().Nodes().Create(ctx, &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{
				Name:        name,
				Annotations: map[string]string{"kwok.x-k8s.io/node": "fake"},
				Labels: map[string]string{
					"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", "type": "kwok",
				},
			},
			Status: corev1.NodeStatus{Capacity: capacity, Allocatable: capacity},
		}, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("creating node %s: %w", name, err)
		}
	}
	return nil
}

// waitNodes waits until every node is Ready and the default service account exists.
func (s *supervisor) waitNodes(ctx context.Context) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	ready := 0
	var last error
	err = wait.PollUntilContextTimeout(ctx, pollInterval, readyDeadline, true, func(ctx context.Context) (bool, error) {
		nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		last = err
		if err != nil {
			return false, nil //nolint:nilerr // Asked again until the deadline.
		}
		ready = 0
		for _, node := range nodes.Items {
			for _, condition := range node.Status.Conditions {
				if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
					ready++
				}
			}
		}
		if ready < s.nodes {
			return false, nil
		}
		_, last = client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("waiting for %d nodes to be Ready, have %d: %w; see %s", s.nodes, ready, errors.Join(err, last), s.layout.log("kwok"))
	}
	s.report("%d nodes are Ready", ready)
	return nil
}

// logTail returns the last lines of a log.
func logTail(file string) string {
	const most = 4 << 10
	f, err := os.Open(file)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > most {
		if _, err := f.Seek(-most, io.SeekEnd); err != nil {
			return err.Error()
		}
	}
	content, err := io.ReadAll(f)
	if err != nil {
		return err.Error()
	}
	return string(bytes.TrimSpace(content))
}

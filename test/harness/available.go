// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// availableDeadline is how long the aggregated API may take to be available.
const availableDeadline = time.Minute

// WaitAvailable waits until kube-apiserver reaches the aggregated API.
func (s *Srenix) WaitAvailable(ctx context.Context) error {
	var last string
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, availableDeadline, true, func(ctx context.Context) (bool, error) {
		if s.APIServer.Ended() {
			return false, errors.New("it ended")
		}
		output, _, err := s.Plane.Kubectl(ctx, "get", "apiservice", "v1alpha1.srenix.io", "-o", "json")
		if err != nil {
			last = err.Error()
			return false, nil //nolint:nilerr // Asked again until the deadline.
		}
		var service struct {
			Spec   struct{ CABundle []byte }
			Status struct {
				Conditions []struct{ Type, Status, Message string }
			}
		}
		if err := json.Unmarshal([]byte(output), &service); err != nil {
			return false, fmt.Errorf("reading the APIService: %w", err)
		}
		for _, condition := range service.Status.Conditions {
			if condition.Type == "Available" && condition.Status != "True" {
				last = condition.Message
				return false, nil
			}
		}
		// The condition is as of the aggregator's last look. What a Service's
		// endpoints would follow in a cluster is the server's own readiness.
		last = ready(ctx, s.apiPort, service.Spec.CABundle)
		return last == "", nil
	})
	if err != nil {
		return fmt.Errorf("waiting for the aggregated API: %w (%s); the end of the server's log:\n%s", err, last, s.APIServer.LogTail())
	}
	return nil
}

// ready asks a server for its readiness and returns why it is not, or nothing.
func ready(ctx context.Context, port int, ca []byte) string {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots}}}
	return answers(ctx, client, fmt.Sprintf("https://localhost:%d/readyz", port))
}

// insecureProbe asks as a kubelet does, which does not verify certificates either.
// A probe may be slow while a machine starts another server, but less so than drain.
var insecureProbe = &http.Client{
	Timeout:   3 * time.Second,
	Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
}

func answers(ctx context.Context, client *http.Client, url string) (problem string) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err.Error()
	}
	response, err := client.Do(request)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "readyz: " + response.Status
	}
	return ""
}

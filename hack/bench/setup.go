// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/srenix/srenix/test/harness"
	"github.com/srenix/srenix/test/plane"
)

const (
	// configuration is what srenix runs with: the defaults, as in production.
	configuration = "apiVersion: config.srenix.io/v1alpha1\nkind: SrenixConfiguration\n"
	// readyDeadline is how long a program may take to have its first complete answer.
	readyDeadline = 5 * time.Minute
	// pollInterval is how precisely the end of a start is seen.
	pollInterval = 10 * time.Millisecond
	findingsPath = "/apis/srenix.io/v1alpha1/findings"
)

var apiServiceResource = schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"}

// bench is everything that measurements share.
type bench struct {
	options  options
	progress *progress
	report   report

	plane   *plane.Plane
	srenix  *harness.Srenix
	cluster *cluster
	// running tells whether srenix's server runs.
	running bool
	// started are the starts and live heaps measured at each size, smallest first.
	started []sizeStarts
	// emptyStart is how long the server takes to be ready on an empty plane.
	emptyStart time.Duration

	// kube speaks protobuf with kube-apiserver, without a rate limit; twin does the
	// same on a connection of its own.
	kube, twin kubernetes.Interface
	// admin reaches kube-apiserver, and through it srenix; direct reaches
	// srenix's server itself. Neither asks for compression.
	admin, direct *rest.Config
	// adminHTTP and directHTTP are their connections.
	adminHTTP, directHTTP *http.Client
}

// setUp starts a plane without controllers, and installs srenix; its server does
// not run afterwards.
func (b *bench) setUp(ctx context.Context, dir string) error {
	b.progress.say("starting a control plane")
	var err error
	if b.plane, err = plane.Start(ctx, plane.Options{Dir: dir}); err != nil {
		return err
	}
	if b.admin, err = b.plane.Config(); err != nil {
		return err
	}
	b.admin.DisableCompression = true
	protobuf := rest.CopyConfig(b.admin)
	protobuf.ContentType = runtime.ContentTypeProtobuf
	protobuf.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	if b.kube, err = kubernetes.NewForConfig(protobuf); err != nil {
		return fmt.Errorf("making a client of kube-apiserver: %w", err)
	}
	protobuf.Dial = (&net.Dialer{}).DialContext
	if b.twin, err = kubernetes.NewForConfig(protobuf); err != nil {
		return fmt.Errorf("making a second client of kube-apiserver: %w", err)
	}
	if b.adminHTTP, err = rest.HTTPClientFor(b.admin); err != nil {
		return fmt.Errorf("making an HTTP client of kube-apiserver: %w", err)
	}
	b.progress.say("installing srenix")
	if b.srenix, err = harness.Install(ctx, b.plane, harness.Options{Configuration: configuration}); err != nil {
		return err
	}
	b.running = true
	// The executor is not measured, and would act on what the benchmark approves.
	if err := b.srenix.Executor.Stop(); err != nil {
		return err
	}
	if err := b.connect(ctx); err != nil {
		return err
	}
	if err := b.describe(ctx); err != nil {
		return err
	}
	if err := b.stopServer(); err != nil {
		return err
	}
	// Pods are written with their status; nobody may correct them.
	for _, component := range []string{"kwok", "kube-scheduler", "kube-controller-manager"} {
		if err := b.plane.Control(ctx, "stop", component); err != nil {
			return err
		}
	}
	b.cluster = newCluster(b.kube)
	return nil
}

// connect makes the clients that reach srenix's server without the aggregator.
func (b *bench) connect(ctx context.Context) error {
	body, err := b.kube.Discovery().RESTClient().Get().SetHeader("Accept", runtime.ContentTypeJSON).
		AbsPath("/apis/apiregistration.k8s.io/v1/apiservices/v1alpha1.srenix.io").DoRaw(ctx)
	if err != nil {
		return fmt.Errorf("reading the APIService: %w", err)
	}
	var service struct{ Spec struct{ CABundle []byte } }
	if err := json.Unmarshal(body, &service); err != nil {
		return fmt.Errorf("reading the APIService: %w", err)
	}
	b.direct = rest.CopyConfig(b.admin)
	b.direct.Host = "https://localhost:" + strconv.Itoa(b.srenix.APIPort())
	b.direct.CAFile, b.direct.CAData = "", service.Spec.CABundle
	if b.directHTTP, err = rest.HTTPClientFor(b.direct); err != nil {
		return fmt.Errorf("making an HTTP client of srenix's server: %w", err)
	}
	return nil
}

// describe notes what is measured.
func (b *bench) describe(ctx context.Context) error {
	kubernetesVersion, err := b.kube.Discovery().ServerVersion()
	if err != nil {
		return fmt.Errorf("asking kube-apiserver for its version: %w", err)
	}
	b.report.kubernetesVersion = kubernetesVersion.GitVersion
	body, err := get(ctx, b.directHTTP, b.direct.Host+"/version")
	if err != nil {
		return fmt.Errorf("asking srenix's server for its version: %w", err)
	}
	var version struct{ GitVersion string }
	if err := json.Unmarshal(body, &version); err != nil {
		return fmt.Errorf("reading the version of srenix's server: %w", err)
	}
	b.report.srenixVersion = version.GitVersion
	return nil
}

func (b *bench) stopServer() error {
	if !b.running {
		return nil
	}
	b.running = false
	// A connection that is kept would fail the first request to the next process.
	b.directHTTP.CloseIdleConnections()
	return b.srenix.APIServer.Stop()
}

// startServer starts srenix's server and waits for its first complete answer.
func (b *bench) startServer(ctx context.Context) error {
	if b.running {
		return nil
	}
	if err := b.srenix.APIServer.Start(); err != nil {
		return err
	}
	b.running = true
	var last error
	err := wait.PollUntilContextTimeout(ctx, pollInterval, readyDeadline, true, func(ctx context.Context) (bool, error) {
		if b.srenix.APIServer.Ended() {
			return false, errors.New("it ended")
		}
		if _, last = get(ctx, b.directHTTP, b.direct.Host+"/readyz"); last != nil {
			return false, nil //nolint:nilerr // Asked again until the deadline.
		}
		var have int
		if have, last = b.countFindings(ctx); last != nil {
			return false, nil //nolint:nilerr // Asked again until the deadline.
		}
		last = fmt.Errorf("%d findings, want %d", have, b.cluster.troubles)
		return have == b.cluster.troubles, nil
	})
	if err != nil {
		return fmt.Errorf("waiting for the first complete answer: %w (%w); the end of the server's log:\n%s", err, last, b.srenix.APIServer.LogTail())
	}
	return nil
}

// awaitAggregated waits until kube-apiserver proxies to the server again. After
// an outage it looks again only after a while, or when the APIService changes.
func (b *bench) awaitAggregated(ctx context.Context) error {
	const lookAgain = time.Second
	client, err := b.dynamicClient()
	if err != nil {
		return err
	}
	var touched time.Time
	var last error
	err = wait.PollUntilContextTimeout(ctx, pollInterval, readyDeadline, true, func(ctx context.Context) (bool, error) {
		if _, last = get(ctx, b.adminHTTP, b.admin.Host+findingsPath); last == nil {
			return true, nil
		}
		if time.Since(touched) < lookAgain {
			return false, nil
		}
		touched = time.Now()
		patch := fmt.Appendf(nil, `{"metadata":{"annotations":{"%s/touched":%q}}}`, benchGroup, touched.Format(time.RFC3339Nano))
		_, err := client.Resource(apiServiceResource).Patch(ctx, "v1alpha1.srenix.io", types.MergePatchType, patch, metav1.PatchOptions{})
		return false, err
	})
	if err != nil {
		return fmt.Errorf("waiting for the aggregated API: %w (%w)", err, last)
	}
	return nil
}

// countFindings asks srenix's server itself.
func (b *bench) countFindings(ctx context.Context) (int, error) {
	body, err := get(ctx, b.directHTTP, b.direct.Host+findingsPath)
	if err != nil {
		return 0, err
	}
	var list struct{ Items []struct{} }
	if err := json.Unmarshal(body, &list); err != nil {
		return 0, fmt.Errorf("reading the findings: %w", err)
	}
	return len(list.Items), nil
}

// awaitFindings makes a number of workloads have trouble, and waits until the
// server, which runs, says so.
func (b *bench) awaitFindings(ctx context.Context, count int) error {
	if err := b.cluster.setTroubles(ctx, count); err != nil {
		return err
	}
	have := 0
	err := wait.PollUntilContextTimeout(ctx, pollInterval, readyDeadline, true, func(ctx context.Context) (_ bool, err error) {
		have, err = b.countFindings(ctx)
		return have == count, err
	})
	if err != nil {
		return fmt.Errorf("waiting for %d findings, have %d: %w", count, have, err)
	}
	return nil
}

// get returns the body of an answer that is 200.
func get(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, response.Status, bytes.TrimSpace(body[:min(len(body), 500)]))
	}
	return body, err
}

// liveHeap returns what srenix's server holds after a garbage collection, in bytes.
func (b *bench) liveHeap(ctx context.Context) (int64, error) {
	var heap int64
	// The second collection takes what the first only finalized or moved out of pools.
	for range 2 {
		body, err := get(ctx, b.directHTTP, b.direct.Host+"/debug/pprof/heap?gc=1&debug=1")
		if err != nil {
			return 0, fmt.Errorf("asking for the live heap: %w", err)
		}
		heap = 0
		lines := bufio.NewScanner(bytes.NewReader(body))
		lines.Buffer(nil, mebibyte)
		for lines.Scan() {
			if value, found := strings.CutPrefix(lines.Text(), "# HeapAlloc = "); found {
				if heap, err = strconv.ParseInt(value, 10, 64); err != nil {
					return 0, fmt.Errorf("reading the live heap: %w", err)
				}
			}
		}
		if heap == 0 {
			return 0, errors.New("reading the live heap: no HeapAlloc in the profile")
		}
	}
	return heap, nil
}

// profile writes a profile of srenix's server, if profiles are wanted.
func (b *bench) profile(ctx context.Context, name, what string) error {
	if b.options.profiles == "" {
		return nil
	}
	body, err := get(ctx, b.directHTTP, b.direct.Host+"/debug/pprof/"+what)
	if err != nil {
		return fmt.Errorf("taking profile %s: %w", name, err)
	}
	if err := os.MkdirAll(b.options.profiles, 0o755); err != nil {
		return fmt.Errorf("making the directory of the profiles: %w", err)
	}
	if err := os.WriteFile(filepath.Join(b.options.profiles, name), body, 0o600); err != nil {
		return fmt.Errorf("writing profile %s: %w", name, err)
	}
	return nil
}

func (b *bench) close() error {
	var errs []error
	if b.running {
		errs = append(errs, b.stopServer())
	}
	if b.srenix != nil {
		errs = append(errs, b.srenix.Close())
	}
	if b.plane != nil {
		errs = append(errs, b.plane.Close())
	}
	return errors.Join(errs...)
}

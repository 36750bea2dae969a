// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/pager"
)

// spread answers each request for srenix.io by another replica than the one before, as
// kube-apiserver does by chance with --enable-aggregator-routing.
type spread struct {
	proxies []http.Handler
	next    atomic.Int64
	// lists counts the lists of findings, and refused those that were answered with 410.
	lists, refused atomic.Int64
}

func newSpread(t *testing.T, replicas ...*rest.Config) *spread {
	t.Helper()
	s := &spread{}
	for _, replica := range replicas {
		to, err := url.Parse(replica.Host)
		must(t, err)
		transport, err := rest.TransportFor(replica)
		must(t, err)
		s.proxies = append(s.proxies, &httputil.ReverseProxy{
			Transport: transport,
			Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(to) },
			ModifyResponse: func(r *http.Response) error {
				if strings.HasSuffix(r.Request.URL.Path, "/findings") {
					s.lists.Add(1)
					if r.StatusCode == http.StatusGone {
						s.refused.Add(1)
					}
				}
				return nil
			},
		})
	}
	return s
}

func (s *spread) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.proxies[int(s.next.Add(1))%len(s.proxies)].ServeHTTP(w, r)
}

// awaitSame waits until replicas have the same findings in all namespaces.
func awaitSame(t *testing.T, replicas ...dynamic.Interface) *unstructured.UnstructuredList {
	t.Helper()
	var first *unstructured.UnstructuredList
	eventually(t, "the replicas to have the same", func(ctx context.Context) (bool, string) {
		var said []string
		for _, replica := range replicas {
			list, err := replica.Resource(findingsResource).List(ctx, metav1.ListOptions{})
			if err != nil {
				return false, err.Error()
			}
			if first == nil || len(said) == 0 {
				first = list.DeepCopy()
			}
			for i := range list.Items {
				list.Items[i].SetResourceVersion("")
			}
			text, err := json.Marshal(list.Items)
			if err != nil {
				return false, err.Error()
			}
			said = append(said, string(text))
		}
		return len(slices.Compact(said)) == 1, cmp.Diff(said[0], said[len(said)-1])
	})
	return first
}

// TestPagesComeFromEitherReplica lists by pages, each of which is another replica's.
func TestPagesComeFromEitherReplica(t *testing.T) {
	ns := namespace(t)
	want := names(withFindings(t, ns, roleNames(7)...).Items)
	config, _ := startReplica(t)
	first := directConfig(t, srenix.APIPort())
	s := newSpread(t, first, config)
	front := httptest.NewServer(s)
	t.Cleanup(front.Close)
	through, err := dynamic.NewForConfig(&rest.Config{Host: front.URL, QPS: -1})
	must(t, err)
	older, newer := dynamic.NewForConfigOrDie(first), dynamic.NewForConfigOrDie(config)
	of := func(client dynamic.Interface) pager.ListPageFunc {
		return func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return client.Resource(findingsResource).Namespace(ns).List(ctx, options)
		}
	}
	listed := func(t *testing.T, p *pager.ListPager) (have []string) {
		t.Helper()
		list, _, err := p.List(limited(t), metav1.ListOptions{})
		must(t, err)
		must(t, meta.EachListItem(list, func(item runtime.Object) error {
			have = append(have, item.(*unstructured.Unstructured).GetName())
			return nil
		}))
		return have
	}
	counted := func(do func()) (lists, refused int64) {
		lists, refused = s.lists.Load(), s.refused.Load()
		do()
		return s.lists.Load() - lists, s.refused.Load() - refused
	}
	total := len(want)
	eventually(t, "the findings of tests before to go with their namespaces", func(context.Context) (bool, string) {
		have := names(awaitSame(t, older, newer).Items)
		return len(have) == total, fmt.Sprint(have)
	})

	t.Run("of client-go's pager", func(t *testing.T) {
		for _, size := range []int64{1, 2, 3} {
			p := &pager.ListPager{PageSize: size, PageFn: of(through)} // which has no list in one piece to fall back to
			lists, refused := counted(func() {
				if diff := cmp.Diff(want, listed(t, p)); diff != "" {
					t.Errorf("in pages of %d (-want +have):\n%s", size, diff)
				}
			})
			if most := (int64(len(want)) + size - 1) / size; lists != most || refused != 0 {
				t.Errorf("%d requests, of which %d were refused, for %d pages", lists, refused, most)
			}
		}
	})
	t.Run("of kubectl", func(t *testing.T) {
		for _, test := range []struct {
			arguments []string
			count     int
		}{
			{[]string{"-n", ns, "--chunk-size=2"}, len(want)},
			{[]string{"-A", "--chunk-size=3"}, total},
		} {
			_, refused := counted(func() {
				output := kubectl(t, append([]string{"get", "findings.srenix.io", "--no-headers", "--server=" + front.URL}, test.arguments...)...)
				if lines := strings.Count(output, "\n"); lines != test.count {
					t.Errorf("kubectl get %v prints %d lines, want %d:\n%s", test.arguments, lines, test.count, output)
				}
			})
			if refused != 0 {
				t.Errorf("%d pages were refused", refused)
			}
		}
	})
	t.Run("or there is a fresh start, where the other is of another content", func(t *testing.T) {
		ctx := limited(t)
		page, err := older.Resource(findingsResource).Namespace(ns).List(ctx, metav1.ListOptions{Limit: 2})
		must(t, err)
		must(t, createRole(ctx, ns, "late"))
		eventually(t, "both replicas to have heard of it", func(ctx context.Context) (bool, string) {
			have := names(awaitSame(t, older, newer).Items)
			return len(have) == total+1, fmt.Sprint(len(have))
		})
		// Both had the content of the first page, and still know of it.
		rest, err := newer.Resource(findingsResource).Namespace(ns).List(ctx, metav1.ListOptions{Continue: page.GetContinue()})
		must(t, err)
		if diff := cmp.Diff(want, append(names(page.Items), names(rest.Items)...)); diff != "" {
			t.Errorf("the pages differ from the list at the time of the first (-want +have):\n%s", diff)
		}
		// A replica that starts after a change has never had what was before it.
		page, err = older.Resource(findingsResource).Namespace(ns).List(ctx, metav1.ListOptions{Limit: 2})
		must(t, err)
		must(t, deleteRole(ctx, ns, "late"))
		awaitSubjects(t, ns, roleNames(7)...)
		third, _ := startNamedReplica(t, "srenix-apiserver-2")
		calls := 0
		p := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			calls++
			if calls == 1 {
				return page, nil
			}
			return of(dynamic.NewForConfigOrDie(third))(ctx, options)
		})
		// The second page is refused, and all is asked for at once.
		if diff := cmp.Diff(want, listed(t, p)); diff != "" || calls != 3 {
			t.Errorf("in %d requests (-want +have):\n%s", calls, diff)
		}
	})
}

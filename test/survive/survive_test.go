// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package survive

import (
	"context"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/test/harness"
)

func TestTheServersSurvive(t *testing.T) {
	s := install(t, harness.Options{Configuration: configuration, Replicas: 2, Upstream: true})
	watched := s.found()
	s.burst(changes) // which makes all grow that grows with use, to what is no leak
	s.served()
	s.agrees(watched, "fresh-at-first")
	before, detail, err := s.inUse(t.Context())
	must(t, err)
	t.Log("before anything happens ", detail)
	s.goThrough(watched, changes)
	s.returns(before)
}

// found makes what there is to find, and waits until it is found.
func (s *installation) found() *watched {
	s.Helper()
	s.populate()
	watched := s.watch()
	s.eventually("the troubles to be found", func(context.Context) (bool, string) {
		wide, unready := watched.count("findings", "WildcardVerbs"), watched.count("findings", "OrdinalZeroNotReady")
		return wide == roles && unready == sets/2, fmt.Sprint(wide, " wide Roles and ", unready, " pods that are not ready")
	})
	return watched
}

// goThrough has all happen that servers are to survive, with so many changes at last, and
// holds them to all after each. It ends the test at the first that they do not.
func (s *installation) goThrough(watched *watched, changes int) {
	s.Helper()
	t := s.T
	still, err := harness.NewStill(t.Context(), s.kube, s.client(s.config))
	must(t, err)
	var undo []func(*installation)
	for i, fault := range []struct {
		name   string
		happen func(s *installation)
	}{
		{"an etcd that hangs", (*installation).hang},
		{"an etcd that hangs for long", (*installation).outage},
		{"a restart of etcd", func(s *installation) { s.control("restart", "etcd") }},
		{"a restart of kube-apiserver", func(s *installation) { s.control("restart", "kube-apiserver") }},
		{"watches that are closed", func(s *installation) {
			if s.srenix.Upstream.Cut() == 0 || s.srenix.Balancer.Cut() == 0 {
				s.Error("there was nothing to cut")
			}
		}},
		{"large objects", func(s *installation) { undo = append(undo, s.large()) }},
		{"hostile names", func(s *installation) {
			undo = append(undo, s.strange())
			s.eventually("all of them to be found", func(context.Context) (bool, string) {
				missing := s.missing(watched)
				return len(missing) == 0, fmt.Sprintf("%q are missing", missing)
			})
		}},
		{"the end of what was large and strange", func(s *installation) {
			for _, undo := range undo {
				undo(s)
			}
		}},
		{"a burst of changes", func(s *installation) { s.burst(changes) }},
	} {
		began := time.Now()
		t.Run(fault.name, func(t *testing.T) {
			s := *s
			s.T = t
			fault.happen(&s)
			s.served()
			s.agrees(watched, fmt.Sprintf("fresh-%d", i))
			if told := still.Told(); len(told) > 0 {
				t.Errorf("of what did not change was told: %q", told)
			}
		})
		if t.Failed() {
			s.keepLogs()
			t.FailNow()
		}
		t.Logf("%s: %s", fault.name, time.Since(began).Round(100*time.Millisecond))
	}
}

// hang pauses etcd until somebody has noticed.
func (s *installation) hang() {
	s.Helper()
	s.pauseEtcd()
	s.control("resume", "etcd")
}

// pauseEtcd returns once a request has failed for it.
func (s *installation) pauseEtcd() {
	s.Helper()
	s.control("pause", "etcd")
	s.eventually("a request to fail", func(ctx context.Context) (bool, string) {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		_, err := s.kube.CoreV1().ConfigMaps("default").Create(ctx, configMap("hangs", ""), metav1.CreateOptions{})
		return err != nil, "it was served"
	})
}

// served waits until a change gets through to what is served, by either replica.
func (s *installation) served() {
	s.Helper()
	const last = roles - 1
	client := s.kube.RbacV1().Roles(namespace)
	for _, verb := range []string{"get", "*"} {
		s.eventually("a Role to be changed", func(ctx context.Context) (bool, string) {
			_, err := client.Update(ctx, role(last, verb), metav1.UpdateOptions{})
			return err == nil, fmt.Sprint(err)
		})
		s.eventually("the change to be served", func(ctx context.Context) (bool, string) {
			for _, address := range s.srenix.Balancer.Ready() {
				list, err := s.direct(address).Resource(findings).Namespace(namespace).
					List(ctx, metav1.ListOptions{FieldSelector: "spec.subject.name=" + role(last, verb).Name})
				if err != nil {
					return false, err.Error()
				}
				if found := len(list.Items) == 1; found != (verb == "*") {
					return false, fmt.Sprintf("%s has it: %t", address, found)
				}
			}
			return len(s.srenix.Balancer.Ready()) == 2, "not both are ready"
		})
	}
}

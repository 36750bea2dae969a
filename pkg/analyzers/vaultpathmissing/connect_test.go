// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package vaultpathmissing

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
	"github.com/srenix/srenix/pkg/vault"
	"github.com/srenix/srenix/pkg/vault/vaulttest"
)

var externalSecrets = schema.GroupVersionResource{Group: "external-secrets.io", Version: "v1", Resource: "externalsecrets"}

// connected is an engine between a cluster and a Vault.
type connected struct {
	*testing.T
	vault   *vaulttest.Fake
	cluster *livetest.Cluster
	clock   *testingclock.FakeClock
	engine  *live.Engine
}

// connect starts an engine over a golden's objects, whose Vault is the fake one.
func connect(t *testing.T, prepare func(*connected)) *connected {
	t.Helper()
	return connectWith(t, "", prepare)
}

// connectWith has more options, in JSON after a comma.
func connectWith(t *testing.T, more string, prepare func(*connected)) *connected {
	t.Helper()
	golden := analyzertest.Read(t, "testdata/found-property.yaml")
	c := &connected{T: t, vault: vaulttest.New(t), cluster: analyzertest.Cluster(t, golden.Objects), clock: testingclock.NewFakeClock(golden.Now)}
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("root"), 0o600); err != nil {
		t.Fatal(err)
	}
	settings := with(fmt.Sprintf(`{"address": %q, "tokenFile": %q, "alsoKnownAs": ["https://vault.example.com:8200"]%s}`, c.vault.URL, token, more))
	analyzer, err := New(settings)
	if err != nil {
		t.Fatal(err)
	}
	c.engine = live.New(live.Options{Clock: c.clock, RetryBackoff: &wait.Backoff{Duration: time.Millisecond, Steps: 1}})
	for _, rule := range append(analyzers.LiveRules(analyzer), analyzers.DegradedRule("srenix-system:srenix-apiserver")) {
		if err := c.engine.AddRule(rule); err != nil {
			t.Fatal(err)
		}
	}
	options, _, err := OptionsOf(settings)
	if err != nil {
		t.Fatal(err)
	}
	source, err := Connect(c.engine, c.cluster, options, c.clock)
	if err != nil {
		t.Fatal(err)
	}
	if prepare != nil {
		prepare(c)
	}
	livetest.Run(t, c.engine, source)
	return c
}

func (c *connected) reasons() string {
	var all []string
	for _, finding := range live.List(c.engine, analyzers.DetectedFindings) {
		all = append(all, finding.Spec.Reason+" "+finding.Spec.Subject.Name)
	}
	return strings.Join(all, ", ")
}

func (c *connected) degraded() string {
	var all []string
	for _, finding := range live.List(c.engine, analyzers.DetectedClusterFindings) {
		all = append(all, finding.Spec.Discriminator+": "+finding.Spec.Message)
	}
	if len(all) > 1 {
		c.Errorf("an outage is %d findings: %v", len(all), all)
	}
	return strings.Join(all, "\n")
}

// round lets the time of one go by, which must not be that of an evaluation: it would
// be told to be slow.
func (c *connected) round() {
	if c.engine.Settled() {
		c.clock.Step(standardRefreshInterval)
	}
}

// eventually lets rounds go by until the findings are these.
func (c *connected) eventually(reasons string) {
	c.Helper()
	livetest.Eventually(c.T, "there is found: "+reasons, func() bool {
		c.round()
		return c.reasons() == reasons
	})
}

func TestWhatVaultHasIsFollowed(t *testing.T) {
	c := connect(t, nil)
	c.eventually("VaultPathMissing db")
	c.vault.Change(func() { c.vault.Secrets["secret/shop/db"] = map[string]any{"user": nil} })
	c.eventually("VaultPropertyMissing db")
	c.vault.Change(func() { c.vault.Secrets["secret/shop/db"] = map[string]any{"token": nil} })
	c.eventually("")
	c.vault.Change(func() { c.vault.Denied = []string{"secret/"} })
	c.eventually("VaultPathsHidden db")
	c.vault.Change(func() { c.vault.Denied = nil })
	c.eventually("")
}

// TestWhatVaultFailsAtIsToldBesideWhatWasFound holds that a path that Vault fails at
// takes nothing away.
func TestWhatVaultFailsAtIsToldBesideWhatWasFound(t *testing.T) {
	c := connect(t, func(c *connected) { c.vault.Secrets["secret/shop/db"] = map[string]any{"user": nil} })
	c.eventually("VaultPropertyMissing db")
	other := c.another(t)
	c.vault.Change(func() {
		c.vault.Secrets["secret/shop/other"] = map[string]any{"a": nil}
		c.vault.Broken = func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "/shop/db") {
				return false
			}
			vaulttest.Refuse(w, http.StatusInternalServerError, "internal error")
			return true
		}
	})
	analyzertest.Store(t, c.cluster, []live.Object{other})
	c.eventually("VaultPathsHidden db, VaultPropertyMissing db")
	livetest.Eventually(t, "it is no outage", func() bool { return c.degraded() == "" })
	c.vault.Change(func() { c.vault.Broken = nil; c.vault.Secrets["secret/shop/db"] = map[string]any{"token": nil} })
	c.eventually("")
}

// another is an ExternalSecret that refers to shop/other.
func (c *connected) another(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	var other *unstructured.Unstructured
	for _, object := range analyzertest.Read(t, "testdata/found-property.yaml").Objects {
		if object := object.(*unstructured.Unstructured); object.GetKind() == "ExternalSecret" {
			other = object
		}
	}
	other.SetName("other")
	other.SetUID("other")
	data := []any{map[string]any{"secretKey": "a", "remoteRef": map[string]any{"key": "shop/other"}}}
	if err := unstructured.SetNestedSlice(other.Object, data, "spec", "data"); err != nil {
		t.Fatal(err)
	}
	return other
}

// TestAnotherExternalSecretIsLookedAtAtOnce holds that no round has to be waited for.
func TestAnotherExternalSecretIsLookedAtAtOnce(t *testing.T) {
	c := connect(t, func(c *connected) { c.vault.Secrets["secret/shop/db"] = map[string]any{"token": nil} })
	other := c.another(t)
	asked := func() int {
		n := 0
		c.vault.Change(func() {
			for _, path := range c.vault.Asked {
				if path == " secret/subkeys/shop/other" {
					n++
				}
			}
		})
		return n
	}
	c.cluster.Set(externalSecrets, other)
	livetest.Eventually(t, "it is asked for", func() bool { return asked() == 1 })
	c.cluster.Delete(externalSecrets, live.Key{Namespace: "shop", Name: "other"})
	c.eventually("")
	before := asked()
	c.clock.Step(standardRefreshInterval)
	livetest.Eventually(t, "all is evaluated", c.engine.Settled)
	if after := asked(); after != before {
		t.Errorf("what nobody wants any more is asked for: %d times, then %d", before, after)
	}
}

// TestAnOutageIsOneFindingAndLeavesTheOthers holds that too for a start during one.
func TestAnOutageIsOneFindingAndLeavesTheOthers(t *testing.T) {
	sealed := func(w http.ResponseWriter, _ *http.Request) bool {
		vaulttest.Refuse(w, http.StatusServiceUnavailable, "Vault is sealed")
		return true
	}
	t.Run("while it runs", func(t *testing.T) {
		c := connect(t, nil)
		c.eventually("VaultPathMissing db")
		c.vault.Change(func() { c.vault.Broken = sealed; c.vault.Secrets["secret/shop/db"] = map[string]any{"token": nil} })
		livetest.Eventually(t, "the outage is reported", func() bool {
			c.round()
			return strings.Contains(c.degraded(), "it is sealed")
		})
		if c.reasons() != "VaultPathMissing db" {
			t.Errorf("have %s, want what was found before", c.reasons())
		}
		c.vault.Change(func() { c.vault.Broken = nil })
		c.eventually("")
		livetest.Eventually(t, "the outage is over", func() bool { return c.degraded() == "" })
	})
	t.Run("from the start", func(t *testing.T) {
		c := connect(t, func(c *connected) {
			c.vault.Broken = sealed
			// The first sync waits for it for a while.
			go func() {
				_ = wait.PollUntilContextCancel(t.Context(), time.Millisecond, true, func(context.Context) (bool, error) {
					c.clock.Step(time.Second)
					return c.engine.Synced(), nil
				})
			}()
		})
		livetest.Eventually(t, "the outage is reported", func() bool {
			c.round()
			return strings.Contains(c.degraded(), "it is sealed")
		})
		if c.reasons() != "" {
			t.Errorf("have %s", c.reasons())
		}
		c.vault.Change(func() { c.vault.Broken = nil })
		c.eventually("VaultPathMissing db")
	})
}

// Whoever adds a property writes it to Vault, and then refers to it: what was seen of the
// path before says nothing of that.
func TestAPropertyThatIsReferredToAnewIsAskedFor(t *testing.T) {
	c := connectWith(t, `, "refreshInterval": "1000h"`, func(c *connected) {
		c.vault.Change(func() { c.vault.Secrets["secret/shop/db"] = map[string]any{"token": nil} })
	})
	c.eventually("")
	c.vault.Change(func() { c.vault.Secrets["secret/shop/db"] = map[string]any{"token": nil, "user": nil} })
	for _, object := range analyzertest.Read(t, "testdata/found-property.yaml").Objects {
		secret, is := object.(*unstructured.Unstructured)
		if !is || secret.GetKind() != "ExternalSecret" {
			continue
		}
		data, _, err := unstructured.NestedSlice(secret.Object, "spec", "data")
		if err != nil {
			t.Fatal(err)
		}
		more := runtime.DeepCopyJSON(data[0].(map[string]any))
		more["remoteRef"].(map[string]any)["property"] = "user"
		if err := unstructured.SetNestedSlice(secret.Object, append(data, more), "spec", "data"); err != nil {
			t.Fatal(err)
		}
		secret.SetGeneration(secret.GetGeneration() + 1)
		c.cluster.Set(externalSecrets, secret)
	}
	livetest.Eventually(t, "it is asked for long before the next round", func() bool {
		for _, path := range live.List(c.engine, inputs.VaultPaths) {
			if _, has := vault.SeenOf(path).Keys["user"]; has {
				return c.engine.Settled()
			}
		}
		return false
	})
	c.clock.Step(standardGrace)
	livetest.Eventually(t, "the grace is over", c.engine.Settled)
	if found := c.reasons(); found != "" {
		t.Errorf("found %s", found)
	}
}

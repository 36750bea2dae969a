// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/utils/clock"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/srenix/srenix/pkg/apis/srenix"
)

// replicated are replicas, of which the second started later and so has greater versions.
type replicated struct {
	stores [2]*Store
	fronts [2]storage.Interface
}

func newReplicated(t testing.TB) *replicated {
	t.Helper()
	r := &replicated{}
	for i := range r.stores {
		r.stores[i], r.fronts[i] = cachedAt(t, behind{by: time.Duration(2-i) * time.Hour})
	}
	return r
}

// behind is a clock that is behind.
type behind struct {
	clock.RealClock
	by time.Duration
}

func (c behind) Now() time.Time                     { return c.RealClock.Now().Add(-c.by) }
func (c behind) Since(then time.Time) time.Duration { return c.RealClock.Since(then.Add(c.by)) }

func (r *replicated) put(t testing.TB, f *srenix.Finding) {
	t.Helper()
	for _, store := range r.stores {
		put(t, store, f.DeepCopy())
	}
}

// page lists at most two.
func (r *replicated) page(t testing.TB, at int, token string, selector labels.Selector) (*srenix.FindingList, error) {
	t.Helper()
	predicate := everything()
	predicate.Limit, predicate.Continue, predicate.Label = 2, token, selector
	list := &srenix.FindingList{}
	return list, r.fronts[at].GetList(t.Context(), prefix, storage.ListOptions{Predicate: predicate, Recursive: true}, list)
}

// TestPagesOfReplicasMakeOneList takes each page from the other replica. They got to
// the same content in another order.
func TestPagesOfReplicasMakeOneList(t *testing.T) {
	r := newReplicated(t)
	var want []string
	for i := range 7 {
		want = append(want, fmt.Sprint(i))
		put(t, r.stores[0], finding(fmt.Sprint(i), "1", "same"))
		put(t, r.stores[1], finding(fmt.Sprint(6-i), "1", "other"))
	}
	for i := range 7 {
		f := finding(fmt.Sprint(i), "1", "same")
		if i == 3 {
			if err := r.stores[1].Remove(f); err != nil {
				t.Fatal(err)
			}
			f.ResourceVersion = "7"
		}
		put(t, r.stores[1], f)
	}
	r.put(t, finding("gone", "1", ""))
	for _, store := range r.stores {
		if err := store.Remove(finding("gone", "1", "")); err != nil {
			t.Fatal(err)
		}
	}
	for first := range 2 {
		var have []string
		for page, token := 0, ""; page == 0 || token != ""; page++ {
			list, err := r.page(t, (first+page)%2, token, labels.Everything())
			if err != nil {
				t.Fatalf("page %d, of replica %d: %v", page, (first+page)%2, err)
			}
			for _, item := range list.Items {
				have = append(have, item.Name)
			}
			if token = list.Continue; page == 1 {
				for _, store := range r.stores { // which is not in the list
					put(t, store, finding("6a", "1", fmt.Sprint(first)))
				}
			}
		}
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("names (-want +have):\n%s", diff)
		}
		for _, store := range r.stores {
			if err := store.Remove(finding("6a", "1", "")); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestAPageOfWhatAReplicaNeverHadIsExpired, and its client can choose to go on.
func TestAPageOfWhatAReplicaNeverHadIsExpired(t *testing.T) {
	last := finding("5", "1", "")
	for name, differ := range map[string]func(*Store) error{
		"it has an object of another content": func(s *Store) error { return errors.Join(s.Put(finding("3", "1", "other")), s.Put(last.DeepCopy())) },
		"it has another object":               func(s *Store) error { return errors.Join(s.Put(finding("3", "2", "")), s.Put(last.DeepCopy())) },
		"it has one more":                     func(s *Store) error { return errors.Join(s.Put(finding("33", "1", "")), s.Put(last.DeepCopy())) },
		"it lacks one":                        func(*Store) error { return nil },
		"it had all of it long ago": func(s *Store) (err error) {
			for i := range remembered + 1 {
				err = errors.Join(err, s.Put(finding("5", "1", []string{"", "other"}[min(i, 1)])))
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReplicated(t)
			for i := range 5 {
				r.put(t, finding(fmt.Sprint(i), "1", ""))
			}
			put(t, r.stores[0], last.DeepCopy())
			if err := differ(r.stores[1]); err != nil {
				t.Fatal(err)
			}
			list, err := r.page(t, 0, "", labels.Everything())
			if err != nil {
				t.Fatal(err)
			}
			_, err = r.page(t, 1, list.Continue, labels.Everything())
			var expired *apierrors.StatusError
			if !errors.As(err, &expired) || !apierrors.IsResourceExpired(err) {
				t.Fatalf("the other replica says %v, want that it is expired", err)
			}
			rest, err := r.page(t, 1, expired.ErrStatus.Continue, labels.Everything())
			if err != nil || len(rest.Items) == 0 || rest.Items[0].Name != "2" {
				t.Errorf("going on: %v, %v", rest.Items, err)
			}
			if _, err := r.page(t, 0, list.Continue, labels.Everything()); err != nil {
				t.Errorf("the replica that it is of says %v", err)
			}
		})
	}
}

// TestPagesOfReplicasAreOfOneContent lists by pages from either of two replicas that
// change all the while, at random and not at the same time. A list that comes to its end
// is what some replica had at one time.
func TestPagesOfReplicasAreOfOneContent(t *testing.T) {
	selector := labels.SelectorFromSet(labels.Set{"kept": "yes"})
	whole, expired := 0, 0
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 3))
		r := newReplicated(t)
		var changes []*srenix.Finding
		done := [2]int{}
		had := map[string]bool{}
		// apply has a replica make the next change.
		apply := func(at int) {
			if done[at] == len(changes) {
				f := finding(fmt.Sprint(random.IntN(8)), fmt.Sprint(random.IntN(3)), fmt.Sprint(random.IntN(2)))
				f.Labels["kept"] = []string{"yes", "yes", "no"}[random.IntN(3)]
				changes = append(changes, f)
			}
			change := changes[done[at]].DeepCopy()
			done[at]++
			if change.UID == "0" {
				if err := r.stores[at].Remove(change); err != nil {
					t.Fatal(err)
				}
			} else {
				put(t, r.stores[at], change)
			}
			predicate, list := everything(), &srenix.FindingList{}
			predicate.Label = selector
			if err := r.fronts[at].GetList(t.Context(), prefix, storage.ListOptions{Predicate: predicate, Recursive: true}, list); err != nil {
				t.Fatal(err)
			}
			had[said(list.Items)] = true
		}
		for range 12 {
			apply(0)
			apply(1)
		}
		for range 20 {
			var items []srenix.Finding
			for page, token := 0, ""; page == 0 || token != ""; page++ {
				list, err := r.page(t, random.IntN(2), token, selector)
				if apierrors.IsResourceExpired(err) {
					expired++
					items = nil
					break
				}
				if err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				items = append(items, list.Items...)
				for range random.IntN(3) {
					apply(random.IntN(2))
				}
				token = list.Continue
			}
			if items == nil {
				continue
			}
			whole++
			if !had[said(items)] {
				t.Fatalf("seed %d: no replica ever had %s", seed, said(items))
			}
		}
	}
	if whole < 100 || expired < 100 {
		t.Errorf("%d lists came to an end, and %d did not: that shows little", whole, expired)
	}
}

func said(items []srenix.Finding) (text string) {
	for _, item := range items {
		text += fmt.Sprint(item.Name, " ", item.UID, " ", item.Spec.Message, "; ")
	}
	return text
}

// TestATokenOfAVersionThatTwoReplicasGaveOut is of the rare chance that they did.
func TestATokenOfAVersionThatTwoReplicasGaveOut(t *testing.T) {
	store := NewStore(srenix.Resource("findings"), key, nil, testingclock.NewFakePassiveClock(time.Now()))
	put(t, store, finding("a", "1", ""))
	put(t, store, finding("b", "1", ""))
	had, _ := store.contents.at(store.version - 1)
	for name, test := range map[string]struct {
		of   content
		want uint64 // 0 if it is expired
	}{
		"with what it had before":          {had, store.version - 1},
		"with what only the other one had": {content{1}, 0},
	} {
		token, err := continuation{
			APIVersion: "meta.k8s.io/v1", ResourceVersion: int64(store.version), Start: "ns/a\x00", Content: hex.EncodeToString(test.of[:]),
		}.encode()
		if err != nil {
			t.Fatal(err)
		}
		own, err := store.adopt(directory(prefix), token)
		have, _ := decodeContinuation(own)
		if uint64(have.ResourceVersion) != test.want || apierrors.IsResourceExpired(err) != (test.want == 0) {
			t.Errorf("%s it goes on at version %d, want %d; %v", name, have.ResourceVersion, test.want, err)
		}
	}
}

func TestContentsAreKnownForTheLastVersions(t *testing.T) {
	store := NewStore(srenix.Resource("findings"), key, nil, testingclock.NewFakePassiveClock(time.Now()))
	for i := range remembered + 9 {
		put(t, store, finding("a", "1", fmt.Sprint(i)))
	}
	for back, want := range map[uint64]bool{0: true, remembered - 1: true, remembered: false, remembered + 9: false} {
		is, known := store.contents.at(store.version - back)
		if known != want {
			t.Errorf("the content of %d versions ago is known: %t", back, known)
		}
		if version, found := store.contents.find(is); known && (!found || version != store.version-back) {
			t.Errorf("the content of %d versions ago is found: %t, %d versions ago", back, found, store.version-version)
		}
	}
	if _, known := store.contents.at(store.version + 1); known {
		t.Error("the content of a version to come is known")
	}
}

// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package observations

import (
	"fmt"
	"maps"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/klog/v2"
	testingclock "k8s.io/utils/clock/testing"
)

func TestTheConfigMapIsBounded(t *testing.T) {
	s := newStore(testingclock.NewFakeClock(epoch))
	for i := range capacity + 7 {
		saw(s, about(fmt.Sprint(i)), epoch)
	}
	merged, left := s.merge(nil)
	size := 0
	for key, value := range merged.data {
		size += len(key) + len(value)
	}
	if len(merged.data) != capacity || left != 7 || size > 1<<19 {
		t.Errorf("%d entries of %d bytes, %d left out", len(merged.data), size, left)
	}
	if got := since(t, s, about(fmt.Sprint(capacity+6))); got != "12:00:00" {
		t.Errorf("what found no room is recalled since %q", got)
	}
}

func TestWhatNobodyObservesMakesRoom(t *testing.T) {
	clock := testingclock.NewFakeClock(epoch)
	before := newStore(clock)
	for i := range capacity {
		clock.Step(time.Second)
		saw(before, about(fmt.Sprint(i)), clock.Now())
	}
	full, _ := before.merge(nil)
	s := newStore(clock)
	s.unreliable = func() []string { return []string{"rule"} } // so that nothing is forsaken
	s.learn(full)
	saw(s, about(fmt.Sprint(capacity-1)), epoch.Add(capacity*time.Second))
	saw(s, about("new"), clock.Now())
	merged, left := s.merge(full.data)
	if _, has := merged.data[nameOf(about("new"))]; !has || left != 0 || len(merged.data) != capacity {
		t.Errorf("%d entries, %d left out, the new one among them: %t", len(merged.data), left, has)
	}
	for number, want := range map[int]bool{0: false, 1: true, capacity - 1: true} {
		if _, has := merged.data[nameOf(about(fmt.Sprint(number)))]; has != want {
			t.Errorf("number %d is kept: %t", number, has)
		}
	}
}

func TestWhatFindsNoRoomIsNotAskedForAgainAndAgain(t *testing.T) {
	client := fake.NewClientset()
	configMaps := client.CoreV1().ConfigMaps("srenix-system")
	s := newStore(testingclock.NewFakeClock(epoch))
	// flushed flushes for as long as there is something to write.
	flushed := func() (requests int) {
		client.ClearActions()
		for i := 0; i < 20 && len(s.dirty) > 0; i++ {
			<-s.dirty
			if err := s.flush(t.Context(), configMaps, func(now state) { s.learn(now) }, klog.Background()); err != nil {
				t.Fatal(err)
			}
		}
		return len(client.Actions())
	}
	for i := range capacity + 7 {
		saw(s, about(fmt.Sprint(i)), epoch)
	}
	if requests := flushed(); requests != 3 {
		t.Errorf("%d requests for the first write, want a read, a write, and a look whether that is all", requests)
	}
	saw(s, about("one too many"), epoch)
	if requests := flushed(); requests != 0 {
		t.Errorf("%d requests about one more that finds no room, want none", requests)
	}
	// Once there is room, it is used.
	stored, err := configMaps.Get(t.Context(), Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range capacity + 7 {
		if _, ok := stored.Data[nameOf(about(fmt.Sprint(i)))]; ok {
			s.End(about(fmt.Sprint(i)))
			break
		}
	}
	flushed()
	if again, err := configMaps.Get(t.Context(), Name, metav1.GetOptions{}); err != nil || len(again.Data) != capacity || maps.Equal(stored.Data, again.Data) {
		t.Errorf("the room is not used: %d entries, %v", len(again.Data), err)
	}
}

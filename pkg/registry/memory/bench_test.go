// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/storage"

	"github.com/srenix/srenix/pkg/apis/srenix"
)

// BenchmarkPutToEvent is the way of one change from the store to a watcher.
func BenchmarkPutToEvent(b *testing.B) {
	store, front := cached(b)
	put(b, store, finding("first", "first", ""))
	options := storage.ListOptions{ResourceVersion: "", Recursive: true, Predicate: everything()}
	w, err := front.Watch(b.Context(), prefix, options)
	if err != nil {
		b.Fatal(err)
	}
	defer w.Stop()
	next(b, w)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		put(b, store, finding("first", "first", fmt.Sprint(i)))
		next(b, w)
	}
}

// BenchmarkList is a list of a hundred findings out of the watch cache.
func BenchmarkList(b *testing.B) {
	store, front := cached(b)
	for i := range 100 {
		put(b, store, finding(fmt.Sprint(i), fmt.Sprint(i), "a message of some length, as findings have it"))
	}
	options := storage.ListOptions{Recursive: true, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan, ResourceVersion: "0", Predicate: everything()}
	b.ReportAllocs()
	for b.Loop() {
		if err := front.GetList(b.Context(), prefix, options, &srenix.FindingList{}); err != nil {
			b.Fatal(err)
		}
	}
}

// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package virtual

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/utils/clock"
)

// Column is one column of a table, filled from an object of type T.
type Column[T any] struct {
	Name        string
	Type        string
	Format      string
	Description string
	// Wide columns show with -o wide only.
	Wide bool
	Cell func(object T, now time.Time) any
}

// Table prints objects of type T, as pointers, in columns.
type Table[T any] struct {
	Columns []Column[T]
	Clock   clock.PassiveClock
}

// ConvertToTable implements rest.TableConvertor.
func (t Table[T]) ConvertToTable(_ context.Context, object, tableOptions runtime.Object) (*metav1.Table, error) {
	table := &metav1.Table{}
	if options, ok := tableOptions.(*metav1.TableOptions); !ok || !options.NoHeaders {
		for _, column := range t.Columns {
			definition := metav1.TableColumnDefinition{
				Name: column.Name, Type: column.Type, Format: column.Format, Description: column.Description,
			}
			if column.Wide {
				definition.Priority = 1
			}
			table.ColumnDefinitions = append(table.ColumnDefinitions, definition)
		}
	}
	now := t.Clock.Now()
	addRow := func(item runtime.Object) error {
		typed, ok := item.(T)
		if !ok {
			return fmt.Errorf("printing %T as a table row: not the resource's type", item)
		}
		row := metav1.TableRow{Object: runtime.RawExtension{Object: item}}
		for _, column := range t.Columns {
			row.Cells = append(row.Cells, column.Cell(typed, now))
		}
		table.Rows = append(table.Rows, row)
		return nil
	}
	if list, err := meta.ListAccessor(object); err == nil {
		table.ResourceVersion = list.GetResourceVersion()
		table.Continue = list.GetContinue()
		table.RemainingItemCount = list.GetRemainingItemCount()
		if err := meta.EachListItem(object, addRow); err != nil {
			return nil, err
		}
		return table, nil
	}
	if item, err := meta.CommonAccessor(object); err == nil {
		table.ResourceVersion = item.GetResourceVersion()
	}
	if err := addRow(object); err != nil {
		return nil, err
	}
	return table, nil
}

// Age prints how long ago a time was, as kubectl does.
func Age(since metav1.Time, now time.Time) string {
	if since.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(now.Sub(since.Time))
}

// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package files is what commands have in common that look at files in place of a
// cluster: the flags, progress, and what is told beside the output.
package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/utils/clock"

	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/cli"
	"github.com/srenix/srenix/pkg/offline"
)

// namespace is where artifacts/ run srenix.
const namespace = "srenix-system"

// Flags say which files, and how they are looked at.
type Flags struct {
	// From is a folder, an archive or a file; empty for a cluster.
	From string
	// AsOf is when the files were made, in RFC 3339; empty for the newest time in them.
	AsOf string
	// Config is a file with a SrenixConfiguration; empty for the defaults.
	Config string
}

// AddFlags adds --from and what belongs to it.
func (f *Flags) AddFlags(flags *pflag.FlagSet) {
	flags.StringVar(&f.From, "from", f.From, "Look at a folder, a tar archive or a file of what \"kubectl get -o yaml\" or must-gather left, in place of a cluster.")
	flags.StringVar(&f.AsOf, "as-of", f.AsOf, "With --from: when the files were made, as 2026-03-10T12:00:00Z. Without it, the newest time in them counts.")
	flags.StringVar(&f.Config, "config", f.Config, "With --from: file with a SrenixConfiguration, as the servers have it. Without it the defaults hold.")
}

// Set tells whether files are to be looked at.
func (f *Flags) Set() bool { return f.From != "" }

// Validate checks the flags.
func (f *Flags) Validate() error {
	if !f.Set() && (f.AsOf != "" || f.Config != "") {
		return errors.New("--as-of and --config are about files, which --from names")
	}
	if _, err := f.asOf(); err != nil {
		return fmt.Errorf("--as-of is %q: want a time as 2026-03-10T12:00:00Z", f.AsOf)
	}
	return nil
}

func (f *Flags) asOf() (time.Time, error) {
	if f.AsOf == "" {
		return time.Time{}, nil
	}
	return time.Parse(time.RFC3339, f.AsOf)
}

// Read reads the files and looks at them, and tells on w how far it is and what it goes by.
func (f *Flags) Read(ctx context.Context, w io.Writer) (*offline.Cluster, error) {
	asOf, err := f.asOf()
	if err != nil {
		return nil, err
	}
	configuration, err := config.Load(f.Config)
	if err != nil {
		return nil, err
	}
	progress := &offline.Progress{}
	stop := cli.Progress(w, clock.RealClock{}, progress.String)
	cluster, err := offline.Read(ctx, offline.Options{
		Path: f.From, AsOf: asOf, Configuration: configuration, Namespace: namespace, Progress: progress,
	})
	stop()
	if err != nil {
		return nil, err
	}
	f.tell(w, cluster)
	return cluster, nil
}

// mostUndated is how many subjects of an analyzer are named.
const mostUndated = 3

func (f *Flags) tell(w io.Writer, c *offline.Cluster) {
	by := "as --as-of says"
	if c.DatedBy != "" {
		by = "the newest time in them, of " + c.DatedBy
	}
	n := &c.Counts
	fmt.Fprintf(w, "%s: %d objects in %d files, as of %s (%s)\n", cli.Plain(f.From), n.Objects, n.Files, c.AsOf.UTC().Format(time.RFC3339), cli.Plain(by))
	var left []string
	for _, kind := range []struct {
		n    int
		what string
	}{
		{n.Ignored, "objects of kinds that no analyzer reads"}, {n.Repeated, "objects that are there twice"},
		{n.Others, "documents that are no objects"}, {n.Skipped, "files of other kinds"},
	} {
		if kind.n > 0 {
			left = append(left, fmt.Sprintf("%d %s", kind.n, kind.what))
		}
	}
	if len(left) > 0 {
		fmt.Fprintf(w, "left out: %s\n", strings.Join(left, ", "))
	}
	for _, analyzer := range slices.Sorted(maps.Keys(c.Undated)) {
		subjects := c.Undated[analyzer]
		more := ""
		if len(subjects) > mostUndated {
			more = fmt.Sprintf(" and %d more", len(subjects)-mostUndated)
		}
		fmt.Fprintf(w, "not judged: %s: %s%s: no file tells since when it is so, and a grace runs from there\n",
			analyzer, cli.Plain(strings.Join(subjects[:min(len(subjects), mostUndated)], ", ")), more)
	}
}

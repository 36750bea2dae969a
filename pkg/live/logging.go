// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live

import "k8s.io/klog/v2"

// attemptVerbosity is the level at which single attempts to reach the API server
// are logged; client-go logs expected watch errors at the same one.
const attemptVerbosity = 4

// quietSink turns errors into messages of attemptVerbosity.
type quietSink struct{ klog.LogSink }

func (s quietSink) Error(err error, message string, keysAndValues ...any) {
	if s.LogSink.Enabled(attemptVerbosity) {
		s.LogSink.Info(attemptVerbosity, message, append(keysAndValues[:len(keysAndValues):len(keysAndValues)], "err", err)...)
	}
}

func (s quietSink) WithValues(keysAndValues ...any) klog.LogSink {
	return quietSink{s.LogSink.WithValues(keysAndValues...)}
}

func (s quietSink) WithName(name string) klog.LogSink {
	return quietSink{s.LogSink.WithName(name)}
}

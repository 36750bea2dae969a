// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jstemmer/go-junit-report/v2/junit"
)

const (
	// clusterSuite is the suite of what is in no namespace. No namespace has a space.
	clusterSuite = "(cluster)"
	// noTime is what a test took, in seconds: the format wants one.
	noTime = "0"
)

// writeJUnit writes a test suite for each namespace, with a test case for each finding.
func writeJUnit(w io.Writer, c *contents) error {
	suites := junit.Testsuites{Name: "srenix"}
	for i, section := range c.sections {
		suite := junit.Testsuite{Name: cmp.Or(section.namespace, clusterSuite), ID: i, Time: noTime}
		for _, e := range section.entries {
			suite.AddTestcase(testcase(&e))
		}
		suites.AddSuite(suite)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	return suites.WriteXML(w)
}

func testcase(e *entry) junit.Testcase {
	test := junit.Testcase{Name: e.name, Classname: e.spec.Analyzer + "." + e.spec.Reason, Time: noTime}
	result := &junit.Result{Message: e.spec.Message, Type: string(e.spec.Severity), Data: details(e)}
	switch e.outcome() {
	case failed:
		test.Failure = result
	case noted:
		test.SystemOut = &junit.Output{Data: e.spec.Message + "\n" + details(e)}
	case skipped:
		result.Message = fmt.Sprintf("silenced by %s: %s", e.status.SilencedBy, result.Message)
		test.Skipped = result
	case blind:
		test.Error = result
	}
	return test
}

// details are what a message does not say.
func details(e *entry) string {
	var out strings.Builder
	line := func(format string, arguments ...any) {
		fmt.Fprintf(&out, format+"\n", arguments...)
	}
	line("%s, since %s", qualified(&e.spec.Subject), e.spec.Since.UTC().Format(time.RFC3339))
	if e.spec.Remediation.Text != "" {
		line("%s", e.spec.Remediation.Text)
	}
	for _, command := range e.spec.Remediation.Commands {
		line("%s", command)
	}
	for _, proposal := range e.status.Proposals {
		line("kubectl create approval --proposal %s -n %s", proposal, e.namespace)
	}
	return out.String()
}

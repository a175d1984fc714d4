// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"bytes"
	"strings"
	"testing"

	"plugsched/internal/outcome"
)

// command runs the whole program's command, as far as it can be without an exit.
func command(t *testing.T, args ...string) (out string, means outcome.Outcome) {
	t.Helper()
	var b bytes.Buffer
	root := wholeRoot()
	root.SetOut(&b)
	root.SetErr(&b)
	root.SetArgs(args)
	err := root.ExecuteContext(t.Context())
	if err != nil {
		b.WriteString(err.Error())
	}
	return b.String(), outcome.Of(err)
}

// mistakes are command lines that are refused before anything is done, and what is said.
func mistakes(t *testing.T, list map[string]string) {
	t.Helper()
	for line, want := range list {
		args := strings.Split(line, " ")
		for i := range args {
			args[i] = strings.Trim(args[i], "'")
		}
		if out, means := command(t, args...); means != outcome.Usage || !strings.Contains(out, want) {
			t.Errorf("plugsched %s: %v (%d), no %q in\n%s", line, means, means.ExitCode(), want, out)
		}
	}
}

func TestRanges(t *testing.T) {
	mistakes(t, map[string]string{
		"vm --cpus 0":        "it must be from 1 to 255",
		"vm --cpus -1":       "it must be from 1 to 255",
		"vm --cpus 256":      "it must be from 1 to 255",
		"vm --memory 0":      "it must be from 128 to 1048576",
		"vm --memory -1":     "it must be from 128 to 1048576",
		"install --tries 0":  "it must be from 1 to 1000",
		"try --for 25h x.ko": "it must be from 1s to 24h",
	})
}

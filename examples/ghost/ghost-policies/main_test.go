// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestParse: what is asked for is understood, and what makes no sense is said in a line.
func TestParse(t *testing.T) {
	o, err := parse(strings.Fields("-policy edf -cpus 2,3 -timeout 1s 10=20ms 11"))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(o.CPUs, []int{2, 3}) || !reflect.DeepEqual(o.pids, []int{10, 11}) || o.RunnableTimeout != time.Second ||
		!reflect.DeepEqual(o.deadlines, map[int]time.Duration{10: 20 * time.Millisecond}) {
		t.Errorf("%+v", o)
	}
	for args, want := range map[string]string{
		"-policy best -cpus 1 5":     `there is no policy "best"`,
		"-cpus 1,x 5":                "-cpus: ",
		"5":                          "-cpus: ",
		"-cpus 1 -slice 0s 5":        "a slice of 0s",
		"-cpus 1 five":               "five",
		"-policy sol -cpus 1 5=3ms":  "5=3ms: sol has no deadlines",
		"-policy edf -cpus 1 5=-3ms": "5=-3ms: a deadline of -3ms",
		"-policy edf -cpus 1 5=3":    "missing unit",
		"-takeover 7 -cpus 1":        "with -takeover",
		"-takeover 7 -timeout 1s":    "with -takeover",
	} {
		if _, err := parse(strings.Fields(args)); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
}

// TestTakeOver: the other agent has said which CPUs and tasks there are.
func TestTakeOver(t *testing.T) {
	o, err := parse(strings.Fields("-policy sol -takeover 7"))
	if err != nil || o.agent != 7 || len(o.CPUs) != 0 || len(o.pids) != 0 {
		t.Errorf("%v, %+v", err, o)
	}
	o.agent = os.Getpid()
	if err := o.run(); err == nil || !strings.Contains(err.Error(), "has 0 enclaves") {
		t.Errorf("%v", err)
	}
}

// TestSaysWhy: without a scheduler that has the class it ends, and leaves no file.
func TestSaysWhy(t *testing.T) {
	file := filepath.Join(t.TempDir(), "metrics")
	o, err := parse([]string{"-cpus", "1", "-metrics", file, "5"})
	if err != nil {
		t.Fatal(err)
	}
	o.Device = filepath.Join(t.TempDir(), "none")
	if err := o.run(); err == nil || !strings.Contains(err.Error(), "no ghost class") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("there is a file: %v", err)
	}
}

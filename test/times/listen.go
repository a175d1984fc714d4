// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// An event is a line of `go test -json` (go doc test2json, go help buildjson).
type event struct {
	Action, Package, Test, Output, Key, Value string
	Elapsed                                   float64
}

// A listener reads events, prints what go test would have printed without them, and
// notes the tests.
type listener struct {
	note    *note
	out     io.Writer
	verbose bool
	held    map[string]string  // not verbose: what tests have said that may yet fail
	said    map[string]string  // what a test and not its parts said, without "=== " lines
	cpu     map[string]float64 // what guests and programs of a test that still runs have used
}

// booted is said at the end by tests that count their guests (test/guest).
var booted = regexp.MustCompile(`^guests booted: (\d+)\b`)

// usedCPU is the attribute (testing.T.Attr) in which a test says what its guests and the programs that it ran used.
const usedCPU = "cpu-seconds"

func (l *listener) listen(r io.Reader) error {
	l.held, l.said, l.cpu = map[string]string{}, map[string]string{}, map[string]float64{}
	for in := bufio.NewReader(r); ; {
		line, err := in.ReadString('\n')
		if line != "" {
			var e event
			if json.Unmarshal([]byte(line), &e) != nil {
				e = event{Action: "output", Output: line} // not one of its own
			}
			l.hear(&e)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (l *listener) hear(e *event) {
	id := e.Package + " " + e.Test
	switch e.Action {
	case "output", "build-output":
		if found := booted.FindStringSubmatch(e.Output); found != nil {
			n, _ := strconv.Atoi(found[1])
			l.note.Guests += n
		}
		if e.Test != "" && !strings.HasPrefix(e.Output, "=== ") {
			l.said[id] += e.Output
		}
		switch {
		case l.verbose || e.Test == "" && e.Output != "PASS\n":
			io.WriteString(l.out, e.Output)
		case e.Test != "" && !strings.HasPrefix(e.Output, "=== "):
			l.held[id] += e.Output
		}
	case "attr":
		if n, err := strconv.ParseFloat(e.Value, 64); err == nil && e.Key == usedCPU {
			l.cpu[id] += n
		}
	case "pass", "fail", "skip":
		if e.Test == "" {
			l.unfinished(e)
			return
		}
		text := arranged(l.held[id])
		said := ""
		if e.Action == "fail" {
			said = l.said[id]
		}
		delete(l.held, id)
		delete(l.said, id)
		if e.Action == "fail" {
			if i := strings.LastIndexByte(e.Test, '/'); i >= 0 {
				l.held[e.Package+" "+e.Test[:i]] += indented(text)
			} else {
				io.WriteString(l.out, text)
			}
		}
		if i := strings.LastIndexByte(e.Test, '/'); i >= 0 {
			l.cpu[e.Package+" "+e.Test[:i]] += l.cpu[id]
		}
		l.note.Tests = append(l.note.Tests, test{e.Package, e.Test, e.Action, e.Elapsed, l.cpu[id], said})
		delete(l.cpu, id)
	}
}

// arranged puts the result before what it was for, as it is when it is only printed at
// the end.
func arranged(text string) string {
	var results, rest string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "--- ") {
			results += line
		} else {
			rest += line
		}
	}
	return results + rest
}

// indented is what a part says, below its test.
func indented(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString("    " + line)
	}
	return b.String()
}

// unfinished prints what is held of tests whose package has ended without them: it
// panicked, or it took too long.
func (l *listener) unfinished(e *event) {
	for _, id := range slices.Sorted(maps.Keys(l.held)) {
		if strings.HasPrefix(id, e.Package+" ") {
			io.WriteString(l.out, arranged(l.held[id]))
			delete(l.held, id)
		}
	}
}

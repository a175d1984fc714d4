// SPDX-License-Identifier: BSD-3-Clause

// Command times says where the time of tests goes.
//
//	times TARGET COMMAND...   runs a command of make's target and notes its time
//	times                     prints the table of what was noted
//
// If the command is "go test", its output passes through as it comes, as if nobody
// listened, and the time of every test is noted. The exit code is the command's. Notes
// are in build/times, a JSON file for each target.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const dir = "build/times"

// A note is what is kept of one run of a target.
type note struct {
	Target  string    `json:"target"`
	Command []string  `json:"command"`
	Began   time.Time `json:"began"`
	Seconds float64   `json:"seconds"`
	CPU     float64   `json:"cpu_seconds"` // of all CPUs, with what it waited for: compilers, guests
	Code    int       `json:"code"`
	Guests  int       `json:"guests,omitempty"` // that were booted, if the tests say so
	Tests   []test    `json:"tests,omitempty"`
}

// A test is one that ended. The time of a parallel one is without its waiting for a turn.
// CPU is what its guests, and the programs that it ran, used of the host's CPUs, in seconds: it
// depends little on what else runs there.
type test struct {
	Package string  `json:"package"`
	Name    string  `json:"name"`
	Result  string  `json:"result"`
	Seconds float64 `json:"seconds"`
	CPU     float64 `json:"cpu_seconds,omitempty"`
	Said    string  `json:"said,omitempty"` // if it failed
}

func main() {
	if len(os.Args) == 1 {
		notes, err := read(dir)
		if err != nil {
			fail(err)
		}
		table(os.Stdout, notes)
		return
	}
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: times [TARGET COMMAND...]")
		os.Exit(2)
	}
	n := &note{Target: os.Args[1], Command: os.Args[2:], Began: time.Now()}
	code, err := n.run()
	if err != nil {
		fail(err)
	}
	n.Code, n.Seconds = code, time.Since(n.Began).Seconds()
	if err := n.write(dir); err != nil {
		fail(err)
	}
	os.Exit(code)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "times:", err)
	os.Exit(1)
}

// run runs the command to its end and returns its exit code.
func (n *note) run() (code int, err error) {
	argv, isTest := n.Command, false
	if i := slices.Index(argv, "test"); i == 1 && strings.HasPrefix(filepath.Base(argv[0]), "go") {
		argv, isTest = slices.Insert(slices.Clone(argv), 2, "-json"), true
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	wait := cmd.Wait
	if isTest {
		cmd.Stdout = nil
		out, err := cmd.StdoutPipe()
		if err != nil {
			return 0, err
		}
		wait = func() error {
			l := listener{note: n, out: os.Stdout, verbose: slices.Contains(argv, "-v")}
			return errors.Join(l.listen(out), cmd.Wait())
		}
	}
	// The command ends by these, and what it did until then is noted.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	go func() {
		for s := range signals {
			cmd.Process.Signal(s)
		}
	}()
	err = wait()
	if ended := cmd.ProcessState; ended != nil {
		n.CPU = (ended.UserTime() + ended.SystemTime()).Seconds()
	}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		if isTest {
			fmt.Println("FAIL") // go test's last line, which it leaves out of its JSON
		}
		return max(exit.ExitCode(), 1), nil
	}
	return 0, err
}

func (n *note) write(dir string) error {
	text, err := json.MarshalIndent(n, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, n.Target+".json"), append(text, '\n'), 0o644)
}

// read returns the notes of a directory, oldest first.
func read(dir string) (notes []*note, err error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		n := new(note)
		if err := json.Unmarshal(text, n); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		notes = append(notes, n)
	}
	slices.SortFunc(notes, func(a, b *note) int { return a.Began.Compare(b.Began) })
	return notes, nil
}

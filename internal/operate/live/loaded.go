// SPDX-License-Identifier: BSD-3-Clause

package live

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"plugsched/internal/artefact/desc"

	"golang.org/x/sys/unix"
)

// The states of a module, as its file "state" has them (runtime/sysfs.c).
const (
	stateActive     = "active"
	stateInactive   = "inactive"
	stateRolledBack = "rolled back" // without being asked by a process; its file "report" says why
)

// Loaded is a scheduler module that the kernel has loaded.
type Loaded struct {
	Name  string `json:"name"`
	State string `json:"state"` // "active", "inactive" or "rolled back"

	host Host
}

type loadedList []Loaded

// loadedModules asks the kernel for the scheduler modules that it has.
func (h Host) loadedModules() (loadedList, error) {
	dirs, err := filepath.Glob(h.path("/sys/module/" + desc.NamePrefix + "*/plugsched"))
	if err != nil {
		return nil, err
	}
	var list loadedList
	for _, d := range dirs {
		l := Loaded{Name: filepath.Base(filepath.Dir(d)), host: h}
		l.State, err = l.read("state")
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) {
			continue // it is being unloaded
		}
		if err != nil {
			return nil, err
		}
		list = append(list, l)
	}
	return list, nil
}

// active returns the module whose scheduler runs, or nil.
func (list loadedList) active() *Loaded {
	for i := range list {
		if list[i].State == stateActive {
			return &list[i]
		}
	}
	return nil
}

func (l *Loaded) file(name string) string {
	return l.host.path(filepath.Join("/sys/module", l.Name, "plugsched", name))
}

func (l *Loaded) read(name string) (string, error) {
	text, err := os.ReadFile(l.file(name))
	return strings.TrimSpace(string(text)), err
}

var address = regexp.MustCompile(`0x[0-9a-f]{9,16}\b`)

// report reads a file about tasks. Their names are anybody's choice, and where the
// kernel finds no symbol it prints an address: neither goes to a terminal or a log.
func (l *Loaded) report(name string) (string, error) {
	text, err := l.read(name)
	text = strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
	return address.ReplaceAllString(text, "(address)"), err
}

func (l *Loaded) write(name, value string) error {
	return os.WriteFile(l.file(name), []byte(value), 0)
}

// functions returns the names of the functions that the module redirects while it
// is active.
func (l *Loaded) functions() ([]string, error) {
	text, err := l.read("functions")
	return strings.Fields(text), err
}

// milliseconds reads a file that holds a time, 0 when it cannot be read.
func (l *Loaded) milliseconds(name string) time.Duration {
	text, _ := l.read(name)
	n, _ := strconv.ParseInt(text, 10, 64)
	return time.Duration(n) * time.Millisecond
}

// trialLeft is how long the module's trial goes on, 0 when none runs.
func (l *Loaded) trialLeft() time.Duration { return l.milliseconds("try") }

// pinned reports whether the module stays loaded for good: a rollback went over a task
// that was inside of it, or left a jump to it.
func (l *Loaded) pinned() bool {
	text, _ := l.read("pinned")
	return text == "1"
}

// used reports whether something holds the module besides itself: the one on trial that
// would roll back to it, or an open file. Until it is retired it holds itself.
func (l *Loaded) used() bool {
	n, err := strconv.Atoi(l.host.text("/sys/module/" + l.Name + "/refcnt"))
	return err == nil && n > 1
}

// retire makes the module undo what its hooks did. Something of it that is left is a
// *HeldError.
func (l *Loaded) retire() error {
	err := l.write("retire", "1")
	if errors.Is(err, unix.ENOTEMPTY) {
		text, _ := l.report("leftovers")
		return &HeldError{l.Name, strings.Split(text, "\n")}
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil // it is gone, or was built by an older version
	}
	return err
}

// unloadIdle removes every module that is not the running scheduler, nor what it
// would roll back to.
func (list loadedList) unloadIdle(ctx context.Context, to Progress) error {
	active := list.active()
	onTrial := active != nil && active.trialLeft() > 0
	for i := range list {
		l := &list[i]
		if l.State == stateActive || l.State == stateInactive && onTrial && l.used() {
			continue
		}
		if l.pinned() {
			to.sayf("%s %s", l.Name, staysPinned)
			continue
		}
		to.sayf("removing %s", l)
		err := l.unload(ctx)
		var held *HeldError
		if l.State == stateRolledBack && errors.As(err, &held) {
			to.sayf("%v", err)
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// String names the module, and says so when it is one that the kernel has left by itself.
func (l *Loaded) String() string {
	if l.State == stateRolledBack {
		return l.Name + ", from which the kernel had rolled back"
	}
	return l.Name
}

// unload removes the inactive module. One that was just rolled back by the kernel is busy for
// a moment.
func (l *Loaded) unload(ctx context.Context) error {
	var err error
	for range 50 {
		if err = l.retire(); err == nil {
			err = l.host.deleteModule(l.Name)
		} else if !errors.Is(err, unix.EBUSY) {
			return err
		}
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	return fmt.Errorf("the module cannot be unloaded: %w", err)
}

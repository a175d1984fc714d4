// SPDX-License-Identifier: BSD-3-Clause

// Package history is a machine's log of updates: one JSON object a line, only ever
// appended to. It tells what happened and decides nothing, so no update fails for it.
package history

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"plugsched/internal/artefact/installed"
	"plugsched/internal/durable"
	"plugsched/internal/operate/live"
)

const (
	file = "history.jsonl"
	old  = file + ".1" // what was there before the log last reached maxSize

	maxSize  = 1 << 20 // bytes
	maxError = 2000    // bytes of an error's text
)

// Begun is the result of what has not ended, as far as is known: the tool or the machine
// stopped. All others are words of outcome.Outcome.
const Begun = "begun"

// RolledBack is the action of an update that the kernel did by itself.
const RolledBack = "rolled back"

// Ended is the action of a BPF scheduler that somebody has ended by other means than a command of ours.
const Ended = "ended"

// Entry is one thing that happened.
type Entry struct {
	Time     time.Time `json:"time"` // by the machine's wall clock
	BootID   string    `json:"boot_id"`
	Boottime int64     `json:"boottime_ns"`      // CLOCK_BOOTTIME of the update; of the end, or the beginning, without one
	Begun    int64     `json:"begun_ns"`         // CLOCK_BOOTTIME; an end has that of its beginning
	Action   string    `json:"action"`           // a command's name, or RolledBack
	Result   string    `json:"result"`           // Begun, or an outcome
	Before   string    `json:"before"`           // whose scheduler ran; "" is the kernel's own
	After    string    `json:"after"`            // likewise
	Module   string    `json:"module,omitempty"` // that was asked for, or was rolled back
	BPF      string    `json:"bpf,omitempty"`    // likewise, where it is about a scheduler in BPF
	Package  string    `json:"package,omitempty"`
	Version  string    `json:"version,omitempty"` // of the package
	// Direction is "install", "replace" or "remove" when an update took place, and
	// Downtime how long the machine stood still for it.
	Direction string        `json:"direction,omitempty"`
	Downtime  time.Duration `json:"downtime_ns,omitempty"`
	// Gap is how long the kernel's own scheduler had all tasks between two in BPF, of which one replaced the other.
	Gap   time.Duration `json:"gap_ns,omitempty"`
	Error string        `json:"error,omitempty"`
}

// Log is the history of a machine.
type Log struct{ Host live.Host }

func (l Log) path(name string) string { return filepath.Join(l.Host.Root, installed.StateDir, name) }

// append writes entries, each with one write, and makes sure that they are on the disk.
func (l Log) append(entries ...Entry) error {
	if err := os.MkdirAll(l.path(""), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(l.path(file), os.O_APPEND|os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer func() { f.Close() }()
	for _, e := range entries {
		line, err := json.Marshal(e)
		if err != nil {
			return err
		}
		if _, err := f.Write(append(cut(f), append(line, '\n')...)); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := durable.SyncDir(l.path("")); err != nil { // it may be new
		return err
	}
	return l.rotate(f)
}

// cut is what has to come before a new line: a line break, if the disk was full or the
// machine lost power in the middle of the last one.
func cut(f *os.File) []byte {
	st, err := f.Stat()
	if err != nil || st.Size() == 0 {
		return nil
	}
	last := make([]byte, 1)
	if _, err := f.ReadAt(last, st.Size()-1); err != nil || last[0] == '\n' {
		return nil
	}
	return []byte{'\n'}
}

// rotate puts a full log aside, in place of the one before. Whoever else is at it does
// the same.
func (l Log) rotate(f *os.File) error {
	if ok, err := durable.TryLockFile(f); !ok {
		return err
	}
	ours, err := f.Stat()
	if err != nil || ours.Size() < maxSize {
		return err
	}
	now, err := os.Stat(l.path(file))
	if err != nil || !os.SameFile(ours, now) {
		return nil // somebody was faster
	}
	return durable.Replace(l.path(file), l.path(old))
}

// Read returns what happened, in order. Lines that cannot be read are counted and left
// out. No log is no error.
func (l Log) Read() (entries []Entry, damaged int, err error) {
	for _, name := range []string{old, file} {
		text, err := os.ReadFile(l.path(name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		list, bad := parse(text)
		entries, damaged = append(entries, list...), damaged+bad
	}
	return ended(entries), damaged, nil
}

// recentSize is how many bytes of the log are looked at for what was just now.
const recentSize = 32 << 10

// Recent returns the last entries, quickly.
func (l Log) Recent() ([]Entry, error) {
	f, err := os.Open(l.path(file))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	text := make([]byte, min(st.Size(), recentSize))
	if _, err := f.ReadAt(text, st.Size()-int64(len(text))); err != nil && err != io.EOF {
		return nil, err
	}
	list, _ := parse(text) // the first line may be cut
	return ended(list), nil
}

func parse(text []byte) (list []Entry, damaged int) {
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		var e Entry
		switch {
		case len(line) == 0:
		case json.Unmarshal(line, &e) != nil || e.Action == "":
			damaged++
		default:
			list = append(list, e)
		}
	}
	return list, damaged
}

// ended leaves out the beginnings of what has an end.
func ended(all []Entry) []Entry {
	type key struct {
		boot, action string
		begun        int64
	}
	has := map[key]bool{}
	for _, e := range all {
		if e.Result != Begun {
			has[key{e.BootID, e.Action, e.Begun}] = true
		}
	}
	var out []Entry
	for _, e := range all {
		if e.Result != Begun || !has[key{e.BootID, e.Action, e.Begun}] {
			out = append(out, e)
		}
	}
	return out
}

// Writable says what would keep entries from being written. It leaves nothing behind.
func (l Log) Writable() error {
	dir := l.path("")
	for ; ; dir = filepath.Dir(dir) {
		err := unix.Access(dir, unix.W_OK)
		if !errors.Is(err, fs.ErrNotExist) || dir == "/" {
			if err != nil {
				return fmt.Errorf("%s: %w", dir, err)
			}
			break
		}
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	if st.Bavail == 0 && st.Blocks > 0 {
		return fmt.Errorf("%s: %w", dir, unix.ENOSPC)
	}
	return nil
}

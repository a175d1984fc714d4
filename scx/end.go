// SPDX-License-Identifier: BSD-3-Clause

package scx

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/cilium/ebpf"
)

// endMap is the map of that name in bpf/scx.h, whose only value is a struct end.
const endMap = "plugsched_end"

// Where the members of struct end are.
const (
	endCode    = 8
	endAt      = 16
	endReason  = 24
	endMessage = endReason + 128
	endDump    = endMessage + 1024
	endSize    = endDump + 32768
)

// firstError is the first kind of an end that is an error; those below were asked for
// (kernel/sched/ext, enum scx_exit_kind).
const firstError = 1024

// End is why a scheduler ended, in the kernel's words.
type End struct {
	Name string `json:"name"` // the scheduler
	Kind uint32 `json:"kind"` // the kernel's enum scx_exit_kind
	// Error is whether the kernel ended it for what it did, or it gave up itself.
	Error   bool   `json:"error"`
	Code    int64  `json:"code"`              // that the scheduler gave, or the kernel (enum scx_exit_code)
	At      int64  `json:"ended_boottime_ns"` // by CLOCK_BOOTTIME
	Reason  string `json:"reason"`
	Message string `json:"message,omitempty"`
	Dump    string `json:"dump,omitempty"` // what CPUs and tasks did then, for errors
}

// unregistered is SCX_EXIT_UNREG: who had loaded it, or had its link, let go of it.
const unregistered = 64

// Unregistered says whether it ended because its link was detached, or the last that held that was gone.
func (e *End) Unregistered() bool { return e.Kind == unregistered }

// What a trial that lapses ends with: SCX_EXIT_UNREG_BPF, and TRIAL_CODE of bpf/scx.h.
const (
	endedItself = 65
	trialCode   = 1
)

// Lapsed says whether it ended because its trial was not confirmed in time.
func (e *End) Lapsed() bool { return e.Kind == endedItself && e.Code == trialCode }

// String is the reason and what else there is to it, in one line.
func (e *End) String() string {
	text := e.Reason
	if e.Message != "" {
		text += ": " + strings.ReplaceAll(e.Message, "\n", " ")
	}
	if e.Code != 0 {
		text += fmt.Sprintf(" (code %#x)", e.Code)
	}
	return text
}

// parseEnd reads a struct end, nil if nothing has ended.
func parseEnd(name string, b []byte) (*End, error) {
	if len(b) != endSize {
		return nil, fmt.Errorf("the map %s of the scheduler %s has values of %d bytes, not %d: it is of another header",
			endMap, name, len(b), endSize)
	}
	kind := binary.NativeEndian.Uint32(b)
	if kind == 0 {
		return nil, nil
	}
	text := func(from, to int) string {
		s, _, _ := bytes.Cut(b[from:to], []byte{0})
		return strings.TrimSpace(printable(string(s)))
	}
	return &End{Name: name, Kind: kind, Error: kind >= firstError,
		Code: int64(binary.NativeEndian.Uint64(b[endCode:])), At: int64(binary.NativeEndian.Uint64(b[endAt:])),
		Reason: text(endReason, endMessage), Message: text(endMessage, endDump), Dump: text(endDump, endSize)}, nil
}

// printable is text with names of tasks in it, which are anybody's choice, without what a terminal would obey.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

// readEnd reads it from the map.
func readEnd(name string, m *ebpf.Map) (*End, error) {
	b, err := m.LookupBytes(uint32(0))
	if err != nil {
		return nil, fmt.Errorf("why %s ended: %w", name, err)
	}
	return parseEnd(name, b)
}

// endOf reads it from the map that a scheduler has pinned, nil if there is none.
func endOf(name string) (*End, error) {
	m, err := ebpf.LoadPinnedMap(pinned(name, pinEnd), nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer m.Close()
	return readEnd(name, m)
}

// ends are those of all schedulers that have something pinned, the latest last.
func ends() (list []End, err error) {
	dirs, err := os.ReadDir(Pins)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil, nil // no scheduler was loaded since boot, or who asks may not know
	}
	for _, d := range dirs {
		end, bad := endOf(d.Name())
		err = errors.Join(err, bad)
		if end != nil {
			list = append(list, *end)
		}
	}
	slices.SortFunc(list, func(a, b End) int { return int(min(max(a.At-b.At, -1), 1)) })
	return list, err
}

// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"plugsched/internal/outcome"
)

// MismatchError says that an artefact is not the one that belongs to the
// kernel, or that it cannot serve as one. Its text is a single line.
type MismatchError struct {
	What string // the property compared: "release", "compiler", ...
	Path string // the file or directory it was read from
	Want string
	Got  string
	Fix  string // what the user can do about it
}

func (e *MismatchError) Error() string {
	var b strings.Builder
	if e.Path != "" {
		b.WriteString(e.Path + ": ")
	}
	fmt.Fprintf(&b, "%s is %q, want %q", e.What, oneLine(e.Got), oneLine(e.Want))
	if e.Got == "" {
		b.Reset()
		if e.Path != "" {
			b.WriteString(e.Path + ": ")
		}
		fmt.Fprintf(&b, "no %s, want %s", e.What, oneLine(e.Want))
	}
	if e.Fix != "" {
		b.WriteString("; " + e.Fix)
	}
	return b.String()
}

// Outcome implements outcome.Error.
func (*MismatchError) Outcome() outcome.Outcome { return outcome.Precondition }

// UnavailableError says that apt knows no package that would do.
type UnavailableError struct {
	Package string
	Version string   // wanted version, empty if any would do
	Have    []string // versions, or releases, that could be had instead; newest first
	Fix     string
	// Flavours are those of the kernels that are supported, when this is none of them.
	Flavours []string
	Reason   string // why there is no package, if not that apt's archives lack it
	Missing  string // what of the kernel the machine has and lacks, if that was looked for
}

func (e *UnavailableError) Error() string {
	s := ""
	if len(e.Flavours) > 0 {
		s = "apt knows kernels of these flavours alone: " + strings.Join(e.Flavours, ", ") + "; "
	}
	if e.Reason != "" {
		s += e.Reason
	} else {
		s += "package " + strings.TrimSpace(e.Package+" "+e.Version) + " is not in apt's archives"
	}
	if len(e.Have) > 0 {
		s += " (there are: " + strings.Join(e.Have, ", ") + ")"
	}
	if e.Missing != "" {
		s += "; " + e.Missing
	}
	if e.Fix != "" {
		s += "; " + e.Fix
	}
	return s
}

// Outcome implements outcome.Error.
func (*UnavailableError) Outcome() outcome.Outcome { return outcome.Precondition }

// ToolError says that a program this package runs is not installed.
type ToolError struct {
	Tool    string
	Package string // Debian package that has it
	Why     string // what it is needed for
}

func (e *ToolError) Error() string {
	return fmt.Sprintf("%s is needed to %s and was not found; run: apt-get install %s", e.Tool, e.Why, e.Package)
}

// Outcome implements outcome.Error.
func (*ToolError) Outcome() outcome.Outcome { return outcome.Failed }

// SpaceError says that the cache's file system cannot hold the artefacts.
type SpaceError struct {
	Dir  string
	Need int64 // bytes still to be written; 0 if unknown
	Free int64 // bytes available to this user
}

func (e *SpaceError) Error() string {
	s := "no space left in " + e.Dir
	if e.Need > 0 {
		s += fmt.Sprintf(": %s needed, %s free", megabytes(e.Need), megabytes(e.Free))
	}
	return s + "; free some or name another directory with --cache-dir"
}

// Outcome implements outcome.Error.
func (*SpaceError) Outcome() outcome.Outcome { return outcome.Failed }

// Unwrap lets callers test for ENOSPC.
func (e *SpaceError) Unwrap() error { return unix.ENOSPC }

// spaceError turns any report of a full disk into a SpaceError.
func spaceError(err error, dir string, need int64) error {
	var se *SpaceError
	if err == nil || errors.As(err, &se) {
		return err
	}
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) ||
		strings.Contains(err.Error(), "No space left on device") {
		free, _ := freeSpace(dir)
		return &SpaceError{Dir: dir, Need: need, Free: free}
	}
	return err
}

func freeSpace(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * st.Bsize, nil
}

func megabytes(n int64) string { return fmt.Sprintf("%d MB", (n+999_999)/1_000_000) }

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

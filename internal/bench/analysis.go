// SPDX-License-Identifier: BSD-3-Clause

package bench

import (
	"context"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// Analysis is what the analysis of a kernel takes.
type Analysis struct {
	Release string  `json:"release"`
	Text    int64   `json:"text"`    // bytes of its code
	DWARF   int64   `json:"dwarf"`   // of its debug information, uncompressed
	Seconds float64 `json:"seconds"` // of processors
	Memory  int64   `json:"memory"`  // bytes at most
}

// Analyse runs a command that analyses a kernel so many times, and takes the least time.
func Analyse(ctx context.Context, release, vmlinux string, repetitions int,
	command func(ctx context.Context) *exec.Cmd) (*Analysis, error) {
	a := &Analysis{Release: release}
	if err := a.measureFile(vmlinux); err != nil {
		return nil, err
	}
	for i := range repetitions {
		c := command(ctx)
		if out, err := c.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%s: %w: %s", strings.Join(c.Args, " "), err, out)
		}
		s := c.ProcessState
		if took := (s.UserTime() + s.SystemTime()).Seconds(); i == 0 || took < a.Seconds {
			a.Seconds = took
		}
		if usage, ok := s.SysUsage().(*syscall.Rusage); ok {
			a.Memory = max(a.Memory, usage.Maxrss<<10)
		}
	}
	return a, nil
}

// measureFile takes the sizes of a vmlinux.
func (a *Analysis) measureFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	e, err := elf.NewFile(f)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, s := range e.Sections {
		switch {
		case s.Flags&elf.SHF_EXECINSTR != 0 && s.Name == ".text":
			a.Text = int64(s.Size)
		case strings.HasPrefix(s.Name, ".debug_") || strings.HasPrefix(s.Name, ".zdebug_"):
			a.DWARF += int64(s.Size)
		}
	}
	return nil
}

// SPDX-License-Identifier: BSD-3-Clause

package vm

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"plugsched/internal/outcome"
)

// ErrOff is returned by operations on a machine that was closed or that
// powered itself off.
var ErrOff = errors.New("guest is powered off")

// ErrRebooted is returned by operations on a machine that was told to reboot, from
// the inside. That ends it, too; boot its disk again.
var ErrRebooted = errors.New("guest has rebooted")

// A StarvesError says that a QEMU cannot count instructions for several CPUs: before 8.1 (accel/tcg,
// "ensure fairness with icount") one that waits for another uses up the time of that one.
type StarvesError struct{ QEMU string }

func (e *StarvesError) Error() string {
	return e.QEMU + ": before version 8.1, QEMU that counts instructions never runs the second CPU: name a newer one, or take one CPU"
}

// Outcome implements outcome.Error.
func (*StarvesError) Outcome() outcome.Outcome { return outcome.Precondition }

// A KernelFault says that the guest's kernel complained, died or stopped
// answering. It is about the kernel under test, not about the host.
type KernelFault struct {
	// Faults are the console's complaints, oldest first; at least one.
	Faults []Fault
	// ConsolePath is the kept console log, or empty.
	ConsolePath string
}

func (e *KernelFault) Error() string {
	s := "guest kernel fault: " + e.Faults[0].Line
	if n := len(e.Faults) - 1; n > 0 {
		s += fmt.Sprintf(" (and %d more)", n)
	}
	return s + consoleHint(e.ConsolePath)
}

// Outcome implements outcome.Error.
func (*KernelFault) Outcome() outcome.Outcome { return outcome.Fault }

// Excerpt is the first complaint in full.
func (e *KernelFault) Excerpt() string { return e.Faults[0].Excerpt }

// A BootError says that the guest's agent never answered. If the kernel
// complained on the way, it wraps a *KernelFault; if the host was at fault, an
// *InfraError.
type BootError struct {
	Reason      string
	Console     []byte // the last lines
	ConsolePath string
	Err         error
}

func (e *BootError) Error() string {
	s := "guest did not boot: " + e.Reason
	if tail := lastLine(e.Console); tail != "" {
		s += fmt.Sprintf("; last console line %q", tail)
	}
	return s + consoleHint(e.ConsolePath)
}

func (e *BootError) Unwrap() error { return e.Err }

// An InfraError says that the host side did not work: QEMU is missing or died,
// the agent crashed, the channel is damaged. It says nothing about the kernel
// under test.
type InfraError struct {
	Op  string
	Err error
}

func (e *InfraError) Error() string { return e.Op + ": " + e.Err.Error() }
func (e *InfraError) Unwrap() error { return e.Err }

// Outcome implements outcome.Error.
func (*InfraError) Outcome() outcome.Outcome { return outcome.Failed }

// A GuestError is a request that the guest's system refused, such as a program
// that does not exist. It matches fs.ErrNotExist and the like.
type GuestError struct {
	Op    string
	Text  string
	Errno syscall.Errno
}

func (e *GuestError) Error() string { return "guest " + e.Op + ": " + e.Text }

func (e *GuestError) Unwrap() error {
	if e.Errno == 0 {
		return nil
	}
	return e.Errno
}

// A TimeoutError is a command that ran longer than its Timeout and was killed.
type TimeoutError struct {
	Argv  []string
	After time.Duration
}

func (e *TimeoutError) Error() string {
	return fmt.Sprintf("guest command %q killed after %v", strings.Join(e.Argv, " "), e.After)
}

// Outcome implements outcome.Error.
func (*TimeoutError) Outcome() outcome.Outcome { return outcome.Failed }

// Timeout reports true, as net.Error does.
func (e *TimeoutError) Timeout() bool { return true }

func consoleHint(path string) string {
	if path == "" {
		return ""
	}
	return " (console: " + path + ")"
}

func lastLine(b []byte) string {
	lines := strings.Split(strings.TrimRight(string(b), "\r\n "), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

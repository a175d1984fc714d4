// SPDX-License-Identifier: BSD-3-Clause

package live

import (
	"io"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// kernelLog reads what the kernel says from now on.
type kernelLog struct{ fd int }

// openLog starts at the end of the log. Without /dev/kmsg there is nothing to
// read, and nothing is claimed about it.
func (h Host) openLog() *kernelLog {
	fd, err := unix.Open(h.path("/dev/kmsg"), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return &kernelLog{-1}
	}
	unix.Seek(fd, 0, io.SeekEnd)
	return &kernelLog{fd}
}

func (l *kernelLog) close() {
	if l.fd >= 0 {
		unix.Close(l.fd)
	}
}

// record is one message of the kernel's.
type record struct {
	level int // as in include/linux/kern_levels.h: 0 is an emergency, 7 debugging
	text  string
}

const levelWarning = 4

// parseRecord reads "PRIORITY,...;TEXT\n ..." (Documentation/ABI/testing/dev-kmsg).
// What user space wrote has a facility in the priority's upper bits and is no
// message of the kernel's.
func parseRecord(text string) (record, bool) {
	head, text, _ := strings.Cut(text, ";")
	text, _, _ = strings.Cut(text, "\n")
	number, _, _ := strings.Cut(head, ",")
	priority, err := strconv.Atoi(number)
	return record{priority & 7, text}, err == nil && priority>>3 == 0
}

// records returns the messages since the last call.
func (l *kernelLog) records() []record {
	var out []record
	buf := make([]byte, 8192)
	for l.fd >= 0 {
		n, err := unix.Read(l.fd, buf)
		if err == unix.EPIPE || err == unix.EINTR {
			continue // overtaken by new messages
		}
		if err != nil || n <= 0 {
			break
		}
		if r, ok := parseRecord(string(buf[:n])); ok {
			out = append(out, r)
		}
	}
	return out
}

// complaintMarks begin what the kernel prints when something is wrong.
var complaintMarks = []string{"BUG:", "WARNING:", "Oops", "general protection fault", "rcu_sched self-detected",
	"rcu_preempt self-detected",
	"soft lockup", "hard LOCKUP", "scheduling while atomic", "unable to handle"}

// complains reports a message that a kernel in order does not print. Messages of
// a lower level begin with what a user chose, such as the name of a program that
// crashed (arch/x86/mm/fault.c, show_signal_msg).
func (r record) complains() bool {
	return r.level <= levelWarning &&
		slices.ContainsFunc(complaintMarks, func(m string) bool { return strings.Contains(r.text, m) })
}

// complaints returns the complaints since openLog.
func (l *kernelLog) complaints() []string {
	var out []string
	for _, r := range l.records() {
		if r.complains() {
			out = append(out, r.text)
		}
	}
	return out
}

// SPDX-License-Identifier: BSD-3-Clause

package live

import (
	"io"
	"strings"

	"golang.org/x/sys/unix"
)

// kernelLog reads what the kernel says from now on.
type kernelLog struct{ fd int }

// openLog starts at the end of the log. Without /dev/kmsg there is nothing to
// read, and nothing is claimed about it.
func openLog() *kernelLog {
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
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

// lines returns the messages since the last call.
func (l *kernelLog) lines() []string {
	var out []string
	buf := make([]byte, 8192)
	for l.fd >= 0 {
		n, err := unix.Read(l.fd, buf)
		if err == unix.EPIPE || err == unix.EINTR {
			continue // overtaken by new messages
		}
		if err != nil || n <= 0 {
			break
		}
		_, text, _ := strings.Cut(string(buf[:n]), ";")
		text, _, _ = strings.Cut(text, "\n")
		out = append(out, text)
	}
	return out
}

// complaintMarks begin what the kernel prints when something is wrong.
var complaintMarks = []string{"BUG:", "WARNING:", "Oops", "general protection fault", "rcu_sched self-detected", "rcu_preempt self-detected",
	"soft lockup", "hard LOCKUP", "scheduling while atomic", "unable to handle"}

// complaints returns the messages since openLog that a kernel in order does not
// print.
func (l *kernelLog) complaints() []string {
	var out []string
	for _, line := range l.lines() {
		for _, m := range complaintMarks {
			if strings.Contains(line, m) {
				out = append(out, line)
				break
			}
		}
	}
	return out
}

// lastAbout returns the last message that contains a word.
func (l *kernelLog) lastAbout(word string) string {
	last := ""
	for _, line := range l.lines() {
		if strings.Contains(line, word) {
			last = line
		}
	}
	return last
}

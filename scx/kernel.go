// SPDX-License-Identifier: BSD-3-Clause

package scx

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// sysfs is where a kernel with sched_ext tells of it (kernel/sched/ext, scx_global_attrs and scx_sched_attrs).
const sysfs = "/sys/kernel/sched_ext"

// In these states the kernel stays. In others, which differ between kernels, it is on its way from one
// to the other (kernel/sched/ext, scx_enable_state_str).
const (
	disabled = "disabled"
	enabled  = "enabled"
)

// attribute reads a file of sysfs, "" if it is not there: the scheduler's are gone with it.
func attribute(name string) (string, error) {
	text, err := os.ReadFile(filepath.Join(sysfs, name))
	if errors.Is(err, fs.ErrNotExist) || gone(err) {
		return "", nil
	}
	return strings.TrimSpace(string(text)), err
}

// state asks the kernel what it does with BPF schedulers.
func state() (string, error) {
	s, err := attribute("state")
	if err == nil && s == "" {
		return "", &UnsupportedError{}
	}
	return s, err
}

// number reads an attribute that is one.
func number(name string) (int64, error) {
	text, err := attribute(name)
	if err != nil || text == "" {
		return 0, err
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s/%s: %w", sysfs, name, err)
	}
	return n, nil
}

// parseEvents reads lines of a name and a count.
func parseEvents(text string) (map[string]int64, error) {
	if text == "" {
		return nil, nil
	}
	events := map[string]int64{}
	for line := range strings.Lines(text) {
		name, count, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.ParseInt(count, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s/root/events: %q: %w", sysfs, line, err)
		}
		events[name] = n
	}
	return events, nil
}

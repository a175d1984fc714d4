// SPDX-License-Identifier: BSD-3-Clause

package live

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// ghostDevice is the file that agents have enclaves by (examples/ghost, ghost_device).
const ghostDevice = "/dev/ghost"

// Agent is a process that schedules others.
type Agent struct {
	Command string // printable
	PID     int
}

func (a Agent) String() string { return fmt.Sprintf("%s[%d]", a.Command, a.PID) }

// Agents are the processes that have an enclave's file open. Who is not root sees only their own.
func (h Host) Agents() (agents []Agent) {
	dirs, _ := filepath.Glob(h.path("/proc/[0-9]*"))
	for _, dir := range dirs {
		files, _ := os.ReadDir(filepath.Join(dir, "fd")) // one that ends meanwhile has none
		if !slices.ContainsFunc(files, func(f os.DirEntry) bool {
			to, err := os.Readlink(filepath.Join(dir, "fd", f.Name()))
			return err == nil && to == ghostDevice
		}) {
			continue
		}
		name, err := os.ReadFile(filepath.Join(dir, "comm"))
		pid, bad := strconv.Atoi(filepath.Base(dir))
		if err == nil && bad == nil {
			agents = append(agents, Agent{printable(strings.TrimSpace(string(name))), pid})
		}
	}
	return agents
}

// printable is a process's name, which is anybody's choice, without what a terminal would obey.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

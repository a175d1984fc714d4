// SPDX-License-Identifier: BSD-3-Clause

// Package needs knows what a kernel has to be configured with, and without, for its scheduler to be
// taken out of it and put back. Each rule says why, and where who builds a kernel finds the option.
package needs

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"

	"plugsched/internal/kernel/arch"
	"plugsched/internal/outcome"
)

// Config is a kernel's configuration: the options that are set, with their values.
type Config map[string]string

// ReadConfig reads a .config, or an auto.conf.
func ReadConfig(path string) (Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	c := Config{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if key, val, ok := strings.Cut(strings.TrimSpace(lines.Text()), "="); ok && strings.HasPrefix(key, "CONFIG_") {
			c[key] = val
		}
	}
	return c, lines.Err()
}

// Compiler is the first line of what the compiler printed for its version.
func (c Config) Compiler() string { return strings.Trim(c["CONFIG_CC_VERSION_TEXT"], `"`) }

type need arch.Option

// needed is in the order of menuconfig, so that what is reported can be walked through there. What an architecture needs
// besides, and what it does without, is in its description.
var needed = []need{
	{"64BIT", false, "the architectures that are known are of 64 bits", "64-bit kernel"},
	{"CC_IS_GCC", false, "a kernel's code is reproduced from gcc's assembly", "make CC=gcc"},
	{"LTO", true, "optimised as one, the kernel has no units that can be compiled one by one",
		"General architecture-dependent options, Link Time Optimization (LTO): None"},
	{"CFI", true, "functions called by pointer are checked against their type (kCFI), which jumps between kernel and module do not have",
		"General architecture-dependent options, Use Clang's Control Flow Integrity"},
	{"CFI_CLANG", true, "functions called by pointer are checked against their type (kCFI), which jumps between kernel and module do not have",
		"General architecture-dependent options, Use Clang's Control Flow Integrity"},
	{"PREEMPT_RT", true, "the locks that an update takes in the stopped machine would sleep", "General setup, Preemption Model"},
	{"RT_GROUP_SCHED", true, "groups have realtime queues, which the runtime does not move",
		"General setup, Control Group support, CPU controller, Group scheduling for SCHED_RR/FIFO"},
	{"KALLSYMS", false, "the installer compares the running kernel's addresses with the build's",
		"General setup, Load all symbols for debugging"},
	{"KALLSYMS_ALL", false, "a module finds the one that it takes over from by the name of a variable",
		"General setup, Include all symbols in kallsyms"},
	{"MODULES", false, "the scheduler comes back as a module", "Enable loadable module support"},
	{"MODULE_UNLOAD", false, "a scheduler that is replaced is unloaded", "Enable loadable module support, Module unloading"},
	{"PROC_FS", false, "the installer reads /proc/kallsyms", "File systems, Pseudo filesystems, /proc"},
	{"SYSFS", false, "a module says what it does in /sys", "File systems, Pseudo filesystems, sysfs"},
	{"DEBUG_INFO", false, "what the kernel's functions and variables are is read from its debug information",
		"Kernel hacking, Compile-time checks and compiler options, Debug information: DWARF 4 or 5"},
	{"DEBUG_INFO_REDUCED", true, "the debug information is without types",
		"Kernel hacking, Compile-time checks and compiler options, Reduce debugging information"},
	{"DEBUG_INFO_SPLIT", true, "the debug information is in files other than vmlinux",
		"Kernel hacking, Compile-time checks and compiler options, Produce split debuginfo in .dwo files"},
	{"TRACEPOINTS", false, "an update learns by them who runs, who is born and who has died",
		"Kernel hacking, Tracers: any of them, the least is Trace process context switches and events"},
	{"STACKTRACE", false, "an update looks at the stacks of all tasks", "Kernel hacking, Stack backtrace support"},
	{"HAVE_RELIABLE_STACKTRACE", false, "an update has to know that it has seen all of a stack",
		"Kernel hacking, Choose kernel unwinder: ORC unwinder"},
}

// needed are the options that matter for the architecture that is configured.
func (c Config) needed() []need {
	for _, a := range arch.All {
		if c["CONFIG_"+a.Option] == "y" {
			return neededFor(a)
		}
	}
	return needed
}

func neededFor(a *arch.Arch) []need {
	list := slices.DeleteFunc(slices.Clone(needed), func(n need) bool { return slices.Contains(a.Spares, n.Name) })
	for _, n := range a.Needs {
		list = append(list, need(n))
	}
	return list
}

// Fault is an option that is not as it has to be.
type Fault struct {
	Option string `json:"option"` // with its prefix
	Want   string `json:"want"`   // "y", or "n" for one that must not be set
	Got    string `json:"got"`    // "n" if it is not set
	Why    string `json:"why"`
	Where  string `json:"where"` // in the kernel's configuration menu
}

func (f Fault) String() string {
	return fmt.Sprintf("%s=%s, it has to be %s: %s (%s)", f.Option, f.Got, f.Want, f.Why, f.Where)
}

// Faults are the options of a configuration that are not as they have to be. Of options that a
// series of kernels does not have, those that must not be set are not, and those that must be are faults.
func (c Config) Faults() (list []Fault) {
	for _, n := range c.needed() {
		name := "CONFIG_" + n.Name
		got, set := c[name]
		if set != n.Not {
			continue
		}
		f := Fault{Option: name, Want: "y", Got: "n", Why: n.Why, Where: n.Where}
		if n.Not {
			f.Want, f.Got = "n", got
		}
		list = append(list, f)
	}
	return list
}

// Error says what of a configuration is not as it has to be.
type Error struct {
	Path   string
	Faults []Fault
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: a kernel that is configured like this cannot be worked with:", e.Path)
	for _, f := range e.Faults {
		b.WriteString("\n  " + f.String())
	}
	return b.String()
}

// Outcome implements outcome.Error.
func (*Error) Outcome() outcome.Outcome { return outcome.Precondition }

// Check returns an *Error if a configuration file will not do.
func Check(path string) error {
	c, err := ReadConfig(path)
	if err != nil {
		return err
	}
	if faults := c.Faults(); len(faults) > 0 {
		return &Error{path, faults}
	}
	return nil
}

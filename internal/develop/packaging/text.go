// SPDX-License-Identifier: BSD-3-Clause

package packaging

import (
	"fmt"
	"strings"
	"time"
)

// width of lines in packages' texts, as Debian's tools want it.
const width = 76

// wrap breaks text into lines, each behind an indent, the first behind another.
func wrap(text, first, indent string) string {
	var lines []string
	line := first
	for i, word := range strings.Fields(text) {
		if i > 0 && len(line)+1+len(word) > width {
			lines, line = append(lines, line), indent
		} else if i > 0 {
			line += " "
		}
		line += word
	}
	return strings.Join(append(lines, line), "\n")
}

// description is the summary, and below it what the package does.
func (s *Scheduler) description() string {
	if s.BPF != nil {
		return s.Summary + "\n" + wrap("A scheduler in BPF, for any Linux kernel that has sched_ext. Installing the package makes it the "+
			"running scheduler, removing it gives the kernel its own back.", "", "")
	}
	return s.Summary + "\n" + wrap("A scheduler for the running kernel, Linux "+s.Release+
		". Installing the package makes it the running scheduler, removing it gives the kernel its own back.", "", "")
}

// changelog is Debian's (deb-changelog(5)): this version, with the subjects of the developer's commits.
func (s *Scheduler) changelog() []byte {
	text := fmt.Sprintf("%s (%s) unstable; urgency=medium\n\n", s.name(), s.Version)
	from := "by plugsched " + s.Tool
	if s.Commit != "" {
		from += ", of commit " + s.Commit
	}
	built := "Built for Linux " + s.Release + " " + from + "."
	if s.BPF != nil {
		built = "Packed " + from + "."
	}
	for _, item := range append([]string{built}, s.Changes...) {
		text += wrap(item, "  * ", "    ") + "\n"
	}
	return fmt.Appendf(nil, "%s\n -- %s  %s\n", text, s.Maintainer, s.Time.UTC().Format(time.RFC1123Z))
}

// SPDX-License-Identifier: BSD-3-Clause

package asm

import "strings"

// told are functions of the kernel's that are told, as their second argument, the line of the source that they are
// called from, for what they print.
var told = map[string]string{
	"lockdep_rcu_suspicious": "RCU_LOCKDEP_WARN(), include/linux/rcupdate.h, with CONFIG_PROVE_RCU",
	"__might_sleep":          "might_sleep(), include/linux/kernel.h, with CONFIG_DEBUG_ATOMIC_SLEEP",
	"__might_resched":        "cond_resched_lock() and the like, include/linux/sched.h, with CONFIG_DEBUG_ATOMIC_SLEEP",
	"__might_fault":          "might_fault(), include/linux/kernel.h and uaccess.h, with CONFIG_PROVE_LOCKING",
}

// lineNumbers are the lines of a function's assembly that load such a number. gcc loads an argument in the block that
// ends with the call.
func (u *Unit) lineNumbers(d *Def) map[int]bool {
	found, loads := map[int]bool{}, -1
	for i := d.first; i <= d.last; i++ {
		text := strings.TrimSpace(u.lines[i].text)
		if name, label := labelOf(u.lines[i].text); label {
			if u.usedLabel(d, name) {
				loads = -1
			}
			continue
		}
		word, rest := firstWord(text)
		switch {
		case u.syntax.Branch(word):
			if told[rest] != "" && loads >= 0 {
				found[loads] = true
			}
			loads = -1
		case strings.HasPrefix(word, "mov") && writesTo(rest, u.syntax.Second):
			loads = i
		}
	}
	return found
}

// writesTo reports that a constant is moved to a register, whichever of the two is written first.
func writesTo(operands, register string) bool {
	a, b, ok := strings.Cut(operands, ",")
	a, b = strings.TrimSpace(a), strings.TrimSpace(b)
	if b == register {
		a, b = b, a
	}
	return ok && a == register && digits(strings.TrimLeft(b, "$#"))
}

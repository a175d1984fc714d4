// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"strings"
	"testing"
)

const switching = "NOINLINE void __schedule(void) { __switch_to_asm(); asm volatile(\"nop\"); }"

// TestSwitch: the context switch is in __schedule and nowhere else, and nothing waits
// for that to return.
func TestSwitch(t *testing.T) {
	for name, tt := range map[string]struct{ to, who, why string }{
		"as it was":   {switching, "", ""},
		"in another":  {"NOINLINE void context_switch(void) { __switch_to_asm(); asm volatile(\"nop\"); } NOINLINE void __schedule(void) { context_switch(); asm volatile(\"nop\"); }", "context_switch", "is not __schedule"},
		"a second":    {switching + " NOINLINE void mine(void) { __switch_to_asm(); asm volatile(\"nop\"); }", "mine", "is not __schedule"},
		"its address": {switching + " NOINLINE void mine(void) { keep(__switch_to_asm); }", "mine", "is not __schedule"},
		"traced":      {"NOINLINE void __schedule(void) { asm volatile(\"1: call __fentry__\"); __switch_to_asm(); asm volatile(\"nop\"); }", "__schedule", "could be traced"},
		"traced by a table": {"NOINLINE void __schedule(void) { asm volatile(\"1: nop\\n.pushsection __mcount_loc, \\\"a\\\"\\n.quad 1b\\n.popsection\"); __switch_to_asm(); asm volatile(\"nop\"); }",
			"__schedule", "could be traced"},
	} {
		edited := strings.Replace(scheduler, switching, tt.to, 1)
		p, src := plan(t, scheduler, edited)
		var got []Refusal
		for _, r := range p.Compare(src).Refusals {
			if r.Class == Switch {
				got = append(got, r)
			}
		}
		switch {
		case tt.who == "" && len(got) > 0:
			t.Errorf("%s: refused: %v", name, got)
		case tt.who != "" && (len(got) != 1 || got[0].Name != tt.who || !strings.Contains(got[0].Why, tt.why)):
			t.Errorf("%s: got %v, want %s: %s", name, got, tt.who, tt.why)
		}
	}
}

// TestEnter: who calls __schedule in the module enters it as the kernel does, through
// the stub that builds the frame for the switch.
func TestEnter(t *testing.T) {
	p, _ := plan(t, scheduler, scheduler+"NOINLINE void mine(void) { __schedule(); keep(0); }\n")
	text := string(p.Render())
	if !strings.Contains(text, "call\t"+ScheduleStub+"\n") || strings.Contains(text, "call\t__schedule\n") {
		t.Errorf("got\n%s", text)
	}
}

// TestBlacklist: functions of the module that must have no kprobes are in its own
// list; that of the kernel is what it is.
func TestBlacklist(t *testing.T) {
	const nokprobe = `
		__attribute__((used, section("_kprobe_blacklist"))) static void *_kbl_addr_%[1]s = (void *)%[1]s;
	`
	list := func(names ...string) (out string) {
		for _, n := range names {
			out += strings.ReplaceAll(nokprobe, "%[1]s", n)
		}
		return out
	}
	p, src := plan(t, scheduler+list("border", "external"), scheduler+list("border", "external", "internal", "setup"))
	text := string(p.Render())
	for name, moves := range map[string]bool{"border": true, "external": false, "internal": true, "setup": false} {
		if has := strings.Contains(text, ".quad\t"+name+"\n") && strings.Contains(text, "_kbl_addr_"+name+":"); has != moves {
			t.Errorf("%s is in the list: %v", name, has)
		}
	}
	for _, r := range p.Compare(src).Refusals {
		if r.Name != "_kbl_addr_setup" || r.Class != Registered {
			t.Errorf("refused: %v", r)
		}
	}
}

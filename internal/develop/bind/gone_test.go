// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plugsched/internal/kernel/symbols"
)

// TestGone: what the module would use of the memory that was given back after boot is refused at the line
// of the use; what did so before, what stays, and what only has such a name may.
func TestGone(t *testing.T) {
	const text = scheduler + `
void boot_only(void), at_boot(void);
NOINLINE void before(void)
{
	keep(&early);
	if (private)
		boot_only();
}
`
	last := strings.Count(text, "\n")
	refused := func(line int, name, user string) string {
		return fmt.Sprintf("%s:%d: %s is gone since boot (it is __init code or data), and %s is in the module", unitName, line, name, user)
	}
	fresh := func(body string) string { return "}\nNOINLINE void fresh(void)\n{\n\t" + body + "\n}\n" }
	for _, tt := range []struct {
		name, from, to string
		want           []string
	}{
		{name: "nothing"},
		{"a function of the unit", "}\n", fresh("setup();"), []string{refused(last+3, "setup", "fresh")}},
		{"data of the unit", "}\n", fresh("early = 5;"), []string{refused(last+3, "early", "fresh")}},
		{"a function of another unit", "}\n", fresh("keep(0);\n\tat_boot();"), []string{refused(last+4, "at_boot", "fresh")}},
		{"its address", "}\n", "}\nfn *table[2] = { 0, at_boot };\n", []string{refused(last+1, "at_boot", "table")}},
		{"from a function that was there", "\tkeep(&early);", "\tkeep(&early);\n\tsetup();", []string{refused(last-2, "setup", "before")}},
		{"what another one used before", "}\n", fresh("boot_only();"), []string{refused(last+3, "boot_only", "fresh")}},
		{"what itself used before", "\tkeep(&early);", "\tkeep(&early); keep(0);", nil},
		{"in another way", "if (private)", "if (!private)", nil},
		{"the name only", "}\n", "}\nNOINLINE void at_boot(void) { keep(0); }\n" + strings.TrimPrefix(fresh("at_boot();"), "}\n"), nil},
		{"no use any more", "\t\tboot_only();", "\t\tkeep(0);", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			edited := text
			if i := strings.LastIndex(text, tt.from); tt.from != "" {
				edited = text[:i] + tt.to + text[i+len(tt.from):]
			}
			p, src := plan(t, text, edited)
			k := p.kernel
			k.Symbols = table(t, append(k.Symbols.Symbols,
				symbols.Symbol{Name: "boot_only", Unit: "init/main.c", Addr: 1, Kind: symbols.Func, Global: true, Init: true},
				symbols.Symbol{Name: "at_boot", Unit: "init/main.c", Addr: 2, Kind: symbols.Func, Global: true, Init: true})...)
			var got []string
			for _, r := range k.Decide(unitName, p.Source, p.old).Compare(src).Refusals {
				got = append(got, r.String())
			}
			if len(got) != len(tt.want) {
				t.Fatalf("refused %q, want %q", got, tt.want)
			}
			for i := range got {
				if !strings.HasPrefix(got[i], tt.want[i]) {
					t.Error(cmp.Diff(tt.want[i], got[i]))
				}
			}
		})
	}
}

// TestGoneStays: code that stays is the kernel's business.
func TestGoneStays(t *testing.T) {
	p, src := plan(t, scheduler, strings.Replace(scheduler, "external(void) {", "external(void) { keep(&early);", 1))
	if out := p.Compare(src); len(out.Refusals) != 1 || out.Refusals[0].Class != Stays {
		t.Errorf("refused %v", out.Refusals)
	}
}

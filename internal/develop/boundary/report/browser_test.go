// SPDX-License-Identifier: BSD-3-Clause

package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"plugsched/internal/browsing"
	"plugsched/internal/develop/boundary"
)

// crowd is a boundary with all that is hard to show: more than a page's first rows, names
// without a place to break, of several functions one name, and functions without code.
func crowd() *boundary.Boundary {
	long := strings.Repeat("very_long_name_", 8)
	b := &boundary.Boundary{Release: "6.1.0", BuildID: strings.Repeat("0123456789", 4), Functions: []*boundary.Function{
		{Name: "__bpf_trace_first", Class: boundary.Callback, DeclFile: "include/trace/events/sched.h", DeclLine: 1},
		{Name: "same", Unit: "kernel/sched/core.c", Class: boundary.External, DeclFile: "kernel/sched/sched.h", DeclLine: 3,
			Facts: []boundary.Fact{{Text: "is the first"}}},
		{Name: "same", Unit: "kernel/sched/fair.c", Class: boundary.Internal, DeclFile: "kernel/sched/sched.h", DeclLine: 3,
			Facts: []boundary.Fact{{Text: "is the second"}}, Callees: []string{"__bpf_trace_first"}},
	}, Absent: []*boundary.Absent{{Name: "gone", DeclFile: "kernel/sched/sched.h", DeclLine: 9, Into: []string{long}}},
		Objects: []*boundary.Object{{Name: "v", Class: boundary.Shared, Why: "state is inherited"}}}
	busy := &boundary.Function{Name: long, Class: boundary.Interface, DeclFile: "kernel/sched/" + long + ".c", DeclLine: 12345,
		Facts: []boundary.Fact{{Text: "is called by " + long + long + ", which stays"}}, Callees: []string{long + "_elsewhere"}}
	for i := range 400 {
		name := fmt.Sprintf("function_%03d", i)
		b.Functions = append(b.Functions,
			&boundary.Function{Name: name, Class: boundary.Interface, DeclFile: "kernel/sched/core.c", DeclLine: i + 1})
		busy.Callers = append(busy.Callers, name)
	}
	b.Functions = append(b.Functions, busy)
	return b
}

// look is what a page looks like, in a frame of some width.
type look struct {
	Address string
	Width   int
	Beyond  int // pixels that the page is wider than its frame
	Back    string
	Rows    int // of the list
	More    int // of the list once all has been asked for
	First   string
	Opened  []string // headings and notes of what is open
	Titles  []string // of the picture
	Loose   int      // links without an address, which the keyboard does not reach
	Legend  []string
	Typed   string // the address after typing
}

// host shows the page in frames and writes down what they look like; the page's own
// window cannot be made as narrow as a telephone's in every browser.
const host = `<!DOCTYPE html><title>host</title><body><script>
const out = [];
async function frame(address, width) {
	const f = document.createElement("iframe");
	f.style = "border: 0; height: 900px; width: " + width + "px";
	f.src = "page.html" + address;
	const loaded = new Promise(done => f.onload = done);
	document.body.append(f);
	await loaded;
	const d = f.contentDocument, all = (s, of) => [...(of || d).querySelectorAll(s)];
	const l = {Address: address, Width: width, Beyond: d.documentElement.scrollWidth - width,
		Back: f.contentWindow.getComputedStyle(d.body).backgroundColor, Rows: all("tbody tr").length, First: all("tbody a")[0].textContent,
		Opened: all("h2, h2 + .note").map(e => e.textContent), Titles: all(".picture h3").map(e => e.textContent),
		Loose: all("a").filter(a => !a.getAttribute("href")).length, Legend: all("#legend li").map(e => e.textContent)};
	const more = all("#more button").pop();
	if (more) more.click();
	l.More = all("tbody tr").length;
	d.getElementById("q").value = "same";
	d.getElementById("q").dispatchEvent(new Event("input"));
	l.Typed = f.contentWindow.location.hash;
	out.push(l);
}
(async () => {
	for (const a of ["", "#f=same", "#f=gone", "#f=very_long_name_".padEnd(3 + 8 * 15, "very_long_name_")])
		for (const w of [400, 1400]) await frame(a, w);
	return JSON.stringify(out);
})().catch(String).then(body => fetch("result", {method: "POST", body}));
</script>`

// looks opens a page in a browser that prefers a colour scheme.
func looks(t *testing.T, b *boundary.Boundary, dark bool) []look {
	t.Helper()
	var page bytes.Buffer
	if err := Write(&page, b); err != nil {
		t.Fatal(err)
	}
	text := browsing.Ask(t, dark, host, map[string][]byte{"page.html": page.Bytes()})
	var out []look
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatalf("the script in the browser: %s", text)
	}
	return out
}

// TestLooks: in a browser, on a telephone's width and a screen's, by day and by night, the page
// fits, explains its classes, keeps nothing back, and can be used without a mouse.
func TestLooks(t *testing.T) {
	b := crowd()
	total := len(b.Functions) + len(b.Absent) + len(b.Objects)
	backs := map[string]bool{}
	for _, dark := range []bool{false, true} {
		all := looks(t, b, dark)
		if len(all) != 8 {
			t.Fatalf("%d looks", len(all))
		}
		backs[all[0].Back] = true
		for _, l := range all {
			at := fmt.Sprintf("%.10q at %d pixels, dark %v", l.Address, l.Width, dark)
			if l.Beyond > 0 {
				t.Errorf("%s: the page is %d pixels wider than the window", at, l.Beyond)
			}
			if l.Rows != 300 || l.More != total || l.First != "function_000" {
				t.Errorf("%s: %d rows from %s on, %d when asked for more; want 300 of %d, interfaces first", at, l.Rows, l.First, l.More, total)
			}
			if l.Loose > 0 {
				t.Errorf("%s: %d links have no address", at, l.Loose)
			}
			if len(l.Legend) != 9 || !strings.Contains(strings.Join(l.Legend, "\n"), "external 1it stays in the kernel") {
				t.Errorf("%s: the legend is %q", at, l.Legend)
			}
			if !strings.Contains(l.Typed, "q=same") {
				t.Errorf("%s: after typing the address is %s", at, l.Typed)
			}
			opened, titles := strings.Join(l.Opened, "; "), strings.Join(l.Titles, "; ")
			want, wantTitles := "", ""
			switch l.Address {
			case "#f=same":
				want = "same external; kernel/sched/sched.h:3, compiled in kernel/sched/core.c; " +
					"same internal; kernel/sched/sched.h:3, compiled in kernel/sched/fair.c"
				wantTitles = "calls"
			case "#f=gone":
				want, wantTitles = "gone absent; kernel/sched/sched.h:9", "inlined into"
			case "":
			default:
				want, wantTitles = opened, "called by; calls"
			}
			if opened != want || titles != wantTitles {
				t.Errorf("%s: open is %q with %q, want %q with %q", at, opened, titles, want, wantTitles)
			}
		}
	}
	if len(backs) != 2 {
		t.Errorf("by day and by night the background is %v", backs)
	}
}

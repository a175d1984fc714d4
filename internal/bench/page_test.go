// SPDX-License-Identifier: BSD-3-Clause

package bench

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"plugsched/internal/browsing"
)

// look is what the page looks like in a frame of some width.
type look struct {
	Width, Beyond int
	Back          string
	Small         float64 // least height of a letter in a plot, in pixels
	Empty         int     // plots without a size
	Outside       int     // shapes that are not within their plot
	Plots, Bars   int
	Rows          int
}

const host = `<!DOCTYPE html><title>host</title><body><script>
const out = [];
async function frame(width) {
	const f = document.createElement("iframe");
	f.style = "border: 0; height: 900px; width: " + width + "px";
	f.src = "page.html";
	const loaded = new Promise(done => f.onload = done);
	document.body.append(f);
	await loaded;
	const d = f.contentDocument, all = (s, of) => [...(of || d).querySelectorAll(s)];
	all("details").forEach(e => e.open = true);
	let outside = 0, small = 1e9;
	for (const svg of all("svg")) {
		const box = svg.getBoundingClientRect();
		for (const e of all("rect, circle, text", svg)) {
			const r = e.getBoundingClientRect();
			if (r.left < box.left - 1 || r.right > box.right + 1 || r.top < box.top - 1 || r.bottom > box.bottom + 1) outside++;
		}
		small = Math.min(small, 11.5 * box.width / 380);
	}
	out.push({Width: width, Beyond: d.documentElement.scrollWidth - width, Back: f.contentWindow.getComputedStyle(d.body).backgroundColor,
		Small: small, Outside: outside, Empty: all("svg").filter(e => e.getBoundingClientRect().height < 100).length,
		Plots: all("svg").length, Bars: all("rect").length, Rows: all("details tr").length});
}
(async () => {
	for (const w of [400, 1400]) await frame(w);
	return JSON.stringify(out);
})().catch(String).then(body => fetch("result", {method: "POST", body}));
</script>`

// TestPage: it asks for nothing but itself, and says what it was told as text.
func TestPage(t *testing.T) {
	var page bytes.Buffer
	if err := made().Page(&page); err != nil {
		t.Fatal(err)
	}
	if found := regexp.MustCompile(`(?i)https?:|<script|<link|src=|url\(|@import`).FindString(page.String()); found != "" {
		t.Errorf("it asks for something: %s", found)
	}
	if !strings.Contains(page.String(), "plugsched bench &lt;work&gt;") {
		t.Error("the command is not there as text")
	}
	if strings.Contains(page.String(), "NaN") || strings.Contains(page.String(), "Inf") {
		t.Error("there is a number that is none")
	}
}

// TestLooks: on a telephone's width and a screen's, by day and by night, it fits, its plots have
// a size and their letters can be read.
func TestLooks(t *testing.T) {
	var page bytes.Buffer
	if err := made().Page(&page); err != nil {
		t.Fatal(err)
	}
	backs := map[string]bool{}
	for _, dark := range []bool{false, true} {
		text := browsing.Ask(t, dark, host, map[string][]byte{"page.html": page.Bytes()})
		var all []look
		if err := json.Unmarshal(text, &all); err != nil || len(all) != 2 {
			t.Fatalf("the script in the browser: %s", text)
		}
		for _, l := range all {
			backs[l.Back] = true
			// Bars of two series in two directions, lines of one.
			if l.Plots != 6 || l.Bars != (3+2)*2*len(Parts) || l.Rows != 1+6+1+12 {
				t.Errorf("%+v", l)
			}
			if l.Beyond > 0 || l.Empty > 0 || l.Outside > 0 || l.Small < 10 {
				t.Errorf("%d pixels wide, dark %v: %d too wide, %d plots without a size, %d shapes outside, letters of %.1f pixels",
					l.Width, dark, l.Beyond, l.Empty, l.Outside, l.Small)
			}
		}
	}
	if len(backs) != 2 {
		t.Errorf("by day and by night the background is %v", backs)
	}
}

// SPDX-License-Identifier: BSD-3-Clause

package progress

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestLog: one line a step, however often it moves; and a sign of life when nothing was
// printed for a time, with how far it is and since when.
func TestLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		b := New(&out)
		one, two := b.Begin("unpack vmlinux"), b.Begin("unpack source")
		for i := range int64(100) { // in turns
			one.Count(i, 812, "MB")
			two.Count(i, 100, "MB")
			time.Sleep(100 * time.Millisecond)
		}
		if out.Len() > 0 {
			t.Errorf("after 10 s:\n%s", &out)
		}
		two.End("unpack source (10 s)")
		time.Sleep(Silence + time.Second)
		synctest.Wait()
		want := "unpack source (10 s)\n  ... unpack vmlinux (99 of 812 MB), for 40s\n"
		if out.String() != want {
			t.Errorf("%q, want %q", &out, want)
		}
		one.Drop()
		time.Sleep(10 * Silence) // nothing goes on
		synctest.Wait()
		if out.String() != want {
			t.Errorf("%q, want %q", &out, want)
		}
		cycles := b.Begin("cycles")
		cycles.Count(7, 20, "")
		time.Sleep(3*Silence + time.Second)
		synctest.Wait()
		if n := strings.Count(out.String(), "cycles (7 of 20), for "); n != 3 {
			t.Errorf("%d signs of life:\n%s", n, &out)
		}
		b.Close()
		before := out.String()
		time.Sleep(3 * Silence)
		synctest.Wait()
		if out.String() != before {
			t.Errorf("after Close:\n%s", &out)
		}
	})
}

// TestTerminal: the last line shows what moved last, and is gone when a line is printed.
func TestTerminal(t *testing.T) {
	var out bytes.Buffer
	b := &Board{w: &out, terminal: true}
	one := b.Begin("one")
	two := b.Begin("two")
	two.Count(1, 2, "MB")
	two.End("two is done")
	one.Text("one goes on")
	b.Print("by the way")
	b.Close()
	b.Close()
	const gone = "\r\033[K"
	want := "one ..." + gone + "two ..." + gone + "two (1 of 2 MB) ..." + gone + "two is done\none ..." + gone + "one goes on ..." +
		gone + "by the way\none goes on ..." + gone
	if out.String() != want {
		t.Errorf("%q, want\n%q", &out, want)
	}
}

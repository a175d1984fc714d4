// SPDX-License-Identifier: BSD-3-Clause

package live

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAddresses(t *testing.T) {
	read := func(text string, one bool, names ...string) (map[string][]uint64, error) {
		want := map[string]bool{}
		for _, n := range names {
			want[n] = true
		}
		return addresses([]byte(text), want, one)
	}
	const text = "ffffffff81000000 T _stext\nffffffff81000010 t f\nffffffff81000020 t other\n\nffffffff81000030 t f\n" +
		"ffffffffc0000000 t f2\t[mod]\nffffffffc0000010 t late\n"
	got, err := read(text, false, "_stext", "f", "f2", "late")
	if diff := cmp.Diff(map[string][]uint64{"_stext": {0xffffffff81000000}, "f": {0xffffffff81000010, 0xffffffff81000030}}, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if got, err := read(text, true, "_stext", "f"); err != nil || len(got["f"]) != 1 {
		t.Errorf("the first of each: %v, %v", got, err)
	}
	for _, bad := range []string{"zzz T f\n", " T f\n", "0xff T f\n"} {
		if _, err := read(bad, false, "f"); err == nil || !strings.Contains(err.Error(), "unreadable line") {
			t.Errorf("%q: %v", bad, err)
		}
		if _, err := read(bad, false, "g"); err != nil {
			t.Errorf("%q, a line that nobody wants: %v", bad, err)
		}
	}
}

func TestResolve(t *testing.T) {
	const text = "0000000000001000 A fixed\nffffffff81000010 t f\nffffffff81000020 t g\nffffffffc0000000 t m\t[mod]\n"
	at := []symbolAt{{addr: 0xffffffff81000018}, {addr: 0xffffffffc0000010}, {addr: 0x10}, {addr: 0xffffffff81000020}}
	if err := resolve([]byte(text), at); err != nil {
		t.Fatal(err)
	}
	want := []symbolAt{{0xffffffff81000018, 0xffffffff81000010, []string{"f"}}, {0xffffffffc0000010, 0xffffffff81000020, []string{"g"}},
		{0x10, 0, nil}, {0xffffffff81000020, 0xffffffff81000020, []string{"g"}}}
	if diff := cmp.Diff(want, at, cmp.AllowUnexported(symbolAt{})); diff != "" {
		t.Error(diff)
	}
}

// These read this machine's symbols, as each removal does.
func BenchmarkAddresses(b *testing.B) {
	text := machineSymbols(b)
	for b.Loop() {
		if _, err := addresses(text, map[string]bool{"_stext": true, "no such name": true}, false); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkResolve names what is found on stacks: thousands of addresses.
func BenchmarkResolve(b *testing.B) {
	text := machineSymbols(b)
	at := make([]symbolAt, 10_000)
	for b.Loop() {
		for i := range at {
			at[i] = symbolAt{addr: 1<<63 + uint64(i)}
		}
		if err := resolve(text, at); err != nil {
			b.Fatal(err)
		}
	}
}

func machineSymbols(b *testing.B) []byte {
	text, err := os.ReadFile(kallsyms)
	if err != nil {
		b.Fatal(err)
	}
	return text
}

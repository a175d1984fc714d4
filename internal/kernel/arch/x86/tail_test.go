// SPDX-License-Identifier: BSD-3-Clause

package x86

import (
	"slices"
	"testing"

	"plugsched/internal/kernel/arch/isa"
)

// TestTail: all paths are followed, those of static keys and of the split-off part
// too, and nothing behind a call that does not return.
func TestTail(t *testing.T) {
	const start, cold, failure, called, tailed = 0x1000, 0x2000, 0x3000, 0x3100, 0x3200
	rel := func(op []byte, at, to uint64) []byte {
		d := uint32(to - at - uint64(len(op)) - 4)
		return append(slices.Clone(op), byte(d), byte(d>>8), byte(d>>16), byte(d>>24))
	}
	text := map[uint64]byte{}
	put := func(at uint64, code []byte) uint64 {
		for i, b := range code {
			text[at+uint64(i)] = b
		}
		return at + uint64(len(code))
	}
	at := put(start, rel([]byte{0x0f, 0x85}, start, cold)) // jne cold
	key := at
	at = put(at, []byte{0x0f, 0x1f, 0x44, 0, 0}) // a static key's nop
	at = put(at, rel([]byte{0xe8}, at, called))
	at = put(at, rel([]byte{0xe9}, at, tailed))
	behind := at
	at = put(at, rel([]byte{0xe8}, at, failure)) // the key's target
	put(at, rel([]byte{0xe8}, at, 0x3300))       // never reached
	put(cold, []byte{0x0f, 0x0b})                // ud2

	tx := &isa.Text{
		Bytes: func(a uint64) (out []byte) {
			for i := uint64(0); i < MaxInstruction; i++ {
				b, ok := text[a+i]
				if !ok {
					break
				}
				out = append(out, b)
			}
			return out
		},
		Within:  func(a uint64) bool { return a < 0x3000 },
		Patched: func(a uint64) (uint64, bool) { return behind, a == key },
		Returns: func(a uint64) bool { return a != failure },
	}
	got, err := Tail(tx, start)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(got.Calls)
	if !slices.Equal(got.Calls, []uint64{failure, called, tailed}) || !slices.Equal(got.Keys, []uint64{key}) {
		t.Errorf("%#x", *got)
	}
	delete(text, cold+1)
	if _, err := Tail(tx, start); err == nil {
		t.Error("code that cannot be decoded is no error")
	}
}

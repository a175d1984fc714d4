// SPDX-License-Identifier: BSD-3-Clause

package native

import (
	"encoding/binary"
	"sync"
	"time"
)

// Jumps yields where each jump that a redirection may be leads, from any place in code,
// which is at addr: jmp rel32, as runtime/arch/x86/text.c writes it. Yield returns false
// to end it.
func Jumps(code []byte, addr uint64, yield func(target uint64) bool) {
	const opcode, size = 0xe9, 5
	for i := 0; i+size <= len(code); i++ {
		target := addr + uint64(i) + size + uint64(int64(int32(binary.LittleEndian.Uint32(code[i+1:]))))
		if code[i] == opcode && !yield(target) {
			return
		}
	}
}

// readTSC reads this CPU's time stamp counter.
func readTSC() uint64

// CounterKHz is the frequency of the counter that this machine's CPUs tell the time by, as
// QEMU's tcg shows it to a guest, whose kernel measures it against emulated timers: on a
// busy host it is wrong by a factor, and so is all its time. 0: not known.
var CounterKHz = sync.OnceValue(func() int {
	const interval = 20 * time.Millisecond
	t1, c1 := tscAt()
	time.Sleep(interval)
	t2, c2 := tscAt()
	return int((c2 - c1) * uint64(time.Second/1000) / uint64(t2.Sub(t1)))
})

// tscAt reads both clocks at the same moment: the closest of some pairs, as this
// thread may lose its CPU in between.
func tscAt() (at time.Time, count uint64) {
	closest := time.Hour
	for range 50 {
		before := time.Now()
		c := readTSC()
		if d := time.Since(before); d < closest {
			closest, at, count = d, before.Add(d/2), c
		}
	}
	return at, count
}

// Machine is the number by which ELF names the architecture.
const Machine = 62

// Exit are the instructions that end a process.
var Exit = []byte{0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05} // xor edi, edi; mov eax, SYS_exit; syscall

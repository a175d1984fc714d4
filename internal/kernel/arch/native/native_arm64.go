// SPDX-License-Identifier: BSD-3-Clause

package native

import "encoding/binary"

// Jumps yields where each jump that a redirection may be leads, from any instruction in code,
// which is at addr: b. Yield returns false to end it.
func Jumps(code []byte, addr uint64, yield func(target uint64) bool) {
	const size = 4
	for i := int(-addr & (size - 1)); i+size <= len(code); i += size {
		w := binary.LittleEndian.Uint32(code[i:])
		distance := int64(int32(w<<6)>>6) * size
		if w>>26 == 0b000101 && !yield(addr+uint64(i)+uint64(distance)) {
			return
		}
	}
}

// CounterKHz is 0: QEMU's tcg shows a guest a counter of its own, whose frequency the guest reads.
func CounterKHz() int { return 0 }

// Machine is the number by which ELF names the architecture.
const Machine = 183

// Exit are the instructions that end a process.
var Exit = []byte{0, 0, 0x80, 0xd2, 0xa8, 0x0b, 0x80, 0xd2, 1, 0, 0, 0xd4} // mov x0, 0; mov x8, SYS_exit; svc 0

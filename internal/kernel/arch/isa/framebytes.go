// SPDX-License-Identifier: BSD-3-Clause

package isa

// FrameBytes are the bytes of a function's frame that have a value, by how far they are from
// where the caller's frame begins.
type FrameBytes map[int64]bool

// Add notes size bytes from at on.
func (b FrameBytes) Add(at int64, size int) {
	for i := range int64(size) {
		b[at+i] = true
	}
}

// Has reports whether all of size bytes from at on have a value; none have if size is 0.
func (b FrameBytes) Has(at int64, size int) bool {
	for i := range int64(size) {
		if !b[at+i] {
			return false
		}
	}
	return size > 0
}

// Keep forgets what o does not have, and says whether that was anything.
func (b FrameBytes) Keep(o FrameBytes) (less bool) {
	for at := range b {
		if !o[at] {
			delete(b, at)
			less = true
		}
	}
	return less
}

// DropBelow forgets what is below a place: where interrupts write, below the stack's pointer.
func (b FrameBytes) DropBelow(low int64) {
	for at := range b {
		if at < low {
			delete(b, at)
		}
	}
}

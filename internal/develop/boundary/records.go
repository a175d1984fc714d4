// SPDX-License-Identifier: BSD-3-Clause

package boundary

import (
	"fmt"
	"slices"

	"plugsched/internal/kernel/arch/isa"
	"plugsched/internal/kernel/image"
)

// CheckRecords refuses a kernel where a function that is replaced calls another one before its frame record is made: a
// task may sleep in it and not be seen. Others of that kind are known to the runtime, which trusts no stack that
// leads through them. Records are nil where stacks are not walked by frame records.
func CheckRecords(b *Boundary, records *image.FrameRecords) error {
	if records == nil {
		return nil
	}
	for _, f := range b.Functions {
		i := slices.IndexFunc(records.Unframed, func(u isa.Unframed) bool { return u.Addr == f.Addr })
		if i >= 0 && f.Class.Moves() {
			return fmt.Errorf("%s goes on to another function at +%#x before its frame record is made: who sleeps in it could not be seen",
				f.Name, records.Unframed[i].Place)
		}
	}
	return nil
}

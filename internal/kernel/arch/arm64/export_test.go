// SPDX-License-Identifier: BSD-3-Clause

package arm64

// Shape, RowOf and Routine are the code that the mutants' test changes, which is in a package of its own, as it imports
// what imports this one.
var (
	Shape, RowOf = shape, rowOf
	Routine      = routine
)

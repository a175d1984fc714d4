// SPDX-License-Identifier: BSD-3-Clause

package x86

// Shapes are what the mutants' test changes; it is in a package of its own, as it imports
// what imports this one.
var Shapes = map[string]shape{"6.1": framed, "5.10": callbacks, "7.3": moved, "bare": bare, "KASAN": shadowed}

// Routine is shape.routine.
var Routine = shape.routine

// SPDX-License-Identifier: BSD-3-Clause

// Package kernels tests the analysis on real kernels, of which only the debug
// packages are fetched (build tag kernels; `make test-kernels`). What is expected
// of each is in testdata: counts, and functions with their class and reason.
package kernels

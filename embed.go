// SPDX-License-Identifier: BSD-3-Clause

// Package plugsched carries the files that the tool takes along.
package plugsched

import "embed"

// Runtime holds the sources of the in-kernel half, which every scheduler module
// is linked with, and what benchmarks need of it. They are GPL-2.0-only.
//
//go:embed runtime/*.c runtime/*.h runtime/arch runtime/bench
var Runtime embed.FS

// Licences are the texts that go along with what is built from this repository.
//
//go:embed LICENSES
var Licences embed.FS

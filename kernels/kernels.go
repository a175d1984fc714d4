// SPDX-License-Identifier: BSD-3-Clause

// Package kernels is what has to be known about Linux and cannot be read from a
// kernel's binary. It is data, each entry with its reason.
package kernels

import _ "embed"

// Common holds for every kernel series.
//
//go:embed common.yaml
var Common []byte

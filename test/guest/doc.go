// SPDX-License-Identifier: BSD-3-Clause

// Package guest tests the whole tool on a real kernel: its packages, its source,
// and a guest that boots it. The tests need apt and QEMU, and are behind the
// build tag "guest"; `make test` runs them.
package guest

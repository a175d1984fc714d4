// SPDX-License-Identifier: BSD-3-Clause

// Package sources tests where kernels come from besides apt, with a real one: its files packed as RPMs, and its debug
// symbols from a debuginfod server.
package sources

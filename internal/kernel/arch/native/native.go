// SPDX-License-Identifier: BSD-3-Clause

// Package native is what a program needs to know of the architecture that it runs on
// itself: the operator's commands look at this machine's kernel, and at no other. Each
// function is in a file for every architecture, so that a build for a new one names what
// is missing.
package native

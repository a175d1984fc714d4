// SPDX-License-Identifier: BSD-3-Clause

// Package debian tests schedulers where operators meet them: in guests that run a
// real Debian, with systemd, dpkg, apt and rpm, through its own commands and its
// reboots and crashes. The tests need apt and QEMU, and are behind the build tag
// "guest"; `make test` runs them.
package debian

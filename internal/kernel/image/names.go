// SPDX-License-Identifier: BSD-3-Clause

package image

import (
	"regexp"
	"strings"
)

// cloneSuffix is what gcc and clang append to the names of functions they derive
// from another one. Several may follow each other ("f.isra.0.cold").
var cloneSuffix = regexp.MustCompile(`\.(isra|constprop|part|cold|localalias|lto_priv|llvm)(\.\d+)?$`)

// BaseName returns the source name of a function's symbol: without the suffixes
// of clones and parts.
func BaseName(symbol string) string {
	for {
		loc := cloneSuffix.FindStringIndex(symbol)
		if loc == nil || loc[0] == 0 {
			return symbol
		}
		symbol = symbol[:loc[0]]
	}
}

// bound matches the symbols with which the linker script delimits ranges. They
// have no size, and name no code even when a function begins at their address.
// (include/asm-generic/vmlinux.lds.h, arch/x86/kernel/vmlinux.lds.S)
var bound = regexp.MustCompile(`^_(text|stext|etext|sinittext|einittext|sexittext|eexittext|end)$|_(start|end|begin)$|^__(start|stop|end|begin)_`)

// mapping matches the symbols by which an assembler tells code from data between it, also those
// that the kernel's build gives a prefix (ELF for the Arm 64-bit Architecture, "Mapping symbols";
// arch/arm64/kvm/hyp/nvhe/Makefile). They name nothing.
var mapping = regexp.MustCompile(`^\$|\$[adtx](\..*)?$`)

// paddingPrefixes mark symbols for the padding in front of a function, where the
// kernel may write a thunk at boot (CONFIG_CALL_PADDING: objtool's
// add_prefix_symbols; kCFI: the compiler).
var paddingPrefixes = []string{"__pfx_", "__cfi_"}

// padded returns the function whose padding the symbol names.
func padded(symbol string) (string, bool) {
	for _, p := range paddingPrefixes {
		if name, ok := strings.CutPrefix(symbol, p); ok {
			return name, true
		}
	}
	return "", false
}

// exportPrefix marks the entry of the export table for a symbol
// (include/linux/export.h).
const exportPrefix = "__ksymtab_"

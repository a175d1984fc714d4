// SPDX-License-Identifier: BSD-3-Clause

package vm

import (
	"regexp"
	"strconv"
)

// address is a 64-bit kernel address: the top 16 bits set on both
// architectures. Values that a name already follows or precedes are common in
// traces ("[<ffffffff81000000>] name+0x..."), hence the look at what is behind.
var address = regexp.MustCompile(`\b(?:0x)?(ffff[0-9a-f]{12})\b(>?\]? [\w.]+\+0x)?`)

// Symbolise adds what lookup says about each bare kernel address behind it, in
// parentheses. Addresses for which lookup returns an empty string, and those
// that the kernel has named itself, are left alone. With KASLR, lookup has to
// subtract the guest's offset.
func Symbolise(text string, lookup func(addr uint64) string) string {
	return address.ReplaceAllStringFunc(text, func(s string) string {
		m := address.FindStringSubmatch(s)
		if m[2] != "" {
			return s
		}
		addr, err := strconv.ParseUint(m[1], 16, 64)
		if err != nil {
			return s
		}
		if name := lookup(addr); name != "" {
			return s + " (" + name + ")"
		}
		return s
	})
}

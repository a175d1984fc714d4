// SPDX-License-Identifier: BSD-3-Clause

package live

import (
	"bytes"
	"cmp"
	"errors"
	"slices"
)

const kallsyms = "/proc/kallsyms"

var errUnreadable = errors.New(kallsyms + ": unreadable line")

// eachSymbol calls fn with each of the kernel's own symbols, in the order of /proc/kallsyms
// (kernel/kallsyms.c, s_show: "ADDRESS TYPE NAME", for a module's "\t[MODULE]" behind it), until
// it returns false. A kernel has some 150,000 of them: nothing is allocated for one. Both words
// are parts of text.
func eachSymbol(text []byte, fn func(addr, name []byte) bool) {
	for len(text) > 0 {
		var line []byte
		line, text, _ = bytes.Cut(text, []byte{'\n'})
		addr, rest, _ := bytes.Cut(line, []byte{' '})
		if len(rest) < 3 || rest[1] != ' ' {
			continue
		}
		name := rest[2:]
		if bytes.IndexByte(name, '\t') >= 0 {
			return // modules follow the kernel
		}
		if !fn(addr, name) {
			return
		}
	}
}

// parseAddr reads an address as /proc/kallsyms prints it.
func parseAddr(hex []byte) (addr uint64, err error) {
	if len(hex) == 0 {
		return 0, errUnreadable
	}
	for _, c := range hex {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		default:
			return 0, errUnreadable
		}
		addr = addr<<4 | uint64(c)
	}
	return addr, nil
}

// addresses returns where the names are that want has, each with all of its addresses: a name
// of static functions may have several. With one, it ends when each has one.
func addresses[V any](text []byte, want map[string]V, one bool) (out map[string][]uint64, err error) {
	out = make(map[string][]uint64, len(want))
	eachSymbol(text, func(hex, name []byte) bool {
		if _, ok := want[string(name)]; !ok {
			return true
		}
		var addr uint64
		if addr, err = parseAddr(hex); err != nil {
			return false
		}
		out[string(name)] = append(out[string(name)], addr)
		return !one || len(out) < len(want)
	})
	return out, err
}

// symbolAt is the last symbol at or below an address, and all others of the same address.
type symbolAt struct {
	addr  uint64 // what is asked for
	start uint64 // where they begin
	names []string
}

// resolve finds the names of addresses. There can be thousands: stacks are among what is looked at.
func resolve(text []byte, at []symbolAt) (err error) {
	if len(at) == 0 {
		return nil
	}
	type symbol struct {
		addr uint64
		name []byte
	}
	list := make([]symbol, 0, len(text)/40)
	eachSymbol(text, func(hex, name []byte) bool {
		var addr uint64
		if addr, err = parseAddr(hex); err != nil {
			return false
		}
		list = append(list, symbol{addr, name})
		return true
	})
	if err != nil {
		return err
	}
	// The kernel's are sorted but for those of per-CPU variables, which come first.
	slices.SortStableFunc(list, func(a, b symbol) int { return cmp.Compare(a.addr, b.addr) })
	for i := range at {
		s := &at[i]
		n, _ := slices.BinarySearchFunc(list, s.addr, func(e symbol, addr uint64) int {
			if e.addr <= addr {
				return -1
			}
			return 1
		})
		for n--; n >= 0 && (len(s.names) == 0 || list[n].addr == s.start); n-- {
			s.start = list[n].addr
			s.names = append(s.names, string(list[n].name))
		}
		slices.Reverse(s.names)
	}
	return nil
}

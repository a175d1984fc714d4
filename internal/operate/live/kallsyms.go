// SPDX-License-Identifier: BSD-3-Clause

package live

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

const kallsyms = "/proc/kallsyms"

var errUnreadable = errors.New(kallsyms + ": unreadable line")

// eachSymbol calls fn with each of the kernel's own symbols, in the order of /proc/kallsyms
// (kernel/kallsyms.c, s_show: "ADDRESS TYPE NAME", for a module's "\t[MODULE]" behind it), until
// it returns false. A kernel has some 150,000 of them: nothing is allocated for one. Both words
// are the line's, and only valid meanwhile.
func eachSymbol(r io.Reader, fn func(addr, name []byte) bool) error {
	in := bufio.NewScanner(r)
	for in.Scan() {
		addr, rest, _ := bytes.Cut(in.Bytes(), []byte{' '})
		if len(rest) < 3 || rest[1] != ' ' {
			continue
		}
		name := rest[2:]
		if bytes.IndexByte(name, '\t') >= 0 {
			break // modules follow the kernel
		}
		if !fn(addr, name) {
			break
		}
	}
	return in.Err()
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
func addresses[V any](r io.Reader, want map[string]V, one bool) (map[string][]uint64, error) {
	out := make(map[string][]uint64, len(want))
	var bad error
	err := eachSymbol(r, func(hex, name []byte) bool {
		if _, ok := want[string(name)]; !ok {
			return true
		}
		var addr uint64
		if addr, bad = parseAddr(hex); bad != nil {
			return false
		}
		out[string(name)] = append(out[string(name)], addr)
		return !one || len(out) < len(want)
	})
	return out, errors.Join(bad, err)
}

// symbolAt is the last symbol at or below an address, and all others of the same address.
type symbolAt struct {
	addr  uint64 // what is asked for
	start uint64 // where they begin
	names []string
}

// resolve finds the names of addresses.
func resolve(r io.Reader, at []symbolAt) error {
	var bad error
	err := eachSymbol(r, func(hex, name []byte) bool {
		var addr uint64
		if addr, bad = parseAddr(hex); bad != nil {
			return false
		}
		for i := range at {
			s := &at[i]
			if addr > s.addr || addr < s.start {
				continue
			}
			if addr > s.start {
				s.start, s.names = addr, nil
			}
			s.names = append(s.names, string(name))
		}
		return true
	})
	return errors.Join(bad, err)
}

// SPDX-License-Identifier: BSD-3-Clause

package module

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// Place assembles a unit into an object in which every function is where the kernel has it, as
// far as alignment tells places apart: gcc aligns loops in functions beyond the alignment of
// functions themselves, and how much padding that makes depends on where they are. at are the
// kernel's addresses.
func Place(ctx context.Context, t *Tree, u *Unit, at map[string]uint64, object string) error {
	text, err := os.ReadFile(u.Source)
	if err != nil {
		return err
	}
	placed := object + ".s"
	defer os.Remove(placed)
	if err := os.WriteFile(placed, place(text, at), 0o644); err != nil {
		return err
	}
	cmd := t.Env.Command(ctx, t.Env.AnyCC(), "-c", "-o", object, placed)
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("%s: assemble at the kernel's addresses: %w: %s", u.Name, err, lastLines(string(out), 3))
	}
	return nil
}

// alignRE matches directives that align: to a power of two, or to a number of bytes.
var alignRE = regexp.MustCompile(`(?m)^\s*\.(p2align|balign|align)\s+(\d+)`)

// alignment is the greatest one that an assembly file asks for.
func alignment(text []byte) uint64 {
	most := uint64(1)
	for _, m := range alignRE.FindAllSubmatch(text, -1) {
		n, err := strconv.ParseUint(string(m[2]), 10, 16)
		if err != nil {
			continue
		}
		if string(m[1]) == "p2align" {
			n = 1 << min(n, 12)
		}
		most = max(most, n)
	}
	return most
}

// place puts ahead of each function's label what brings it to its address modulo the alignment.
func place(text []byte, at map[string]uint64) []byte {
	align := alignment(text)
	var out bytes.Buffer
	for in := bufio.NewReaderSize(bytes.NewReader(text), 1<<20); ; {
		line, err := in.ReadString('\n')
		if name, _, ok := strings.Cut(line, ":"); ok {
			if addr, ok := at[name]; ok {
				fmt.Fprintf(&out, "\t.balign\t%d\n\t.skip\t%d\n", align, addr%align)
			}
		}
		out.WriteString(line)
		if err != nil {
			return out.Bytes()
		}
	}
}

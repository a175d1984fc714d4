// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"fmt"
	"os"

	"plugsched/internal/develop/boundary"
	"plugsched/internal/develop/project"
)

// facts notes what init and build found out.
func (d *demo) facts() error {
	p, err := project.Open(d.Work)
	if err != nil {
		return err
	}
	t, err := p.Target()
	if err != nil {
		return err
	}
	b, err := p.Boundary()
	if err != nil {
		return err
	}
	r, err := p.Reproduction()
	if err != nil {
		return err
	}
	if r.Functions == 0 || r.Reproduced != r.Functions {
		return fmt.Errorf("%d of %d functions reproduced", r.Reproduced, r.Functions)
	}
	st, err := os.Stat(p.Module())
	if err != nil {
		return err
	}
	c := b.Counts()
	d.table.add("kernel", "release", t.Release+" ("+t.Version+")")
	d.table.add("kernel", "build-id", t.BuildID)
	d.table.add("kernel", "functions reproduced", fmt.Sprintf("%d of %d", r.Reproduced, r.Functions))
	d.table.add("boundary (paper, 4.19)", "interface (94)", fmt.Sprint(c[boundary.Interface]))
	d.table.add("boundary (paper, 4.19)", "callback (-)", fmt.Sprint(c[boundary.Callback]))
	d.table.add("boundary (paper, 4.19)", "internal (786)", fmt.Sprint(c[boundary.Internal]))
	d.table.add("boundary (paper, 4.19)", "external (96)", fmt.Sprintf("%d, and %d __init", c[boundary.External], c[boundary.Init]))
	d.table.add("module", "size", fmt.Sprintf("%d bytes", st.Size()))
	return nil
}

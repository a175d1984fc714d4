// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Part is an artefact of a kernel, and where it can be had.
type Part struct {
	// What is "debug symbols", "source", "boot image" or "headers".
	What string
	// Place is a path, or the package that has it.
	Place string
	// Download is how many bytes are fetched from there.
	Download int64
	// Unsure says that only trying will tell.
	Unsure bool
	// Err says why it is nowhere.
	Err error
}

// Outlook is what can be known of a kernel without fetching much.
type Outlook struct {
	// Target has what is at hand, empty fields for the rest.
	Target Target
	Parts  []Part
}

// titles are what users call the artefacts.
var titles = map[kind]string{kindVmlinux: "debug symbols", kindSource: "source", kindImage: "boot image", kindHeaders: "headers"}

// Look says where the artefacts of a kernel can be had. Of those that are not at hand it fetches
// the headers alone, which have the configuration and are small.
func Look(ctx context.Context, o Options) (*Outlook, error) {
	f, ctx, unlock, err := begin(ctx, &o, (*fetcher).settleVersion)
	if err != nil {
		return nil, err
	}
	defer unlock()
	out := &Outlook{}
	for _, p := range []provider{cache{}, installed{}} {
		if err := p.provide(ctx, f, f.missing()); err != nil {
			return nil, err
		}
	}
	if err := f.openRPMs(ctx, out); err != nil {
		return nil, err
	}
	remote := slices.DeleteFunc(f.missing(), func(k kind) bool {
		return slices.ContainsFunc(out.Parts, func(p Part) bool { return p.What == titles[k] })
	})
	if len(remote) > 0 && f.origin == "" && (f.plan == nil || !f.plan.covers(remote)) {
		// One look-up for all that is there; if it is not, each kind is looked for by itself.
		if p, err := makePlan(ctx, f.release, f.version, remote); err == nil {
			f.plan = p
		}
	}
	places := map[kind]Part{}
	for _, k := range remote {
		if places[k], err = f.offer(ctx, k); err != nil {
			return nil, err
		}
	}
	for _, k := range allKinds {
		switch {
		case slices.Contains(remote, k):
			out.Parts = append(out.Parts, places[k])
		case f.files.has(k) && !slices.ContainsFunc(out.Parts, func(p Part) bool { return p.What == titles[k] }):
			out.Parts = append(out.Parts, Part{What: titles[k], Place: f.files.place(k)})
		}
	}
	return out, f.outlook(&out.Target)
}

// settleVersion is chooseVersion that is content with less than all of the artefacts.
func (f *fetcher) settleVersion(ctx context.Context) error {
	err := f.chooseVersion(ctx)
	var unavailable *UnavailableError
	if !errors.As(err, &unavailable) {
		return err
	}
	for _, k := range []kind{kindHeaders, kindImage, kindVmlinux} {
		p, err := makePlan(ctx, f.release, "", []kind{k})
		if err == nil {
			f.version = p.version
			break
		}
		if !errors.As(err, &unavailable) {
			return err
		}
	}
	f.openStore()
	return nil
}

// openRPMs unpacks, of packages that were named, the headers alone.
func (f *fetcher) openRPMs(ctx context.Context, out *Outlook) error {
	for _, p := range f.providers {
		r, ok := p.(*rpms)
		if !ok {
			continue
		}
		for _, k := range f.missing() {
			if r.has[k] == "" {
				continue
			}
			out.Parts = append(out.Parts, Part{What: titles[k], Place: r.has[k]})
			if k == kindHeaders {
				if err := r.provide(ctx, f, []kind{k}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// offer says which packages have an artefact, and fetches those of the headers.
func (f *fetcher) offer(ctx context.Context, k kind) (Part, error) {
	part := Part{What: titles[k]}
	if f.origin != "" {
		part.Err = f.lacks(k)
		return f.servers(k, part), nil
	}
	p, err := f.plan, error(nil)
	if p == nil || !p.covers([]kind{k}) {
		p, err = makePlan(ctx, f.release, f.version, []kind{k})
	}
	var unavailable *UnavailableError
	switch {
	case errors.As(err, &unavailable):
		part.Err = err
		return f.servers(k, part), nil
	case err != nil:
		return part, err
	}
	part.Place = fmt.Sprintf("package %s %s", p.debs[k][0].Package, p.version)
	for _, d := range p.debs[k] {
		part.Download += d.Size
	}
	if k != kindHeaders {
		return part, nil
	}
	if err := f.store.clean(); err != nil {
		return part, err
	}
	if err := f.store.fetch(ctx, p, []kind{k}, f.opts.KeepDebs); err != nil {
		return part, spaceError(err, f.store.dir, 0)
	}
	if !f.store.locate(k, &f.files) {
		return part, incomplete(f.store.dir, k)
	}
	return part, nil
}

// servers says that servers will be asked for what is nowhere else.
func (f *fetcher) servers(k kind, part Part) Part {
	if k == kindVmlinux && len(f.opts.Debuginfod) > 0 {
		part.Place, part.Unsure, part.Err = "debuginfod will be asked: "+strings.Join(f.opts.Debuginfod, " "), true, nil
	}
	return part
}

// place is where an artefact was found.
func (l *located) place(k kind) string {
	return map[kind]string{kindVmlinux: l.vmlinux, kindImage: l.vmlinuz, kindHeaders: l.headers, kindSource: l.source}[k]
}

// outlook fills in a target as far as things are at hand.
func (f *fetcher) outlook(t *Target) (err error) {
	l := &f.files
	*t = Target{Release: f.release, Version: f.version, Suite: f.suite, Origin: f.origin, Vmlinuz: l.vmlinuz, Config: l.config}
	if l.vmlinux != "" {
		known, _, err := f.kernel()
		if err != nil {
			return err
		}
		known.Vmlinuz, known.Config = t.Vmlinuz, t.Config
		*t = *known
	}
	if l.headers != "" {
		out := filepath.Join(f.store.dir, f.store.derived("kbuild", l.headers, f.store.path(kindHeaders)))
		if t.KernelBuild, t.HeadersCommon, err = buildDir(l.headers, out); err != nil {
			return err
		}
		if t.Config == "" {
			t.Config = filepath.Join(l.headers, ".config")
		}
	}
	if st, err := os.Stat(l.source); err == nil && st.IsDir() {
		t.Source = l.source
	}
	return nil
}

// Look says what Unpack would fetch: nothing if the cache has it.
func (p *Packages) Look(ctx context.Context) (packages int, bytes int64, err error) {
	f, s, err := p.open()
	if err != nil || s.intact(kindRoot) {
		return 0, 0, err
	}
	if ctx, err = inSuite(ctx, f.cache, p.Suite, p.architectures(), p.Expired, f.rep); err != nil {
		return 0, 0, err
	}
	debs, err := closure(ctx, p.Suite, p.Names)
	for _, d := range debs {
		bytes += d.Size
	}
	return len(debs), bytes, err
}

// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
	"context"
	"errors"
	"slices"
)

// provider is somewhere that artefacts of a kernel come from. A fetch asks its providers in turn,
// each for what those before did not have.
type provider interface {
	// name is what Target.Origin says of those that have a whole kernel; "" for others.
	name() string
	// identify finds out which kernel is meant, if the provider has only one, and checks what can be
	// checked before anything is done.
	identify(f *fetcher) error
	// provide puts into f.files what it has of the kinds, bringing it into f.store if it has to. What it
	// does not have is not an error, unless nobody else could have it.
	provide(ctx context.Context, f *fetcher, want []kind) error
	// fix says what to do about an artefact that is not what it has to be.
	fix(k kind, release, version string) string
}

// providersOf are those of a fetch, in the order in which they are asked.
func providersOf(o *Options) (list []provider) {
	if len(o.RPMs) > 0 {
		list = append(list, &rpms{paths: slices.Clone(o.RPMs)}) // they tell the release, by which headers are known
	}
	list = append(list, given{})
	if o.Tree != "" {
		list = append(list, &builtTree{dir: o.Tree})
	}
	return append(list, cache{}, installed{}, aptArchive{}, debuginfod{})
}

// adviser is the provider that knows what to do about a target's artefacts.
func adviser(origin string) provider {
	for _, p := range []provider{&builtTree{}, &rpms{}} {
		if p.name() == origin {
			return p
		}
	}
	return aptArchive{}
}

// given are artefacts that the user has named one by one.
type given struct{}

func (given) name() string { return "" }

func (given) identify(f *fetcher) error { return f.readManual() }

func (given) provide(context.Context, *fetcher, []kind) error { return nil }

func (given) fix(k kind, release, version string) string {
	return aptArchive{}.fix(k, release, version)
}

// cache is what earlier fetches have left.
type cache struct{}

func (cache) name() string { return "" }

func (cache) identify(*fetcher) error { return nil }

func (cache) provide(_ context.Context, f *fetcher, want []kind) error {
	for _, k := range want {
		f.store.locate(k, &f.files)
	}
	return nil
}

func (cache) fix(k kind, release, version string) string {
	return aptArchive{}.fix(k, release, version)
}

// installed are the packages that this machine has installed.
type installed struct{}

func (installed) name() string { return "" }

func (installed) identify(*fetcher) error { return nil }

func (installed) provide(ctx context.Context, f *fetcher, want []kind) error {
	if f.version != "" {
		f.host.locate(ctx, f.release, f.version, want, &f.files)
	}
	return nil
}

func (installed) fix(k kind, release, version string) string {
	return aptArchive{}.fix(k, release, version)
}

// aptArchive is a distribution's archive of packages, of which apt knows.
type aptArchive struct{}

func (aptArchive) name() string { return "" }

func (aptArchive) identify(*fetcher) error { return nil }

func (aptArchive) provide(ctx context.Context, f *fetcher, want []kind) error {
	if f.origin != "" { // it has nothing of that kernel
		lacks := f.lacks(want[0])
		if !f.mayAsk(want) {
			return lacks
		}
		f.unavailable = lacks
		return nil
	}
	if f.plan == nil || !f.plan.covers(want) {
		if err := f.makePlan(ctx, want); err != nil {
			return err
		}
	}
	want = slices.DeleteFunc(slices.Clone(want), func(k kind) bool { return !f.plan.covers([]kind{k}) })
	if len(want) == 0 {
		return nil
	}
	if err := f.store.fetch(ctx, f.plan, want, f.opts.KeepDebs); err != nil {
		return err
	}
	for _, k := range want {
		if !f.store.locate(k, &f.files) {
			return incomplete(f.store.dir, k)
		}
	}
	return nil
}

// lacks says that what was named as a whole kernel is none.
func (f *fetcher) lacks(k kind) error {
	return &UnavailableError{Package: titles[k], Reason: f.release + ": nothing that was named has the " + titles[k], Fix: f.fix(k)}
}

// mayAsk reports that a vmlinux is all that is wanted, and that there are servers to ask for it.
func (f *fetcher) mayAsk(want []kind) bool {
	return len(f.opts.Debuginfod) > 0 && len(want) == 1 && want[0] == kindVmlinux
}

// makePlan plans what to take from the archive. A vmlinux that it does not have may be elsewhere.
func (f *fetcher) makePlan(ctx context.Context, want []kind) error {
	p, err := makePlan(ctx, f.release, f.version, want)
	var unavailable *UnavailableError
	if (errors.As(err, &unavailable) || errors.Is(err, errNoLists)) && len(f.opts.Debuginfod) > 0 && slices.Contains(want, kindVmlinux) {
		f.unavailable = err
		if p, err = (&plan{}), nil; len(want) > 1 {
			p, err = makePlan(ctx, f.release, f.version, slices.DeleteFunc(slices.Clone(want), func(k kind) bool { return k == kindVmlinux }))
		}
	}
	if err != nil {
		return err
	}
	f.plan = p
	if f.version == "" {
		f.version = p.version
	}
	return nil
}

func (aptArchive) fix(k kind, release, version string) string {
	if release == "" {
		release = "RELEASE"
	}
	switch k {
	case kindVmlinux:
		return "use the vmlinux of package linux-image-" + release + "-dbg"
	case kindImage:
		return "use the boot image of package linux-image-" + release
	case kindHeaders:
		return "use the headers of package linux-headers-" + release
	case kindSource:
		if version != "" {
			return "use package " + sourcePackage(version) + " of version " + version
		}
		return "name the source of exactly that version with --source"
	}
	return ""
}

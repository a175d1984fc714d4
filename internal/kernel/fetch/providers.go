// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
	"context"
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

// providers are those of a fetch, in the order in which they are asked.
func (f *fetcher) providers() []provider {
	list := []provider{given{}}
	if f.opts.Tree != "" {
		list = append(list, &builtTree{dir: f.opts.Tree})
	}
	return append(list, cache{}, installed{}, aptArchive{})
}

// adviser is the provider that knows what to do about a target's artefacts.
func adviser(origin string) provider {
	for _, p := range []provider{&builtTree{}} {
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
	if f.plan == nil || !f.plan.covers(want) {
		var err error
		if f.plan, err = makePlan(ctx, f.release, f.version, want); err != nil {
			return err
		}
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

// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
	"context"
	"fmt"
	"os"
)

// Modules returns the directory with what the kernel's package has in
// /lib/modules/RELEASE, which a guest with disks and networks needs. It is fetched
// into the cache if it is not there. Of the options, Manual has no meaning; the
// version is found as Fetch does.
func Modules(ctx context.Context, o Options) (string, error) {
	o.Manual = Manual{}
	f, err := newFetcher(&o)
	if err != nil {
		return "", err
	}
	suite := func() error {
		ctx, err = f.lists(ctx)
		return err
	}
	known := o.Version != "" // then the suite's lists are only needed for what is not in the cache
	if !known {
		if err := suite(); err != nil {
			return "", err
		}
	}
	if err := f.chooseVersion(ctx); err != nil {
		return "", err
	}
	if f.version == "" {
		return "", fmt.Errorf("kernel %s: its modules can only be fetched for a kernel that Debian built", f.release)
	}
	s := f.store
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return "", spaceError(err, s.dir, 0)
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	if s.intact(kindModules) {
		return s.path(kindModules), nil
	}
	if known {
		if err := suite(); err != nil {
			return "", err
		}
	}
	if err := s.clean(); err != nil {
		return "", err
	}
	want := []kind{kindModules}
	p, err := makePlan(ctx, f.release, f.version, want)
	if err != nil {
		return "", err
	}
	if err := s.fetch(ctx, p, want, o.KeepDebs); err != nil {
		return "", err
	}
	return s.path(kindModules), nil
}

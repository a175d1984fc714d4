// SPDX-License-Identifier: BSD-3-Clause

package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"

	"plugsched/internal/durable"
	"plugsched/internal/outcome"
)

// Release is a flag for a kernel release. One that cannot be one is never looked up.
type Release struct{ To *string }

// Kernels call themselves VERSION.PATCHLEVEL and what their builder adds, in at most 64
// characters (the kernel's Makefile, KERNELRELEASE; include/uapi/linux/utsname.h).
var release = regexp.MustCompile(`^[0-9]+\.[0-9]+[A-Za-z0-9.+~_-]*$`)

// Set implements pflag.Value.
func (r Release) Set(text string) error {
	if !release.MatchString(text) || len(text) > 64 {
		return Usagef("it must be a kernel's release, as uname -r shows it")
	}
	*r.To = text
	return nil
}

// String implements pflag.Value.
func (r Release) String() string {
	if r.To == nil {
		return ""
	}
	return *r.To
}

// Type implements pflag.Value.
func (r Release) Type() string { return "string" }

// WriteFile gives the file that a flag names new contents, whole or not at all.
func WriteFile(flag, path string, text []byte) error {
	err := durable.WriteFile(path, text, 0o644)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return outcome.With(outcome.Precondition, fmt.Errorf("--%s %s: there is no directory %s", flag, path, filepath.Dir(path)))
	case err != nil:
		return fmt.Errorf("--%s %s: %w", flag, path, err)
	}
	return nil
}

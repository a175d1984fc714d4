// SPDX-License-Identifier: BSD-3-Clause

// Package inherited is what programs that build and git get of the caller's environment: all that is
// not about another build, or another repository.
package inherited

import (
	"os"
	"slices"
	"strings"
)

// Build is for make and what it runs. The kernel's build system, make and gcc take options, directories and
// architectures from some fifty variables (Documentation/kbuild/kbuild.rst, "Environment Variables" in gcc's manual), each of
// which would make other code than the kernel's: only what is known to be of use is kept.
func Build() []string {
	return kept([]string{"PATH", "HOME", "TMPDIR", "USER", "LOGNAME", "TERM", "LD_LIBRARY_PATH", "LD_PRELOAD", "XDG_CACHE_HOME",
		"XDG_CONFIG_HOME", "SOURCE_DATE_EPOCH", "KBUILD_SIGN_PIN"}, []string{"CCACHE_", "LC_", "FAKEROOT"})
}

func kept(names, prefixes []string) (env []string) {
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if slices.Contains(names, name) || slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) }) {
			env = append(env, v)
		}
	}
	return env
}

// Git is for git, which is told by its arguments where to work: a hook of another repository, which has its
// directory, index and objects in the environment, is not to have them changed.
func Git() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		keep := []string{"GIT_AUTHOR_", "GIT_COMMITTER_", "GIT_CONFIG_", "GIT_EXEC_PATH=", "GIT_TEST_"}
		return strings.HasPrefix(v, "GIT_") && !slices.ContainsFunc(keep, func(p string) bool { return strings.HasPrefix(v, p) })
	})
}

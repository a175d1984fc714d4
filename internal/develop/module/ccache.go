// SPDX-License-Identifier: BSD-3-Clause

package module

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"

	"plugsched/internal/kernel/fetch"
)

// cached runs the compiler through ccache(1), where that is installed and has a directory to write
// to: who goes from one branch to another, or takes an edit back, compiles nothing twice. It
// reports whether it succeeded; if not, the compiler has yet to be run, and says itself what is
// wrong, with the source or with ccache.
func cached(cc string, args []string) bool {
	ccache, err := exec.LookPath("ccache")
	if err != nil {
		return false
	}
	env, ok := ccacheEnviron(os.Environ())
	if !ok {
		return false
	}
	cmd := exec.Command(ccache, append([]string{cc}, args...)...)
	var out, complaints bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = env, &out, &complaints
	if cmd.Run() != nil {
		return false
	}
	os.Stdout.Write(out.Bytes())
	os.Stderr.Write(complaints.Bytes()) // warnings, which it keeps too
	return true
}

// ccacheEnviron is the environment for ccache. The objects are compared with the kernel's, and are
// run in it: nothing that a user allows ccache to overlook is overlooked here.
func ccacheEnviron(env []string) (with []string, ok bool) {
	with = append(with, env...)
	with = append(with, "CCACHE_SLOPPINESS=", "CCACHE_COMPILERCHECK=content")
	if os.Getenv("CCACHE_DIR") != "" {
		return with, true
	}
	dir, err := fetch.DefaultCacheDir()
	if err != nil {
		return nil, false
	}
	dir = filepath.Join(dir, "ccache")
	if os.MkdirAll(dir, 0o700) != nil {
		return nil, false
	}
	return append(with, "CCACHE_DIR="+dir, "CCACHE_CONFIGPATH="+filepath.Join(dir, "ccache.conf"), "CCACHE_MAXSIZE=1G"), true
}

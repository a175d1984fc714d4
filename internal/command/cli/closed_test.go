// SPDX-License-Identifier: BSD-3-Clause

package cli

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain makes the test binary a program that prints, for tests of what it prints to.
func TestMain(m *testing.M) {
	if os.Getenv("CLI_TEST_PRINT") == "" {
		os.Exit(m.Run())
	}
	var st unix.Stat_t
	flags, err := unix.FcntlInt(1, unix.F_GETFL, 0)
	if err == nil {
		err = unix.Fstat(1, &st)
	}
	fmt.Fprintf(os.Stderr, "output: %o, device %d:%d, %v\n", flags, unix.Major(st.Rdev), unix.Minor(st.Rdev), err)
	os.Args = []string{"plugsched", "print"}
	Main(program())
}

// TestClosedOutput: a standard output that is closed when the program begins cannot be told from /dev/null, which
// Go's runtime opens in its place, for reading and writing (runtime/fds_unix.go). So do glibc's daemon() and Python's
// subprocess.DEVNULL for what is to be thrown away, so that it is no error. If a new Go does otherwise, this
// fails: then lost output can be an error here too.
func TestClosedOutput(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]string{}
	for to, code := range map[string]int{">&-": 0, "1<>/dev/null": 0, ">/dev/null": 0, ">/dev/full": 1} {
		c := exec.CommandContext(t.Context(), "sh", "-c", `exec "$0" `+to, self)
		c.Env = append(os.Environ(), "CLI_TEST_PRINT=1")
		out, err := c.CombinedOutput()
		if got := c.ProcessState.ExitCode(); got != code {
			t.Errorf("%s: exit code %d, want %d: %v\n%s", to, got, code, err, out)
		}
		said[to], _, _ = strings.Cut(string(out), "\n")
	}
	if said[">&-"] != said["1<>/dev/null"] || !strings.Contains(said[">&-"], "device 1:3") || said[">&-"] == said[">/dev/null"] {
		t.Errorf("a closed output can be told from another: %q", said)
	}
}

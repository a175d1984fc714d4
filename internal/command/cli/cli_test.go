// SPDX-License-Identifier: BSD-3-Clause

package cli

import (
	"flag"
	"io"
	"strings"
	"testing"
	"time"

	"plugsched/internal/outcome"
)

// TestRange: what is outside of the bounds is a mistake on the command line, and changes nothing.
func TestRange(t *testing.T) {
	var n int
	var d, z time.Duration
	flags := flag.NewFlagSet("x", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Var(Int(&n, 10, 1, 1000), "n", "")
	flags.Var(Duration(&d, time.Minute, time.Second, 24*time.Hour), "d", "")
	flags.Var(Duration(&z, 30*time.Second, 100*time.Millisecond, 24*time.Hour).OrZero(), "z", "")
	for _, bad := range []string{"n=0", "n=-3", "n=1001", "n=x", "n=", "n=99999999999999999999", "d=0", "d=25h", "d=-5s", "d=999ms", "d=5",
		"z=-5s", "z=99ms", "z=24h1ns", "z=-1ns"} {
		if err := flags.Parse([]string{"-" + bad}); err == nil || !strings.Contains(err.Error(), "it must be ") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if n != 10 || d != time.Minute || z != 30*time.Second {
		t.Errorf("%v %v %v", n, d, z)
	}
	if err := flags.Parse([]string{"-n=1000", "-d=24h", "-z=0"}); err != nil || n != 1000 || d != 24*time.Hour || z != 0 {
		t.Errorf("%v: %v %v %v", err, n, d, z)
	}
	err := Duration(&z, 0, 100*time.Millisecond, 24*time.Hour).OrZero().Set("-5s")
	if want := "it must be 0, or from 100ms to 24h"; err.Error() != want || outcome.Of(err) != outcome.Usage {
		t.Errorf("%v, want %s", err, want)
	}
}

// SPDX-License-Identifier: BSD-3-Clause

package vm

import (
	"bufio"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// busy starts a busy loop on the first CPU that is there, of some niceness, and returns
// when it runs.
func busy(t *testing.T, nice string) (pid int) {
	t.Helper()
	var cpus unix.CPUSet
	if err := unix.SchedGetaffinity(0, &cpus); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("nice", "-n", nice, "sh", "-c", "echo; while :; do :; done")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	var one unix.CPUSet
	for cpu := range 1024 {
		if cpus.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	if err := unix.SchedSetaffinity(cmd.Process.Pid, &one); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

// TestPatience: a process that the host keeps waiting spends no patience; one that sleeps
// does.
func TestPatience(t *testing.T) {
	sleeper := exec.Command("sleep", "1000")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sleeper.Process.Kill(); sleeper.Wait() })
	waiter := busy(t, "19")
	for range 3 {
		busy(t, "0")
	}
	const long = 3 * time.Second
	kept, free := newPatience(waiter), newPatience(sleeper.Process.Pid)
	time.Sleep(long)
	if own := free.spend(); own < long*9/10 {
		t.Errorf("a sleeper has spent %v of %v", own, long)
	}
	// It has less than a hundredth of the CPU. A wait is known when it is over, and the last one
	// may have been for most of the time.
	var own, passed time.Duration
	for begin := time.Now(); ; time.Sleep(long / 10) {
		own += kept.spend()
		if passed = long + time.Since(begin); own < passed/2 {
			return
		}
		if passed > 20*long {
			t.Fatalf("a process that waits for others has spent %v of %v", own, passed)
		}
	}
}

// SPDX-License-Identifier: BSD-3-Clause

package vm

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"plugsched/internal/guest/agent"
)

// TestMain makes the test binary its own guest's init, and a load in it.
func TestMain(m *testing.M) {
	if agent.Invoked() {
		agent.Main()
	}
	if os.Getenv("VM_TEST_LOAD") != "" {
		load()
	}
	os.Exit(m.Run())
}

// testKernel is the image to boot. Tests with a guest need a static test binary
// (CGO_ENABLED=0) and QEMU.
func testKernel(t testing.TB) string {
	t.Helper()
	k := os.Getenv("PLUGSCHED_TEST_VMLINUZ")
	if k == "" {
		t.Skip("PLUGSCHED_TEST_VMLINUZ is not set")
	}
	if _, err := os.Stat(k); err != nil {
		t.Fatalf("PLUGSCHED_TEST_VMLINUZ: %v", err)
	}
	return k
}

// testInit is a static test binary to use if the running one is not, as with
// -race; or empty.
func testInit() string { return os.Getenv("PLUGSCHED_TEST_INIT") }

// testBusybox is a busybox to use instead of the machine's, for a kernel of another architecture; or empty.
func testBusybox() string { return os.Getenv("PLUGSCHED_TEST_BUSYBOX") }

type testWriter struct{ testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.Logf("%s", bytes.TrimRight(b, "\n"))
	return len(b), nil
}

func bootTest(t testing.TB, cfg Config) *Machine {
	t.Helper()
	cfg.Kernel = testKernel(t)
	if cfg.Init == "" {
		cfg.Init = testInit()
	}
	if cfg.Busybox == "" {
		cfg.Busybox = testBusybox()
	}
	// Logs are kept for later if a directory is given.
	dir := os.Getenv("PLUGSCHED_TEST_CONSOLES")
	if dir == "" {
		dir = t.TempDir()
	}
	cfg.ConsoleLog = filepath.Join(dir, t.Name()+".log")
	m, err := Boot(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.Close()
		if t.Failed() {
			t.Logf("console:\n%s", last(m.Console(), 60))
		}
	})
	return m
}

func sh(script string) Cmd { return Cmd{Argv: []string{"sh", "-c", script}} }

func TestGuest(t *testing.T) {
	begin := time.Now()
	m := bootTest(t, Config{
		Debug: testWriter{t},
		Files: []File{{GuestPath: "/etc/motd", Content: []byte("hello\n"), Mode: 0o600}},
	})
	t.Logf("booted in %v", time.Since(begin))
	ctx := t.Context()
	run := func(t *testing.T, c Cmd) *Result {
		t.Helper()
		r, err := m.Run(ctx, c)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}

	t.Run("release", func(t *testing.T) {
		out := strings.TrimSpace(string(run(t, Cmd{Argv: []string{"uname", "-r"}}).Stdout))
		if out == "" || out != m.Release() {
			t.Errorf("uname -r: %q, Release: %q", out, m.Release())
		}
	})
	t.Run("streams and exit code", func(t *testing.T) {
		r := run(t, sh("echo out; echo err >&2; exit 3"))
		if string(r.Stdout) != "out\n" || string(r.Stderr) != "err\n" || r.ExitCode != 3 || r.Signal != 0 {
			t.Errorf("got %q %q %d %v", r.Stdout, r.Stderr, r.ExitCode, r.Signal)
		}
	})
	t.Run("death by signal", func(t *testing.T) {
		if r := run(t, sh("kill -SEGV $$")); r.ExitCode != 128+11 || r.Signal != syscall.SIGSEGV {
			t.Errorf("got %d, %v", r.ExitCode, r.Signal)
		}
	})
	t.Run("directory, environment, input", func(t *testing.T) {
		c := sh(`pwd; echo $X-$HOME; cat`)
		c.Dir, c.Env, c.Stdin = "/proc", []string{"X=1", "HOME=/x"}, strings.NewReader("in")
		if got := string(run(t, c).Stdout); got != "/proc\n1-/x\nin" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("priority is the default", func(t *testing.T) {
		// Fields 19 (nice) and 41 (policy) of /proc/PID/stat.
		if got := string(run(t, sh("cut -d' ' -f19,41 /proc/self/stat")).Stdout); got != "0 0\n" {
			t.Errorf("nice and policy of a command: %q", got)
		}
		r := run(t, sh(`for s in /proc/1/task/*/stat; do cut -d' ' -f19 $s; done | sort | uniq -c`))
		if got := strings.Join(strings.Fields(string(r.Stdout)), " "); !strings.HasPrefix(got, "1 0 ") && !strings.HasSuffix(got, " 1 0") {
			t.Errorf("count and nice of the agent's threads: %q; want one 0, the rest -20", got)
		}
	})
	t.Run("no such program", func(t *testing.T) {
		for _, c := range []Cmd{
			{Argv: []string{"nonesuch"}}, {Argv: []string{"/nonesuch"}},
			{Argv: []string{"true"}, Dir: "/nonesuch"},
		} {
			var ge *GuestError
			if _, err := m.Run(ctx, c); !errors.As(err, &ge) || !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%v in %q: error %v", c.Argv, c.Dir, err)
			}
		}
		if _, err := m.Run(ctx, Cmd{Argv: []string{"/etc/motd"}}); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("run of a text file: error %v", err)
		}
	})
	t.Run("background and kill", func(t *testing.T) {
		p, err := m.Start(ctx, sh("echo ready; sleep 1000 & sleep 1000"))
		if err != nil {
			t.Fatal(err)
		}
		short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		defer cancel()
		if _, err := p.Wait(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Wait: %v", err)
		}
		if out, _ := p.Output(); string(out) != "ready\n" {
			t.Errorf("output so far: %q", out)
		}
		if err := p.Kill(); err != nil {
			t.Fatal(err)
		}
		if r, err := p.Wait(ctx); err != nil || r.Signal != syscall.SIGKILL {
			t.Errorf("Wait: %v, %v", r, err)
		}
		if r := run(t, sh("pgrep sleep")); len(r.Stdout) != 0 {
			t.Errorf("sleepers left: %s", r.Stdout)
		}
	})
	t.Run("timeout", func(t *testing.T) {
		c := sh("echo started; exec sleep 1000")
		c.Timeout = time.Second
		r, err := m.Run(ctx, c)
		var te *TimeoutError
		if !errors.As(err, &te) || r == nil || string(r.Stdout) != "started\n" {
			t.Errorf("got %v, %v", r, err)
		}
	})
	t.Run("cancel", func(t *testing.T) {
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if _, err := m.Run(short, Cmd{Argv: []string{"sleep", "1000"}}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if r := run(t, sh("pgrep sleep")); len(r.Stdout) != 0 {
			t.Errorf("sleepers left: %s", r.Stdout)
		}
	})
	t.Run("daemon holds the output", func(t *testing.T) {
		r := run(t, sh("echo a; (sleep 5; echo b) &"))
		if string(r.Stdout) != "a\n" || r.Duration > 3*time.Second {
			t.Errorf("got %q after %v", r.Stdout, r.Duration)
		}
	})
	t.Run("files", func(t *testing.T) {
		data := bytes.Repeat([]byte("0123456789abcde\n"), 20000)
		if err := m.WriteFile(ctx, "/tmp/f", data, 0o640); err != nil {
			t.Fatal(err)
		}
		if got, err := m.ReadFile(ctx, "/tmp/f"); err != nil || !bytes.Equal(got, data) {
			t.Errorf("read back %d bytes of %d: %v", len(got), len(data), err)
		}
		if got, err := m.ReadFile(ctx, "/etc/motd"); err != nil || string(got) != "hello\n" {
			t.Errorf("file of the initramfs: %q, %v", got, err)
		}
		if got := string(run(t, sh("stat -c %a /tmp/f /etc/motd")).Stdout); got != "640\n600\n" {
			t.Errorf("modes: %q", got)
		}
		if err := m.WriteFile(ctx, "/proc/sys/kernel/panic_on_warn", []byte("0\n"), 0); err != nil {
			t.Error(err)
		}
		if _, err := m.ReadFile(ctx, "/nonesuch"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("read of a missing file: %v", err)
		}
	})
	t.Run("mounts", func(t *testing.T) {
		r := run(t, sh("ls /sys/fs/cgroup/cgroup.procs /sys/kernel/tracing/trace /sys/kernel/debug/sched* /dev/pts/ptmx && ip link show lo | grep LOWER_UP"))
		if r.ExitCode != 0 {
			t.Errorf("%s%s", r.Stdout, r.Stderr)
		}
	})
	t.Run("orphans are reaped", func(t *testing.T) {
		// Each subshell's child is left to init and dies there.
		run(t, sh("for i in $(seq 50); do (sleep 0 & true); done; sleep 1"))
		if r := run(t, sh("ps -o stat,comm | grep ^Z")); len(r.Stdout) != 0 {
			t.Errorf("zombies: %s", r.Stdout)
		}
	})
	t.Run("many at once", func(t *testing.T) {
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				c := sh(fmt.Sprintf("cat; exit %d", i))
				in := bytes.Repeat([]byte{byte('a' + i)}, 30000)
				c.Stdin = bytes.NewReader(in)
				if r, err := m.Run(ctx, c); err != nil || r.ExitCode != i || !bytes.Equal(r.Stdout, in) {
					t.Errorf("%d: %v", i, err)
				}
			})
		}
		wg.Wait()
	})
	t.Run("shell", func(t *testing.T) {
		var out bytes.Buffer
		code, err := m.Shell(ctx, strings.NewReader("tty; stty size; exit 4\n"), &out)
		if err != nil || code != 4 || !strings.Contains(out.String(), "/dev/pts/0\r\n24 80\r\n") {
			t.Errorf("got %d, %v, %q", code, err, out.String())
		}
	})
	t.Run("shell on a terminal", func(t *testing.T) {
		master, slave := openPTY(t)
		unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 33, Col: 101})
		before, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		master.WriteString("stty size\rexit 5\r")
		var out bytes.Buffer
		code, err := m.Shell(ctx, slave, &out)
		if err != nil || code != 5 || !strings.Contains(out.String(), "33 101\r\n") {
			t.Errorf("got %d, %v, %q", code, err, out.String())
		}
		if after, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS); err != nil || *after != *before {
			t.Errorf("terminal left changed: %+v, %v", after, err)
		}
	})
	t.Run("a warning is a fault, but not the end", func(t *testing.T) {
		before := len(m.Faults())
		if err := m.WriteFile(ctx, "/dev/kmsg", []byte("BUG: told by a test"), 0); err != nil {
			t.Fatal(err)
		}
		if err := m.Settle(ctx); err != nil {
			t.Fatal(err)
		}
		f := m.Faults()
		if before != 0 || len(f) != 1 || f[0].Kind != Bug || f[0].Line != "BUG: told by a test" {
			t.Errorf("before %d, now %+v", before, f)
		}
	})
	t.Run("close", func(t *testing.T) {
		pid := m.qemu.cmd.Process.Pid
		begin := time.Now()
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		t.Logf("closed in %v", time.Since(begin))
		if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
			t.Errorf("QEMU %d: %v", pid, err)
		}
		if _, err := m.Run(ctx, sh("true")); !errors.Is(err, ErrOff) {
			t.Errorf("Run after Close: %v", err)
		}
		kept, err := os.ReadFile(m.ConsolePath())
		if err != nil || !bytes.Equal(kept, m.Console()) || !bytes.Contains(kept, []byte("reboot: Power down")) {
			t.Errorf("kept console: %d bytes, %v", len(kept), err)
		}
	})
}

func openPTY(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { master.Close() })
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	return master, slave
}

func TestSpeed(t *testing.T) {
	m := bootTest(t, Config{})
	const n = 50
	begin := time.Now()
	for range n {
		if _, err := m.Run(t.Context(), Cmd{Argv: []string{"/bin/busybox", "true"}}); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("Run of /bin/true: %v each", time.Since(begin)/n)
	begin = time.Now()
	for range n {
		if _, err := m.ReadFile(t.Context(), "/etc/group"); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("ReadFile: %v each", time.Since(begin)/n)
	begin = time.Now()
	r, err := m.Run(t.Context(), sh("head -c 1048576 /dev/urandom"))
	if err != nil || len(r.Stdout) != 1<<20 {
		t.Fatalf("%d bytes, %v", len(r.Stdout), err)
	}
	t.Logf("1 MiB of output: %v", time.Since(begin))
	begin = time.Now()
	if err := m.WriteFile(t.Context(), "/tmp/f", r.Stdout, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Logf("1 MiB written: %v", time.Since(begin))
}

func TestPanic(t *testing.T) {
	m := bootTest(t, Config{})
	begin := time.Now()
	_, err := m.Run(t.Context(), sh("echo c >/proc/sysrq-trigger"))
	var kf *KernelFault
	if !errors.As(err, &kf) {
		t.Fatalf("got %v", err)
	}
	t.Logf("%v: %v", time.Since(begin), err)
	if time.Since(begin) > 10*time.Second {
		t.Errorf("took %v", time.Since(begin))
	}
	if !strings.Contains(kf.Excerpt(), "sysrq") {
		t.Errorf("excerpt:\n%s", kf.Excerpt())
	}
	if _, err := m.Run(t.Context(), sh("true")); !errors.As(err, &kf) {
		t.Errorf("Run on a dead guest: %v", err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

// load starts so many threads that never sleep, with a real-time priority if it
// is not 0.
func load() {
	var threads, priority int
	fmt.Sscan(os.Getenv("VM_TEST_LOAD"), &threads, &priority)
	debug.SetMaxThreads(threads + 100)
	runtime.GOMAXPROCS(threads + 1)
	for range threads {
		go func() {
			runtime.LockOSThread()
			if priority > 0 {
				a := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: uint32(priority)}
				if err := unix.SchedSetAttr(0, &a, 0); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
			}
			//lint:ignore SA5002 it is the load
			for {
			}
		}()
	}
	select {}
}

func loadCmd(threads, priority int) Cmd {
	return Cmd{Argv: []string{"/bin/load"}, Env: []string{fmt.Sprintf("VM_TEST_LOAD=%d %d", threads, priority)}}
}

func loadFile(t *testing.T) File {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if i := testInit(); i != "" {
		exe = i
	}
	return File{GuestPath: "/bin/load", HostPath: exe, Mode: 0o755}
}

// The agent answers while 700 threads and real-time tasks want every CPU.
func TestUnderLoad(t *testing.T) {
	m := bootTest(t, Config{Files: []File{loadFile(t)}})
	for _, c := range []Cmd{loadCmd(700, 0), loadCmd(4, 50)} {
		if _, err := m.Start(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		var slowest time.Duration
		begin := time.Now()
		const n = 10
		for range n {
			b := time.Now()
			if _, err := m.ReadFile(t.Context(), "/proc/loadavg"); err != nil {
				t.Fatal(err)
			}
			slowest = max(slowest, time.Since(b))
		}
		t.Logf("%v: ReadFile %v on average, %v at most", c.Env, time.Since(begin)/n, slowest)
		if slowest > 20*time.Second {
			t.Errorf("an answer took %v", slowest)
		}
		b := time.Now()
		if _, err := m.Run(t.Context(), sh("true")); err != nil {
			t.Fatal(err)
		}
		t.Logf("%v: Run %v", c.Env, time.Since(b))
	}
}

// A guest whose CPUs are all taken by real-time tasks without throttling prints
// nothing and never answers.
func TestHang(t *testing.T) {
	m := bootTest(t, Config{CPUs: 2, HangTimeout: 4 * time.Second, Files: []File{loadFile(t)}})
	if err := m.WriteFile(t.Context(), "/proc/sys/kernel/sched_rt_runtime_us", []byte("-1"), 0); err != nil {
		t.Fatal(err)
	}
	// From 6.12 on, a deadline server keeps 5% of each CPU for the fair class.
	if _, err := m.Run(t.Context(), sh("for f in /sys/kernel/debug/sched/fair_server/cpu*/runtime; do [ ! -e $f ] || echo 0 >$f; done")); err != nil {
		t.Fatal(err)
	}
	c := loadCmd(4, 50)
	c.Timeout = 60 * time.Second
	_, err := m.Run(t.Context(), c)
	var kf *KernelFault
	if !errors.As(err, &kf) || kf.Faults[0].Kind != Unresponsive {
		t.Fatalf("got %v", err)
	}
	t.Logf("%v\n%s", err, kf.Excerpt())
	if n := strings.Count(kf.Excerpt(), " "+m.arch.Guest.Counter+"="); n != 2 {
		t.Errorf("program counters of %d CPUs; want 2", n)
	}
	// A CPU that has just entered the kernel has nothing on its stack, above which there is no memory.
	if n := strings.Count(kf.Excerpt(), ": 0x") + 40*strings.Count(kf.Excerpt(), "Cannot access memory"); n < 2*40 {
		t.Errorf("%d lines of two stacks", n)
	}
	if !slices.Contains(m.arch.Guest.Append, "unknown_nmi_panic") {
		return // the emulated machine has no NMI
	}
	if f := kf.Faults[len(kf.Faults)-1]; f.Kind != Panic || !strings.Contains(f.Line, "NMI") {
		t.Errorf("last fault: %+v", f)
	}
}

func TestCancelLeavesNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	m, err := Boot(ctx, Config{Kernel: testKernel(t), Init: testInit(), Busybox: testBusybox()})
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(time.Second, cancel)
	if _, err := m.Run(t.Context(), sh("sleep 1000")); !errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v", err)
	}
	if err := syscall.Kill(m.qemu.cmd.Process.Pid, 0); err != syscall.ESRCH {
		t.Errorf("QEMU: %v", err)
	}
	m.Close()

	ctx, cancel = context.WithCancel(t.Context())
	time.AfterFunc(500*time.Millisecond, cancel)
	if _, err := Boot(ctx, Config{Kernel: testKernel(t), Init: testInit()}); !errors.Is(err, context.Canceled) {
		t.Errorf("Boot: %v", err)
	}
}

// QEMU dies with us even if we are given no chance to kill it.
func TestDeathOfHost(t *testing.T) {
	kernel := testKernel(t)
	if os.Getenv("VM_TEST_VICTIM") != "" {
		m, err := Boot(t.Context(), Config{Kernel: kernel, Init: testInit()})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("qemu", m.qemu.cmd.Process.Pid)
		select {}
	}
	victim := exec.Command(os.Args[0], "-test.run", "^TestDeathOfHost$")
	victim.Env = append(os.Environ(), "VM_TEST_VICTIM=1")
	out, err := victim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	_, err = fmt.Fscanf(out, "qemu %d\n", &pid)
	victim.Process.Kill()
	victim.Wait()
	if err != nil {
		t.Fatal(err)
	}
	// An orphan is reaped by whoever is PID 1 here, which may take its time.
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("QEMU %d lives on: %s", pid, stat)
		}
	}
}

// The same work takes the same guest time, whatever the host is doing.
func TestICount(t *testing.T) {
	m := bootTest(t, Config{ICount: true, CPUs: 1})
	var took []time.Duration
	for range 4 {
		r, err := m.Run(t.Context(), sh("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"))
		if err != nil {
			t.Fatal(err)
		}
		took = append(took, r.Duration)
	}
	// The first run reads the program from the initramfs.
	low, high := slices.Min(took[1:]), slices.Max(took[1:])
	t.Logf("guest time: %v", took)
	if float64(high) > 1.2*float64(low) {
		t.Errorf("guest times differ by more than 20%%: %v", took)
	}
}

// QEMU dies of a signal: not the kernel's fault.
func TestInfraError(t *testing.T) {
	m := bootTest(t, Config{})
	time.AfterFunc(500*time.Millisecond, func() { m.qemu.cmd.Process.Kill() })
	_, err := m.Run(t.Context(), sh("sleep 1000"))
	var ie *InfraError
	if !errors.As(err, &ie) {
		t.Errorf("got %v", err)
	}
}

func TestPoweroffInside(t *testing.T) {
	m := bootTest(t, Config{})
	if _, err := m.Run(t.Context(), sh("poweroff; sleep 1000")); !errors.Is(err, ErrOff) {
		t.Errorf("got %v", err)
	}
}

func TestBootError(t *testing.T) {
	kernel := testKernel(t)
	t.Run("no init", func(t *testing.T) {
		_, err := Boot(t.Context(), Config{Kernel: kernel, Init: testInit(), Append: []string{"rdinit=/nonesuch", "init=/nonesuch"}})
		var be *BootError
		var kf *KernelFault
		if !errors.As(err, &be) || !errors.As(err, &kf) || kf.Faults[0].Kind != Panic || !bytes.Contains(be.Console, []byte("Kernel panic")) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("silence", func(t *testing.T) {
		// busybox as init starts a shell and never answers.
		_, err := Boot(t.Context(), Config{Kernel: kernel, Init: cmp.Or(testBusybox(), busybox), BootTimeout: 6 * time.Second})
		var be *BootError
		if !errors.As(err, &be) || be.Err != nil || !strings.Contains(be.Reason, "no answer") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("bad option", func(t *testing.T) {
		_, err := Boot(t.Context(), Config{Kernel: kernel, Init: testInit(), CPUs: 100000})
		var be *BootError
		var ie *InfraError
		if !errors.As(err, &be) || !errors.As(err, &ie) {
			t.Errorf("got %v", err)
		}
	})
}

// A KVM that hangs guests is given up.
func TestKVMProbe(t *testing.T) {
	a, err := archOf(testKernel(t))
	if err != nil {
		t.Fatal(err)
	}
	qemu, err := exec.LookPath(a.Guest.QEMU)
	if err != nil {
		t.Skip(err)
	}
	wrapper := filepath.Join(t.TempDir(), "qemu")
	script := "#!/bin/sh\ncase \"$*\" in *'-accel kvm'*) exec sleep 1000;; esac\nexec " + qemu + " \"$@\"\n"
	if err := os.WriteFile(wrapper, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	m := bootTest(t, Config{QEMU: wrapper, Accel: "kvm", KVMProbe: time.Second})
	if m.Accel() != "tcg" {
		t.Errorf("accelerator %q", m.Accel())
	}
}

// SPDX-License-Identifier: BSD-3-Clause

package vm

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"plugsched/internal/guest/vm/wire"
	"plugsched/internal/kernel/arch"
)

// Descriptors that QEMU inherits, behind the standard three.
const (
	consoleFD = 3 + iota
	bellFD
	monitorFD
	initramfsFD
	sharedFD
	firstShareFD
)

// qemuArgs is the command line of QEMU. Everything it talks through is an
// inherited descriptor: no socket or file is left behind however it ends.
func qemuArgs(c *Config, a *arch.Arch) []string {
	accel := c.Accel
	if c.Accel == "tcg" && (c.ICount || c.oneThread) {
		accel = "tcg,thread=single"
	}
	args := append([]string{"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"}, a.Guest.Board...)
	if c.CPU != "" {
		args = append(args, "-cpu", c.CPU) // the last one counts
	}
	args = append(args, "-accel", accel,
		"-smp", fmt.Sprintf("%d,sockets=%d,threads=%d", c.CPUs, c.Sockets, c.Threads), "-m", fmt.Sprintf("%dM", c.MemoryMiB),
		"-chardev", fmt.Sprintf("socket,id=console,fd=%d", consoleFD),
		"-chardev", fmt.Sprintf("socket,id=bell,fd=%d", bellFD),
		"-chardev", fmt.Sprintf("socket,id=monitor,fd=%d", monitorFD),
		"-mon", "chardev=monitor,mode=control",
		"-object", fmt.Sprintf("memory-backend-file,id=shared,share=on,size=%d,mem-path=/proc/self/fd/%d", wire.SharedSize, sharedFD),
		"-device", "ivshmem-plain,memdev=shared")
	args = append(args, a.Guest.Serial(0, "console")...)
	args = append(args, a.Guest.Serial(1, "bell")...)
	args = append(args, diskArgs(c, a)...)
	if c.sharing != nil {
		args = append(args, c.sharing.args(c.MemoryMiB, firstShareFD)...)
	}
	args = append(args, "-kernel", c.Kernel,
		"-initrd", fmt.Sprintf("/proc/self/fd/%d", initramfsFD),
		"-append", strings.Join(c.commandLine(a), " "))
	if c.ICount {
		args = append(args, "-icount", fmt.Sprintf("shift=%d,sleep=on", c.ICountShift))
	}
	if c.GDB != 0 {
		args = append(args, "-gdb", fmt.Sprintf("tcp:127.0.0.1:%d", c.GDB))
	}
	return args
}

// icountShift is 8 ns of guest time per instruction (2^3), which is near what an
// emulated instruction takes. With it goes sleep=on, which lets an idle guest's time
// pass as the host's does, so that its timers do not race ahead of the host's requests.
const icountShift = 3

// A qemu is a running emulator and our ends of its sockets.
type qemu struct {
	cmd                    *exec.Cmd
	console, bell, monitor *os.File
	shared                 []byte
	servers                []*server
	stderr                 tail
	done                   chan struct{} // closed when reaped
	err                    error         // of Wait; valid after done
}

func startQEMU(c *Config, a *arch.Arch, initramfs *os.File) (*qemu, error) {
	q := &qemu{done: make(chan struct{})}
	var theirs []*os.File
	shared, mem, err := sharedMemory()
	if err != nil {
		return nil, &InfraError{"shared memory", err}
	}
	defer shared.Close()
	q.shared = mem
	defer func() {
		for _, f := range theirs {
			f.Close()
		}
	}()
	for _, ours := range []**os.File{&q.console, &q.bell, &q.monitor} {
		o, t, err := socketPair()
		if err != nil {
			q.close()
			return nil, &InfraError{"socketpair", err}
		}
		*ours, theirs = o, append(theirs, t)
	}
	servers, ends, err := c.sharing.serve()
	if err != nil {
		q.close()
		return nil, err
	}
	q.servers, theirs = servers, append(theirs, ends...)
	q.cmd = exec.Command(c.QEMU, qemuArgs(c, a)...)
	q.cmd.ExtraFiles = slices.Concat(theirs[:3], []*os.File{initramfs, shared}, ends)
	q.cmd.Stderr = &q.stderr
	// A process group of its own: Ctrl-C at the terminal is for us to handle.
	q.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	c.debugf("%s", q.cmd)

	started := make(chan error)
	go func() {
		// The death signal comes when the thread that forked ends, not the
		// process (prctl(2), PR_SET_PDEATHSIG), so that thread must stay.
		runtime.LockOSThread()
		err := q.cmd.Start()
		started <- err
		if err == nil {
			q.err = q.cmd.Wait()
			close(q.done)
		}
	}()
	if err := <-started; err != nil {
		q.close()
		return nil, &InfraError{"start QEMU", err}
	}
	return q, nil
}

func (q *qemu) kill() { q.cmd.Process.Kill() }

// close gives everything back. Nobody may use the shared memory any more.
func (q *qemu) close() {
	stop(q.servers)
	q.closeSockets()
	unix.Munmap(q.shared)
}

func (q *qemu) closeSockets() {
	for _, f := range []*os.File{q.console, q.bell, q.monitor} {
		if f != nil {
			f.Close()
		}
	}
}

// socketPair returns our end, usable with the runtime's poller, and theirs.
func socketPair() (ours, theirs *os.File, err error) {
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	if err := unix.SetNonblock(p[0], true); err != nil {
		unix.Close(p[0])
		unix.Close(p[1])
		return nil, nil, err
	}
	return os.NewFile(uintptr(p[0]), "qemu"), os.NewFile(uintptr(p[1]), "qemu"), nil
}

func sharedMemory() (*os.File, []byte, error) {
	f, err := unnamedFile("shared")
	if err != nil {
		return nil, nil, err
	}
	err = f.Truncate(wire.SharedSize)
	var mem []byte
	if err == nil {
		mem, err = unix.Mmap(int(f.Fd()), 0, wire.SharedSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, mem, nil
}

// A tail keeps the end of what is written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(b []byte) (int, error) {
	const keep = 4 << 10
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, b...)
	if len(t.b) > keep {
		t.b = append([]byte(nil), t.b[len(t.b)-keep:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.b))
}

// SPDX-License-Identifier: BSD-3-Clause

package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"plugsched/internal/kernel/arch/native"
)

// operations are all that are measured.
var operations = []Operation{
	{"yield", "one of two processes gives way to the other", 20000, yields},
	{"pipe", "a byte goes to another process through a pipe, and back", 5000, pipes},
	{"futex", "a process wakes another, waits, and is woken by it", 5000, futexes},
	{"messages", "one of ten processes sends 100 bytes to one of ten others through a socket, as hackbench does", 20000, messages},
	{"fork", "a process is made, ends and is waited for", 150, forks},
	{"exec", "the same, and it executes a program before it ends", 100, execs},
	{"tick", "the timer's interrupt while a process computes", 1 << 11, ticks},
	{"wake-up", "from when a timer is due until the process that sleeps is back in user space, beside one that computes", 500, wakeUps},
}

// words are what the processes of an operation share.
type words struct {
	turn [2]uint32
	_    [14]uint32
	left int32 // that have not ended
	_    [15]uint32
	at   [2]unix.Timespec // begun, ended
	n    int64            // of samples
	// samples are in ns.
	samples [1 << 11]int64
}

func share() (*words, error) {
	mem, err := unix.Mmap(-1, 0, int(unsafe.Sizeof(words{})), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_SHARED|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("memory to share: %w", err)
	}
	return (*words)(unsafe.Pointer(&mem[0])), nil
}

func (w *words) release() {
	unix.Munmap(unsafe.Slice((*byte)(unsafe.Pointer(w)), unsafe.Sizeof(words{})))
}

func (w *words) elapsed() float64 {
	return float64(w.at[1].Nano() - w.at[0].Nano())
}

// A role is what a process does in an operation.
type role int

const (
	computes role = iota
	yieldsTo
	asks
	answers
	wakes
	isWoken
	sends
	receives
	makes
	executes
	counts
	oversleeps
)

// part is a role and what it needs. It is not moved: it is the children's memory too.
type part struct {
	role    role
	n       int
	in, out int
	others  [10]int // sockets
	w       *words
	buf     [128]byte
	spun    uint64 // so that it is not left out
}

//go:nosplit
//go:norace
func call(nr, a, b, c uintptr) (uintptr, syscall.Errno) {
	r, _, err := syscall.RawSyscall6(nr, a, b, c, 0, 0, 0)
	return r, err
}

//go:nosplit
//go:norace
func (p *part) stamp(i int) {
	call(unix.SYS_CLOCK_GETTIME, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(&p.w.at[i])), 0)
}

//go:nosplit
//go:norace
func (p *part) readByte() bool {
	n, _ := call(unix.SYS_READ, uintptr(p.in), uintptr(unsafe.Pointer(&p.buf)), 1)
	return n == 1
}

//go:nosplit
//go:norace
func (p *part) writeByte() { call(unix.SYS_WRITE, uintptr(p.out), uintptr(unsafe.Pointer(&p.buf)), 1) }

//go:nosplit
//go:norace
func (p *part) wake(i int) {
	atomic.StoreUint32(&p.w.turn[i], 1)
	call(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&p.w.turn[i])), 1 /* FUTEX_WAKE */, 1)
}

//go:nosplit
//go:norace
func (p *part) wait(i int) {
	for atomic.LoadUint32(&p.w.turn[i]) == 0 {
		call(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&p.w.turn[i])), 0 /* FUTEX_WAIT */, 0)
	}
	atomic.StoreUint32(&p.w.turn[i], 0)
}

// spin computes without system calls.
//
//go:nosplit
//go:noinline
func spin(n int) (x uint64) {
	for range n {
		x = x*6364136223846793005 + 1
	}
	return x
}

// spinChunk takes less than half of a tick's period, of the shortest that kernels have.
const spinChunk = 10000

// once does an operation's share of p once.
//
//go:nosplit
//go:norace
func (p *part) once() bool {
	switch p.role {
	case yieldsTo:
		call(unix.SYS_SCHED_YIELD, 0, 0, 0)
	case asks:
		p.writeByte()
		return p.readByte()
	case wakes:
		p.wake(0)
		p.wait(1)
	case makes, executes:
		pid, err := call(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0)
		if err != 0 {
			return false
		}
		if pid == 0 {
			if p.role == executes {
				call(unix.SYS_EXECVE, uintptr(unsafe.Pointer(&program[0])), uintptr(unsafe.Pointer(&noWords)), uintptr(unsafe.Pointer(&noWords)))
			}
			call(unix.SYS_EXIT, 0, 0, 0)
		}
		call(unix.SYS_WAIT4, pid, 0, 0)
	}
	return true
}

// sample notes how long something took that began at p.w.at[0] and ended at p.w.at[1].
//
//go:nosplit
//go:norace
func (p *part) sample() {
	b, e := &p.w.at[0], &p.w.at[1]
	p.w.samples[p.w.n] = int64(e.Sec-b.Sec)*1e9 + int64(e.Nsec-b.Nsec)
	p.w.n++
}

// play is all of a process, which never gets back into Go's runtime.
//
//go:nosplit
//go:norace
func (p *part) play() {
	call(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0)
	switch p.role {
	case computes:
		for {
			p.spun = spin(spinChunk)
		}
	case answers:
		for p.readByte() {
			p.writeByte()
		}
	case isWoken:
		for {
			p.wait(0)
			p.wake(1)
		}
	case sends:
		p.readByte()
		for range p.n {
			for i := range p.others {
				call(unix.SYS_WRITE, uintptr(p.others[i]), uintptr(unsafe.Pointer(&p.buf)), 100)
			}
		}
	case receives:
		for got := 0; got < 100*p.n; {
			n, err := call(unix.SYS_READ, uintptr(p.in), uintptr(unsafe.Pointer(&p.buf)), 100)
			if err != 0 || n == 0 {
				break
			}
			got += int(n)
		}
		if atomic.AddInt32(&p.w.left, -1) == 0 {
			p.stamp(1)
		}
	case counts:
		for range p.n {
			p.stamp(0)
			p.spun = spin(spinChunk)
			p.stamp(1)
			p.sample()
		}
	case oversleeps:
		for range p.n {
			p.stamp(0)
			if p.w.at[0].Nsec += 1e6; p.w.at[0].Nsec >= 1e9 {
				p.w.at[0].Nsec -= 1e9
				p.w.at[0].Sec++
			}
			syscall.RawSyscall6(unix.SYS_CLOCK_NANOSLEEP, unix.CLOCK_MONOTONIC, 1 /* TIMER_ABSTIME */, uintptr(unsafe.Pointer(&p.w.at[0])), 0, 0, 0)
			p.stamp(1)
			p.sample()
		}
	default:
		// What is first is slower for once.
		for range p.n / 10 {
			p.once()
		}
		p.stamp(0)
		for range p.n {
			if !p.once() {
				break
			}
		}
		p.stamp(1)
	}
	call(unix.SYS_EXIT, 0, 0, 0)
}

//go:nosplit
//go:norace
func (p *part) fork() (pid uintptr, err syscall.Errno) {
	pid, err = call(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0)
	if pid == 0 && err == 0 {
		p.play()
	}
	return pid, err
}

// cast are the processes of an operation: those that end by themselves, and their helpers.
type cast struct{ pids, helpers []int }

func (c *cast) add(p *part, helper bool) error {
	pid, errno := p.fork()
	if errno != 0 {
		return fmt.Errorf("a process: %w", errno)
	}
	if helper {
		c.helpers = append(c.helpers, int(pid))
	} else {
		c.pids = append(c.pids, int(pid))
	}
	return nil
}

// end waits for those that end by themselves, and ends the others.
func (c *cast) end() error {
	var errs []error
	for _, pid := range c.pids {
		_, err := unix.Wait4(pid, nil, 0, nil)
		errs = append(errs, err)
	}
	for _, pid := range c.helpers {
		unix.Kill(pid, unix.SIGKILL)
		_, err := unix.Wait4(pid, nil, 0, nil)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// perform has processes of these roles do something: the first ends by itself.
func perform(w *words, parts ...*part) error {
	defer runtime.KeepAlive(parts)
	c := &cast{}
	var err error
	// The helpers first: they wait.
	for i := len(parts) - 1; i >= 0 && err == nil; i-- {
		parts[i].w = w
		err = c.add(parts[i], i > 0)
	}
	return errors.Join(err, c.end())
}

// each is an operation that its first part does n times.
func each(n int, parts ...*part) (Sample, error) {
	w, err := share()
	if err != nil {
		return Sample{}, err
	}
	defer w.release()
	if err := perform(w, parts...); err != nil {
		return Sample{}, err
	}
	return Sample{Each: w.elapsed() / float64(n)}, nil
}

func yields(n int) (Sample, error) {
	return each(n, &part{role: yieldsTo, n: n}, &part{role: yieldsTo, n: 1 << 40})
}

func pipes(n int) (Sample, error) {
	var to, from [2]int
	if err := errors.Join(unix.Pipe(to[:]), unix.Pipe(from[:])); err != nil {
		return Sample{}, err
	}
	defer closeAll(to[0], to[1], from[0], from[1])
	return each(n, &part{role: asks, n: n, in: from[0], out: to[1]}, &part{role: answers, in: to[0], out: from[1]})
}

func futexes(n int) (Sample, error) {
	return each(n, &part{role: wakes, n: n}, &part{role: isWoken})
}

func forks(n int) (Sample, error) { return each(n, &part{role: makes, n: n}) }

func execs(n int) (Sample, error) {
	if err := writeProgram(); err != nil {
		return Sample{}, err
	}
	return each(n, &part{role: executes, n: n})
}

func closeAll(fds ...int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

func messages(n int) (Sample, error) {
	w, err := share()
	if err != nil {
		return Sample{}, err
	}
	defer w.release()
	var begin [2]int
	if err := unix.Pipe(begin[:]); err != nil {
		return Sample{}, err
	}
	defer closeAll(begin[0], begin[1])
	c := &cast{}
	sender := &part{role: sends, in: begin[0], w: w}
	sender.n = n / (len(sender.others) * len(sender.others))
	w.left = int32(len(sender.others))
	parts := []*part{sender}
	for i := range sender.others {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			return Sample{}, errors.Join(err, c.end())
		}
		defer closeAll(pair[0], pair[1])
		sender.others[i] = pair[0]
		receiver := &part{role: receives, n: n / len(sender.others), in: pair[1], w: w}
		if parts = append(parts, receiver); c.add(receiver, false) != nil {
			return Sample{}, errors.New("a receiver cannot be made")
		}
	}
	for range sender.others {
		if err := c.add(sender, false); err != nil {
			return Sample{}, err
		}
	}
	time.Sleep(settleUpdate)
	sender.stamp(0)
	if _, err := unix.Write(begin[1], make([]byte, len(sender.others))); err != nil {
		return Sample{}, err
	}
	err = c.end()
	runtime.KeepAlive(parts)
	return Sample{Each: w.elapsed() / float64(n)}, err
}

// ticks finds them by what they add to a computation.
func ticks(n int) (Sample, error) {
	w, err := share()
	if err != nil {
		return Sample{}, err
	}
	defer w.release()
	if err := perform(w, &part{role: counts, n: min(n, len(w.samples))}); err != nil {
		return Sample{}, err
	}
	samples := w.samples[:w.n]
	usual := middle(samples)
	var extra []int64
	for _, v := range samples {
		// An interrupt takes more than a hundred instructions.
		if v > usual+100<<Shift {
			extra = append(extra, v-usual)
		}
	}
	if len(extra) == 0 {
		return Sample{}, fmt.Errorf("there were no ticks in %d times %d ns", len(samples), usual)
	}
	return Sample{Each: float64(middle(extra))}, nil
}

func wakeUps(n int) (Sample, error) {
	w, err := share()
	if err != nil {
		return Sample{}, err
	}
	defer w.release()
	if err := perform(w, &part{role: oversleeps, n: n}, &part{role: computes}); err != nil {
		return Sample{}, err
	}
	v := slices.Sorted(slices.Values(w.samples[:w.n]))
	return Sample{Each: float64(middle(v)), Most: float64(v[len(v)*99/100])}, nil
}

// program is the path of a program that only ends.
var (
	program = []byte("/run/bench-nothing\x00")
	noWords [1]uintptr
)

// writeProgram makes an ELF file of one segment.
func writeProgram() error {
	const at, header, segment = 0x400000, 64, 56
	b := make([]byte, header+segment)
	copy(b, "\x7fELF\x02\x01\x01")
	put := func(offset, size int, v uint64) {
		for i := range size {
			b[offset+i] = byte(v >> (8 * i))
		}
	}
	size := uint64(len(b) + len(native.Exit))
	put(16, 2, 2) // ET_EXEC
	put(18, 2, native.Machine)
	put(20, 4, 1)
	put(24, 8, at+header+segment) // entry
	put(32, 8, header)            // of the segments' headers
	put(52, 2, header)
	put(54, 2, segment)
	put(56, 2, 1)
	put(header, 4, 1)   // PT_LOAD
	put(header+4, 4, 5) // PF_R | PF_X
	put(header+16, 8, at)
	put(header+24, 8, at)
	put(header+32, 8, size)
	put(header+40, 8, size)
	put(header+48, 8, 0x1000)
	return os.WriteFile(string(program[:len(program)-1]), append(b, native.Exit...), 0o755)
}

// overhead measures all operations in turns, with the kernel's own scheduler and with the module's.
// What is first is not counted.
func (m loaded) overhead(j job, out *json.Encoder) error {
	for i := range j.Repetitions + 1 {
		for _, module := range []bool{false, true} {
			if module {
				if _, err := m.update(Ours, "1"); err != nil {
					return err
				}
			}
			time.Sleep(settleUpdate)
			for _, o := range operations {
				s, err := o.run(o.Unit)
				if err != nil {
					return fmt.Errorf("%s: %w", o.Name, err)
				}
				if i == 0 {
					continue
				}
				if err := out.Encode(Turn{o.Name, module, s}); err != nil {
					return err
				}
			}
		}
		if _, err := m.update(Ours, "0"); err != nil {
			return err
		}
	}
	return nil
}

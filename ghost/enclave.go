// SPDX-License-Identifier: BSD-3-Clause

package ghost

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Device is where the kernel's half is reached, while a scheduler that has it runs.
const Device = "/dev/ghost"

var (
	// ErrNoScheduler says that no scheduler with the kernel's half runs.
	ErrNoScheduler = errors.New("the running scheduler has no ghost class: install one that has (docs/develop/ghost.md)")
	// ErrABI says that the kernel's half is one that this package does not understand.
	ErrABI = errors.New("the kernel's half is of another version than this package")
	// ErrEnded says that the enclave has ended: its scheduler was left, or it was closed.
	ErrEnded = errors.New("the enclave has ended")
)

// Config is what an enclave is made of.
type Config struct {
	CPUs     []int // none of which is another enclave's
	MaxTasks int   // 0: 1024
	Messages int   // that each ring has room for, a power of two; 0: 4096
	// RunnableTimeout is how long a task may wait for a transaction: the kernel ends the
	// enclave if one waits longer, by up to a quarter of a second. 0: for ever; at most 49 days.
	RunnableTimeout time.Duration
	Device          string // "": Device
}

// Enclave is some CPUs, and the tasks that run there when it says so. Its methods can be used by
// several goroutines, those for a ring by one.
type Enclave struct {
	file    *os.File
	fd      uintptr
	cpus    []int
	memory  []byte
	head    *header
	rings   []ringView
	waiters []int // files to poll
	clock   clock
	lock    sync.Mutex // of what follows
	known   bool       // an agent has read of its tasks
	past    Metrics    // of runs that have ended
	agents  []*Agent   // that run
}

// A clock reads CLOCK_MONOTONIC without a system call: what it was once, and Go's own since.
type clock struct {
	began time.Time
	at    uint64
}

func newClock() (clock, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return clock{}, fmt.Errorf("CLOCK_MONOTONIC: %w", err)
	}
	return clock{time.Now(), uint64(ts.Nano())}, nil
}

func (c clock) now() uint64 { return c.at + uint64(time.Since(c.began)) }

type ringView struct {
	shared *ring
	msgs   []Message
}

// Open makes an enclave. ErrNoScheduler and ErrABI, or an error of the system: EBUSY if a CPU
// is another's, EINVAL if it is offline.
func Open(c Config) (*Enclave, error) {
	device := c.Device
	if device == "" {
		device = Device
	}
	if c.MaxTasks == 0 {
		c.MaxTasks = 1024
	}
	if c.Messages == 0 {
		c.Messages = 4096
	}
	timeout := (c.RunnableTimeout + time.Millisecond - 1).Milliseconds()
	if timeout < 0 || timeout > math.MaxUint32 {
		return nil, fmt.Errorf("a runnable timeout of %v", c.RunnableTimeout)
	}
	clock, err := newClock()
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(device, os.O_RDWR|unix.O_CLOEXEC, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, noScheduler("/sys/kernel/sched_ext")
	} else if err != nil {
		return nil, err
	}
	e := &Enclave{file: f, fd: f.Fd(), clock: clock, past: Metrics{}, cpus: slices.Compact(slices.Sorted(slices.Values(c.CPUs)))}
	if err := e.create(c, uint32(timeout)); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// noScheduler is ErrNoScheduler, with the BPF scheduler that is in the way of one, if any runs (kernel/sched/ext).
func noScheduler(sysfs string) error {
	name, err := os.ReadFile(filepath.Join(sysfs, "root/ops"))
	if err != nil {
		return ErrNoScheduler
	}
	return fmt.Errorf("%w; the BPF scheduler %s runs, and has to end before one is installed", ErrNoScheduler, bytes.TrimSpace(name))
}

func (e *Enclave) create(c Config, timeout uint32) error {
	var set unix.CPUSet
	for _, cpu := range e.cpus {
		set.Set(cpu)
	}
	arg := createArg{MaxTasks: uint32(c.MaxTasks), RingMsgs: uint32(c.Messages), CPUs: unsafe.Pointer(&set),
		CPUsBytes: uint32(unsafe.Sizeof(set)), Timeout: timeout}
	arg.Size = uint32(unsafe.Sizeof(arg))
	_, err := e.ioctl(iocCreate, unsafe.Pointer(&arg))
	if errors.Is(err, unix.ENODEV) {
		return ErrNoScheduler
	} else if errors.Is(err, unix.ENOTTY) {
		return ErrABI
	} else if err != nil {
		return fmt.Errorf("make an enclave of CPUs %v: %w", e.cpus, err)
	}
	return e.attach(int(arg.MapBytes))
}

// attach maps what is shared, and opens the files to poll.
func (e *Enclave) attach(bytes int) (err error) {
	if e.memory, err = unix.Mmap(int(e.fd), 0, bytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return fmt.Errorf("map the rings: %w", err)
	}
	if err := e.layOut(); err != nil {
		return err
	}
	for i := range e.rings {
		fd, _, errno := unix.Syscall(unix.SYS_IOCTL, e.fd, iocRing, uintptr(i))
		if errno != 0 {
			return fmt.Errorf("ring %d: %w", i, errno)
		}
		e.waiters = append(e.waiters, int(fd))
	}
	return nil
}

// layOut finds the rings in the mapping.
func (e *Enclave) layOut() error {
	if len(e.memory) < int(unsafe.Sizeof(header{})) {
		return ErrABI
	}
	h := (*header)(unsafe.Pointer(&e.memory[0]))
	end := uint64(h.RingOffset) + uint64(h.NrRings)*uint64(h.RingStride)
	status := uint64(h.StatusOffset) + uint64(h.NrStatus)*uint64(h.StatusSize)
	switch {
	case h.Magic != abiMagic, h.ABI != abi, int(h.NrRings) != len(e.cpus),
		h.MsgSize != uint32(unsafe.Sizeof(Message{})), h.StatusSize != uint32(unsafe.Sizeof(Status{})),
		h.TxnSize != uint32(unsafe.Sizeof(Txn{})),
		uint64(h.RingStride) < uint64(unsafe.Sizeof(ring{}))+uint64(h.RingMsgs)*uint64(h.MsgSize),
		end > uint64(len(e.memory)), status > uint64(len(e.memory)):
		return ErrABI
	}
	e.head = h
	for i := range int(h.NrRings) {
		at := unsafe.Pointer(&e.memory[int(h.RingOffset)+i*int(h.RingStride)])
		msgs := unsafe.Slice((*Message)(unsafe.Add(at, unsafe.Sizeof(ring{}))), h.RingMsgs)
		e.rings = append(e.rings, ringView{(*ring)(at), msgs})
	}
	return nil
}

// Close ends the enclave: its tasks are scheduled by the kernel again. No agent may run.
func (e *Enclave) Close() error {
	var errs []error
	for _, fd := range e.waiters {
		errs = append(errs, unix.Close(fd))
	}
	if e.memory != nil {
		errs = append(errs, unix.Munmap(e.memory))
	}
	e.waiters, e.memory, e.rings = nil, nil, nil
	return errors.Join(append(errs, e.file.Close())...)
}

// MaxTasks implements Kernel.
func (e *Enclave) MaxTasks() int { return int(e.head.NrStatus) }

// CPUs implements Kernel.
func (e *Enclave) CPUs() []int { return e.cpus }

// Next implements Kernel.
func (e *Enclave) Next(ring int, m *Message) bool {
	r := e.rings[ring]
	tail := r.shared.Tail
	if tail == atomic.LoadUint32(&r.shared.Head) {
		return false
	}
	*m = r.msgs[tail%uint32(len(r.msgs))]
	atomic.StoreUint32(&r.shared.Tail, tail+1)
	return true
}

// Pending implements Kernel.
func (e *Enclave) Pending(ring int) bool {
	r := e.rings[ring].shared
	return r.Tail != atomic.LoadUint32(&r.Head)
}

// Lost implements Kernel.
func (e *Enclave) Lost(ring int) uint32 { return atomic.LoadUint32(&e.rings[ring].shared.Lost) }

// Discover implements Kernel.
func (e *Enclave) Discover(ring, slot int) (next int, err error) {
	arg := discoverArg{Ring: uint32(ring), Slot: uint32(slot)}
	_, err = e.ioctl(iocDiscover, unsafe.Pointer(&arg))
	return int(arg.Slot), err
}

// Commit implements Kernel.
func (e *Enclave) Commit(txns []Txn) error {
	if len(txns) == 0 {
		return nil
	}
	arg := commitArg{Txns: unsafe.Pointer(&txns[0]), Nr: uint32(len(txns)), TxnSize: uint32(unsafe.Sizeof(txns[0]))}
	_, err := e.ioctl(iocCommit, unsafe.Pointer(&arg))
	return err
}

// Now implements Kernel.
func (e *Enclave) Now() uint64 { return e.clock.now() }

// Status is what the kernel says of a slot just now; its fields may be of different instants.
func (e *Enclave) Status(slot int) Status {
	at := unsafe.Pointer(&e.memory[int(e.head.StatusOffset)+slot*int(e.head.StatusSize)])
	return *(*Status)(at)
}

// Join makes a thread of a process one of the enclave's tasks; its messages go to a ring.
// tid 0 is the process's first thread. Threads that it makes do not join by themselves.
// ESRCH: it exits. EEXIST: it has joined an enclave. EINVAL: it is not scheduled as an ordinary
// task, or is the caller's own. ENOSPC: there are MaxTasks.
func (e *Enclave) Join(pidfd, tid, ring int) (slot int, err error) {
	arg := joinArg{PIDFD: int32(pidfd), TID: int32(tid), Ring: uint32(ring)}
	if _, err := e.ioctl(iocJoin, unsafe.Pointer(&arg)); err != nil {
		return 0, fmt.Errorf("join: %w", e.ended(err))
	}
	return int(arg.Slot), nil
}

// JoinPID is Join for the first thread of a process that is known by its number.
func (e *Enclave) JoinPID(pid, ring int) (slot int, err error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return 0, fmt.Errorf("process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	return e.Join(fd, 0, ring)
}

// Leave gives a task back to the kernel's own scheduling. ESRCH: it is none of the enclave's.
func (e *Enclave) Leave(pidfd, tid int) error {
	arg := joinArg{PIDFD: int32(pidfd), TID: int32(tid)}
	if _, err := e.ioctl(iocLeave, unsafe.Pointer(&arg)); err != nil {
		return fmt.Errorf("leave: %w", err)
	}
	return nil
}

// End says whether and why the enclave has ended.
func (e *Enclave) End() End { return End(atomic.LoadUint32((*uint32)(&e.head.End))) }

// over is ErrEnded with the reason.
func (e *Enclave) over() error { return fmt.Errorf("%w: %v", ErrEnded, e.End()) }

func (e *Enclave) ended(err error) error {
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EBADF) {
		return e.over()
	}
	return err
}

// Numbers of ioctls: _IOWR('G', n, type) and others of include/uapi/asm-generic/ioctl.h.
const (
	iocWrite, iocRead = 1, 2

	iocCreate   = (iocRead|iocWrite)<<30 | unsafe.Sizeof(createArg{})<<16 | 'G'<<8 | 1
	iocCommit   = iocWrite<<30 | unsafe.Sizeof(commitArg{})<<16 | 'G'<<8 | 2
	iocJoin     = (iocRead|iocWrite)<<30 | unsafe.Sizeof(joinArg{})<<16 | 'G'<<8 | 3
	iocLeave    = iocWrite<<30 | unsafe.Sizeof(joinArg{})<<16 | 'G'<<8 | 4
	iocRing     = 'G'<<8 | 5
	iocDiscover = (iocRead|iocWrite)<<30 | unsafe.Sizeof(discoverArg{})<<16 | 'G'<<8 | 6
)

func (e *Enclave) ioctl(number uintptr, arg unsafe.Pointer) (int, error) {
	n, _, errno := unix.Syscall(unix.SYS_IOCTL, e.fd, number, uintptr(arg))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// SPDX-License-Identifier: BSD-3-Clause

// Command hostile is an agent of the ghost class (docs/develop/ghost.md) that does what none should: it commits
// transactions at random, writes anywhere into the memory that it shares with the kernel, lets tasks
// join and leave, and calls ioctls that do not exist, with any argument.
//
//	hostile [-n CALLS] [-seed N] -cpus LIST PID...
//
// At its end it says what verdicts it got, as "VERDICT COUNT". The kernel must not have complained, and
// the tasks must go on.
package main

import (
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"plugsched/ghost"
)

// agent has its own idea of the ABI: what package ghost forbids is what is tried here.
type agent struct {
	*rand.Rand
	fd       int
	memory   []byte
	status   int // where the status words begin
	rings    int
	cpus     []int
	pidfds   []int
	txns     []ghost.Txn // behind them is no memory
	verdicts map[ghost.Verdict]int
}

const (
	maxTasks = 64
	messages = 16
)

func main() {
	n := flag.Int("n", 10000, "calls")
	seed := flag.Uint64("seed", 1, "of what happens")
	cpus := flag.String("cpus", "", "numbers of CPUs, with commas")
	flag.Parse()
	a := &agent{Rand: rand.New(rand.NewPCG(*seed, 0)), verdicts: map[ghost.Verdict]int{}}
	if err := a.open(strings.Split(*cpus, ","), flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "hostile:", err)
		os.Exit(1)
	}
	for range *n {
		a.act()
	}
	for v, count := range a.verdicts {
		fmt.Println(v, count)
	}
}

func (a *agent) open(cpus, pids []string) (err error) {
	if a.fd, err = unix.Open(ghost.Device, unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
		return err
	}
	var set unix.CPUSet
	for _, text := range cpus {
		cpu, err := strconv.Atoi(text)
		if err != nil {
			return err
		}
		set.Set(cpu)
		a.cpus = append(a.cpus, cpu)
	}
	create := struct { // struct ghost_create
		size, flags, maxTasks, messages uint32
		cpus                            unsafe.Pointer
		cpusBytes, timeout              uint32
		mapBytes                        uint64
		_                               [3]uint64
	}{size: 64, maxTasks: maxTasks, messages: messages, cpus: unsafe.Pointer(&set), cpusBytes: uint32(unsafe.Sizeof(set))}
	if err := a.ioctl(3<<30|64<<16|'G'<<8|1, unsafe.Pointer(&create)); err != nil {
		return fmt.Errorf("create: %w", err)
	}
	size := int(create.mapBytes)
	if a.memory, err = unix.Mmap(a.fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return err
	}
	const half = 1 << 16
	txns, err := unix.Mmap(-1, 0, 2*half, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return err
	}
	if err := unix.Mprotect(txns[half:], unix.PROT_NONE); err != nil {
		return err
	}
	a.txns = unsafe.Slice((*ghost.Txn)(unsafe.Pointer(&txns[0])), half/unsafe.Sizeof(ghost.Txn{}))
	a.rings, a.status = len(a.cpus), int(binary.NativeEndian.Uint32(a.memory[44:]))
	for _, text := range pids {
		pid, err := strconv.Atoi(text)
		if err != nil {
			return err
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			return err
		}
		a.pidfds = append(a.pidfds, fd)
		a.join(3, fd)
	}
	return nil
}

func (a *agent) ioctl(number uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(a.fd), number, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

// act does one thing.
func (a *agent) act() {
	switch n := a.IntN(100); {
	case n < 50:
		a.commit()
	case n < 75:
		a.scribble()
	case n < 85:
		a.join(3+a.UintN(2), a.pidfds[a.IntN(len(a.pidfds))])
	case n < 92:
		arg := [2]uint32{uint32(a.IntN(a.rings + 1)), uint32(a.IntN(maxTasks + 1))}
		_ = a.ioctl(3<<30|8<<16|'G'<<8|6, unsafe.Pointer(&arg))
	case n < 96:
		// Any call, also one that exists, with any argument.
		number := uintptr(a.Uint32N(4))<<30 | uintptr(a.Uint32N(128))<<16 | 'G'<<8 | uintptr(a.Uint32N(10))
		if fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(a.fd), number, uintptr(a.Uint64())); errno == 0 && number == 'G'<<8|5 {
			_ = unix.Close(int(fd))
		}
	default:
		fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(a.fd), 'G'<<8|5, uintptr(a.IntN(a.rings+1)))
		if errno == 0 {
			files := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			_, _ = unix.Poll(files, a.IntN(2))
			_ = unix.Close(int(fd))
		}
	}
}

// scribble writes somewhere into what is shared, or makes a ring's tail something else.
func (a *agent) scribble() {
	at := a.IntN(len(a.memory)/4) * 4
	if a.IntN(2) == 0 {
		at = 4096 + a.IntN(a.rings)*(192+messages*64) + 64
	}
	value := a.Uint32()
	if a.IntN(2) == 0 {
		value = binary.NativeEndian.Uint32(a.memory[4096+a.IntN(a.rings)*(192+messages*64):]) // some ring's head
	}
	if at < a.status || a.IntN(20) == 0 { // status words are to be believed most of the time
		binary.NativeEndian.PutUint32(a.memory[at:], value)
	}
}

// join calls JOIN (3) or LEAVE (4), mostly for a ring that exists.
func (a *agent) join(call uint, pidfd int) {
	arg := [4]int32{int32(pidfd), 0, int32(a.IntN(a.rings*10+1) % (a.rings + 1)), 0}
	direction := uintptr(3)
	if call == 4 {
		direction = 1
	}
	_ = a.ioctl(direction<<30|16<<16|'G'<<8|uintptr(call), unsafe.Pointer(&arg))
}

// commit commits some transactions, of which some are right.
func (a *agent) commit() {
	txns := a.txns[:1+a.IntN(8)]
	for i := range txns {
		slot := a.IntN(len(a.pidfds) + 1)
		s := (*ghost.Status)(unsafe.Pointer(&a.memory[a.status+slot*64]))
		txns[i] = ghost.Txn{Slot: uint32(slot), Gen: s.Gen, TaskSeq: s.Seq, Ring: uint32(a.IntN(a.rings)),
			CPU: int32(a.cpus[a.IntN(len(a.cpus))]), Flags: a.Uint32N(16)}
		switch a.IntN(10) {
		case 0:
			txns[i].Slot = a.Uint32N(2 * maxTasks)
		case 1:
			txns[i].CPU = int32(a.Uint32())
		case 2:
			txns[i].Ring, txns[i].Flags = a.Uint32N(4), a.Uint32()
		case 3:
			txns[i].Gen++
		case 4:
			txns[i].TaskSeq--
		}
	}
	arg := struct {
		txns     unsafe.Pointer
		nr, size uint32
	}{unsafe.Pointer(&txns[0]), uint32(len(txns)), 64}
	if a.IntN(50) == 0 {
		arg.nr = a.Uint32N(8192) // beyond them there may be memory, or none
	}
	for i := range txns {
		txns[i].Verdict = -1
	}
	_ = a.ioctl(1<<30|16<<16|'G'<<8|2, unsafe.Pointer(&arg))
	for _, x := range txns {
		a.verdicts[x.Verdict]++
	}
}

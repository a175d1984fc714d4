// SPDX-License-Identifier: BSD-3-Clause

// Package vm boots stock distribution kernels under QEMU and runs commands in
// them, without root. The guest's root file system is an initramfs written here, or
// a disk image (Config.Disk). Its init is a static Go program (package agent), and the
// two sides talk through memory that they share (package wire), with a serial port as its
// bell: of both, every Debian kernel has the driver built in.
//
// What goes wrong is told apart: *KernelFault is about the kernel under test,
// *InfraError about the host, *BootError about a guest that never answered.
// A Machine never outlives this process or the context it was booted with.
package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"plugsched/internal/guest/vm/wire"
	"plugsched/internal/kernel/arch"
)

const (
	// panicGrace is how long a panicking kernel may take to print and reboot.
	panicGrace = 15 * time.Second
	// offGrace is how long a guest may take to power off.
	offGrace = 10 * time.Second
	// bootTail is the number of console lines in a BootError.
	bootTail = 30
)

// A Machine is a running guest. Its methods may be used concurrently.
type Machine struct {
	cfg     Config
	arch    *arch.Arch
	ctx     context.Context
	qemu    *qemu
	console *console
	monitor *monitor
	link    *link
	release string
	marks   atomic.Int32 // set by Settle

	// dead is closed when QEMU is gone and everything it said has been read.
	// err, which is never nil then, says why.
	dead chan struct{}
	err  error

	mu      sync.Mutex
	closing bool
	verdict error  // decided before QEMU's death
	killed  bool   // by us, because the guest panicked and did not end
	hung    *Fault // the guest fell silent
	before  int    // number of faults on the console before it did
}

// Boot starts a guest and returns when its agent answers. The guest is killed
// when ctx is done. A guest that does not come up is reported as a *BootError,
// a QEMU that cannot be run as an *InfraError; other errors are mistakes in the
// configuration.
func Boot(ctx context.Context, cfg Config) (*Machine, error) {
	a, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	initramfs, err := buildInitramfs(&cfg, a)
	if err != nil {
		return nil, err
	}
	defer initramfs.Close()
	if cfg.Accel == "kvm" {
		probe := cfg
		probe.BootTimeout = cfg.KVMProbe
		m, err := boot(ctx, probe, a, initramfs)
		if err == nil || ctx.Err() != nil {
			return m, err
		}
		cfg.debugf("kvm does not work here, using tcg: %v", err)
		cfg.Accel = "tcg"
	}
	return boot(ctx, cfg, a, initramfs)
}

func boot(ctx context.Context, cfg Config, a *arch.Arch, initramfs *os.File) (*Machine, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	start := time.Now()
	con, err := newConsole(cfg.ConsoleLog)
	if err != nil {
		return nil, fmt.Errorf("console log: %w", err)
	}
	q, err := startQEMU(&cfg, a, initramfs)
	if err != nil {
		con.close()
		return nil, err
	}
	pipe, err := wire.NewPipe(q.shared, true, q.bell)
	if err != nil {
		q.kill()
		q.close()
		con.close()
		return nil, err
	}
	m := &Machine{cfg: cfg, arch: a, ctx: ctx, qemu: q, console: con, dead: make(chan struct{})}
	go con.follow(q.console)
	m.monitor = newMonitor(q.monitor)
	m.link = newLink(pipe)
	stop := context.AfterFunc(ctx, q.kill)
	go func() {
		m.bury()
		stop()
	}()
	go m.watchPanic()
	go m.watchLink()

	if err := m.awaitAgent(); err != nil {
		m.end(err)
		<-m.dead
		if ctx.Err() != nil {
			return nil, m.err
		}
		return nil, &BootError{Reason: err.Error(), Console: last(con.bytes(), bootTail), ConsolePath: cfg.ConsoleLog, Err: m.cause(err)}
	}
	cfg.debugf("Linux %s answers after %v (%s)", m.release, time.Since(start).Round(10*time.Millisecond), cfg.Accel)
	if cfg.GDB == 0 {
		go m.watchSilence()
	}
	return m, nil
}

// awaitAgent waits for the agent's greeting.
func (m *Machine) awaitAgent() error {
	tick := time.NewTicker(min(m.cfg.BootTimeout/4, time.Second))
	defer tick.Stop()
	patience := newPatience(m.qemu.cmd.Process.Pid)
	var spent time.Duration
	for m.release == "" {
		select {
		case g := <-m.link.hello:
			if g.Version != wire.Version {
				return &InfraError{"guest agent", fmt.Errorf("speaks protocol %d, not %d: rebuild %s", g.Version, wire.Version, m.cfg.Init)}
			}
			m.release = g.Release
		case <-m.dead:
			return m.err
		case <-tick.C:
			if spent += patience.spend(); spent > m.cfg.BootTimeout {
				return fmt.Errorf("no answer within %v", m.cfg.BootTimeout)
			}
		}
	}
	// Negotiated only now: before, QEMU's death would be two errors.
	if err := m.monitor.start(m.ctx); err != nil {
		return &InfraError{"QEMU monitor", err}
	}
	return nil
}

// cause is what a BootError wraps.
func (m *Machine) cause(err error) error {
	var infra *InfraError
	if errors.As(err, &infra) {
		return err
	}
	if faults := Scan(m.console.bytes()); len(faults) > 0 {
		return &KernelFault{Faults: faults, ConsolePath: m.cfg.ConsoleLog}
	}
	return nil
}

// end kills QEMU for the given reason, unless one is known already.
func (m *Machine) end(reason error) {
	m.mu.Lock()
	if m.verdict == nil {
		m.verdict = reason
	}
	m.mu.Unlock()
	m.qemu.kill()
}

// bury waits for QEMU's death and what it has left to say, and decides what it
// died of.
func (m *Machine) bury() {
	<-m.qemu.done
	// QEMU held the only other ends, so these come to their ends at once, unless
	// it was a wrapper that left a child behind.
	leftOver := time.AfterFunc(offGrace, m.qemu.closeSockets)
	<-m.console.closed
	<-m.monitor.closed
	<-m.link.closed
	leftOver.Stop()
	m.link.w.Fail(ErrOff)
	daemon := failure(m.qemu.servers)
	m.qemu.close()
	m.err = m.postMortem(daemon)
	close(m.dead)
}

func (m *Machine) postMortem(daemon error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	text := m.console.bytes()
	switch {
	case m.ctx.Err() != nil:
		return fmt.Errorf("guest: %w", context.Cause(m.ctx))
	case m.closing:
		return ErrOff
	case daemon != nil: // without it QEMU ends, or the guest waits
		return daemon
	case m.hung != nil:
		return &KernelFault{Faults: m.faults(text), ConsolePath: m.cfg.ConsoleLog}
	case m.verdict != nil:
		return m.verdict
	case m.qemu.err != nil && !m.killed:
		return &InfraError{"QEMU", fmt.Errorf("%w: %s", m.qemu.err, m.qemu.stderr.String())}
	}
	if line := agentFailure(text); line != "" {
		return &InfraError{"guest agent", fmt.Errorf("%s%s", line, consoleHint(m.cfg.ConsoleLog))}
	}
	if m.monitor.reason == "guest-shutdown" {
		return ErrOff
	}
	if rebooted(m.arch, text) {
		return ErrRebooted
	}
	faults := m.faults(text)
	if len(faults) == 0 {
		faults = []Fault{{
			Kind:    Reset,
			Line:    "the guest reset without a message (a triple fault?)",
			Excerpt: string(last(text, bootTail)),
		}}
	}
	return &KernelFault{Faults: faults, ConsolePath: m.cfg.ConsoleLog}
}

// rebooted tells whether the kernel was asked to restart: it says so (kernel_restart in
// kernel/reboot.c, sysrq_handle_reboot in drivers/tty/sysrq.c), and a panic does not.
func rebooted(a *arch.Arch, console []byte) bool {
	says := slices.Concat([]string{"reboot: Restarting system", "sysrq: Resetting"}, a.Guest.Restarts)
	return slices.Contains(says, message(string(last(console, 1))))
}

// agentFailure is what the agent said if it ended by itself. A Go program that
// crashes exits with 2, which the kernel reports as it panics for want of an
// init; a kernel that corrupts its memory is more likely to make it a signal.
func agentFailure(console []byte) string {
	for line := range strings.Lines(string(console)) {
		line = strings.TrimSpace(message(line))
		if strings.HasPrefix(line, "plugsched-agent: giving up") ||
			strings.Contains(line, "Attempted to kill init! exitcode=0x00000200") {
			return line
		}
	}
	return ""
}

// watchPanic ends a guest that says it panics but does not manage to reboot.
func (m *Machine) watchPanic() {
	select {
	case <-m.console.panicked:
	case <-m.dead:
		return
	}
	select {
	case <-m.qemu.done:
	case <-time.After(panicGrace):
		m.mu.Lock()
		m.killed = true
		m.mu.Unlock()
		m.qemu.kill()
	}
}

// watchLink ends a guest that can no longer be talked to.
func (m *Machine) watchLink() {
	<-m.link.closed
	var damage *wire.DamageError
	if errors.As(m.link.err, &damage) {
		m.end(&InfraError{"guest", damage})
	}
}

// watchSilence asks a guest from which an answer is due for signs of life.
func (m *Machine) watchSilence() {
	tick := time.NewTicker(m.cfg.HangTimeout / 4)
	defer tick.Stop()
	patience := newPatience(m.qemu.cmd.Process.Pid)
	var silent time.Duration // since it was first asked after it last said something
	var heard int64
	asked := false
	for {
		select {
		case <-m.dead:
			return
		case <-tick.C:
			silent += patience.spend()
			if now := m.link.heard.Load(); !asked || now != heard {
				heard, silent = now, 0
			}
			if silent > m.cfg.HangTimeout {
				m.declareHung()
				return
			}
			if asked = m.link.waiting() > 0; asked {
				m.link.ping()
			}
		}
	}
}

// declareHung records where the CPUs are, makes the kernel print a stack trace
// and panic, and ends the guest.
func (m *Machine) declareHung() {
	f := &Fault{
		Kind:    Unresponsive,
		Line:    fmt.Sprintf("no answer from the guest for %v", m.cfg.HangTimeout),
		Excerpt: m.whereabouts(),
	}
	m.mu.Lock()
	m.before = len(Scan(m.console.bytes()))
	m.hung = f
	m.mu.Unlock()
	m.cfg.debugf("%s; sending an NMI", f.Line)
	if _, err := m.monitor.do(m.ctx, "inject-nmi", nil); err == nil {
		select {
		case <-m.qemu.done:
			return
		case <-time.After(panicGrace):
		}
	}
	m.qemu.kill()
}

// whereabouts is the program counter of each CPU, and the top of its stack.
func (m *Machine) whereabouts() string {
	const words = 96
	var b strings.Builder
	for cpu := range m.cfg.CPUs {
		text, err := m.monitor.humanOn(m.ctx, cpu, "info registers")
		if err != nil {
			return err.Error()
		}
		for line := range strings.Lines(text) {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, m.arch.Guest.Counter+"=") {
				fmt.Fprintf(&b, "CPU#%d %s\n", cpu, line)
			}
		}
		// Not all of QEMU's monitors know the stack pointer by a name of its own.
		at := regexp.MustCompile(`\b` + m.arch.Guest.Stack + `=([0-9a-f]+)`).FindStringSubmatch(text)
		if at == nil {
			continue
		}
		stack, err := m.monitor.humanOn(m.ctx, cpu, fmt.Sprintf("x /%dgx 0x%s", words, at[1]))
		if err != nil {
			return err.Error()
		}
		b.WriteString(stack)
	}
	return b.String()
}

// InjectNMI interrupts all CPUs that take NMIs from outside with one that no device has
// asked for: on x86 the first, or what apic_extnmi says. The kernel panics, unless
// kernel.unknown_nmi_panic is 0.
func (m *Machine) InjectNMI(ctx context.Context) error {
	if _, err := m.monitor.do(ctx, "inject-nmi", nil); err != nil {
		return m.gone(err)
	}
	return nil
}

// Settle returns when everything that the kernel has logged before the call is
// on the console, which lags behind. Call it before the verdict of Faults counts.
func (m *Machine) Settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.HangTimeout)
	defer cancel()
	mark := fmt.Sprintf("plugsched-host: mark %d", m.marks.Add(1))
	// The highest urgency is printed whatever the console's log level.
	if err := m.WriteFile(ctx, "/dev/kmsg", []byte("<0>"+mark+"\n"), 0); err != nil {
		return err
	}
	for !bytes.Contains(m.console.bytes(), []byte(mark+"\r\n")) {
		select {
		case <-m.dead:
			return m.err
		case <-ctx.Done():
			return &InfraError{"guest console", fmt.Errorf("did not show the mark: %w", ctx.Err())}
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

// Faults are the kernel's complaints so far, oldest first.
func (m *Machine) Faults() []Fault {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.faults(m.console.bytes())
}

// faults puts the hang, which the console does not show, in its place.
func (m *Machine) faults(console []byte) []Fault {
	faults := Scan(console)
	if m.hung == nil {
		return faults
	}
	n := min(m.before, len(faults))
	return slices.Concat(faults[:n], []Fault{*m.hung}, faults[n:])
}

// Console is what the guest's kernel has printed so far.
func (m *Machine) Console() []byte { return m.console.bytes() }

// ConsolePath is where the console is kept, or empty.
func (m *Machine) ConsolePath() string { return m.cfg.ConsoleLog }

// Release is the guest kernel's release, as uname -r prints it.
func (m *Machine) Release() string { return m.release }

// Accel is the accelerator in use, "tcg" or "kvm".
func (m *Machine) Accel() string { return m.cfg.Accel }

// Dead is closed when the guest is gone; Err then says why.
func (m *Machine) Dead() <-chan struct{} { return m.dead }

// Err is nil while the guest runs, ErrOff if it was powered off, ErrRebooted if it
// rebooted, and otherwise what ended it.
func (m *Machine) Err() error {
	select {
	case <-m.dead:
		return m.err
	default:
		return nil
	}
}

// Close powers the guest off and waits for the end of QEMU, which is killed if
// the guest does not power off by itself; that is reported as an *InfraError.
// To close a dead guest is no error.
func (m *Machine) Close() error {
	m.mu.Lock()
	closing := m.closing
	m.closing = true
	m.mu.Unlock()
	if closing || m.Err() != nil {
		<-m.dead
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), offGrace)
	defer cancel()
	m.link.open(wire.Request{Op: wire.OpPoweroff}, nil)
	select {
	case <-m.dead:
		return nil
	case <-ctx.Done():
	}
	m.qemu.kill()
	<-m.dead
	return &InfraError{"power off", fmt.Errorf("guest was still running after %v", offGrace)}
}

// gone is the error of an operation that the channel could not carry.
func (m *Machine) gone(err error) error {
	if !m.link.isClosed() {
		return err
	}
	<-m.dead
	return m.err
}

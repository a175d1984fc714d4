// SPDX-License-Identifier: BSD-3-Clause

// Package bochs boots stock kernels in bochs and runs commands in them, for the one thing
// that no processor of QEMU's emulator has: indirect branch tracking. It executes one
// instruction after the other on one CPU, some thirty million a second, and has nothing to
// talk through but a serial port, so what is to be run is given beforehand, and what comes
// of it is read from the console.
package bochs

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"plugsched/internal/guest/vm"
)

// Config says what to boot, and what to do there.
type Config struct {
	Kernel string    // a bootable image
	Files  []vm.File // besides busybox
	// Commands are run by a shell, one after the other, whatever becomes of them.
	Commands []string
	Append   []string // further words for the kernel's command line
	// ConsoleLog is where the console is kept as it comes; nowhere if empty.
	ConsoleLog string
	// Progress is told when a command begins and ends; may be nil.
	Progress func(format string, args ...any)
}

// A Result is what became of a command.
type Result struct {
	Command string
	Output  string
	Code    int
	From    int // where in the console it begins
}

// A Run is all that was seen.
type Run struct {
	Console []byte
	Results []Result // of the commands that ended
	// Panicked says that the kernel gave up before the last one did.
	Panicked bool
}

// The debugger, as which Debian builds bochs, waits for a word.
const goOn = "continue\n"

// Do boots the kernel and returns when all commands have ended, the kernel has panicked, or
// the context is done; the Run is then what there is so far.
func Do(ctx context.Context, cfg Config) (*Run, error) {
	dir, err := os.MkdirTemp("", "bochs-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := makeDisc(ctx, dir, &cfg); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	serial, err := start(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer serial.Close()
	c := &console{cfg: &cfg, run: &Run{}, began: time.Now()}
	if cfg.ConsoleLog != "" {
		if c.log, err = os.Create(cfg.ConsoleLog); err != nil {
			return nil, err
		}
		defer c.log.Close()
	}
	err = c.follow(serial)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return c.run, err
}

// start returns the guest's serial port. The emulator ends when the context does, and with
// this process.
func start(ctx context.Context, dir string) (io.ReadCloser, error) {
	config := filepath.Join(dir, "bochsrc")
	if err := os.WriteFile(config, []byte(machine), 0o644); err != nil {
		return nil, err
	}
	serial, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	talk, said, err := os.Pipe()
	if err != nil {
		serial.Close()
		return nil, err
	}
	defer said.Close()
	cmd := exec.CommandContext(ctx, "bochs-bin", "-q", "-f", config)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TERM=dumb")
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = said, said, []*os.File{theirs}
	// A group of its own: Ctrl-C would wake the debugger.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the death signal is that of this thread's end
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		serial.Close()
		talk.Close()
		return nil, fmt.Errorf("%w (run `make test-ibt`, which installs it)", err)
	}
	go watchScreen(talk)
	if _, err := io.WriteString(in, goOn); err != nil {
		return nil, fmt.Errorf("bochs: %w", err)
	}
	return serial, nil
}

// console makes results of what the guest prints.
type console struct {
	cfg   *Config
	run   *Run
	log   *os.File
	began time.Time
	at    *Result // the command that runs
	dying bool
}

// follow reads to the end of the last command.
func (c *console) follow(serial io.Reader) error {
	r := bufio.NewReader(serial)
	for {
		line, err := r.ReadString('\n')
		c.run.Console = append(c.run.Console, line...)
		if c.log != nil {
			c.log.WriteString(line)
		}
		if err != nil {
			return fmt.Errorf("bochs ended (last line %q)", line)
		}
		// Behind the time stamp; the kernel's lines end with both.
		_, text, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "] ")
		if !ok {
			continue
		}
		switch {
		case strings.HasPrefix(text, "---[ end Kernel panic"), c.dying && strings.HasPrefix(text, "Rebooting in "):
			c.run.Panicked = true
			return nil
		case strings.HasPrefix(text, "Kernel panic - "):
			c.dying = true
			c.progress("%s", text)
		}
		if c.guest(text) && len(c.run.Results) == len(c.cfg.Commands) {
			return nil
		}
	}
}

// guest looks at a line of ours, and says whether it is the end of a command.
func (c *console) guest(text string) bool {
	text, ours := strings.CutPrefix(text, prefix)
	if !ours {
		return false
	}
	var n int
	switch {
	case strings.HasPrefix(text, "out "):
		if c.at != nil {
			c.at.Output += text[4:] + "\n"
		}
	case scan(text, "begin %d", &n) && n < len(c.cfg.Commands):
		c.at = &Result{Command: c.cfg.Commands[n], From: len(c.run.Console)}
		c.progress("%s", c.at.Command)
	case c.at != nil && scan(text, "end %d", &n):
		c.at.Code = n
		c.run.Results = append(c.run.Results, *c.at)
		c.progress("exit code %d", n)
		c.at = nil
		return true
	}
	return false
}

func scan(text, format string, n *int) bool {
	found, err := fmt.Sscanf(text, format, n)
	return err == nil && found == 1
}

func (c *console) progress(format string, args ...any) {
	if c.cfg.Progress != nil {
		c.cfg.Progress("%4.0f s  %s", time.Since(c.began).Seconds(), fmt.Sprintf(format, args...))
	}
}

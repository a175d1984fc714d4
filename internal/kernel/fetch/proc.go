// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// toolPackage names the Debian package of each program this package runs.
var toolPackage = map[string]string{
	"apt-cache":  "apt",
	"apt-get":    "apt",
	"dpkg-deb":   "dpkg",
	"dpkg-query": "dpkg",
	"xz":         "xz-utils",
}

// process is a running program in a process group of its own, so that its
// children (apt's download methods) end with it.
type process struct {
	cmd    *exec.Cmd
	stderr tailBuffer
}

func command(ctx context.Context, why, name string, args ...string) (*process, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return nil, &ToolError{Tool: name, Package: toolPackage[name], Why: why}
	}
	p := &process{cmd: exec.CommandContext(ctx, path, args...)}
	p.cmd.Env = append(append(os.Environ(), "LC_ALL=C"), aptEnv(ctx)...)
	p.cmd.Stderr = &p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.Cancel = func() error { return syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM) }
	p.cmd.WaitDelay = 3 * time.Second
	return p, nil
}

// wait ends the whole group, whatever became of its leader.
func (p *process) wait(ctx context.Context) error {
	err := p.cmd.Wait()
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return p.explain(err)
}

func (p *process) explain(err error) error {
	if err == nil {
		return nil
	}
	name := p.cmd.Args[0]
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		name = name[i+1:]
	}
	if msg := p.stderr.complaint(); msg != "" {
		return fmt.Errorf("%s: %s: %w", name, msg, err)
	}
	return fmt.Errorf("%s: %w", name, err)
}

// output runs a program and returns what it printed, also when it fails:
// apt-cache prints what it found and fails for the rest.
func output(ctx context.Context, dir, why, name string, args ...string) (string, error) {
	p, err := command(ctx, why, name, args...)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	p.cmd.Stdout = &out
	p.cmd.Dir = dir
	if err := p.cmd.Start(); err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	err = p.wait(ctx)
	return out.String(), err
}

// pipe runs a program with stdin (if not nil) and hands its standard output to
// read. A read that ends early without error ends the program.
func pipe(ctx context.Context, stdin io.Reader, read func(io.Reader) error, why, name string, args ...string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p, err := command(ctx, why, name, args...)
	if err != nil {
		return err
	}
	p.cmd.Stdin = stdin
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	rerr := read(out)
	// One more byte tells "read to the end" from "had enough": only in
	// the first case does the program's verdict matter.
	n, _ := out.Read(make([]byte, 1))
	enough := rerr == nil && n > 0
	if enough || rerr != nil && n > 0 {
		cancel(errEnough)
	}
	werr := p.wait(ctx)
	switch {
	case enough, errors.Is(werr, errEnough):
		return rerr
	case werr != nil:
		return werr // a broken stream is the consequence, not the cause
	default:
		return rerr
	}
}

var errEnough = errors.New("enough read")

// tailBuffer keeps the last lines of a program's complaints.
type tailBuffer struct{ b []byte }

func (t *tailBuffer) Write(p []byte) (int, error) {
	const keep = 8192
	t.b = append(t.b, p...)
	if len(t.b) > keep {
		t.b = append(t.b[:0], t.b[len(t.b)-keep:]...)
	}
	return len(p), nil
}

// complaint picks the most telling line: apt's first error, else the last line.
func (t *tailBuffer) complaint() string {
	last := ""
	for line := range strings.Lines(string(t.b)) {
		line = strings.TrimSpace(line)
		if msg, ok := strings.CutPrefix(line, "E: "); ok {
			return msg
		}
		if line != "" {
			last = line
		}
	}
	return last
}

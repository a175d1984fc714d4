// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"plugsched/internal/live"
	"plugsched/internal/project"
	"plugsched/internal/vm"
)

// guest is a booted machine.
type guest struct {
	*vm.Machine
	console string
}

func (s *soak) boot(ctx context.Context, name string, mib int) (*guest, error) {
	p, err := project.Open(s.work)
	if err != nil {
		return nil, err
	}
	t, err := p.Target()
	if err != nil {
		return nil, err
	}
	console := filepath.Join(s.dir, name+".console")
	m, err := vm.Boot(ctx, vm.Config{Kernel: t.Vmlinuz, CPUs: s.cpus, MemoryMiB: mib, Init: s.tool, ConsoleLog: console,
		Files: []vm.File{
			{GuestPath: "/bin/plugsched", HostPath: s.tool, Mode: 0o755},
			{GuestPath: "/bin/schedload", HostPath: s.load, Mode: 0o755},
			{GuestPath: "/a.ko", HostPath: s.a},
			{GuestPath: "/b.ko", HostPath: s.b},
		}})
	if err != nil {
		return nil, err
	}
	return &guest{m, console}, nil
}

// sh runs a shell command; its failure is an error.
func (g *guest) sh(ctx context.Context, command string) (string, error) {
	r, err := g.Run(ctx, vm.Cmd{Argv: []string{"/bin/sh", "-c", command}, Timeout: 10 * time.Minute})
	if err != nil {
		return "", fmt.Errorf("%w (console: %s)", err, g.console)
	}
	if r.ExitCode != 0 {
		return "", fmt.Errorf("`%s` exited with %d (console: %s):\n%s%s", command, r.ExitCode, g.console, r.Stdout, r.Stderr)
	}
	return strings.TrimSpace(string(r.Stdout)), nil
}

// change runs a command that changes schedulers, and returns the update's figures.
func (g *guest) change(ctx context.Context, command string) (*live.Timings, error) {
	text, err := g.sh(ctx, "plugsched "+command+" --json")
	if err != nil {
		return nil, err
	}
	var st live.Status
	if err := json.Unmarshal([]byte(text), &st); err != nil {
		return nil, fmt.Errorf("%s: %w", command, err)
	}
	if st.Timings == nil {
		return nil, fmt.Errorf("%s: no figures: %s", command, text)
	}
	return st.Timings, nil
}

// healthy fails when the guest's kernel has complained.
func (g *guest) healthy(ctx context.Context) error {
	if err := g.Settle(ctx); err != nil {
		return err
	}
	if f := g.Faults(); len(f) > 0 {
		return &vm.KernelFault{Faults: f, ConsolePath: g.console}
	}
	return nil
}

// SPDX-License-Identifier: BSD-3-Clause

package drive

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"plugsched/internal/develop/project"
	"plugsched/internal/guest/vm"
	"plugsched/internal/operate/live"
)

// Features is the file of the scheduler's features, as a word in a shell. Until 5.12 it was
// one beside others, and more was in sysctls (kernel/sched/debug.c, sched_init_debug()).
const Features = "$(ls /sys/kernel/debug/sched/features /sys/kernel/debug/sched_features 2> /dev/null)"

// Guest is a booted machine with the tool and the load.
type Guest struct{ *vm.Machine }

// Boot starts the stock kernel of the working directory. Files are put into the
// guest besides the tool and the load.
func (o *Options) Boot(ctx context.Context, cfg vm.Config, files ...vm.File) (*Guest, error) {
	p, err := project.Open(o.Work)
	if err != nil {
		return nil, err
	}
	t, err := p.Target()
	if err != nil {
		return nil, err
	}
	if t.Vmlinuz == "" {
		return nil, fmt.Errorf("%s: no boot image", t.Release)
	}
	cfg.Kernel, cfg.Init, cfg.CPUs = t.Vmlinuz, o.Tool, o.CPUs
	cfg.Files = append([]vm.File{
		{GuestPath: "/bin/plugsched", HostPath: o.Tool, Mode: 0o755},
		{GuestPath: "/bin/schedload", HostPath: o.Load, Mode: 0o755},
	}, files...)
	m, err := vm.Boot(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &Guest{m}, nil
}

// Sh runs a shell command; its failure is an error.
func (g *Guest) Sh(ctx context.Context, command string) (string, error) {
	r, err := g.Run(ctx, vm.Cmd{Argv: []string{"/bin/sh", "-c", command}, Timeout: 10 * time.Minute})
	if err != nil {
		return "", fmt.Errorf("%w (console: %s)", err, g.ConsolePath())
	}
	if r.ExitCode != 0 {
		return "", fmt.Errorf("`%s` exited with %d (console: %s):\n%s%s", command, r.ExitCode, g.ConsolePath(), r.Stdout, r.Stderr)
	}
	return strings.TrimSpace(string(r.Stdout)), nil
}

// Progress fails unless every worker of the load progresses within a minute of the guest's own
// time: of a busy host's, a few seconds may be too little for hundreds of workers. It returns the
// load's last line.
func (g *Guest) Progress(ctx context.Context) (string, error) {
	for own := g.Stopwatch(); ; {
		text, err := g.Sh(ctx, "schedload check --within 60")
		if err == nil || ctx.Err() != nil || g.Err() != nil || own() > time.Minute {
			return text[strings.LastIndexByte(text, '\n')+1:], err
		}
	}
}

// Change runs a command that changes schedulers. What it returns has the figures of
// the update.
func (g *Guest) Change(ctx context.Context, command string) (*live.Status, error) {
	text, err := g.Sh(ctx, "plugsched "+command+" --json")
	if err != nil {
		return nil, err
	}
	st := &live.Status{}
	if err := json.Unmarshal([]byte(text), st); err != nil {
		return nil, fmt.Errorf("%s: %w", command, err)
	}
	if st.Timings == nil {
		return nil, fmt.Errorf("%s: no figures: %s", command, text)
	}
	return st, nil
}

// Healthy fails when the guest's kernel has complained.
func (g *Guest) Healthy(ctx context.Context) error {
	if err := g.Settle(ctx); err != nil {
		return err
	}
	if f := g.Faults(); len(f) > 0 {
		return &vm.KernelFault{Faults: f, ConsolePath: g.ConsolePath()}
	}
	return nil
}

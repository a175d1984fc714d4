// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"plugsched/internal/command/version"
	"plugsched/internal/develop/project"
	"plugsched/internal/guest/vm"
	"plugsched/internal/outcome"
)

func newWatch() *cobra.Command {
	var dir string
	var g guestFlags
	c := &cobra.Command{
		Use:   "watch [--dir WORKDIR] [-- COMMAND [ARG...]]",
		Short: "Build and try the scheduler in a running virtual machine at every change",
		Long: `Watch boots the stock kernel of WORKDIR under QEMU once, builds the scheduler, installs it
there and runs COMMAND. Whenever the source is saved it builds again, replaces the scheduler
that runs in the same guest, and runs COMMAND anew. It ends with Ctrl-C.

What cannot be built is said, and the guest keeps the scheduler that it has. A guest whose
kernel complained is shown, and another one is booted. No package is made.`,
		Example: `  plugsched watch --dir work
  plugsched watch --dir work --file test/load:/bin/load -- /bin/load --seconds 10`,
		RunE: func(c *cobra.Command, a []string) error {
			if err := g.read(); err != nil {
				return err
			}
			p, err := project.Open(dir)
			if err != nil {
				return err
			}
			t, err := p.Target()
			if err != nil {
				return err
			}
			cfg, err := g.config(c, t, "")
			if err != nil {
				return err
			}
			w := &watcher{c: c, project: p, config: cfg, argv: a}
			return w.run(c.Context())
		},
	}
	f := c.Flags()
	f.StringVar(&dir, "dir", ".", "the working directory")
	g.add(f)
	return c
}

// booted is a guest, or why there is none.
type booted struct {
	guest *vm.Machine
	err   error
}

// watcher brings each build of a working directory into a guest.
type watcher struct {
	c       *cobra.Command
	project *project.Project
	config  *vm.Config
	argv    []string // what to run in the guest, if anything

	booting chan booted // what becomes of the guest that is being booted, nil if none is
	guest   *vm.Machine
	module  string        // the module that runs in it, "" if none does
	stop    func()        // ends what runs of argv
	ended   chan struct{} // closed when it has ended, nil if nothing runs
}

func (w *watcher) say(format string, a ...any) {
	fmt.Fprintf(w.c.ErrOrStderr(), format+"\n", a...)
}

func (w *watcher) run(ctx context.Context) error {
	// The guest boots while the first module is made.
	saved := w.project.Saved(ctx)
	w.boot(ctx)
	defer w.close()
	for changed := time.Now(); ; {
		if err := w.round(ctx, changed); err != nil {
			return err
		}
		w.say("waiting for the next change of %s (Ctrl-C ends)", w.project.Dir)
		for waits := true; waits; {
			var dead <-chan struct{}
			if w.guest != nil {
				dead = w.guest.Dead()
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-saved:
				waits = false
			case <-w.ended:
				w.ended = nil
				w.judge(ctx)
			case <-dead:
				w.judge(ctx)
			}
		}
		changed = time.Now()
	}
}

// round builds, installs and begins the command. What somebody who edits can mend is said, and is no error.
func (w *watcher) round(ctx context.Context, changed time.Time) error {
	module, err := w.build(ctx)
	if err != nil {
		if means := outcome.Of(err); means != outcome.Refused && means != outcome.Precondition {
			return err
		}
		w.say("plugsched: %v", err)
		return nil
	}
	if err := w.booted(ctx); err != nil {
		return err
	}
	w.halt()
	w.judge(ctx)
	if err := w.booted(ctx); err != nil { // another one, if that complained meanwhile
		return err
	}
	if module == w.module {
		w.say("%s runs already: no code has changed", module)
	} else {
		if err := w.install(ctx, module); err != nil || w.module != module {
			return err
		}
		w.say("%s runs in the guest, %.1f s after the change", module, time.Since(changed).Seconds())
	}
	w.begin(ctx)
	return nil
}

// build makes the module and returns its name.
func (w *watcher) build(ctx context.Context) (module string, err error) {
	out := newProgress(w.c.ErrOrStderr())
	defer out.finish()
	p := w.project
	p.Tool, p.Progress = version.String(), out.stage
	d, err := p.BuildModule(ctx)
	for said := false; ctx.Err() == nil; said = true {
		var busy *project.BusyError
		if !errors.As(err, &busy) {
			break
		}
		if !said {
			w.say("%v", busy)
		}
		time.Sleep(time.Second)
		d, err = p.BuildModule(ctx)
	}
	if err != nil {
		return "", err
	}
	out.finish()
	for _, text := range d.Warnings {
		w.say("warning: %s", text)
	}
	return d.Name, nil
}

// boot begins to boot a guest; booted waits for it.
func (w *watcher) boot(ctx context.Context) {
	w.guest, w.module = nil, ""
	w.booting = make(chan booted, 1)
	go func(done chan<- booted) {
		m, err := vm.Boot(ctx, *w.config)
		done <- booted{m, err}
	}(w.booting)
}

func (w *watcher) booted(ctx context.Context) error {
	if w.guest != nil {
		return nil
	}
	b := <-w.booting // its context is this one
	w.booting, w.guest = nil, b.guest
	return b.err
}

// install makes a module the guest's scheduler. w.module says whether it is.
func (w *watcher) install(ctx context.Context, module string) error {
	ko, err := os.ReadFile(w.project.Module())
	if err == nil {
		err = w.guest.WriteFile(ctx, "/scheduler.ko", ko, 0o644)
	}
	if err != nil {
		return w.died(ctx, err)
	}
	commands, fresh := []string{"plugsched install --replace /scheduler.ko"}, false
	for len(commands) > 0 {
		r, err := w.guest.Run(ctx, vm.Cmd{Argv: strings.Fields(commands[0])})
		if err != nil {
			return w.died(ctx, err)
		}
		switch commands = commands[1:]; {
		case r.ExitCode == 0:
			continue
		case r.ExitCode == outcome.Precondition.ExitCode() && !fresh:
			// What one keeps in the kernel's structures can rule another out, and one that was rolled back is still loaded.
			fresh = true
			w.say("%s\nwithout what is loaded:", strings.TrimSpace(string(r.Stderr)))
			commands = []string{"plugsched uninstall", "plugsched install /scheduler.ko"}
			continue
		}
		w.say("%s", strings.TrimSpace(string(r.Stdout)+string(r.Stderr)))
		w.module = ""
		w.judge(ctx)
		return nil
	}
	w.module = module
	w.judge(ctx)
	return nil
}

// died says what the guest has died of, and boots another; what else went wrong is returned.
func (w *watcher) died(ctx context.Context, err error) error {
	if w.guest.Err() == nil || ctx.Err() != nil {
		return err
	}
	w.judge(ctx)
	return nil
}

// judge says what the guest's kernel has complained of, if it has, and boots another guest then. That a scheduler was rolled
// back is said too.
func (w *watcher) judge(ctx context.Context) {
	if w.guest == nil || ctx.Err() != nil {
		return
	}
	w.rolledBack(ctx)
	err := w.guest.Settle(ctx)
	if faults := w.guest.Faults(); len(faults) > 0 {
		err = &vm.KernelFault{Faults: faults, ConsolePath: w.guest.ConsolePath()}
	}
	if err == nil || ctx.Err() != nil {
		return
	}
	w.say("plugsched: %v", err)
	w.halt()
	w.guest.Close()
	w.say("another guest is booted")
	w.boot(ctx)
}

func (w *watcher) rolledBack(ctx context.Context) {
	if w.module == "" {
		return
	}
	// Whatever cannot be read, Settle tells of.
	dir := "/sys/module/" + w.module + "/plugsched/"
	if state, err := w.guest.ReadFile(ctx, dir+"state"); err != nil || strings.TrimSpace(string(state)) != "rolled back" {
		return
	}
	report, _ := w.guest.ReadFile(ctx, dir+"report")
	w.say("%s was rolled back: %s", w.module, strings.TrimSpace(string(report)))
	w.module = ""
}

// begin starts the command, if there is one.
func (w *watcher) begin(ctx context.Context) {
	if len(w.argv) == 0 {
		return
	}
	until, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	w.ended = ended
	w.stop = func() { cancel(); <-ended }
	guest, start := w.guest, time.Now()
	go func() {
		defer close(ended)
		defer cancel()
		r, err := guest.Run(until, vm.Cmd{Argv: w.argv, Stdout: w.c.OutOrStdout(), Stderr: w.c.ErrOrStderr()})
		switch {
		case ctx.Err() != nil:
		case until.Err() != nil:
			w.say("%s: ended, for the next build", w.argv[0])
		case err != nil && guest.Err() == nil: // such as a program that is not there
			w.say("plugsched: %v", err)
		case err == nil:
			w.say("%s: exit code %d after %.1f s", w.argv[0], r.ExitCode, time.Since(start).Seconds())
		}
	}()
}

// halt ends what begin has started.
func (w *watcher) halt() {
	if w.stop != nil {
		w.stop()
	}
	w.stop, w.ended = nil, nil
}

// close ends the guest, also one that boots.
func (w *watcher) close() {
	w.halt()
	if w.booting != nil {
		w.guest = (<-w.booting).guest
	}
	if w.guest != nil {
		w.guest.Close()
	}
}

// SPDX-License-Identifier: BSD-3-Clause

package plugsched_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"plugsched/ghost"
	"plugsched/internal/command/cli"
	"plugsched/internal/develop/apply"
	"plugsched/internal/develop/boundary"
	"plugsched/internal/develop/git"
	"plugsched/internal/develop/module"
	"plugsched/internal/develop/patch"
	"plugsched/internal/develop/project"
	"plugsched/internal/durable"
	"plugsched/internal/guest/vm"
	"plugsched/internal/guest/vm/wire"
	"plugsched/internal/kernel/fetch"
	"plugsched/internal/kernel/image"
	"plugsched/internal/kernel/needs"
	"plugsched/internal/operate/boot"
	"plugsched/internal/operate/live"
	"plugsched/internal/outcome"
	"plugsched/scx"
)

// errorCases has every exported error of the module, by package, below internal/ where it is there, and name.
var errorCases = map[string]struct {
	err  error
	want outcome.Outcome
}{
	"command/cli.ExitError":          {&cli.ExitError{Code: 7}, outcome.Failed}, // exits with the guest's code
	"command/cli.QuietError":         {&cli.QuietError{Means: outcome.Precondition}, outcome.Precondition},
	"command/cli.UsageError":         {cli.Usagef("x"), outcome.Usage},
	"develop/apply.IncompleteError":  {&apply.IncompleteError{Application: &apply.Application{}}, outcome.Refused},
	"develop/boundary.ConfigError":   {&boundary.ConfigError{}, outcome.Precondition},
	"develop/git.Error":              {&git.Error{Err: errors.New("x")}, outcome.Failed},
	"develop/module.BuildError":      {&module.BuildError{}, outcome.Failed},
	"develop/module.CompileError":    {&module.CompileError{}, outcome.Refused},
	"develop/module.SignError":       {&module.SignError{}, outcome.Precondition},
	"develop/patch.FormatError":      {&patch.FormatError{}, outcome.Precondition},
	"develop/patch.MismatchError":    {&patch.MismatchError{}, outcome.Precondition},
	"develop/project.BusyError":      {&project.BusyError{}, outcome.Precondition},
	"develop/project.Error":          {&project.Error{}, outcome.Precondition},
	"develop/project.MismatchError":  {&project.MismatchError{}, outcome.Precondition},
	"develop/project.RefusedError":   {&project.RefusedError{}, outcome.Refused},
	"durable.HeldError":              {&durable.HeldError{}, outcome.Precondition},
	"guest/vm.BootError":             {&vm.BootError{Err: &vm.KernelFault{Faults: make([]vm.Fault, 1)}}, outcome.Fault},
	"guest/vm.ErrOff":                {vm.ErrOff, outcome.Failed},
	"guest/vm.ErrRebooted":           {vm.ErrRebooted, outcome.Failed},
	"guest/vm.GuestError":            {&vm.GuestError{Errno: syscall.ENOENT}, outcome.Precondition},
	"guest/vm.InfraError":            {&vm.InfraError{Err: fs.ErrNotExist}, outcome.Failed},
	"guest/vm.KernelFault":           {&vm.KernelFault{Faults: make([]vm.Fault, 1)}, outcome.Fault},
	"guest/vm.StarvesError":          {&vm.StarvesError{}, outcome.Precondition},
	"guest/vm.TimeoutError":          {&vm.TimeoutError{}, outcome.Failed},
	"guest/vm/wire.DamageError":      {&wire.DamageError{}, outcome.Failed},
	"kernel/fetch.MismatchError":     {&fetch.MismatchError{}, outcome.Precondition},
	"kernel/fetch.SpaceError":        {&fetch.SpaceError{}, outcome.Failed},
	"kernel/fetch.ToolError":         {&fetch.ToolError{}, outcome.Failed},
	"kernel/fetch.UnavailableError":  {&fetch.UnavailableError{}, outcome.Precondition},
	"kernel/needs.Error":             {&needs.Error{}, outcome.Precondition},
	"kernel/image.ErrDataRelocated":  {image.ErrDataRelocated, outcome.Precondition},
	"kernel/image.ErrNoDWARF":        {image.ErrNoDWARF, outcome.Precondition},
	"operate/boot.GuardError":        {&boot.GuardError{}, outcome.Precondition},
	"operate/live.BusyError":         {&live.BusyError{}, outcome.Busy},
	"operate/live.Finding":           {&live.Finding{}, outcome.Precondition},
	"operate/live.HeldError":         {&live.HeldError{}, outcome.Fault},
	"operate/live.KernelFault":       {&live.KernelFault{}, outcome.Fault},
	"operate/live.LeftoverError":     {&live.LeftoverError{Leftovers: &live.Leftovers{}}, outcome.Fault},
	"operate/live.PreconditionError": {&live.PreconditionError{Err: errors.New("x")}, outcome.Precondition},
	"operate/live.RolledBackError":   {&live.RolledBackError{}, outcome.RolledBack},
	"operate/live.UsedError":         {&live.UsedError{}, outcome.Precondition},
	"ghost.ErrABI":                   {ghost.ErrABI, outcome.Failed},
	"ghost.ErrEnded":                 {ghost.ErrEnded, outcome.Failed},
	"ghost.ErrNoScheduler":           {ghost.ErrNoScheduler, outcome.Failed},
	"scx.ForeignError":               {&scx.ForeignError{}, outcome.Precondition},
	"scx.LapsedError":                {&scx.LapsedError{}, outcome.RolledBack},
	"scx.NoTrialError":               {&scx.NoTrialError{}, outcome.Precondition},
	"scx.OnTrialError":               {&scx.OnTrialError{}, outcome.Precondition},
	"scx.NotRunningError":            {&scx.NotRunningError{}, outcome.Precondition},
	"scx.PreconditionError":          {&scx.PreconditionError{Err: errors.New("x")}, outcome.Precondition},
	"scx.RunningError":               {&scx.RunningError{}, outcome.Precondition},
	"scx.StartError":                 {&scx.StartError{Err: errors.New("x")}, outcome.Precondition},
	"scx.UnsupportedError":           {&scx.UnsupportedError{}, outcome.Precondition},
	"scx.VerifierError":              {&scx.VerifierError{}, outcome.Precondition},
}

// TestOutcomes: every exported error type of the module, and every exported error that is
// a variable, is in the table, and means what the table says, alone and wrapped.
func TestOutcomes(t *testing.T) {
	found := exportedErrors(t)
	for _, name := range found {
		if _, ok := errorCases[name]; !ok {
			t.Errorf("%s: say here what it means", name)
		}
	}
	if len(found) < 25 {
		t.Fatalf("only %d errors were found: %v", len(found), found)
	}
	for name, c := range errorCases {
		if got := outcome.Of(c.err); got != c.want {
			t.Errorf("%s means %v (%d), want %v (%d)", name, got, got, c.want, c.want)
		}
		if got := outcome.Of(fmt.Errorf("installed, but: %w", c.err)); got != c.want {
			t.Errorf("%s, wrapped, means %v (%d), want %v (%d)", name, got, got, c.want, c.want)
		}
	}
}

// TestOutcomeCodes: what exit codes, history and metrics say of an outcome. All are seen by
// programs of others: they do not change.
func TestOutcomeCodes(t *testing.T) {
	for o, want := range map[outcome.Outcome]string{
		outcome.Done: "0 done", outcome.Failed: "1 failed", outcome.Usage: "2 refused", outcome.Precondition: "3 refused",
		outcome.Busy: "4 busy", outcome.Fault: "5 fault", outcome.RolledBack: "5 rolled back", outcome.Refused: "6 refused",
		outcome.Interrupted: "130 interrupted",
	} {
		if got := fmt.Sprint(o.ExitCode(), " ", o); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestOutcomeOf: which of several errors counts.
func TestOutcomeOf(t *testing.T) {
	busy, fault, plain := &live.BusyError{}, &live.KernelFault{}, errors.New("x")
	for i, c := range []struct {
		err  error
		want outcome.Outcome
	}{
		{nil, outcome.Done},
		{plain, outcome.Failed},
		{context.Canceled, outcome.Interrupted},
		{fmt.Errorf("try 3: %w", context.Canceled), outcome.Interrupted},
		{context.DeadlineExceeded, outcome.Failed},
		{fs.ErrNotExist, outcome.Precondition},
		{outcome.With(outcome.Failed, fs.ErrNotExist), outcome.Failed},
		{errors.Join(busy, plain), outcome.Busy},
		{errors.Join(plain, busy, fault), outcome.Fault},
		{errors.Join(fault, busy), outcome.Fault},
		{fmt.Errorf("%w, %w", context.Canceled, &live.RolledBackError{}), outcome.RolledBack},
		{&live.PreconditionError{Err: fault}, outcome.Precondition}, // who wraps knows better
		{outcome.AfterChange(busy), outcome.Failed},
		{outcome.AfterChange(fs.ErrNotExist), outcome.Failed},
		{outcome.AfterChange(fault), outcome.Fault},
		{outcome.AfterChange(nil), outcome.Done},
		{outcome.With(outcome.Busy, nil), outcome.Done},
	} {
		if got := outcome.Of(c.err); got != c.want {
			t.Errorf("%d: %v means %v (%d), want %v", i, c.err, got, got, c.want)
		}
	}
}

// exportedErrors lists the exported types that are errors, as values or as pointers, and
// the exported variables of an error type, of every package.
func exportedErrors(t *testing.T) []string {
	t.Helper()
	exports, ours := map[string]string{}, []string{}
	cmd := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Export", "./...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct{ ImportPath, Export string }
		if err := d.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		exports[p.ImportPath] = p.Export
		if strings.HasPrefix(p.ImportPath, "plugsched/") {
			ours = append(ours, p.ImportPath)
		}
	}
	load := importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) {
		if exports[path] == "" {
			return nil, fmt.Errorf("%s was not compiled", path)
		}
		return os.Open(exports[path])
	})
	isError := types.Universe.Lookup("error").Type().Underlying().(*types.Interface)
	var names []string
	for _, path := range ours {
		pkg, err := load.Import(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range pkg.Scope().Names() {
			o := pkg.Scope().Lookup(name)
			if !o.Exported() || types.IsInterface(o.Type()) && !types.Identical(o.Type(), types.Universe.Lookup("error").Type()) {
				continue
			}
			switch o.(type) {
			case *types.TypeName, *types.Var:
				if types.Implements(o.Type(), isError) || types.Implements(types.NewPointer(o.Type()), isError) {
					names = append(names, strings.TrimPrefix(strings.TrimPrefix(path, "plugsched/"), "internal/")+"."+name)
				}
			}
		}
	}
	return names
}

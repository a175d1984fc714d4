// SPDX-License-Identifier: BSD-3-Clause

package boot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"plugsched/internal/artefact/installed"
	"plugsched/internal/durable"
	"plugsched/internal/outcome"
)

// Guard is what a machine remembers about the scheduler of one package. It is on disk
// before the scheduler is loaded, so that whatever happens then, the next boot knows.
type Guard struct {
	// Confirmed is the scheduler that last reached confirmation: it may still be the
	// running one when a newer package is there.
	Confirmed *Attempt `json:"confirmed,omitempty"`
	// Attempt has begun and was not confirmed.
	Attempt *Attempt `json:"attempt,omitempty"`

	path string
}

// Attempt is one loading of a scheduler.
type Attempt struct {
	Package string `json:"package"`
	Version string `json:"version"`
	Module  string `json:"module"`
	BootID  string `json:"boot_id"`          // of the boot in which it began
	Failed  string `json:"failed,omitempty"` // why it was rolled back
}

func (a *Attempt) String() string { return fmt.Sprintf("%s %s (%s)", a.Package, a.Version, a.Module) }

// GuardError says that a scheduler is not loaded because of how it went before.
type GuardError struct{ Reason, Scheduler string }

func (e *GuardError) Error() string {
	return e.Reason + "; the kernel keeps the scheduler that it has, until another version is installed or " + e.Reset()
}

// Reset is the command that has the scheduler loaded again.
func (e *GuardError) Reset() string { return "`plugsched guard --reset " + e.Scheduler + "`" }

// Outcome implements outcome.Error.
func (*GuardError) Outcome() outcome.Outcome { return outcome.Precondition }

// ReadGuard reads the guard of a package below root; without a file nothing is
// remembered. One that cannot be understood is a *GuardError: it may have been about
// the scheduler.
func ReadGuard(root string, p *installed.Package) (*Guard, error) {
	g := &Guard{path: filepath.Join(root, installed.GuardFile(p.Name))}
	text, err := os.ReadFile(g.path)
	if errors.Is(err, fs.ErrNotExist) {
		return g, nil
	}
	if err != nil {
		return g, err
	}
	if err := json.Unmarshal(text, g); err != nil {
		return g, &GuardError{fmt.Sprintf("%s is damaged (%v)", g.path, err), p.Scheduler}
	}
	return g, nil
}

// Tripped says why a module is not to be loaded in this boot, "" when it may be.
func (g *Guard) Tripped(module, bootID string) string {
	a := g.Attempt
	switch {
	case a == nil || a.Module != module:
		return ""
	case a.Failed != "":
		return fmt.Sprintf("%s was tried and rolled back: %s", a, a.Failed)
	case a.BootID != bootID:
		return fmt.Sprintf("in an earlier boot %s was loaded and not confirmed before the machine went down", a)
	}
	return ""
}

// Knows reports whether a module is from this package, in this version or an earlier one.
func (g *Guard) Knows(module string) bool {
	return g.Confirmed != nil && g.Confirmed.Module == module || g.Attempt != nil && g.Attempt.Module == module
}

// Begin notes an attempt, durably. What its confirmation takes is written as well: a
// disk that is full by then does not keep it from being noted.
func (g *Guard) Begin(a Attempt) error {
	if err := os.MkdirAll(filepath.Dir(g.path), 0o700); err != nil {
		return err
	}
	if err := write(g.next(), &Guard{Confirmed: &a}); err != nil {
		return err
	}
	g.Attempt = &a
	return g.save()
}

// Confirm notes that the attempt went well.
func (g *Guard) Confirm() error {
	if g.Attempt == nil {
		return nil
	}
	g.Confirmed, g.Attempt = g.Attempt, nil
	err := durable.Replace(g.next(), g.path)
	if errors.Is(err, fs.ErrNotExist) {
		return g.save()
	}
	return err
}

// Fail notes that the attempt was rolled back, and why.
func (g *Guard) Fail(reason string) error {
	g.Attempt.Failed = reason
	return g.drop()
}

// Withdraw forgets the attempt, which changed nothing.
func (g *Guard) Withdraw() error {
	g.Attempt = nil
	return g.drop()
}

// Reset forgets the attempt, or a file that is damaged, and reports whether there was
// anything to forget.
func (g *Guard) Reset() (bool, error) {
	if _, err := os.Stat(g.path); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	was := g.Attempt != nil || g.Confirmed == nil
	return was, g.Withdraw()
}

// drop saves the guard without the confirmation that Begin prepared.
func (g *Guard) drop() error {
	os.Remove(g.next())
	return g.save()
}

func (g *Guard) next() string { return g.path + ".next" }

func (g *Guard) save() error { return write(g.path, g) }

func write(path string, g *Guard) error {
	text, err := json.MarshalIndent(g, "", "  ")
	if err != nil {
		return err
	}
	return durable.WriteFile(path, append(text, '\n'), 0o600)
}

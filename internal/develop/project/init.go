// SPDX-License-Identifier: BSD-3-Clause

package project

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"plugsched/internal/develop/bind"
	"plugsched/internal/develop/boundary"
	"plugsched/internal/develop/module"
	"plugsched/internal/kernel/arch"
	"plugsched/internal/kernel/fetch"
	"plugsched/internal/outcome"
)

// Reproduction is the proof that the source is the kernel's: the pristine source,
// compiled here, gives the code that the kernel has.
type Reproduction struct {
	Functions  int
	Reproduced int
	Mismatches []bind.Mismatch
}

// MismatchError says that the pristine source does not give the kernel's code.
type MismatchError struct {
	Reproduction
	Likely string // the likely cause
}

func (e *MismatchError) Error() string {
	m := e.Mismatches[0]
	return fmt.Sprintf("the source does not reproduce the kernel: %s (%s) %s, and %d more of %d functions; likely cause: %s",
		m.Function, m.Unit, m.Why, len(e.Mismatches)-1, e.Functions, e.Likely)
}

// Outcome implements outcome.Error.
func (*MismatchError) Outcome() outcome.Outcome { return outcome.Precondition }

// Init makes the project for a kernel. What an earlier run has finished is kept;
// the developer's own files are never overwritten. Sidecars that are refused are
// taken out of plugsched.yaml again.
func (p *Project) Init(ctx context.Context, t *fetch.Target) error {
	if t.KernelBuild == "" {
		return fmt.Errorf("%s: was fetched for analysis only", t.Release)
	}
	if err := checkPaths(p.Dir, p.Self, t.KernelBuild, t.HeadersCommon, t.Source); err != nil {
		return err
	}
	unlock, err := p.claim(t)
	if err != nil {
		return err
	}
	defer unlock()
	if p.Environment != nil {
		if err := writeJSON(p.state(envFile), p.Environment); err != nil {
			return err
		}
		p.Environment = p.Environment.Showing(p.Dir)
	}
	return p.InitLocked(ctx, t)
}

// InitLocked is Init of a directory that is known to be for that kernel, and that nobody else works in: the caller has locked
// it, or it is a copy.
func (p *Project) InitLocked(ctx context.Context, t *fetch.Target) error {
	if _, err := p.Programs(); err != nil {
		return err
	}
	if len(p.Sidecars) == 0 {
		return p.init(ctx, t)
	}
	undo, err := p.addSidecars(p.Sidecars)
	if err != nil {
		return err
	}
	if err := p.init(ctx, t); err != nil {
		return errors.Join(err, undo())
	}
	return nil
}

func (p *Project) init(ctx context.Context, t *fetch.Target) error {
	cfg, err := p.config(t)
	if err != nil {
		return err
	}
	files := sidecarFiles(cfg)
	self, err := p.selfHash()
	if err != nil {
		return err
	}
	tree, err := p.lookAtTree(t)
	if err != nil {
		return err
	}
	key := strings.Join([]string{t.BuildID, t.Version, t.KernelBuild, t.Source, p.Environment.Key(), tree.sum(), self}, " ")
	err = p.stage("source", "copying the scheduler's source", t.BuildID+t.Source, func() (string, error) {
		n, err := copySource(t.Source, p.state("source"))
		return fmt.Sprintf("%d files", n), err
	})
	if err != nil {
		return err
	}
	if err := p.analyseAndCompile(ctx, t, cfg, key); err != nil {
		return err
	}
	if err := p.stage("tree", "making the git repository", t.BuildID+" "+p.Dir, func() (string, error) {
		return p.makeTree(ctx, t)
	}); err != nil {
		return err
	}
	if err := p.joinTree(ctx, t, files); err != nil {
		return err
	}
	if err := p.stage("reproduce", "comparing the compiled source with the kernel", key, func() (string, error) {
		return p.reproduced(ctx, t)
	}); err != nil {
		return err
	}
	return p.noteTree(tree) // last: until all is made of this tree, builds refuse it
}

// claim refuses directories that are something else, and takes the lock of one that is not.
func (p *Project) claim(t *fetch.Target) (unlock func(), err error) {
	if _, err := arch.Named(t.KernelArch); err != nil {
		return nil, Errorf("%s: %v", t.Release, err)
	}
	if err := p.CheckDir(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(p.state(), 0o755); err != nil {
		return nil, err
	}
	if unlock, err = p.Lock(); err != nil {
		return nil, err
	}
	if err := p.claimFor(t); err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}

func (p *Project) claimFor(t *fetch.Target) error {
	var was fetch.Target
	switch err := readJSON(p.state(targetFile), &was); {
	case err == nil && was.BuildID != t.BuildID:
		return Errorf("%s: is for kernel %s (build-id %.8s), not %s (build-id %.8s): use another directory", p.Dir, was.Release,
			was.BuildID, t.Release, t.BuildID)
	case err == nil && was.KernelBuild != "" && t.KernelBuild == "":
		return Errorf("%s: is initialised for building; its boundary is there already, and follows %s with `plugsched init %[1]s`",
			p.Dir, ConfigFile)
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return err
	}
	return writeJSON(p.state(targetFile), t)
}

// analyseAndCompile reads the vmlinux and compiles the pristine source at the
// same time: together they take little longer than the slower of the two.
func (p *Project) analyseAndCompile(ctx context.Context, t *fetch.Target, cfg *boundary.Config, key string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	rests, err := cfg.Fingerprint()
	if err != nil {
		return err
	}
	cfgKey := key + "\n" + rests
	var wg sync.WaitGroup
	var errs [2]error
	wg.Add(2)
	go func() {
		defer wg.Done()
		errs[0] = p.stage("pristine", "compiling the pristine source", key, func() (string, error) {
			tree, err := p.tree(t, p.state("source"))
			if err != nil {
				return "", err
			}
			units, err := module.Compile(ctx, tree, p.state("pristine"))
			if err != nil {
				return "", err
			}
			return fmt.Sprintf("%d units", len(units)), writeJSON(p.state(pristineFile), units)
		})
		if errs[0] == nil {
			errs[0] = p.compileSidecars(ctx, t, sidecarFiles(cfg), key)
		}
		if errs[0] != nil {
			cancel()
		}
	}()
	go func() {
		defer wg.Done()
		errs[1] = p.analyse(ctx, t, cfg, cfgKey, true)
		if errs[1] != nil {
			cancel()
		}
	}()
	wg.Wait()
	for _, err := range errs {
		if err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return ctx.Err()
}

// reproduced holds every compiled unit against the kernel.
func (p *Project) reproduced(ctx context.Context, t *fetch.Target) (string, error) {
	units, err := p.pristine()
	if err != nil {
		return "", err
	}
	codes, err := bind.LoadCode(p.state(codeFile))
	if err != nil {
		return "", damaged(p.state(codeFile), err)
	}
	var all Reproduction
	for _, u := range units {
		r, err := p.reproduceUnit(ctx, t, codes, &u)
		if err != nil {
			return "", err
		}
		if filepath.Dir(u.Name) != SchedDir {
			if err := checkSidecar(u.Name, r); err != nil {
				return "", err
			}
		}
		all.Functions += r.Functions
		all.Reproduced += r.Reproduced
		all.Mismatches = append(all.Mismatches, r.Mismatches...)
	}
	if len(all.Mismatches) > 0 {
		return "", &MismatchError{all, "another version of the source or of the compiler than the kernel was built with (" + t.Compiler + ")"}
	}
	return fmt.Sprintf("%d of %d functions", all.Reproduced, all.Functions), writeJSON(p.state(reproduceFile), all)
}

// reproduceUnit holds a unit against the kernel. If functions differ, that may be because of
// where they are: then all of the unit's are compared once more, at the kernel's addresses.
func (p *Project) reproduceUnit(ctx context.Context, t *fetch.Target, codes *bind.Code, u *module.Unit) (*bind.Reproduction, error) {
	r, err := bind.Reproduce(codes, u.Name, u.Object)
	if err != nil || len(r.Mismatches) == 0 {
		return r, err
	}
	placed := u.Object + ".placed"
	defer os.Remove(placed)
	tree, err := p.tree(t, p.state("source"))
	if err != nil {
		return nil, err
	}
	if err := module.Place(ctx, tree, u, codes.Places(u.Name), placed); err != nil {
		return nil, err
	}
	again, err := bind.Reproduce(codes, u.Name, placed)
	if err != nil || len(again.Mismatches) >= len(r.Mismatches) {
		return r, err
	}
	return again, nil
}

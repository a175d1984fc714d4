// SPDX-License-Identifier: BSD-3-Clause

package boundary

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"plugsched/kernels"
)

// Config is what the boundary rests on besides the binary: knowledge about
// kernels (the files in kernels/) and the wishes of one project
// (plugsched.yaml). Every entry maps a name to the reason for it.
type Config struct {
	// Sources are the directories whose functions are the scheduler.
	Sources []string `yaml:"sources"`
	// Interface functions are redirected although the analysis lets them stay.
	Interface map[string]string `yaml:"interface"`
	// Stay functions stay although they could move.
	Stay map[string]string `yaml:"stay"`
	// Private variables get a copy of their own in the module.
	Private map[string]string `yaml:"private"`
	// Preempts are patterns of functions that call __schedule only to let others
	// run: whoever is inside is runnable and leaves by itself.
	Preempts map[string]string `yaml:"preempts"`
	// Locks are patterns of functions outside of the scheduler that sleep only
	// until somebody gives a lock back.
	Locks map[string]string `yaml:"locks"`
	// Waits are patterns of functions outside of the scheduler in which a task may
	// stay for as long as user space likes.
	Waits map[string]string `yaml:"waits"`
	// Passes are patterns of functions outside of the scheduler that call one of
	// those, but not in a way in which user space can keep a task there.
	Passes map[string]string `yaml:"passes"`
	// Files are patterns of types: tables of what is done with a file that users
	// without rights may have open.
	Files map[string]string `yaml:"files"`
	// Headers are macros and other definitions in headers outside of the scheduler
	// that only the scheduler uses, as the developer knows.
	Headers map[string]string `yaml:"headers"`
	// Builders are functions that build what lasts, and what that is.
	Builders map[string]string `yaml:"builders"`
	// Makers are functions that set up what comes and goes, and what that is.
	Makers map[string]string `yaml:"makers"`
	// Rebuilt are builders, or what they use, that the developer has changed, with what is
	// done so that it takes effect and goes with the module.
	Rebuilt map[string]string `yaml:"rebuilt"`
	// Features are scheduler features ("true" or "false") and Values are numbers in the kernel's variables,
	// as they are to be when the scheduler takes over.
	Features map[string]string `yaml:"features"`
	Values   map[string]string `yaml:"values"`
	// Derived are patterns of variables that do nothing unless their sysctl is written, Recomputed of those
	// into which the kernel puts another number later.
	Derived    map[string]string `yaml:"derived"`
	Recomputed map[string]string `yaml:"recomputed"`
	// Sidecar functions move with the scheduler.
	Sidecar Sidecars `yaml:"sidecar"`

	// Package is about the packages that build makes (internal/develop/packaging).
	Package map[string]string `yaml:"package"`

	optional map[string]bool   // names from kernels/, which not every kernel has
	builtin  map[string]string // what kernels/ lets stay, and why
	file     string            // the project's
	lines    lines             // of its entries
}

// LoadConfig returns the built-in knowledge overlaid with a project's file. A
// missing file is not an error.
func LoadConfig(project string) (*Config, error) {
	cfg := &Config{optional: map[string]bool{}}
	if err := parseConfig(kernels.Common, cfg); err != nil {
		return nil, fmt.Errorf("kernels/common.yaml: %w", err)
	}
	for name := range cfg.Private {
		cfg.optional[name] = true
	}
	cfg.builtin = map[string]string{}
	for name, why := range cfg.Stay {
		cfg.optional[name], cfg.builtin[name] = true, why
	}
	if project == "" {
		return cfg, nil
	}
	text, err := readBounded(project)
	if errors.Is(err, os.ErrNotExist) {
		return cfg, nil
	}
	if err != nil {
		return nil, err
	}
	cfg.file = project
	if err := cfg.crowded(text); err != nil {
		return nil, err
	}
	var own Config
	if err := parseConfig(text, &own); err != nil {
		return nil, cfg.syntax(err)
	}
	if err := cfg.check(text, &own); err != nil {
		return nil, err
	}
	cfg.Sidecar = own.Sidecar
	cfg.Sources = append(cfg.Sources, own.Sources...)
	merge(&cfg.Interface, own.Interface)
	merge(&cfg.Stay, own.Stay)
	merge(&cfg.Private, own.Private)
	merge(&cfg.Preempts, own.Preempts)
	merge(&cfg.Locks, own.Locks)
	merge(&cfg.Waits, own.Waits)
	merge(&cfg.Passes, own.Passes)
	merge(&cfg.Files, own.Files)
	cfg.Package = own.Package
	merge(&cfg.Headers, own.Headers)
	merge(&cfg.Builders, own.Builders)
	merge(&cfg.Makers, own.Makers)
	merge(&cfg.Derived, own.Derived)
	merge(&cfg.Recomputed, own.Recomputed)
	cfg.Rebuilt = own.Rebuilt
	cfg.Features, cfg.Values = own.Features, own.Values
	for name := range own.Private {
		delete(cfg.optional, name)
	}
	for name := range own.Stay {
		delete(cfg.optional, name)
	}
	return cfg, nil
}

// What a project's file may hold: more than a scheduler has names. The YAML package compares each
// key of a mapping with all others, and hears of no interruption.
const (
	maxConfig  = 4 << 20 // bytes
	maxEntries = 5000    // of one section
)

func readBounded(path string) ([]byte, error) {
	// Whoever opens a FIFO waits for somebody who writes.
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() {
		return nil, &ConfigError{File: path, Text: "is no regular file"}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err == nil && len(text) > maxConfig {
		err = &ConfigError{File: path, Text: fmt.Sprintf("is larger than %d bytes", maxConfig)}
	}
	return text, err
}

// crowded refuses a file with more entries than make sense. Mistakes of syntax are for others.
func (c *Config) crowded(text []byte) error {
	var doc yaml.Node
	if yaml.Unmarshal(text, &doc) != nil {
		return nil
	}
	var look func(n *yaml.Node) error
	look = func(n *yaml.Node) error {
		if len(n.Content) > 2*maxEntries {
			return &ConfigError{c.file, n.Line, fmt.Sprintf("%d entries, and more than %d make no sense", len(n.Content)/2, maxEntries)}
		}
		for _, below := range n.Content {
			if err := look(below); err != nil {
				return err
			}
		}
		return nil
	}
	return look(&doc)
}

func parseConfig(text []byte, cfg *Config) error {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(cfg); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

func merge(to *map[string]string, from map[string]string) {
	if *to == nil {
		*to = map[string]string{}
	}
	for k, v := range from {
		(*to)[k] = v
	}
}

// Source reports whether file is one of the scheduler's.
func (c *Config) Source(file string) bool { return below(c.Sources, file) }

// Units are the directories and files whose units the module is built from.
func (c *Config) Units() []string { return append(slices.Clone(c.Sources), c.Sidecar.Files()...) }

// Compiled reports whether the module is built from a unit.
func (c *Config) Compiled(unit string) bool {
	return c.Source(unit) || slices.Contains(c.Sidecar.Files(), unit)
}

func below(dirs []string, file string) bool {
	for _, dir := range dirs {
		if strings.HasPrefix(file, strings.TrimSuffix(dir, "/")+"/") {
			return true
		}
	}
	return false
}

func (c *Config) preempts(name string) bool { return matches(c.Preempts, name) }

func (c *Config) locks(name string) bool { return matches(c.Locks, name) }

func (c *Config) waits(name string) bool { return matches(c.Waits, name) }

func (c *Config) passes(name string) bool { return matches(c.Passes, name) }

// fileTable reports types of tables of what is done with files. Arrays of them are as
// good.
func (c *Config) fileTable(name string) bool {
	name, _, _ = strings.Cut(name, "[")
	return matches(c.Files, name)
}

// WhyDerived says why a variable does nothing when it is written alone, "" if it does.
func (c *Config) WhyDerived(name string) string { return reason(c.Derived, name) }

// WhyRecomputed says when the kernel puts another number into a variable, "" if it never does.
func (c *Config) WhyRecomputed(name string) string { return reason(c.Recomputed, name) }

func matches(patterns map[string]string, name string) bool {
	for pattern := range patterns {
		if ok, _ := path.Match(pattern, name); ok {
			return true
		}
	}
	return false
}

// reason is that of the pattern that matches a name, of the first in order if several do.
func reason(patterns map[string]string, name string) string {
	for _, pattern := range sortedKeys(patterns) {
		if ok, _ := path.Match(pattern, name); ok {
			return patterns[pattern]
		}
	}
	return ""
}

// SPDX-License-Identifier: BSD-3-Clause

// Package desc is the description that a scheduler module carries: what it was
// built for, what it replaces and how it is bound.
package desc

// Section is the ELF section of a module that holds its description as JSON.
const Section = ".plugsched"

// Version is the format's version.
const Version = 1

// Description of one module.
type Description struct {
	Format  int    `yaml:"format"`
	Release string `yaml:"release"`  // uname -r of the kernel it is for
	BuildID string `yaml:"build_id"` // GNU build-id of that kernel, hex
	Tool    string `yaml:"tool"`     // version of plugsched that built it
	Commit  string `yaml:"commit"`   // of the developer's tree, "" when unknown; "+" when it had local changes

	Boundary map[string]int `yaml:"boundary"` // functions by class
	Replaced []string       `yaml:"replaced"` // functions that are redirected, sorted
	Changed  []string       `yaml:"changed"`  // functions and objects that differ from the kernel's, sorted
	Added    []string       `yaml:"added"`
	Removed  []string       `yaml:"removed"`
	Warnings []string       `yaml:"warnings,omitempty"`

	// Bindings maps every undefined symbol to its link address.
	Bindings map[string]Binding `yaml:"-"`
	// Witnesses are symbols whose addresses the installer checks against the
	// running kernel before it trusts the link addresses.
	Witnesses map[string]uint64 `yaml:"-"`
}

// Binding is where a symbol is.
type Binding struct {
	Addr  uint64 // link address
	Fixed bool   `json:",omitempty"` // not moved by KASLR: a per-CPU offset or a constant
}

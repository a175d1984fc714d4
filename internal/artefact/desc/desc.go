// SPDX-License-Identifier: BSD-3-Clause

// Package desc is the description that a scheduler module carries: what it was
// built for and what it replaces.
package desc

// Section is the ELF section of a module that holds its description as JSON.
const Section = ".plugsched"

// NamePrefix begins the names of all scheduler modules.
const NamePrefix = "plugsched_"

// Version is the format's version.
const Version = 3

// Description of one module.
type Description struct {
	Format  int    `yaml:"format"`
	Name    string `yaml:"name"`     // of the loaded module, different for different contents
	Release string `yaml:"release"`  // uname -r of the kernel it is for
	BuildID string `yaml:"build_id"` // GNU build-id of that kernel, hex
	Tool    string `yaml:"tool"`     // version of plugsched that built it
	Commit  string `yaml:"commit"`   // of the developer's tree, "" when unknown; "+" when it had local changes

	Boundary map[string]int `yaml:"boundary"`                            // functions by class
	Replaced []string       `yaml:"replaced"`                            // functions that are redirected, sorted
	Sidecar  []string       `yaml:"sidecar,omitempty" json:",omitempty"` // functions outside of the boundary that move too, as FILE:FUNCTION
	Changed  []string       `yaml:"changed"`                             // functions and objects that differ from the kernel's, sorted
	Added    []string       `yaml:"added"`
	Removed  []string       `yaml:"removed"`
	Warnings []string       `yaml:"warnings,omitempty"`

	// Features and Values are what is set when the scheduler takes over.
	Features map[string]bool   `yaml:"features,omitempty" json:",omitempty"`
	Values   map[string]uint64 `yaml:"values,omitempty" json:",omitempty"`

	// Witnesses are symbols whose addresses the installer checks against the
	// running kernel: the module is bound to their distances.
	Witnesses map[string]uint64 `yaml:"-"`
	// Symbols are the link addresses of all of the kernel that the module refers to:
	// the loader sees only distances from one of them. Modules of older tools do not say it.
	Symbols map[string]uint64 `yaml:"-" json:",omitempty"`
	// Jumps are the places of the redirected functions' jumps, as offsets in bytes.
	Jumps map[string]uint64 `yaml:"-"`
	// JumpSize is a jump's size in bytes; 0 in modules of older tools, which do not say it.
	JumpSize uint64 `yaml:"-"`
}

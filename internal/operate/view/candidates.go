// SPDX-License-Identifier: BSD-3-Clause

package view

import (
	"slices"

	"plugsched/internal/operate/live"
	"plugsched/scx"
)

// Agent is the way of schedulers that are processes, through a module that lets them (docs/develop/ghost.md).
const Agent Way = "agent"

// From is where a scheduler is from.
type From string

// The places.
const (
	FromPackage From = "package"
	FromProgram From = "built in"      // in BPF, in this program
	FromHand    From = "by hand"       // of no package
	FromOthers  From = "somebody else" // has loaded it
)

// Candidate is a scheduler that a machine can run, or runs.
type Candidate struct {
	Way     Way    `json:"way"`
	Name    string `json:"name"`
	From    From   `json:"from"`
	Package string `json:"package,omitempty"`
	Kernel  string `json:"kernel,omitempty"` // release of the one that it is for; "": any that has what it needs
	Runs    bool   `json:"runs"`
}

// Others are the candidates beside those of packages: in BPF those of the program, what runs besides, and agents. Release is the running
// kernel's.
func Others(running []Scheduler, packages []Candidate, release string, agents []live.Agent) []Candidate {
	var out []Candidate
	for _, name := range scx.Own() {
		out = append(out, Candidate{Way: BPF, Name: name, From: FromProgram})
	}
	for _, r := range running {
		if slices.ContainsFunc(packages, func(c Candidate) bool { return c.Way == r.Way && c.Runs }) {
			continue
		}
		own := slices.IndexFunc(out, func(c Candidate) bool { return c.Way == r.Way && c.Name == r.Name && r.Owner == scx.Ours })
		if own >= 0 {
			out[own].Runs = true
			continue
		}
		c := Candidate{Way: r.Way, Name: r.Name, From: FromHand, Kernel: release, Runs: true}
		if r.Owner != scx.Ours {
			c.From = FromOthers
		}
		out = append(out, c)
	}
	for _, a := range agents {
		out = append(out, Candidate{Way: Agent, Name: a.String(), From: FromOthers, Kernel: release, Runs: true})
	}
	return out
}

// SPDX-License-Identifier: BSD-3-Clause

package operator

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"plugsched/internal/artefact/installed"
	"plugsched/internal/operate/live"
	"plugsched/internal/operate/view"
	"plugsched/scx"
)

// meaning is a scheduler that a word of the command line may mean.
type meaning struct {
	way  view.Way
	path string // of the module, or what scx.Open takes
	what string // in words, with what to say to mean this one only
}

// meaningOf finds out which scheduler a word means: a file, one in BPF that is in this program, or one of an installed package.
func (m machine) meaningOf(word string) (meaning, error) {
	if strings.Contains(word, "/") {
		return meaning{fileWay(word), word, ""}, nil // what is wrong with it says whoever opens it
	}
	all, packages, bad := m.meanings(word)
	switch len(all) {
	case 1:
		return all[0], nil
	case 0:
		text := fmt.Sprintf("%s is neither a file nor a scheduler: in BPF there are %s in this program", word, strings.Join(scx.Own(), ", "))
		if len(packages) > 0 {
			text += "; of packages there are " + strings.Join(packages, ", ")
		}
		return meaning{}, &live.PreconditionError{Err: errors.Join(errors.New(text), bad)}
	}
	var whats []string
	for _, a := range all {
		whats = append(whats, a.what)
	}
	return meaning{}, &live.PreconditionError{Err: fmt.Errorf("%s is more than one scheduler: %s", word, strings.Join(whats, ", or "))}
}

// meanings are all that a word without a slash may mean, and the names of what packages have.
func (m machine) meanings(word string) (all []meaning, packages []string, bad error) {
	if st, err := os.Stat(word); err == nil && !st.IsDir() {
		all = append(all, meaning{fileWay(word), "./" + word, "the file (./" + word + ")"})
	}
	if slices.Contains(scx.Own(), word) {
		all = append(all, meaning{view.BPF, word, "the one in BPF in this program (`plugsched scx try " + word + "`)"})
	}
	release, err := m.Release()
	if err != nil {
		return all, nil, err
	}
	list, bad := installed.Usable(m.Root, release)
	for _, p := range list {
		packages = append(packages, p.Scheduler)
		if word == p.Scheduler || word == p.Name {
			path := p.File(installed.Module)
			if p.BPF != nil {
				path = p.File(installed.Object)
			}
			all = append(all, meaning{wayOf(p), path, "that of the package " + p.Name + " (" + path + ")"})
		}
	}
	return all, packages, bad
}

// fileWay tells objects of BPF from modules, by the machine that they are for.
func fileWay(path string) view.Way {
	if st, err := os.Stat(path); err != nil || !st.Mode().IsRegular() {
		return view.Module // a pipe's other end would be waited for
	}
	f, err := os.Open(path)
	if err != nil {
		return view.Module
	}
	defer f.Close()
	head := make([]byte, 20) // up to e_machine (elf(5)), in the byte order of whoever runs it
	if _, err := f.ReadAt(head, 0); err != nil || string(head[:4]) != elf.ELFMAG {
		return view.Module
	}
	if machine := elf.Machine(head[18]) | elf.Machine(head[19])<<8; machine == elf.EM_BPF {
		return view.BPF
	}
	return view.Module
}

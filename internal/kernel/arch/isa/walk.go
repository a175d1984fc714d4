// SPDX-License-Identifier: BSD-3-Clause

package isa

import (
	"fmt"
	"slices"
)

// Turn is how an instruction goes on.
type Turn struct {
	Next  uint64 // where the following instruction is
	Falls bool   // it may go on there
	To    uint64 // where it goes to by itself; 0 for nowhere, and for where a register says
	Call  bool   // that is called, and comes back if it returns
}

// Known is what a proof knows at a place of a routine.
type Known[K any] interface {
	Clone() K
	// Meet keeps what holds by another way, too, and says whether that is less than before. It is false for same where
	// no place may be like this by the one and like that by the other.
	Meet(o K) (less, same bool)
}

// Walk follows every path of a routine from a place on, until there is nothing more to be known. Step makes of what is
// known before a place what is known behind it, and says where it goes on.
func Walk[K Known[K]](r *Routine, start uint64, first K, step func(at uint64, k K) (follow []uint64, err error)) error {
	known := map[uint64]K{start: first}
	for work := []uint64{start}; len(work) > 0; {
		at := work[len(work)-1]
		work = work[:len(work)-1]
		k := known[at].Clone()
		follow, err := step(at, k)
		if err != nil {
			return err
		}
		for _, to := range follow {
			if was, ok := known[to]; !ok {
				known[to] = k.Clone()
			} else if less, same := was.Meet(k); !same {
				return fmt.Errorf("the frame at %s is another from one side than from the other", r.Place(to))
			} else if !less {
				continue
			}
			work = append(work, to)
		}
	}
	return nil
}

// FindCall follows every path from a routine's entry to its one call of a function, static keys both ways, and returns
// how the call goes on, where it is, and what is known there.
func FindCall[K Known[K]](r *Routine, function string, first K,
	step func(at uint64, k K) (Turn, error)) (call Turn, site uint64, k K, err error) {
	sites := map[uint64]bool{}
	err = Walk(r, r.Entry, first, func(at uint64, here K) (follow []uint64, err error) {
		turn, err := step(at, here)
		if err != nil {
			return nil, err
		}
		if to, key := r.Patched(at); key {
			turn = Turn{Next: turn.Next, Falls: true, To: to}
		}
		switch {
		case turn.Call && r.Name(turn.To) == function:
			call, site, k, sites[at] = turn, at, here, true
			return nil, nil
		case turn.Call && !r.Returns(turn.To):
			return nil, nil
		case !turn.Call && turn.To != 0 && r.Within(turn.To):
			follow = append(follow, turn.To)
		}
		if turn.Falls && r.Within(turn.Next) {
			follow = append(follow, turn.Next)
		}
		return follow, nil
	})
	if err == nil && len(sites) != 1 {
		err = fmt.Errorf("calls %s %d times, expected once", function, len(sites))
	}
	return call, site, k, err
}

// FollowTail follows every path from start to a function's ends, whatever static keys say. It proves nothing about what
// the code reads. Calls by pointer are not listed: somebody took the address of what they call.
func FollowTail(t *Text, start uint64, turn func(at uint64) (Turn, error)) (*Tail, error) {
	out := &Tail{}
	seen := map[uint64]bool{}
	work := []uint64{start}
	branch := func(to uint64) {
		if t.Within(to) {
			work = append(work, to)
		} else if !slices.Contains(out.Calls, to) {
			out.Calls = append(out.Calls, to)
		}
	}
	for len(work) > 0 {
		at := work[len(work)-1]
		work = work[:len(work)-1]
		for falls := true; falls && !seen[at]; {
			seen[at] = true
			if to, key := t.Patched(at); key {
				out.Keys = append(out.Keys, at)
				branch(to)
			}
			turn, err := turn(at)
			if err != nil {
				return nil, err
			}
			falls = turn.Falls
			switch {
			case turn.Call:
				if !slices.Contains(out.Calls, turn.To) {
					out.Calls = append(out.Calls, turn.To)
				}
				falls = t.Returns(turn.To)
			case turn.To != 0:
				branch(turn.To)
			}
			at = turn.Next
		}
	}
	return out, nil
}

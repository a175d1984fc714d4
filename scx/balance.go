// SPDX-License-Identifier: BSD-3-Clause

package scx

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// What a scheduler has whose tasks are moved between domains by a process, by the names of bpf/hybrid.bpf.c.
const (
	membersMap = "plugsched_members"
	wishesMap  = "plugsched_wishes"
	doneMap    = "plugsched_done"
)

// Balancer moves tasks of the scheduler "hybrid" between domains, so that each has as much to do as it has CPUs for. It is this process's
// half of that scheduler, which goes on without it.
type Balancer struct {
	name                  string
	loads                 int64 // as Snapshot has it: when that changes, another scheduler has begun
	members, wishes, done *ebpf.Map
	lock                  *os.File
	cpus                  []int             // how many each domain has
	before                map[uint32]member // as they were at the last round,
	at                    time.Duration     // and when that was, by CLOCK_MONOTONIC
	moved, stolen         uint64            // up to then
}

// Round is what a balancer has seen and done at one time.
type Round struct {
	Domains []Domain `json:"domains"`
	Wished  int      `json:"wished"` // moves that were wished for now
	// Moved are the tasks that were moved since the round before, and Stolen how often a CPU without work took one of another domain.
	Moved  uint64 `json:"moved"`
	Stolen uint64 `json:"stolen"`
}

// Domain is CPUs that share a cache.
type Domain struct {
	CPUs  int     `json:"cpus"`
	Tasks int     `json:"tasks"` // that wanted to run
	Wants float64 `json:"wants"` // how many CPUs they would have used
	Load  float64 `json:"load"`  // that, by weight; 1 is a task of nice 0 that always wants to run
}

// member is what the kernel's half knows of a task (bpf/hybrid.bpf.c, struct member).
type member struct {
	Domain, Weight  uint32
	Since, Runnable uint64
	Fixed, Pad      uint32
}

// OpenBalancer finds the scheduler that runs. Errors to look for are *UnsupportedError, *NotRunningError and *ForeignError.
func OpenBalancer(ctx context.Context) (b *Balancer, err error) {
	s, err := lookSettled(ctx)
	if err != nil {
		return nil, err
	}
	switch {
	case s.State == disabled:
		return nil, &NotRunningError{}
	case os.Geteuid() != 0:
		return nil, needsRoot(fs.ErrPermission)
	case s.Owner != Ours:
		return nil, &ForeignError{s.Name, s.Holders}
	}
	b = &Balancer{name: s.Name, loads: s.Loads}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.Close())
		}
	}()
	for name, m := range map[string]**ebpf.Map{membersMap: &b.members, wishesMap: &b.wishes, doneMap: &b.done} {
		*m, err = ebpf.LoadPinnedMap(pinned(s.Name, name), nil)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, &PreconditionError{fmt.Errorf("%s has nothing to balance", describe(s.Name, nil))}
		}
		if err != nil {
			return nil, err
		}
	}
	if b.lock, err = os.Open(filepath.Join(Pins, s.Name)); err != nil {
		return nil, err
	}
	if err := unix.Flock(int(b.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, &PreconditionError{fmt.Errorf("%s is balanced by another process: %w", describe(s.Name, nil), err)}
	}
	if err := b.count(cpusDir); err != nil {
		return nil, err
	}
	_, err = b.look()
	return b, err
}

// count finds out how many CPUs domains have.
func (b *Balancer) count(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "cpu[0-9]*"))
	if err != nil {
		return err
	}
	_, b.cpus, err = domains(dir, len(files))
	return err
}

// Close ends it; tasks stay where they are.
func (b *Balancer) Close() error {
	for _, m := range []*ebpf.Map{b.members, b.wishes, b.done} {
		m.Close()
	}
	if b.lock == nil {
		return nil
	}
	return b.lock.Close()
}

// Name is the scheduler's.
func (b *Balancer) Name() string { return b.name }

// Balance looks at what each task has wanted since the last time, and wishes moves. The error is *PreconditionError when the scheduler
// has ended.
func (b *Balancer) Balance() (*Round, error) {
	s, err := state()
	if err != nil {
		return nil, err
	}
	if loads, err := number("enable_seq"); err != nil || s != enabled || loads != b.loads {
		return nil, errors.Join(err, &PreconditionError{fmt.Errorf("%s has ended, and so does what balances it", describe(b.name, nil))})
	}
	moved, stolen := b.moved, b.stolen
	tasks, err := b.look()
	if err != nil {
		return nil, err
	}
	r := &Round{Domains: sum(b.cpus, tasks), Moved: b.moved - moved, Stolen: b.stolen - stolen}
	for _, m := range plan(b.cpus, tasks) {
		if err := b.wishes.Put(m.task, uint32(m.to)); err != nil {
			return nil, err
		}
		r.Wished++
	}
	return r, nil
}

// look reads what tasks have wanted since it was last done.
func (b *Balancer) look() ([]wants, error) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return nil, err
	}
	at := time.Duration(now.Nano())
	members := map[uint32]member{}
	var pid uint32
	var m member
	it := b.members.Iterate()
	for it.Next(&pid, &m) {
		members[pid] = m
	}
	// Where tasks come and go quickly some are not seen this time.
	if err := it.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return nil, err
	}
	var tasks []wants
	for pid, m := range members {
		before, known := b.before[pid]
		if int(m.Domain) >= len(b.cpus) || !known {
			continue
		}
		if t := m.wanted(at) - before.wanted(b.at); t > 0 && at > b.at {
			share := min(1, float64(t)/float64(at-b.at))
			tasks = append(tasks, wants{pid, int(m.Domain), share, share * float64(m.Weight) / 100, m.Fixed != 0})
		}
	}
	b.before, b.at = members, at
	v, err := b.done.LookupBytes(uint32(0))
	if err != nil {
		return nil, err
	}
	b.moved, b.stolen = binary.NativeEndian.Uint64(v), binary.NativeEndian.Uint64(v[8:])
	return tasks, nil
}

// wanted is for how long a task has been runnable until then.
func (m member) wanted(at time.Duration) time.Duration {
	t := time.Duration(m.Runnable)
	if m.Since != 0 {
		t += max(0, at-time.Duration(m.Since))
	}
	return t
}

// wants is what a task wanted: for how much of the time it was runnable, and that by its weight.
type wants struct {
	task   uint32
	domain int
	share  float64
	load   float64
	fixed  bool
}

// move is a wish.
type move struct {
	task uint32
	to   int
}

// sum is what domains have to do.
func sum(cpus []int, tasks []wants) []Domain {
	list := make([]Domain, len(cpus))
	for d, n := range cpus {
		list[d].CPUs = n
	}
	for _, t := range tasks {
		d := &list[t.domain]
		d.Tasks, d.Wants, d.Load = d.Tasks+1, d.Wants+t.share, d.Load+t.load
	}
	return list
}

const (
	// worth is by how much of the average load of a CPU two domains have to differ: tasks lose their caches by a move.
	worth = 0.1
	// mostMoves is how many are wished for at a time.
	mostMoves = 256
)

// plan says which tasks should go where. First no CPU is to be without work while another domain has more than it can do; then loads
// are made alike: from the domain that has most for its CPUs goes the task whose move makes it and the one that has least most alike.
func plan(cpus []int, tasks []wants) (moves []move) {
	p := planning{sum(cpus, tasks), slices.SortedFunc(slices.Values(tasks), func(a, b wants) int { return cmp.Compare(a.task, b.task) })}
	for _, next := range []func() (task, to int){p.fill, p.level} {
		for len(moves) < mostMoves {
			i, to := next()
			if i < 0 {
				break
			}
			moves = append(moves, move{p.tasks[i].task, to})
			p.move(i, to)
		}
	}
	return moves
}

// planning is what would be if all moves that are planned were made.
type planning struct {
	domains []Domain
	tasks   []wants
}

// per is what each CPU of a domain has to do.
func (d Domain) per() float64 { return d.Load / float64(max(1, d.CPUs)) }

// over is a domain that cannot do all that is wanted.
func (d Domain) over() bool { return d.Wants > float64(d.CPUs) }

// move moves a task, once at a time.
func (p *planning) move(i, to int) {
	t := &p.tasks[i]
	from, into := &p.domains[t.domain], &p.domains[to]
	from.Wants, from.Load = from.Wants-t.share, from.Load-t.load
	into.Wants, into.Load = into.Wants+t.share, into.Load+t.load
	t.domain, t.fixed = to, true
}

// fill finds a task for which a domain has room, the lightest of the one that has most too much; -1: there is none.
func (p *planning) fill() (task, to int) {
	from, most, room := -1, 0.0, 0.0
	to = -1
	for i, d := range p.domains {
		free := float64(d.CPUs) - d.Wants
		if -free > most {
			from, most = i, -free
		}
		if free > room {
			to, room = i, free
		}
	}
	task = -1
	for i, t := range p.tasks {
		if from >= 0 && t.domain == from && !t.fixed && t.share <= room && t.share <= most && (task < 0 || t.load < p.tasks[task].load) {
			task = i
		}
	}
	return task, to
}

// level finds a task whose move makes loads more alike, and leaves no CPU without work; -1: there is none.
func (p *planning) level() (task, to int) {
	all, n, from := 0.0, 0, -1
	for i, d := range p.domains {
		all, n = all+d.Load, n+d.CPUs
		if d.over() && (from < 0 || d.per() > p.domains[from].per()) {
			from = i
		}
		if d.per() < p.domains[to].per() {
			to = i
		}
	}
	if from < 0 || p.domains[from].per()-p.domains[to].per() <= worth*all/float64(max(1, n)) {
		return -1, to
	}
	task = -1
	least := p.domains[from].per()
	for i, t := range p.tasks {
		if t.domain != from || t.fixed || p.domains[from].Wants-t.share < float64(p.domains[from].CPUs) {
			continue
		}
		a, b := p.domains[from], p.domains[to]
		a.Load, b.Load = a.Load-t.load, b.Load+t.load
		if after := max(a.per(), b.per()); after < least {
			task, least = i, after
		}
	}
	return task, to
}

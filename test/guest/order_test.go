// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"plugsched/internal/guest/vm"
)

// What a module may be in, as far as its files can tell.
type place struct {
	loaded, active, retired bool
	back                    bool   // it was rolled back by the kernel
	trial                   string // active: not "" while one runs; otherwise that of the next install
	holds                   bool   // it would roll back to the other one
}

// A world is two modules. At most one is active; that none is means the kernel's own
// scheduler runs.
type world [2]place

const (
	long  = "3600000"
	short = "1" // it is over before anybody looks
)

// seenFrom is a world as one of its modules is in it, without what does not count any
// more. What can come next is the same in all that are equal so, whichever module it is.
func (w world) seenFrom(module int) string {
	for i := range w {
		if w[i].retired {
			w[i].back, w[i].trial = false, ""
		}
	}
	return fmt.Sprint(w[module], w[1-module])
}

// A move is one thing that root does to one of the modules.
type move struct {
	module int
	what   string // "load", "unload", or a file
	value  string // OTHER is the other module's name
}

func (c move) String() string { return fmt.Sprintf("%d:%s=%s", c.module, c.what, c.value) }

// moves are those that are tried in every world.
func moves() (list []move) {
	trials := []string{"0", long}
	if full {
		trials = append(trials, short)
	}
	for m := range 2 {
		list = append(list, move{m, "load", ""}, move{m, "unload", ""}, move{m, "enable", "1"}, move{m, "enable", "0"},
			move{m, "replace", "OTHER"}, move{m, rollback, "test"}, move{m, "retire", "1"}, move{m, "watchdog", "50"}, move{m, "watchdog", "60000"})
		for _, ms := range trials {
			list = append(list, move{m, "try", ms})
		}
	}
	return list
}

// possible says whether there is something to do the move to.
func (w world) possible(c move) bool { return w[c.module].loaded != (c.what == "load") }

// anyError stands for any of them, where it does not matter which.
const anyError = syscall.Errno(4095)

// after is what a move leads to, by the rules of docs/operate/rollback.md, and the error of it.
func (w world) after(c move) (world, syscall.Errno) {
	m, o := &w[c.module], &w[1-c.module]
	switch c.what {
	case "load":
		*m = place{loaded: true}
	case "unload":
		if !m.retired {
			return w, anyError
		}
		*m = place{}
	case "enable":
		switch {
		case c.value == "0" && m.active:
			*m = place{loaded: true}
		case c.value == "0":
			return w, anyError
		case m.retired:
			return w, syscall.ESHUTDOWN
		case m.active:
			return w, syscall.EALREADY
		case o.active:
			return w, anyError
		default:
			m.begin(o, false)
		}
	case "replace":
		switch {
		case !o.loaded:
			return w, anyError
		case m.retired:
			return w, syscall.ESHUTDOWN
		case m.active:
			return w, anyError
		case !o.active:
			return w, syscall.ENOENT
		default:
			*o = place{loaded: true}
			m.begin(o, true)
		}
	case "try":
		switch {
		case !m.active && o.holds:
			return w, syscall.EBUSY // a way back is no trial
		case !m.active:
			m.trial = strings.TrimPrefix(c.value, "0")
		case c.value != "0":
			return w, syscall.EINVAL
		default:
			m.trial, m.holds = "", false
		}
	case rollback:
		if !m.active {
			return w, anyError
		}
		m.goBack(o)
	case "retire":
		if m.active || o.holds {
			return w, syscall.EBUSY
		}
		m.retired = true
	case "watchdog":
		if c.value == "50" {
			return w, syscall.ERANGE
		}
	}
	return w, 0
}

// begin makes a module the running scheduler, after the other one or after the kernel's.
func (m *place) begin(o *place, over bool) {
	m.active, m.back, m.holds = true, false, over && m.trial != ""
	if m.trial == short {
		m.goBack(o)
	}
}

func (m *place) goBack(o *place) {
	if m.holds {
		o.active, o.back, o.trial = true, false, ""
	}
	*m = place{loaded: true, back: true}
}

// walk is a walk through worlds, in one guest.
type walk struct {
	m       *vm.Machine
	ko, mod [2]string
	at      world
	history []move // since the guest had no module
}

// recent are the last moves. Most of them have changed nothing.
func (k *walk) recent() []move { return k.history[max(0, len(k.history)-20):] }

// do makes a move and reports whether it led where it should.
func (k *walk) do(t *testing.T, c move) bool {
	t.Helper()
	k.history = append(k.history, c)
	want, err := k.at.after(c)
	if got := k.attempt(t, c, err); got != err && (err != anyError || got == 0) {
		t.Errorf("%v: error %d (%v), expected %d (%v); in %+v after %v", c, got, got, err, err, k.at, k.recent())
		return false
	}
	if err == 0 {
		k.at = want
	}
	var saw string
	agrees := func() bool { // a rollback comes later
		saw = k.seen(t)
		return saw == k.at.files()
	}
	if await(k.m, agrees) {
		return true
	}
	t.Errorf("%v: the files say %q, expected %q; after %v", c, saw, k.at.files(), k.recent())
	return false
}

// attempt makes a move, again if only the moment was bad.
func (k *walk) attempt(t *testing.T, c move, want syscall.Errno) (got syscall.Errno) {
	t.Helper()
	name := k.mod[c.module]
	switch c.what {
	case "load":
		ok(t, k.m, "insmod "+k.ko[c.module])
		return 0
	case "unload":
		if _, code := sh(t, k.m, "rmmod "+name+" 2> /dev/null"); code != 0 {
			return anyError
		}
		return 0
	}
	value := strings.Replace(c.value, "OTHER", k.mod[1-c.module], 1)
	await(k.m, func() bool {
		got = write(t, k.m, name, c.what, value)
		return got != syscall.EBUSY || want == got || want == anyError
	})
	return got
}

// files is what the files of a world's modules say, and seen what they do say.
func (w world) files() (text string) {
	for _, m := range w {
		state := "inactive"
		switch {
		case !m.loaded:
			state = "absent"
		case m.active:
			state = "active"
		case m.back:
			state = "rolled back"
		}
		text += fmt.Sprintf("%s, on trial %v\n", state, m.active && m.trial != "")
	}
	return text
}

func (k *walk) seen(t *testing.T) (text string) {
	t.Helper()
	for i, m := range k.at {
		if !m.loaded {
			text += "absent, on trial false\n"
			continue
		}
		var words [2]string
		for j, file := range []string{"state", "try"} {
			b, err := k.m.ReadFile(t.Context(), "/sys/module/"+k.mod[i]+"/plugsched/"+file)
			if err != nil {
				t.Fatal(err)
			}
			words[j] = strings.TrimSpace(string(b))
		}
		text += fmt.Sprintf("%s, on trial %v\n", words[0], words[0] == "active" && words[1] != "0")
	}
	return text
}

// named checks that status tells of the world what is so.
func (k *walk) named(t *testing.T) {
	t.Helper()
	s, running := status(t, k.m), ""
	var states []string
	for i, m := range k.at {
		if m.active {
			running = k.mod[i]
		}
	}
	for _, l := range s.Modules {
		states = append(states, l.Name+" "+l.State)
	}
	for i, line := range strings.Split(strings.TrimSpace(k.at.files()), "\n") {
		state, _, _ := strings.Cut(line, ",")
		if state != "absent" && !slices.Contains(states, k.mod[i]+" "+state) {
			t.Errorf("status: %q, expected %s to be %s", states, k.mod[i], state)
		}
	}
	if s.Name != running || s.Active != (running != "") {
		t.Errorf("status: %q runs, expected %q; after %v", s.Name, running, k.recent())
	}
}

// empty removes all modules as the tool does.
func (k *walk) empty(t *testing.T) {
	t.Helper()
	ok(t, k.m, "! ls -d /sys/module/plugsched_* > /dev/null 2>&1 || plugsched uninstall --verify=false")
	k.at, k.history = world{}, nil
}

// way is the shortest way of moves from a world to one that has a move left to try, which
// is the last of it; nil when there is none.
func way(from world, tried map[string]bool) []move {
	type node struct {
		at   world
		path []move
	}
	seen := map[string]bool{}
	for queue := []node{{at: from}}; len(queue) > 0; queue = queue[1:] {
		n := queue[0]
		if seen[fmt.Sprint(n.at)] {
			continue
		}
		seen[fmt.Sprint(n.at)] = true
		for _, c := range moves() {
			if !n.at.possible(c) {
				continue
			}
			path := append(slices.Clip(n.path), c)
			if !tried[n.at.edge(c)] {
				return path
			}
			if next, err := n.at.after(c); err == 0 {
				queue = append(queue, node{next, path})
			}
		}
	}
	return nil
}

// edge names a move in a world.
func (w world) edge(c move) string { return fmt.Sprint(w.seenFrom(c.module), c.what, c.value) }

// TestOrders makes every move in every world that two modules can be in. The rules
// above say where each leads; status must say the same.
func TestOrders(t *testing.T) {
	t.Parallel()
	k := newWalk(t)
	tried, worlds := map[string]bool{}, map[string]bool{}
	steps, start := 0, time.Now()
	for wrong := 0; wrong < 10; {
		path := way(k.at, tried)
		if path == nil {
			break
		}
		for _, c := range path {
			tried[k.at.edge(c)] = true
			steps++
			if !k.do(t, c) {
				wrong++
				k.empty(t)
				break
			}
			if !worlds[k.at.seenFrom(0)] {
				worlds[k.at.seenFrom(0)], worlds[k.at.seenFrom(1)] = true, true
				k.named(t)
			}
		}
	}
	k.empty(t)
	stock(t, k.m)
	t.Logf("%d worlds, %d moves, %d with those to get there, in %v", len(worlds), len(tried), steps, time.Since(start).Round(time.Second))
}

func newWalk(t *testing.T) *walk {
	b := variant(t, otherPatch)
	return &walk{m: borrow(t, with("/other.ko", b)), ko: [2]string{"/scheduler.ko", "/other.ko"},
		mod: [2]string{moduleName(t, shared.project.Module()), moduleName(t, b)}}
}

// TestWriters: several programs write to the files at the same time, whatever comes to
// their minds. What the modules are in afterwards is one of the worlds, and all goes on.
// SEED repeats a run, as far as the writers' words go.
func TestWriters(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	k := newWalk(t)
	rounds, words := 2, 150
	if full {
		rounds, words = 20, 500
	}
	for round := range rounds {
		k.at = world{{loaded: true}, {loaded: true}}
		ok(t, k.m, "insmod /scheduler.ko; insmod /other.ko")
		const writers = 4
		for w := range writers {
			k.m.WriteFile(t.Context(), fmt.Sprintf("/run/writer%d", w), []byte(k.words(random, words)), 0o755)
		}
		out := ok(t, k.m, fmt.Sprintf(`cd /run; for w in $(seq 0 %d); do sh writer$w > writer$w.log 2>&1 & done
			wait; cat writer*.log | sort | uniq -c | sort -n`, writers-1))
		t.Logf("round %d:\n%s", round, out)
		k.settled(t)
		k.empty(t)
	}
	ok(t, k.m, "schedload start --spec light && plugsched install /scheduler.ko")
	goesOn(t, k.m)
	ok(t, k.m, "plugsched uninstall && schedload stop")
	stock(t, k.m)
}

// TestRollbackWhileEnabling: a rollback is over in the stopped machine, and what it leaves
// to do comes later. Whoever makes the module run again in between, and rolls it back
// again, must not make two rollbacks one: a reference was lost then, and the module stayed.
func TestRollbackWhileEnabling(t *testing.T) {
	t.Parallel()
	k := newWalk(t)
	ok(t, k.m, "insmod /scheduler.ko")
	dir := "/sys/module/" + k.mod[0]
	out := ok(t, k.m, `cd `+dir+`/plugsched
		for i in 1 2 3; do
			while [ ! -e /run/enough ]; do usleep 20000; echo test > rollback; done 2> /dev/null &
		done
		n=0; while [ $n -lt 30 ]; do echo 1 > enable && n=$((n+1)); done 2> /dev/null
		touch /run/enough; wait; rm /run/enough
		dmesg | grep -c "took over from plugsched"`)
	if n, err := strconv.Atoi(out); err != nil || n < 29 {
		t.Fatalf("%q rollbacks", out)
	}
	if !await(k.m, func() bool { return ok(t, k.m, "cat "+dir+"/refcnt") == "1" }) {
		t.Errorf("references: %s, expected 1, the module's own", ok(t, k.m, "cat "+dir+"/refcnt"))
	}
	k.empty(t)
}

// words is a program of random writes, which says the results.
func (k *walk) words(random *rand.Rand, n int) string {
	var b strings.Builder
	b.WriteString("w() { if echo $3 > /sys/module/$1/plugsched/$2; then echo $2=$3 done; else echo $2=$3; fi 2> /dev/null; }\n")
	files := []struct{ name, value string }{
		{"enable", "1"}, {"enable", "1"}, {"enable", "0"}, {"replace", "OTHER"}, {"replace", "OTHER"},
		{"try", "0"}, {"try", long}, {"try", short}, {"try", "100"},
		{rollback, "test"}, {"watchdog", "0"}, {"watchdog", "60000"}, {"retire", "1"},
	}
	for range n {
		f, module := files[random.IntN(len(files))], random.IntN(2)
		if f.name == "retire" && random.IntN(4) > 0 {
			continue // or there is soon nothing to do
		}
		if f.name == "retire" {
			fmt.Fprintf(&b, "w %[1]s retire 1; rmmod %[1]s && echo unloaded; insmod %[2]s\n", k.mod[module], k.ko[module])
			continue
		}
		fmt.Fprintf(&b, "w %s %s %s\n", k.mod[module], f.name, strings.Replace(f.value, "OTHER", k.mod[1-module], 1))
	}
	return strings.ReplaceAll(b.String(), "rmmod", "2> /dev/null rmmod")
}

// settled checks what the writers have left: it does not change any more once trials are
// over, at most one module is active, and status says which.
func (k *walk) settled(t *testing.T) {
	t.Helper()
	const look = "for d in /sys/module/plugsched_*/plugsched; do echo $d $(cat $d/state); done"
	ok(t, k.m, "sleep 1")
	const left = "for d in /sys/module/plugsched_*/plugsched; do grep -qx active $d/state && cat $d/try; done; true"
	await(k.m, func() bool { // a short trial that has begun last, tasks in the way of its end
		ms := ok(t, k.m, left)
		return ms == "" || ms == "0" || len(ms) > 4
	})
	out := ok(t, k.m, look)
	active := ""
	for line := range strings.Lines(out) {
		dir, state, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch state {
		case "active":
			if active != "" {
				t.Errorf("two are active:\n%s", out)
			}
			active = strings.Split(dir, "/")[3]
		case "inactive", "rolled back":
		default:
			t.Errorf("%q is no state", line)
		}
	}
	if s := status(t, k.m); s.Name != active || s.Active != (active != "") {
		t.Errorf("%q is active and status says %q", active, s.Name)
	}
	link := ok(t, k.m, "[ ! -L /sys/kernel/plugsched ] || readlink -f /sys/kernel/plugsched")
	if active != "" && link != "/sys/module/"+active+"/plugsched" || active == "" && link != "" {
		t.Errorf("%q is active and /sys/kernel/plugsched leads to %q", active, link)
	}
}

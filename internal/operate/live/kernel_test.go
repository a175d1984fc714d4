// SPDX-License-Identifier: BSD-3-Clause

package live

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"plugsched/internal/elffile"

	"github.com/google/go-cmp/cmp"
)

// note encodes one ELF note.
func note(name string, kind uint32, desc ...byte) []byte {
	var b []byte
	for _, v := range []uint32{uint32(len(name)), uint32(len(desc)), kind} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	pad := func() {
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
	}
	b = append(b, name...)
	pad()
	b = append(b, desc...)
	pad()
	return b
}

func TestGNUBuildID(t *testing.T) {
	join := func(l ...[]byte) (out []byte) {
		for _, b := range l {
			out = append(out, b...)
		}
		return out
	}
	id := note("GNU\x00", 3, 0xde, 0xad, 0xbe, 0xef, 0x01)
	for name, tt := range map[string]struct {
		notes []byte
		want  string
	}{
		"alone":          {id, "deadbeef01"},
		"behind others":  {join(note("Xen\x00", 3, 1, 2, 3), note("Linux\x00", 0x101, 9), note("GNU\x00", 1, 5, 5, 5, 5), id), "deadbeef01"},
		"no padding":     {id[:len(id)-3], "deadbeef01"},
		"first one wins": {join(id, note("GNU\x00", 3, 1)), "deadbeef01"},
		"other owner":    {note("GNX\x00", 3, 1, 2), ""},
		"other kind":     {note("GNU\x00", 4, 1, 2), ""},
		"none":           {nil, ""},
		"huge name":      {append([]byte{0xff, 0xff, 0xff, 0xff, 4, 0, 0, 0, 3, 0, 0, 0}, make([]byte, 32)...), ""},
		"huge contents":  {append([]byte{4, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 3, 0, 0, 0}, "GNU\x00\x01\x02"...), ""},
	} {
		got, ok := elffile.BuildID(tt.notes, binary.LittleEndian)
		if got != tt.want || ok != (tt.want != "") {
			t.Errorf("%s: %q, %v; want %q", name, got, ok, tt.want)
		}
	}
	for i := range len(id) - 3 {
		if got, ok := elffile.BuildID(id[:i], binary.LittleEndian); ok {
			t.Errorf("%d of %d bytes give %q", i, len(id), got)
		}
	}
}

func TestMatchWitnesses(t *testing.T) {
	link := map[string]uint64{"a": 0xffffffff81000000, "b": 0xffffffff81000100, "c": 0xffffffff82000000}
	moved := func(by uint64, changes map[string]uint64) map[string]uint64 {
		m := map[string]uint64{}
		for n, a := range link {
			m[n] = a + by
		}
		for n, a := range changes {
			m[n] = a
		}
		return m
	}
	without := moved(0x1000000, nil)
	delete(without, "b")
	for name, tt := range map[string]struct {
		running, link map[string]uint64
		err           string
	}{
		"equal":         {moved(0x1000000, nil), link, ""},
		"not moved":     {moved(0, nil), link, ""},
		"moved down":    {moved(^uint64(0x1fffff), nil), link, ""},
		"one differs":   {moved(0x1000000, map[string]uint64{"c": 0xffffffff83000010}), link, "not as far apart"},
		"missing":       {without, link, "has no b"},
		"hidden":        {map[string]uint64{"a": 0, "b": 0, "c": 0}, link, "kptr_restrict"},
		"nothing known": {nil, link, "/proc/kallsyms has no "},
		"no witnesses":  {moved(0, nil), nil, "no symbol to check"},
	} {
		for range 8 { // the order of a map
			err := matchWitnesses(tt.running, tt.link)
			var f *Finding
			if tt.err == "" && err != nil || tt.err != "" && (!errors.As(err, &f) || !strings.Contains(err.Error(), tt.err)) {
				t.Fatalf("%s: %v; want %q", name, err, tt.err)
			}
		}
	}
}

// TestOwnMachine: what the checks read exists here too.
func TestOwnMachine(t *testing.T) {
	release, err := Host{}.Release()
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil || release != strings.TrimSpace(string(want)) {
		t.Errorf("release %q, want %q (%v)", release, want, err)
	}
	if id, err := (Host{}).BuildID(); err != nil || len(id) < 16 {
		t.Logf("build-id %q, %v", id, err) // a container may hide it
	}
}

func TestParseTimings(t *testing.T) {
	want := &Timings{Direction: "install", CPUs: 4, Threads: 700, Stopped: 12, Scan: 1, StopMachine: 2, Handler: 3, StackCheck: 4,
		Clear: 5, Redirect: 6, Rebuild: 7, Finished: 8, Gather: 9, Enter: 10, Leave: 11}
	text := "direction install\ncpus 4\nthreads 700\nthreads_stopped 12\nscan_ns 1\nstop_machine_ns 2\n" +
		"gather_ns 9\nenter_ns 10\nhandler_ns 3\nstack_check_ns 4\nclear_ns 5\nredirect_ns 6\nrebuild_ns 7\nleave_ns 11\nfinished_boottime_ns 8\n"
	if diff := cmp.Diff(want, ParseTimings(text)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(&Timings{CPUs: 2}, ParseTimings("later 5\n\ncpus 2\nclear_ns x\nrebuild_ns\n")); diff != "" {
		t.Errorf("unknown and damaged lines: %s", diff)
	}
	encoded, err := json.Marshal(Status{Active: true, Name: "n", Release: "r", BuildID: "b", Timings: want})
	if err != nil {
		t.Fatal(err)
	}
	const wantJSON = `{"active":true,"name":"n","release":"r","build_id":"b","timings":{"direction":"install","cpus":4,"threads":700,"threads_stopped":12,"scan_ns":1,"stop_machine_ns":2,` +
		`"gather_ns":9,"enter_ns":10,"handler_ns":3,"stack_check_ns":4,"clear_ns":5,"redirect_ns":6,"rebuild_ns":7,` +
		`"leave_ns":11,"finished_boottime_ns":8}}`
	if diff := cmp.Diff(wantJSON, string(encoded)); diff != "" {
		t.Errorf("what programs read: %s", diff)
	}
}

func TestErrors(t *testing.T) {
	cause := errors.New("cause")
	if err := (&PreconditionError{cause}); !errors.Is(err, cause) || err.Error() != "cause" {
		t.Errorf("%v", err)
	}
	if s := (&BusyError{Tries: 3, Report: "task 5"}).Error(); !strings.Contains(s, "3 tries") || !strings.HasSuffix(s, "\ntask 5") {
		t.Errorf("%q", s)
	}
	if s := (&KernelFault{Lines: []string{"BUG: x", "WARNING: y"}}).Error(); !strings.Contains(s, "\n  BUG: x\n  WARNING: y") {
		t.Errorf("%q", s)
	}
}

// TestCheckRefuses: what is wrong with a module is said before anything is done.
func TestCheckRefuses(t *testing.T) {
	m, err := parse(module(t, description(t, good)))
	if err != nil {
		t.Fatal(err)
	}
	m.Path = filepath.Join("some", "a.ko")
	err = Host{}.Check(m, InstallOptions{})
	var pre *PreconditionError
	if !errors.As(err, &pre) {
		t.Fatalf("error %v", err)
	}
	want := "is for kernel 6.1.0, but"
	if !(Host{}).MaySysModule() {
		want = "needs root"
	}
	if !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
}

// SPDX-License-Identifier: BSD-3-Clause

package image

import (
	"bytes"
	"context"
	"debug/dwarf"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"plugsched/internal/fuzzing"
)

// A patch overwrites bytes of one section, or of the headers.
type patch struct {
	section uint8
	at      uint16
	bytes   []byte
}

// apply patches the section modulo their number; 0 is the whole file. at is in
// units of the place's size / 65536, so that all of it can be reached.
func (p patch) apply(image []byte, places [][2]uint64) {
	r := places[int(p.section)%len(places)]
	copy(image[r[0]+uint64(p.at)*r[1]>>16:r[0]+r[1]], p.bytes)
}

// places are the file, its ELF header, its section headers and its sections.
func places(f *testing.F, path string, size int) [][2]uint64 {
	f.Helper()
	e, err := elf.Open(path)
	if err != nil {
		f.Fatal(err)
	}
	defer e.Close()
	n := uint64(len(e.Sections)) * 64
	out := [][2]uint64{{0, uint64(size)}, {0, 64}, {uint64(size) - n, n}}
	for _, s := range e.Sections {
		if s.Type != elf.SHT_NOBITS && s.FileSize > 0 {
			out = append(out, [2]uint64{s.Offset, s.FileSize})
		}
	}
	return out
}

// FuzzLoad: a damaged vmlinux is refused or read, and the model can be used.
func FuzzLoad(f *testing.F) {
	kernel := tinyKernel(f)
	b, err := os.ReadFile(kernel)
	if err != nil {
		f.Fatal(err)
	}
	where := places(f, kernel, len(b))
	f.Add(uint8(0), uint16(0), []byte(nil), uint8(0), uint16(0), []byte(nil))
	for i := range where {
		f.Add(uint8(i), uint16(0x4000), []byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0x80}, uint8(i), uint16(0xc000), []byte{0})
	}
	path := filepath.Join(f.TempDir(), "vmlinux")
	f.Fuzz(func(t *testing.T, section1 uint8, at1 uint16, bytes1 []byte, section2 uint8, at2 uint16, bytes2 []byte) {
		m := append([]byte(nil), b...)
		patch{section1, at1, bytes1}.apply(m, where)
		patch{section2, at2, bytes2}.apply(m, where)
		if err := os.WriteFile(path, m, 0o600); err != nil {
			t.Fatal(err)
		}
		fuzzing.Bounded(t, func() {
			p, err := Load(context.Background(), path, Options{})
			if err != nil {
				return
			}
			for _, fn := range p.Functions {
				p.Callers(fn)
				p.NextFunction(fn)
				p.PatchSiteIn(fn.Addr, fn.Addr+fn.Size)
			}
		})
	})
}

// FuzzOpen: a file of any kind is refused or its headers and symbols are read.
func FuzzOpen(f *testing.F) {
	dir := f.TempDir()
	source, small := filepath.Join(dir, "a.S"), filepath.Join(dir, "small")
	if err := os.WriteFile(source, []byte(".globl f\n.type f,@function\nf:\n\tret\n.size f,.-f\n.data\nd:\n\t.quad f\n"), 0o600); err != nil {
		f.Fatal(err)
	}
	gcc(f, dir, "-nostdlib", "-static", "-no-pie", "-Wl,-e,f,-z,noseparate-code,--build-id=sha1", "-o", small, source)
	b, err := os.ReadFile(small)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:len(b)/2])
	f.Add([]byte("\x7fELF"))
	path := filepath.Join(dir, "vmlinux")
	f.Fuzz(func(t *testing.T, image []byte) {
		if err := os.WriteFile(path, image, 0o600); err != nil {
			t.Fatal(err)
		}
		fuzzing.Bounded(t, func() {
			v, err := open(path)
			if err != nil {
				return
			}
			defer v.close()
			v.checkDataInPlace()
			v.buildID()
			v.functions()
			v.objects()
			v.exports()
		})
	})
}

const dwarfSample = `
typedef struct { int counter; } atomic_t;
struct list { struct list *next; union { unsigned a : 3, b : 5; char c[4]; }; };
enum state { RUNNING, SLEEPING = 0x402 };
struct rq { atomic_t n; struct list head; enum state s; int (*pick)(struct rq *, const char *, ...); long flex[]; };
extern int shared[4];
int shared[4] = { 1 };
static inline int add(struct rq *rq, int n) { static int calls; calls += n; return rq->n.counter + calls; }
int twice(struct rq *rq) { { volatile int local = add(rq, 2); return local + shared[1]; } }
int cold(struct rq *rq) { return __builtin_expect(rq->s == SLEEPING, 0) ? twice(rq) : add(rq, 1); }
`

// fuzzedSections are the arguments of FuzzDWARF.
var fuzzedSections = []string{"abbrev", "info", "line", "str", "line_str", "ranges", "rnglists", "addr"}

// dwarfOf compiles the sample and returns its debug sections.
func dwarfOf(f testing.TB, flags ...string) (out [8][]byte) {
	f.Helper()
	dir := f.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.c"), []byte(dwarfSample), 0o600); err != nil {
		f.Fatal(err)
	}
	gcc(f, dir, append(flags, "-O2", "-nostdlib", "-static", "-no-pie", "-Wl,-e,twice", "-o", "a", "a.c")...)
	e, err := elf.Open(filepath.Join(dir, "a"))
	if err != nil {
		f.Fatal(err)
	}
	defer e.Close()
	for i, name := range fuzzedSections {
		if s := e.Section(".debug_" + name); s != nil {
			if out[i], err = s.Data(); err != nil {
				f.Fatal(err)
			}
		}
	}
	return out
}

// FuzzDWARF: debug sections of any content are refused or read.
func FuzzDWARF(f *testing.F) {
	for _, version := range []string{"-gdwarf-3", "-gdwarf-4", "-gdwarf-5"} {
		s := dwarfOf(f, "-g", version)
		f.Add(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7])
	}
	f.Fuzz(func(t *testing.T, abbrev, info, line, str, lineStr, ranges, rnglists, addr []byte) {
		s := debugSections{}
		for i, b := range [][]byte{abbrev, info, line, str, lineStr, ranges, rnglists, addr} {
			s[fuzzedSections[i]] = b
		}
		fuzzing.Bounded(t, func() {
			di, err := s.open()
			if err != nil {
				return
			}
			for i := range di.units {
				di.read(&di.units[i], true)
			}
			di.readTypes(func(string) bool { return true })
		})
	})
}

// TestDebugSections: what the compiler writes passes the checks, and is refused
// where it would exhaust memory.
func TestDebugSections(t *testing.T) {
	for _, version := range []string{"-gdwarf-3", "-gdwarf-4", "-gdwarf-5"} {
		sections := func() debugSections {
			s := debugSections{}
			for i, b := range dwarfOf(t, "-g", version) {
				s[fuzzedSections[i]] = b
			}
			return s
		}
		read := func(s debugSections) error {
			di, err := s.open()
			if err == nil {
				_, err = di.readTypes(func(string) bool { return true })
			}
			return err
		}
		if err := read(sections()); err != nil {
			t.Errorf("%s: %v", version, err)
		}
		long := sections()
		long["str"] = append(long["str"], strings.Repeat("x", maxDebugString+1)...)
		endless := sections()
		endless["abbrev"] = bytes.TrimRight(endless["abbrev"], "\x00")
		for name, s := range map[string]debugSections{"long string": long, "endless table": endless} {
			if read(s) == nil {
				t.Errorf("%s: %s is accepted", version, name)
			}
		}
	}
}

// TestLineTable: a header that announces more than there is room for.
func TestLineTable(t *testing.T) {
	table := func(directories, files uint64) []byte {
		b := []byte{0, 0, 0, 0, 5, 0, 8, 0, 0, 0, 0, 0, 1, 1, 1, 0xfb, 14, 1}
		b = append(b, 1, 1, 0x08) // one form: a path, as a string
		b = binary.AppendUvarint(b, directories)
		b = append(b, "/a\x00"...)
		b = append(b, 0) // no form
		b = binary.AppendUvarint(b, files)
		return append(b, 0, 0)
	}
	for _, tt := range []struct {
		directories, files uint64
		ok                 bool
	}{{1, 2, true}, {1, 3, false}, {1, 1 << 60, false}, {1 << 40, 0, false}} {
		if err := checkLineTable(table(tt.directories, tt.files), 0); (err == nil) != tt.ok {
			t.Errorf("%d directories, %d files: %v", tt.directories, tt.files, err)
		}
	}
}

// TestEndlessParameters: a function type that is its own parameter.
func TestEndlessParameters(t *testing.T) {
	s := debugSections{}
	for i, b := range dwarfOf(t, "-g", "-gdwarf-4") {
		s[fuzzedSections[i]] = b
	}
	d, err := dwarf.New(s["abbrev"], nil, nil, s["info"], s["line"], nil, nil, s["str"])
	if err != nil {
		t.Fatal(err)
	}
	var function, pointer, parameter dwarf.Offset
	for r := d.Reader(); ; {
		e, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if e == nil {
			break
		}
		switch typ, _ := e.Val(dwarf.AttrType).(dwarf.Offset); e.Tag {
		case dwarf.TagSubroutineType:
			function = e.Offset
		case dwarf.TagPointerType:
			if function != 0 && typ == function {
				pointer = e.Offset
			}
		case dwarf.TagFormalParameter:
			if function != 0 && parameter == 0 {
				parameter = e.Offset
			}
		}
	}
	if function == 0 || pointer == 0 || parameter == 0 {
		t.Fatalf("function type %#x, pointer %#x, parameter %#x", function, pointer, parameter)
	}
	// Behind the abbreviation's number, one byte, comes the type, a distance in this only unit.
	binary.LittleEndian.PutUint32(s["info"][parameter+1:], uint32(pointer))
	di, err := s.open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := di.readTypes(func(string) bool { return true }); err == nil || !strings.Contains(err.Error(), "has no end") {
		t.Errorf("error %v", err)
	}
}

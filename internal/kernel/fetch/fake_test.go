// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fakeKernel describes a kernel whose artefacts are synthesised.
type fakeKernel struct {
	release, version, makefile string // makefile: "6.1.7"
	compiler                   string
	buildID                    string
	noDWARF                    bool
	mine                       bool // not built by Debian
	config                     string
}

func newKernel(release, version string) fakeKernel {
	return fakeKernel{
		release: release, version: version, makefile: upstreamVersion(version),
		compiler: "gcc-test (Test 1.0-1) 1.0", buildID: "id of " + release + " " + version,
		config: "CONFIG_SMP=y\nCONFIG_HZ=250\n" + neededConfig,
	}
}

// neededConfig is what no kernel can be without.
const neededConfig = `CONFIG_64BIT=y
CONFIG_CC_IS_GCC=y
CONFIG_KALLSYMS=y
CONFIG_KALLSYMS_ALL=y
CONFIG_MODULES=y
CONFIG_MODULE_UNLOAD=y
CONFIG_PROC_FS=y
CONFIG_SYSFS=y
CONFIG_DEBUG_INFO=y
CONFIG_STACKTRACE=y
CONFIG_TRACEPOINTS=y
CONFIG_HAVE_RELIABLE_STACKTRACE=y
`

func (k fakeKernel) toolset() string { return k.compiler + ", GNU ld (Test) 2.0" }
func (k fakeKernel) uts() string {
	if k.mine {
		return "#1 SMP Fri Jan  2 00:00:00 UTC 2026"
	}
	return "#1 SMP Debian " + k.version + " (2026-01-02)"
}

func (k fakeKernel) vmlinux() []byte {
	banner := fmt.Sprintf("Linux version %s (a@b) (%s) %s\n\x00", k.release, k.toolset(), k.uts())
	// Ahead of the banner in 6.1's .rodata is the one that was linked without
	// a version number; only the symbol tells them apart.
	decoy := "Linux version " + k.release + " (a@b) (x) # SMP\x00"
	secs := []section{
		{".rodata", elf.SHT_PROGBITS, []byte(decoy + banner)},
		{".notes", elf.SHT_NOTE, append(note("Linux", 257, []byte{0, 0, 0, 0}), note("GNU", 3, []byte(k.buildID))...)},
	}
	if !k.noDWARF {
		secs = append(secs, section{".debug_info", elf.SHT_PROGBITS, []byte("not read here")})
	}
	return writeELF(secs, "linux_banner", uint64(len(decoy)))
}

type section struct {
	name string
	typ  elf.SectionType
	data []byte
}

func note(name string, typ uint32, desc []byte) []byte {
	var b bytes.Buffer
	name += "\x00"
	binary.Write(&b, binary.LittleEndian, []uint32{uint32(len(name)), uint32(len(desc)), typ})
	b.WriteString(name + strings.Repeat("\x00", -len(name)&3))
	b.Write(append(desc, make([]byte, -len(desc)&3)...))
	return b.Bytes()
}

// writeELF makes an x86-64 executable with one symbol in the first section,
// which is linked at 0x1000.
func writeELF(secs []section, symbol string, offset uint64) []byte {
	var sym bytes.Buffer
	binary.Write(&sym, binary.LittleEndian, []elf.Sym64{{}, {Name: 1, Info: 1, Shndx: 1, Value: 0x1000 + offset}})
	secs = append(append([]section{{}}, secs...),
		section{".symtab", elf.SHT_SYMTAB, sym.Bytes()},
		section{".strtab", elf.SHT_STRTAB, []byte("\x00" + symbol + "\x00")})
	names := []byte{0}
	var body bytes.Buffer
	var hdrs []elf.Section64
	strtab := uint32(len(secs) - 1)
	secs = append(secs, section{".shstrtab", elf.SHT_STRTAB, nil})
	for i, s := range secs {
		h := elf.Section64{Name: uint32(len(names)), Type: uint32(s.typ)}
		names = append(append(names, s.name...), 0)
		if i == len(secs)-1 {
			s.data = names
		}
		h.Off, h.Size = uint64(64+body.Len()), uint64(len(s.data))
		if i == 1 {
			h.Addr = 0x1000
		}
		if s.typ == elf.SHT_SYMTAB {
			h.Link, h.Entsize = strtab, 24
		}
		if i == 0 {
			h = elf.Section64{}
		}
		body.Write(append(s.data, make([]byte, -len(s.data)&7)...))
		hdrs = append(hdrs, h)
	}
	eh := elf.Header64{
		Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: 1, Shoff: uint64(64 + body.Len()),
		Ehsize: 64, Shentsize: 64, Shnum: uint16(len(hdrs)), Shstrndx: uint16(len(hdrs) - 1),
	}
	copy(eh.Ident[:], "\x7fELF\x02\x01\x01")
	var out bytes.Buffer
	binary.Write(&out, binary.LittleEndian, eh)
	out.Write(body.Bytes())
	binary.Write(&out, binary.LittleEndian, hdrs)
	return out.Bytes()
}

func (k fakeKernel) vmlinuz() []byte {
	b := make([]byte, 0x600)
	copy(b[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(b[0x20e:], 0x300)
	copy(b[0x500:], k.release+" (a@b) "+k.uts()+"\x00")
	return b
}

// tree is a set of files; a value that starts with "-> " is a symbolic link.
type tree map[string]string

func (k fakeKernel) common() string { return "linux-headers-" + k.abi() + "-common" }
func (k fakeKernel) abi() string    { a, _, _ := splitRelease(k.release); return a }

func (k fakeKernel) makefileText() string {
	v := strings.Split(k.makefile, ".")
	return fmt.Sprintf("VERSION = %s\nPATCHLEVEL = %s\nSUBLEVEL = %s\n", v[0], v[1], v[2])
}

func (k fakeKernel) headers() tree {
	d := "usr/src/linux-headers-" + k.release + "/"
	return tree{
		d + "Makefile":                             "include /usr/src/" + k.common() + "/Makefile\n",
		d + ".config":                              k.config + "CONFIG_BUILD_SALT=\"x\"\n",
		d + ".kernelvariables":                     "CC = gcc-test\n",
		d + "Module.symvers":                       "",
		d + "arch/x86/module.lds":                  "",
		d + "include/generated/utsrelease.h":       "#define UTS_RELEASE \"" + k.release + "\"\n",
		d + "include/generated/compile.h":          "#define UTS_MACHINE\t\t\"x86_64\"\n#define LINUX_COMPILER\t\t\"" + k.toolset() + "\"\n",
		d + "include/config/auto.conf":             k.config,
		d + "scripts":                              "-> ../../lib/linux-kbuild-" + series(k.version) + "/scripts",
		"usr/share/doc/linux-headers/changelog":    "not wanted",
		"usr/src/linux-headers-" + k.release + "x": "decoy",
	}
}

func (k fakeKernel) commonTree() tree {
	d := "usr/src/" + k.common() + "/"
	return tree{
		d + "Makefile":              k.makefileText(),
		d + "include/linux/sched.h": "/* sched.h " + k.version + " */",
		d + "include/linux/only.h":  "",
	}
}

func (k fakeKernel) kbuildTree() tree {
	return tree{"usr/lib/linux-kbuild-" + series(k.version) + "/scripts/Kbuild.include": ""}
}

func (k fakeKernel) source() tree {
	return tree{
		"Makefile":              k.makefileText(),
		"kernel/sched/core.c":   "core " + k.version,
		"kernel/sched/sched.h":  "",
		"io_uring/io-wq.h":      "",
		"fs/exec.c":             "",
		"drivers/Makefile":      "",
		"drivers/base/core.c":   "",
		"include/linux/sched.h": "/* sched.h " + k.version + " */",
		"arch/x86/Makefile":     "",
		"scripts/checkpatch.pl": "",
	}
}

// extraSource is in the archive but not to be unpacked.
func (k fakeKernel) extraSource() tree {
	return tree{"sound/": "", "sound/a.c": "", "drivers/gpu/a.c": "", "arch/mips/Makefile": "", "tools/x": ""}
}

func (tr tree) tar(prefix string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	// Sorted like Debian's archives: System.map- is before vmlinux-.
	for _, name := range slices.Sorted(maps.Keys(tr)) {
		h := &tar.Header{Name: prefix + name, Mode: 0o644, Size: int64(len(tr[name])), Typeflag: tar.TypeReg}
		body := tr[name]
		if to, ok := strings.CutPrefix(body, "-> "); ok {
			h.Typeflag, h.Linkname, h.Size, body = tar.TypeSymlink, to, 0, ""
		}
		if strings.HasSuffix(name, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		}
		if err := w.WriteHeader(h); err != nil {
			panic(err)
		}
		w.Write([]byte(body))
	}
	w.Close()
	return b.Bytes()
}

func (tr tree) write(t *testing.T, dir string) {
	t.Helper()
	for name, body := range tr {
		p := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(p), 0o755))
		if to, ok := strings.CutPrefix(body, "-> "); ok {
			must(t, os.Symlink(to, p))
			continue
		}
		must(t, os.WriteFile(p, []byte(body), 0o644))
	}
}

func merge(trees ...tree) tree {
	all := tree{}
	for _, tr := range trees {
		for k, v := range tr {
			all[k] = v
		}
	}
	return all
}

// archive is what the programs in testdata/bin serve.
type archive struct {
	t   *testing.T
	dir string
}

func newArchive(t *testing.T) *archive {
	t.Helper()
	bin, err := filepath.Abs("testdata/bin")
	must(t, err)
	a := &archive{t, t.TempDir()}
	must(t, os.Mkdir(filepath.Join(a.dir, "pool"), 0o755))
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("FAKE_ARCHIVE", a.dir)
	return a
}

// add publishes one package.
func (a *archive) add(name, version, depends string, body []byte) {
	a.t.Helper()
	must(a.t, os.WriteFile(filepath.Join(a.dir, "pool", name+"_"+version+"_all.deb"), body, 0o644))
	f, err := os.OpenFile(filepath.Join(a.dir, "lists"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	must(a.t, err)
	defer f.Close()
	fmt.Fprintf(f, "Package: %s\nVersion: %s\nInstalled-Size: 1\nDepends: %s\nFilename: pool/x.deb\nSize: %d\nSHA256: %x\nDescription: x\n more: text\n\n",
		name, version, depends, len(body), sha256.Sum256(body))
}

// publish adds all packages of a kernel, except those whose name starts with
// one of the omitted prefixes.
func (a *archive) publish(k fakeKernel, omit ...string) {
	a.t.Helper()
	add := func(name, depends string, body []byte) {
		for _, o := range omit {
			if strings.HasPrefix(name, o) {
				return
			}
		}
		a.add(name, k.version, depends, body)
	}
	x := series(k.version)
	add("linux-image-"+k.release, "kmod", tree{
		"./boot/vmlinuz-" + k.release: string(k.vmlinuz()), "./boot/config-" + k.release: k.config,
		"./lib/modules/" + k.release + "/modules.builtin":   "kernel/fs/ext4/ext4.ko\n",
		"./lib/modules/" + k.release + "/kernel/fs/fuse.ko": "a module",
	}.tar(""))
	if len(omit) == 0 || omit[0] != "dbg" {
		add("linux-image-"+k.release+"-dbg", "", tree{
			"./usr/lib/debug/boot/System.map-" + k.release: "map",
			"./usr/lib/debug/boot/vmlinux-" + k.release:    string(k.vmlinux()),
			"./usr/lib/debug/lib/modules/x.ko":             strings.Repeat("not wanted", 50_000),
		}.tar(""))
	}
	add("linux-headers-"+k.release, fmt.Sprintf("linux-base, %s (= %s), linux-kbuild-%s (>= %s), linux-compiler-gcc-12-x86",
		k.common(), k.version, x, k.version), k.headers().tar("./"))
	add(k.common(), "", k.commonTree().tar("./"))
	add("linux-kbuild-"+x, "", k.kbuildTree().tar("./"))
	src := "linux-source-" + x
	add(src, "", tree{
		"./usr/share/doc/x":            "",
		"./usr/src/" + src + ".tar.xz": string(merge(k.source(), k.extraSource()).tar(src + "/")),
	}.tar(""))
}

func (a *archive) log() string {
	b, _ := os.ReadFile(filepath.Join(a.dir, "log"))
	return string(b)
}

func (a *archive) clearLog() { os.Remove(filepath.Join(a.dir, "log")) }

// options are for a host that runs another kernel and has nothing installed.
func (a *archive) options(release string) Options {
	return Options{
		Release: release, CacheDir: filepath.Join(a.dir, "cache"),
		host: &host{root: filepath.Join(a.dir, "host"), uname: func() (string, string) { return "other", "#1" }, arch: "amd64"},
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

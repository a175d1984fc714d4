// SPDX-License-Identifier: BSD-3-Clause

package live

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"plugsched/internal/artefact/desc"
)

func run(t testing.TB, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// module makes a module that refers to three symbols; its description is text,
// or absent when that is empty.
func module(t testing.TB, text string) []byte {
	t.Helper()
	dir := t.TempDir()
	write := func(name, s string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("a.s", "\t.globl init_module\ninit_module:\n\tcall moving\n\tmov %gs:percpu, %rax\n\tcall other\n\tret\n\t.comm spare,64,64\n")
	run(t, dir, "as", "-o", "a.o", "a.s")
	if text == "" {
		run(t, dir, "cp", "a.o", "a.ko")
	} else {
		write("a.json", text)
		run(t, dir, "objcopy", "--add-section", desc.Section+"=a.json", "--set-section-flags", desc.Section+"=readonly,noload", "a.o", "a.ko")
	}
	image, err := os.ReadFile(filepath.Join(dir, "a.ko"))
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func description(t testing.TB, d desc.Description) string {
	t.Helper()
	text, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var good = desc.Description{Format: desc.Version, Release: "6.1.0", BuildID: "abcd", Name: "plugsched_01234567"}

func TestParse(t *testing.T) {
	m, err := parse(module(t, description(t, good)))
	if err != nil {
		t.Fatal(err)
	}
	if m.Desc.Release != "6.1.0" || m.Desc.BuildID != "abcd" || m.Desc.Name != good.Name {
		t.Errorf("%+v", m.Desc)
	}
}

func TestParseRefuses(t *testing.T) {
	ko := module(t, description(t, good))
	beyond := bytes.Clone(ko)
	shoff := binary.LittleEndian.Uint64(beyond[40:])
	const section, size = 64, 32 // of a section header, and sh_size in it
	binary.LittleEndian.PutUint64(beyond[shoff+section+size:], 1<<40)
	huge := bytes.Clone(ko)
	binary.LittleEndian.PutUint64(huge[shoff+section+size:], ^uint64(0))
	big := bytes.Clone(ko)
	big[5] = byte(elf.ELFDATA2MSB)
	program, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		image []byte
		want  string
	}{
		"empty":          {nil, "not a kernel module"},
		"text":           {[]byte(strings.Repeat("no module\n", 100)), "not a kernel module"},
		"program":        {program, "not a 64-bit kernel module"},
		"big endian":     {big, "kernel module"},
		"no description": {module(t, ""), "not made by `plugsched build`"},
		"damaged":        {module(t, description(t, good)[:40]), "its description is damaged"},
		"not JSON":       {module(t, "release: 6.1"), "its description is damaged"},
		"another type":   {module(t, `{"Release": 6}`), "its description is damaged"},
		"trailing text":  {module(t, description(t, good)+"}"), "its description is damaged"},
		"later format": {module(t, strings.Replace(description(t, good), fmt.Sprintf(`"Format":%d`, desc.Version), `"Format":99`,
			1)), "format"},
		"empty description": {module(t, "{}"), ""},
		"section beyond":    {beyond, "truncated"},
		"section huge":      {huge, "truncated"},
	} {
		_, err := parse(tt.image)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want %q", name, err, tt.want)
		}
	}
}

// TestTruncated: no proper beginning of a module is a module.
func TestTruncated(t *testing.T) {
	ko := module(t, description(t, good))
	for i := range 64 {
		if _, err := parse(ko[:len(ko)*i/64]); err == nil {
			t.Errorf("%d of %d bytes are accepted", len(ko)*i/64, len(ko))
		}
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.ko")
	var pre *PreconditionError
	for name, f := range map[string]func() error{
		"missing":   func() error { _, err := Open(path); return err },
		"directory": func() error { _, err := Open(dir); return err },
		"program":   func() error { _, err := Open("/bin/true"); return err },
	} {
		if err := f(); !errors.As(err, &pre) || !strings.Contains(err.Error(), "/") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.WriteFile(path, module(t, description(t, good)), 0o644); err != nil {
		t.Fatal(err)
	}
	if m, err := Open(path); err != nil || m.Path != path {
		t.Errorf("%+v, %v", m, err)
	}
}

// FuzzParse: whatever a file holds, it is refused or has a description, without a panic.
func FuzzParse(f *testing.F) {
	ko := module(f, description(f, good))
	f.Add(ko)
	f.Add(ko[:len(ko)/2])
	f.Add(module(f, "{}"))
	f.Fuzz(func(t *testing.T, image []byte) {
		if m, err := parse(image); err == nil && m.Desc.Format != desc.Version {
			t.Errorf("format %d", m.Desc.Format)
		}
	})
}

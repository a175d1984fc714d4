// SPDX-License-Identifier: BSD-3-Clause

package live

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// sign appends n bytes as a signature whose size is said to be length.
func sign(image []byte, idType byte, n int, length uint32) []byte {
	out := append(bytes.Clone(image), make([]byte, n)...)
	out = append(out, 0, 0, idType, 0, 0, 0, 0, 0)
	out = binary.BigEndian.AppendUint32(out, length)
	return append(out, signatureMark...)
}

func TestParseSigned(t *testing.T) {
	ko := module(t, description(t, good))
	if m, err := parse(ko); err != nil || m.Signed {
		t.Errorf("unsigned: %+v, %v", m, err)
	}
	signed := sign(ko, 2, 300, 300)
	m, err := parse(signed)
	if err != nil {
		t.Fatal(err)
	}
	if !m.Signed || m.Desc.Name != good.Name || !bytes.Equal(m.image, signed) {
		t.Errorf("signed: %v, %+v, %d bytes to load of %d", m.Signed, m.Desc, len(m.image), len(signed))
	}
	for name, tt := range map[string]struct {
		image []byte
		want  string
	}{
		"cut off":         {signed[:len(signed)-1], ""}, // looks unsigned; the kernel thinks so too
		"another kind":    {sign(ko, 1, 300, 300), "its signature is damaged"},
		"no signature":    {sign(ko, 2, 0, 0), "its signature is damaged"},
		"beyond the file": {sign(ko, 2, 300, 1<<30), "its signature is damaged"},
		"all of the file": {sign(ko, 2, 300, uint32(len(ko)+300)), "its signature is damaged"},
		"into the module": {sign(ko, 2, 300, 400), "not a kernel module"},
		"mark alone":      {[]byte(signatureMark), "its signature is damaged"},
	} {
		m, err := parse(tt.image)
		if tt.want == "" && (err != nil || m.Signed) || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

func TestSignatureNeeded(t *testing.T) {
	for _, c := range []struct {
		lockdown string
		forced   bool
		want     string
	}{
		{"none", false, ""},
		{"none", true, "module.sig_enforce=1): build it with --sign-key"},
		{"integrity", false, "locked down (integrity) and only takes signed modules: build it with --sign-key"},
		{"confidentiality", true, "locked down (confidentiality)"},
	} {
		f := signatureNeeded(c.lockdown, c.forced)
		if c.want == "" && f != nil || c.want != "" && (f == nil || !strings.Contains(f.Error(), c.want)) {
			t.Errorf("%+v: %v", c, f)
		}
	}
}

func TestSignatureError(t *testing.T) {
	const untrusted, unknown, invalid = "a key that this kernel does not trust: enroll its certificate", "cannot check", "not valid"
	said := func(reason string) []string {
		return []string{"eth0: up", "Loading of module with " + reason + " is rejected", "eth0: down"}
	}
	for _, c := range []struct {
		signed   bool
		err      error
		lockdown string
		said     []string
		want     string
	}{
		{true, unix.ENOKEY, "none", nil, untrusted},
		{true, unix.EKEYREJECTED, "none", said("unavailable key"), untrusted},
		{true, unix.EPERM, "integrity", nil, untrusted},
		{true, unix.ENOPKG, "none", nil, unknown},
		{true, unix.EKEYREJECTED, "none", said("unsupported crypto"), unknown},
		{true, unix.EKEYREJECTED, "none", nil, invalid},
		{true, unix.EBADMSG, "none", nil, invalid},
		{true, unix.EPERM, "none", nil, ""}, // blacklisted, or a security module
		{true, unix.ENOEXEC, "integrity", nil, ""},
		{false, unix.EKEYREJECTED, "none", nil, ""},
		{false, unix.EPERM, "integrity", nil, ""},
	} {
		got := signatureError(c.signed, c.err, c.lockdown, c.said)
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

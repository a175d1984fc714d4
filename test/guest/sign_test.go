// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"plugsched/internal/develop/module"
	"plugsched/internal/guest/vm"
)

// signed builds the module signed with a new key, and returns paths of it and of the
// unsigned one.
func signed(t *testing.T) (signed, unsigned string) {
	t.Helper()
	work, done := workbench(t)
	dir := t.TempDir()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	path := func(name string, text []byte) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	keyPath := path("key.pem", pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	certPath := path("cert.der", cert)
	build := func(args ...string) []byte {
		t.Helper()
		if out, code := plugsched(t, append([]string{"build", work}, args...)...); code != 0 {
			t.Fatalf("build %v: %d\n%s", args, code, out)
		}
		image, err := os.ReadFile(filepath.Join(work, "scheduler.ko"))
		if err != nil {
			t.Fatal(err)
		}
		return image
	}
	with := build("--sign-key", keyPath, "--sign-cert", certPath)
	without := build()
	done()
	if len(with) <= len(without) || !bytes.Equal(with[:len(without)], without) {
		t.Fatalf("%d bytes signed, %d unsigned: not the same module", len(with), len(without))
	}
	return path("signed.ko", with), path("unsigned.ko", without)
}

// TestSignatures: the module is final, so it can be signed. What kernels that insist on
// signatures do not take is refused with the reason.
func TestSignatures(t *testing.T) {
	t.Parallel()
	signed, unsigned := signed(t)
	undefined, err := module.Undefined(signed)
	if err != nil || len(undefined) != 1 {
		t.Errorf("undefined symbols: %v, %v", undefined, err)
	}
	files := func(c *vm.Config) {
		c.Files = append(c.Files, vm.File{GuestPath: "/signed.ko", HostPath: signed}, vm.File{GuestPath: "/unsigned.ko", HostPath: unsigned})
	}
	refused := func(m *vm.Machine, file, want string) {
		t.Helper()
		if out, code := sh(t, m, "plugsched install "+file); code != 3 || !strings.Contains(out, want) {
			t.Errorf("%s: exit code %d, expected 3 and %q:\n%s", file, code, want, out)
		}
		stock(t, m)
	}

	m := boot(t, files)
	for _, file := range []string{"/unsigned.ko", "/signed.ko"} {
		ok(t, m, "plugsched install "+file)
		ok(t, m, "plugsched uninstall")
	}
	const outOfTree, notVerified = 1 << 12, 1 << 13
	if taint, err := strconv.Atoi(ok(t, m, "cat /proc/sys/kernel/tainted")); err != nil || taint&^(outOfTree|notVerified) != 0 {
		t.Errorf("the kernel is tainted: %#x, %v", taint, err)
	}
	if log := ok(t, m, "dmesg"); slices.ContainsFunc([]string{"no symbol version", "disagrees about version", "Unknown symbol"},
		func(s string) bool { return strings.Contains(log, s) }) {
		t.Errorf("the module loader complains:\n%s", log)
	}
	ok(t, m, "echo integrity > /sys/kernel/security/lockdown")
	refused(m, "/unsigned.ko", "locked down (integrity) and only takes signed modules: build it with --sign-key")
	refused(m, "/signed.ko", "a key that this kernel does not trust: enroll its certificate")

	m = boot(t, func(c *vm.Config) { files(c); c.Append = append(c.Append, "module.sig_enforce=1") })
	refused(m, "/unsigned.ko", "only takes signed modules (module.sig_enforce=1): build it with --sign-key")
	refused(m, "/signed.ko", "a key that this kernel does not trust: enroll its certificate")
}

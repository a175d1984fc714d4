// SPDX-License-Identifier: BSD-3-Clause

package module

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

var test = pkix.Name{CommonName: "test"}

// pair makes a private key and its certificate, in DER.
func pair(t *testing.T, subject pkix.Name) (key *ecdsa.PrivateKey, pkcs8, cert []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: subject}
	if cert, err = x509.CreateCertificate(rand.Reader, template, template, key.Public(), crypto.Signer(key)); err != nil {
		t.Fatal(err)
	}
	if pkcs8, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
		t.Fatal(err)
	}
	return key, pkcs8, cert
}

// signTree is a kernel's build directory whose sign-file appends its hash and key, or
// fails as the real one does when the key is called bad.
func signTree(t *testing.T, config string) *Tree {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "include/config/auto.conf"), config)
	tool := filepath.Join(dir, "scripts/sign-file")
	write(t, tool, `#!/bin/sh
cp "$4" "$5"
echo "$1 $2 $3" >> "$5"
case $2 in */bad.pem)
	echo "At main.c:174:"
	echo "- SSL error:1C800064:Provider routines::bad decrypt: ../providers/x.c:129"
	echo "- SSL error:04800065:PEM routines::another: ../crypto/y.c:1"
	exit 1
esac
`)
	if err := os.Chmod(tool, 0o755); err != nil {
		t.Fatal(err)
	}
	return &Tree{KernelBuild: dir}
}

const hashConfig = "CONFIG_MODULE_SIG=y\nCONFIG_MODULE_SIG_HASH=\"sha384\"\n"

func TestSign(t *testing.T) {
	dir := t.TempDir()
	key, pkcs8, cert := pair(t, test)
	sec1, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	path := func(name string) string { return filepath.Join(dir, name) }
	write(t, path("key.pem"), encode("PRIVATE KEY", pkcs8))
	write(t, path("sec1.pem"), encode("EC PARAMETERS", []byte{1})+encode("EC PRIVATE KEY", sec1))
	write(t, path("cert.pem"), encode("CERTIFICATE", cert))
	write(t, path("cert.der"), string(cert))
	ko := path("a.ko")
	for _, c := range [][2]string{{"key.pem", "cert.pem"}, {"sec1.pem", "cert.der"}} {
		write(t, ko, "module\n")
		s, err := NewSigner(t.Context(), signTree(t, hashConfig), path(c[0]), path(c[1]))
		if err != nil {
			t.Fatalf("%v: %v", c, err)
		}
		if err := s.Sign(t.Context(), ko); err != nil {
			t.Fatalf("%v: %v", c, err)
		}
		if text, err := os.ReadFile(ko); err != nil || string(text) != "module\nsha384 "+path(c[0])+" "+path(c[1])+"\n" {
			t.Errorf("%v: %q, %v", c, text, err)
		}
	}
	if _, err := os.Stat(ko + ".signed"); !os.IsNotExist(err) {
		t.Errorf("left behind: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var mistake *SignError
	if _, err := NewSigner(ctx, signTree(t, hashConfig), path("key.pem"), path("cert.pem")); err == nil || errors.As(err, &mistake) {
		t.Errorf("interrupted: %v", err)
	}
}

func TestSignMistakes(t *testing.T) {
	dir := t.TempDir()
	_, key, cert := pair(t, test)
	_, _, other := pair(t, test)
	_, _, nameless := pair(t, pkix.Name{})
	encode := func(b *pem.Block) string { return string(pem.EncodeToMemory(b)) }
	path := func(name string) string { return filepath.Join(dir, name) }
	for name, text := range map[string]string{
		"key.pem": encode(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), "bad.pem": encode(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
		"key.der": string(key), "damaged.pem": encode(&pem.Block{Type: "PRIVATE KEY", Bytes: key[:9]}),
		"encrypted.pem": encode(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: key}),
		"old.pem": encode(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED",
			"DEK-Info": "AES-128-CBC,00"}, Bytes: key}),
		"cert.pem": encode(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), "other.pem": encode(&pem.Block{Type: "CERTIFICATE", Bytes: other}),
		"nameless.der": string(nameless),
	} {
		write(t, path(name), text)
	}
	t.Setenv(pinVariable, "")
	for _, c := range []struct{ key, cert, config, want string }{
		{"none.pem", "cert.pem", hashConfig, "private key: open " + path("none.pem")},
		{"key.pem", "none.pem", hashConfig, "certificate: open " + path("none.pem")},
		{"key.der", "cert.pem", hashConfig, "key.der: holds no private key in PEM form"},
		{"cert.pem", "cert.pem", hashConfig, "cert.pem: holds no private key in PEM form"},
		{"damaged.pem", "cert.pem", hashConfig, "damaged.pem: not a private key that can be read"},
		{"key.pem", "key.pem", hashConfig, "key.pem: not an X.509 certificate"},
		{"key.pem", "other.pem", hashConfig, "other.pem is not the certificate of the private key"},
		{"key.pem", "nameless.der", hashConfig, "nameless.der: the certificate's issuer has no name"},
		{"encrypted.pem", "cert.pem", hashConfig, "is encrypted: give its passphrase in the environment variable KBUILD_SIGN_PIN"},
		{"old.pem", "cert.pem", hashConfig, "is encrypted"},
		{"bad.pem", "cert.pem", hashConfig, "cert.pem do not sign: bad decrypt"},
		{"key.pem", "cert.pem", "CONFIG_MODULES=y\n", "this kernel does not check module signatures"},
	} {
		_, err := NewSigner(t.Context(), signTree(t, c.config), path(c.key), path(c.cert))
		var mistake *SignError
		if !errors.As(err, &mistake) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s, %s: error %v, want %q", c.key, c.cert, err, c.want)
		}
	}
	t.Setenv(pinVariable, "secret")
	if _, err := NewSigner(t.Context(), signTree(t, hashConfig), path("encrypted.pem"), path("cert.pem")); err != nil {
		t.Errorf("encrypted key with a passphrase: %v", err)
	}
}

// TestSignFIFO: nobody waits for what does not come.
func TestSignFIFO(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	var wrong *SignError
	if err := checkPair(fifo, fifo); !errors.As(err, &wrong) || !strings.Contains(err.Error(), "is no regular file") {
		t.Errorf("%v", err)
	}
}

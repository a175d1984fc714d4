// SPDX-License-Identifier: BSD-3-Clause

package module

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"plugsched/internal/develop/environment"
	"plugsched/internal/outcome"
)

// Signer signs modules as the kernel's own build does, with its scripts/sign-file.
type Signer struct {
	env                   *environment.Environment
	tool, hash, key, cert string
}

// SignError is a mistake about the key or the certificate.
type SignError struct{ Text string }

func (e *SignError) Error() string { return e.Text }

// Outcome implements outcome.Error.
func (*SignError) Outcome() outcome.Outcome { return outcome.Precondition }

func signError(format string, args ...any) error { return &SignError{fmt.Sprintf(format, args...)} }

// pinVariable holds the passphrase of an encrypted key; sign-file reads it.
const pinVariable = "KBUILD_SIGN_PIN"

// NewSigner makes sure that a private key (PEM) and its certificate (X.509, PEM or
// DER) can sign modules, and does so with a trial. What is wrong with them is a
// *SignError.
func NewSigner(ctx context.Context, t *Tree, key, cert string) (*Signer, error) {
	s := &Signer{env: t.Env, tool: filepath.Join(t.KernelBuild, "scripts/sign-file")}
	var err error
	if s.key, err = filepath.Abs(key); err != nil {
		return nil, err
	}
	if s.cert, err = filepath.Abs(cert); err != nil {
		return nil, err
	}
	if s.hash, err = signatureHash(t.KernelBuild); err != nil {
		return nil, err
	}
	if _, err := os.Stat(s.tool); err != nil {
		return nil, fmt.Errorf("the kernel's headers have no tool to sign modules: %w", err)
	}
	if err := checkPair(key, cert); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "plugsched-sign")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	trial := filepath.Join(dir, "trial")
	if err := os.WriteFile(trial, []byte("trial\n"), 0o600); err != nil {
		return nil, err
	}
	return s, s.Sign(ctx, trial)
}

// Sign appends a signature to a module.
func (s *Signer) Sign(ctx context.Context, ko string) error {
	signed := ko + ".signed"
	out, err := s.env.Showing(s.key, s.cert).Command(ctx, s.tool, s.hash, s.key, s.cert, ko, signed).CombinedOutput()
	if err == nil {
		return os.Rename(signed, ko)
	}
	os.Remove(signed)
	var exit *exec.ExitError
	if ctx.Err() != nil || !errors.As(err, &exit) {
		return fmt.Errorf("%s: %w", s.tool, err)
	}
	return signError("%s and %s do not sign: %s", s.key, s.cert, complaint(string(out)))
}

// complaint picks the reason out of what sign-file prints: OpenSSL's, as in
// "- SSL error:CODE:LIBRARY:FUNCTION:REASON: FILE", or else the last line.
func complaint(out string) string {
	for line := range strings.Lines(out) {
		if f := strings.Split(line, ":"); len(f) > 4 && strings.Contains(f[0], "SSL error") {
			return strings.TrimSpace(f[4])
		}
	}
	return lastLines(out, 1)
}

// signatureHash is the hash that the kernel's own modules are signed with.
func signatureHash(kernelBuild string) (string, error) {
	text, err := os.ReadFile(filepath.Join(kernelBuild, "include/config/auto.conf"))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(line, "CONFIG_MODULE_SIG_HASH="); ok {
			return strings.Trim(strings.TrimSpace(v), `"`), nil
		}
	}
	return "", signError("this kernel does not check module signatures (CONFIG_MODULE_SIG is not set): build without --sign-key")
}

// checkPair finds the mistakes that sign-file has no clear words for.
func checkPair(keyPath, certPath string) error {
	for _, path := range []string{keyPath, certPath} {
		// Whoever opens a FIFO waits for somebody who writes, and sign-file opens the files once more.
		if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() {
			return signError("%s: is no regular file", path)
		}
	}
	cert, err := readCertificate(certPath)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(keyPath)
	if err != nil {
		return signError("private key: %v", err)
	}
	block := privateKey(text)
	if block == nil {
		return signError("%s: holds no private key in PEM form", keyPath)
	}
	if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
		if os.Getenv(pinVariable) == "" {
			return signError("%s: the private key is encrypted: give its passphrase in the environment variable %s", keyPath, pinVariable)
		}
		return nil // sign-file decrypts and compares it
	}
	key, err := parseKey(block)
	if err != nil {
		return signError("%s: not a private key that can be read: %v", keyPath, err)
	}
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(cert.PublicKey) {
		return signError("%s is not the certificate of the private key %s", certPath, keyPath)
	}
	return nil
}

func readCertificate(path string) (*x509.Certificate, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, signError("certificate: %v", err)
	}
	if block, _ := pem.Decode(text); block != nil {
		text = block.Bytes
	}
	cert, err := x509.ParseCertificate(text)
	if err != nil {
		return nil, signError("%s: not an X.509 certificate in PEM or DER form", path)
	}
	if len(cert.Issuer.Names) == 0 {
		// The loader answers EBADMSG, even where signatures are not forced.
		return nil, signError("%s: the certificate's issuer has no name, by which the kernel would find it: make one with a subject", path)
	}
	return cert, nil
}

// privateKey returns the first private key of a PEM file, nil when there is none.
func privateKey(text []byte) *pem.Block {
	for {
		block, rest := pem.Decode(text)
		if block == nil || strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return block
		}
		text = rest
	}
}

func parseKey(block *pem.Block) (crypto.Signer, error) {
	var key any
	var err error
	switch block.Type {
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("of a kind that cannot sign")
	}
	return signer, nil
}

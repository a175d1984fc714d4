// SPDX-License-Identifier: BSD-3-Clause

package live

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// signatureNeeded says why the kernel only takes signed modules: under lockdown, or
// when signatures are forced. nil: it takes any.
func signatureNeeded(lockdown string, forced bool) *Finding {
	const remedy = "build it with --sign-key and --sign-cert, and enroll the certificate (docs/operate/commands.md)"
	switch {
	case lockdown != "none":
		return &Finding{Problem: "the kernel is locked down (" + lockdown + ") and only takes signed modules", Fix: remedy}
	case forced:
		return &Finding{Problem: "the kernel only takes signed modules (module.sig_enforce=1)", Fix: remedy}
	}
	return nil
}

// signatureError explains an error of the module loader that is about the signature,
// "" when it is not (kernel/module/signing.c, module_sig_check). Where signatures are
// forced, a valid one by an unknown key is EKEYREJECTED too: only the log tells.
func signatureError(signed bool, err error, lockdown string, said []string) string {
	if !signed {
		return ""
	}
	rejected := func(reason string) bool {
		for _, l := range said {
			if strings.Contains(l, "Loading of module with "+reason+" is rejected") {
				return true
			}
		}
		return false
	}
	switch {
	case errors.Is(err, unix.ENOKEY), errors.Is(err, unix.EKEYREJECTED) && rejected("unavailable key"), errors.Is(err, unix.EPERM) &&
		lockdown != "none":
		return "it is signed with a key that this kernel does not trust: enroll its certificate (`mokutil --import CERT.der`, then restart)"
	case errors.Is(err, unix.ENOPKG), errors.Is(err, unix.EKEYREJECTED) && rejected("unsupported crypto"):
		return "it is signed in a way that this kernel cannot check: use an RSA key"
	case errors.Is(err, unix.EKEYREJECTED), errors.Is(err, unix.EBADMSG):
		return "its signature is not valid: the file was changed after it was signed, or the key has been revoked; build it again"
	}
	return ""
}

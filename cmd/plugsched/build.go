// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"plugsched/internal/command/cli"
	"plugsched/internal/command/manual"
	"plugsched/internal/command/version"
	"plugsched/internal/develop/project"
)

func newBuild() *cobra.Command {
	var key, cert string
	var sidecars, patches []string
	c := &cobra.Command{
		Use:   "build [--patch FILE]... WORKDIR",
		Short: "Build the changed scheduler into a module",
		Long: `Build compiles the scheduler in WORKDIR, applies the boundary, and makes
WORKDIR/scheduler.ko with its description scheduler.yaml, and of these a .deb and an
.rpm. A change that could not take effect is refused: the message names it, says why,
and what to do.

With --patch, which may be given several times, patches are applied to a temporary copy of
WORKDIR, which stays as it is: only what is made gets there.

With --sign-key and --sign-cert the module is signed, for kernels that only take
signed modules. The passphrase of an encrypted key is read from the environment
variable KBUILD_SIGN_PIN.`,
		Example: `  plugsched build work
  plugsched build --patch 0001-sched.patch --patch 0002-sched.patch work
  KBUILD_SIGN_PIN=secret plugsched build --sign-key key.pem --sign-cert cert.pem work`,
		Args: cli.Args(1, 1),
		RunE: func(c *cobra.Command, a []string) error {
			if (key == "") != (cert == "") {
				return cli.Usagef("--sign-key and --sign-cert go together")
			}
			if slices.Contains(patches, "") {
				return cli.Usagef("--patch is empty; see `%s --help`", c.CommandPath())
			}
			p, err := project.Open(a[0])
			if err != nil {
				return err
			}
			p.SignKey, p.SignCert = key, cert
			p.Tool, p.Documents = version.String(), manual.Documents
			out := newProgress(c.ErrOrStderr())
			defer out.finish()
			p.Progress = out.stage
			if len(sidecars) > 0 {
				t, err := p.Target()
				if err != nil {
					return err
				}
				p.Sidecars = sidecars
				if err := p.Init(c.Context(), t); err != nil {
					return err
				}
			}
			var built *project.Built
			if len(patches) > 0 {
				built, err = p.BuildPatched(c.Context(), patches)
			} else {
				built, err = p.Build(c.Context())
			}
			out.finish()
			if err != nil {
				return err
			}
			for _, w := range built.Warnings {
				fmt.Fprintln(c.ErrOrStderr(), "warning:", w)
			}
			for _, path := range append([]string{p.Module()}, built.Packages...) {
				fmt.Fprintln(c.OutOrStdout(), path)
			}
			return nil
		},
	}
	c.Flags().StringVar(&key, "sign-key", "", "sign the module with this private key (PEM)")
	c.Flags().StringVar(&cert, "sign-cert", "", "the key's certificate (X.509, PEM or DER)")
	c.Flags().StringArrayVar(&patches, "patch", nil, "apply this patch first, to a copy of the tree")
	c.Flags().StringArrayVar(&sidecars, "sidecar", nil, sidecarHelp)
	return c
}

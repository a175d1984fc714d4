// SPDX-License-Identifier: BSD-3-Clause

package main

import "github.com/spf13/cobra"

func newBoundaryStructs() *cobra.Command { return &cobra.Command{Use: "structs"} }

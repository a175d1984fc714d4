// SPDX-License-Identifier: BSD-3-Clause

package operator

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"plugsched/internal/command/cli"
	"plugsched/internal/operate/history"
	"plugsched/internal/operate/live"
)

// entries is what history prints for programs.
type entries struct {
	Entries []history.Entry `json:"entries"`
}

func newHistory(m machine) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "history",
		Short: "Say what happened to this machine's scheduler",
		Long: `History shows every attempt to change the running scheduler, a module's or one in BPF,
what became of it and how long the machine stood still for it, and every rollback that
the kernel made by itself. Only root may read it. It reaches back over one to two mebibytes of entries,
some thousands.`,
		Example: `  plugsched history
  plugsched history --json | jq '.entries[] | select(.action == "rolled back")'`,
		Args: cli.Args(0, 0),
		RunE: func(c *cobra.Command, a []string) error {
			list, damaged, err := m.log().All()
			if errors.Is(err, fs.ErrPermission) {
				return &live.PreconditionError{Err: fmt.Errorf("only root may read the history: %w", err)}
			}
			if err != nil {
				return err
			}
			if damaged > 0 {
				fmt.Fprintf(c.ErrOrStderr(), "warning: %d lines of the history are damaged and left out\n", damaged)
			}
			if asJSON {
				return cli.PrintJSON(c.OutOrStdout(), entries{append([]history.Entry{}, list...)})
			}
			return showHistory(c.OutOrStdout(), list)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func showHistory(out io.Writer, list []history.Entry) error {
	if len(list) == 0 {
		fmt.Fprintln(out, "nothing has happened yet")
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "TIME\tACTION\tRESULT\tDOWNTIME\tSCHEDULER\tPACKAGE\tWHY")
	for _, e := range list {
		why, _, _ := strings.Cut(e.Error, "\n")
		if e.BPF != "" && e.BPF != e.Before && e.BPF != e.After {
			why = e.BPF + ": " + why // it never ran
		}
		downtime := ""
		switch {
		case e.BPF != "" && e.Gap > 0:
			downtime = "gap " + e.Gap.Round(time.Microsecond).String()
		case e.Direction != "" && e.BPF == "":
			downtime = e.Downtime.Round(time.Microsecond).String()
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", e.Time.Local().Format(time.DateTime), e.Action, result(e), downtime, change(e),
			strings.TrimSpace(e.Package+" "+e.Version), printable(why))
	}
	return w.Flush()
}

func result(e history.Entry) string {
	if e.Result == history.Begun {
		return "has not ended"
	}
	return e.Result
}

// change says whose scheduler ran before and after.
func change(e history.Entry) string {
	name := func(module string) string {
		if module == "" {
			return "kernel"
		}
		return printable(module)
	}
	if e.Before == e.After {
		return name(e.After)
	}
	return name(e.Before) + " -> " + name(e.After)
}

// printable keeps what the log's text does to a terminal within one cell of a table.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

// SPDX-License-Identifier: BSD-3-Clause

package operator

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"

	"github.com/spf13/cobra"

	"plugsched/internal/command/cli"
	"plugsched/internal/operate/metrics"
)

func newMetrics(m machine) *cobra.Command {
	var output, listen, socket string
	c := &cobra.Command{
		Use:   "metrics",
		Short: "Print or serve metrics for Prometheus",
		Long: `Metrics prints what is known about this machine's scheduler in Prometheus' text
format. With --output it puts that into a file, whole or not at all, for the textfile
collector of Prometheus' node exporter. With --listen or --socket it serves /metrics, in
OpenMetrics for those who ask for it, until it is interrupted; --listen takes
loopback addresses only.

Counts and the histogram are of what the history has; only root may read it.`,
		Example: `  plugsched metrics
  plugsched metrics --output /var/lib/prometheus/node-exporter/plugsched.prom
  plugsched metrics --listen 127.0.0.1:9101
  plugsched metrics --socket /run/plugsched/metrics.sock`,
		Args: cli.Args(0, 0),
		RunE: func(c *cobra.Command, a []string) error {
			switch {
			case listen != "":
				l, err := metrics.Loopback(listen)
				if err != nil {
					return cli.Usagef("--listen: %w", err)
				}
				return m.serve(c, l)
			case socket != "":
				if n := len(socket); n > metrics.MaxSocket {
					return cli.Usagef("--socket: a path of %d bytes, and a socket's has at most %d: go by a shorter one", n, metrics.MaxSocket)
				}
				l, err := metrics.Socket(socket)
				if err != nil {
					return fmt.Errorf("--socket: %w", err)
				}
				return m.serve(c, l)
			}
			var b bytes.Buffer
			s, err := m.metrics()
			if err == nil {
				err = s.Write(&b, metrics.Text)
			}
			if err != nil {
				return err
			}
			if output != "" {
				// The exporter, which is not root, may read it.
				return cli.WriteFile("output", output, b.Bytes())
			}
			_, err = c.OutOrStdout().Write(b.Bytes())
			return err
		},
	}
	c.Flags().StringVar(&output, "output", "", "put them into this file")
	c.Flags().StringVar(&listen, "listen", "", "serve them on this loopback address and port")
	c.Flags().StringVar(&socket, "socket", "", "serve them on this Unix socket")
	c.MarkFlagsMutuallyExclusive("output", "listen", "socket")
	return c
}

func (m machine) serve(c *cobra.Command, l net.Listener) error {
	fmt.Fprintln(c.ErrOrStderr(), "serving /metrics on", l.Addr())
	return metrics.Serve(c.Context(), l, m.metrics)
}

func (m machine) metrics() (*metrics.State, error) {
	s, err := m.read()
	if err != nil {
		return nil, err
	}
	out := &metrics.State{Status: s.Status, Schedulers: s.Schedulers, Since: s.Since, Guard: s.Guard != ""}
	if out.BPF, err = m.bpf(); err != nil {
		out.BPF = nil // a module's metrics are there all the same
	}
	if out.History, out.Damaged, err = m.log().All(); err != nil && !errors.Is(err, fs.ErrPermission) {
		return nil, err
	}
	if s.OfPackage {
		out.Package = s.Package
	}
	return out, nil
}

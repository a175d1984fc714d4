// SPDX-License-Identifier: BSD-3-Clause

package metrics

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// Format is a text format for metrics. Both are written here, which is less than a
// hundred lines, since the library for it would double the size of the installer that
// packages carry; tests read them with that library.
type Format struct {
	ContentType string
	open        bool // OpenMetrics, which names a counter without _total and has an end
}

// Text is what Prometheus and node exporter's textfile collector read
// (prometheus.io/docs/instrumenting/exposition_formats).
var Text = Format{ContentType: "text/plain; version=0.0.4; charset=utf-8"}

// OpenMetrics 1.0.0.
var OpenMetrics = Format{ContentType: "application/openmetrics-text; version=1.0.0; charset=utf-8", open: true}

// family is a metric with all of its samples.
type family struct {
	name, help, kind string
	samples          []sample
}

type sample struct {
	suffix string   // of the family's name
	labels []string // names and values
	value  float64
}

// Write prints the metrics.
func (s *State) Write(w io.Writer, as Format) error {
	var b strings.Builder
	for _, f := range s.families() {
		f.write(&b, as)
	}
	if as.open {
		b.WriteString("# EOF\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (f *family) write(b *strings.Builder, as Format) {
	name := f.name
	if as.open {
		name = strings.TrimSuffix(name, "_total")
	}
	fmt.Fprintf(b, "# HELP %s %s\n# TYPE %s %s\n", name, escape(f.help), name, f.kind)
	for _, s := range f.samples {
		b.WriteString(f.name + s.suffix)
		for i := 0; i < len(s.labels); i += 2 {
			fmt.Fprintf(b, "%c%s=\"%s\"", "{,"[min(i, 1)], s.labels[i], escape(s.labels[i+1]))
		}
		if len(s.labels) > 0 {
			b.WriteByte('}')
		}
		b.WriteString(" " + number(s.value) + "\n")
	}
}

var escaper = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)

// escape makes text fit between quotes. (A quote in a help text need not be escaped in the
// older format, and there is none.)
func escape(text string) string { return escaper.Replace(strings.ToValidUTF8(text, "?")) }

func number(v float64) string {
	if math.IsInf(v, 1) {
		return "+Inf"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}
